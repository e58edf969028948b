// COMPILED ONCE PER INSTRUCTION SET. The registers of this instruction set and the few operations that plain vector
// arithmetic (+ - * / and comparisons of GNU vectors) can't say. The only file that includes an intrinsics header.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__FAST_MATH__)
#error "-ffast-math breaks infinities, nan and exact sums"
#endif

#define CROSSENT_INLINE inline __attribute__((always_inline))
// A function of a hundred instructions or more: worth inlining unless the instruction set is there for old machines
// only.
#if defined(__SSE2__) && !defined(__AVX__)
#define CROSSENT_INLINE_LARGE __attribute__((noinline))
#define CROSSENT_IS_SMALL true
#else
#define CROSSENT_INLINE_LARGE CROSSENT_INLINE
#define CROSSENT_IS_SMALL false
#endif

// A function for which the registers do when a value is one of them.
#if defined(__AVX512F__)
#define CROSSENT_INLINE_IF_ONE_PART CROSSENT_INLINE
#else
#define CROSSENT_INLINE_IF_ONE_PART __attribute__((noinline))
#endif

namespace crossent::CROSSENT_ISA {
namespace {

#if defined(__AVX512F__)

constexpr int register_bytes = 64;
using NativeF32 = __m512;
using NativeF64 = __m512d;
using NativeMask32 = __mmask16;
using NativeMask64 = __mmask8;

CROSSENT_INLINE NativeF32 fma(NativeF32 a, NativeF32 b, NativeF32 c) { return _mm512_fmadd_ps(a, b, c); }
CROSSENT_INLINE NativeF64 fma(NativeF64 a, NativeF64 b, NativeF64 c) { return _mm512_fmadd_pd(a, b, c); }
CROSSENT_INLINE NativeF32 max(NativeF32 a, NativeF32 b) { return _mm512_max_ps(a, b); }
CROSSENT_INLINE NativeF64 max(NativeF64 a, NativeF64 b) { return _mm512_max_pd(a, b); }
CROSSENT_INLINE NativeF32 min(NativeF32 a, NativeF32 b) { return _mm512_min_ps(a, b); }
CROSSENT_INLINE NativeF64 min(NativeF64 a, NativeF64 b) { return _mm512_min_pd(a, b); }
CROSSENT_INLINE NativeF32 round(NativeF32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
CROSSENT_INLINE NativeF64 round(NativeF64 a) { return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEAREST_INT); }
CROSSENT_INLINE NativeMask32 equal(NativeF32 a, NativeF32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
CROSSENT_INLINE NativeMask64 equal(NativeF64 a, NativeF64 b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
CROSSENT_INLINE NativeMask32 less(NativeF32 a, NativeF32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
CROSSENT_INLINE NativeMask64 less(NativeF64 a, NativeF64 b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
CROSSENT_INLINE NativeMask32 not_less(NativeF32 a, NativeF32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
CROSSENT_INLINE NativeMask64 not_less(NativeF64 a, NativeF64 b) { return _mm512_cmp_pd_mask(a, b, _CMP_NLT_UQ); }
// True when either is nan.
CROSSENT_INLINE NativeMask32 differ(NativeF32 a, NativeF32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
CROSSENT_INLINE NativeMask64 differ(NativeF64 a, NativeF64 b) { return _mm512_cmp_pd_mask(a, b, _CMP_NEQ_UQ); }
CROSSENT_INLINE NativeF32 add_where(NativeMask32 m, NativeF32 a, NativeF32 b) { return _mm512_mask_add_ps(a, m, a, b); }
CROSSENT_INLINE NativeF64 add_where(NativeMask64 m, NativeF64 a, NativeF64 b) { return _mm512_mask_add_pd(a, m, a, b); }
CROSSENT_INLINE NativeF32 select(NativeMask32 m, NativeF32 a, NativeF32 b) { return _mm512_mask_blend_ps(m, b, a); }
CROSSENT_INLINE NativeF64 select(NativeMask64 m, NativeF64 a, NativeF64 b) { return _mm512_mask_blend_pd(m, b, a); }
CROSSENT_INLINE uint32_t bits_of(NativeMask32 m) { return m; }
CROSSENT_INLINE uint32_t bits_of(NativeMask64 m) { return m; }

#elif defined(__AVX2__)

constexpr int register_bytes = 32;
using NativeF32 = __m256;
using NativeF64 = __m256d;

CROSSENT_INLINE NativeF32 fma(NativeF32 a, NativeF32 b, NativeF32 c) { return _mm256_fmadd_ps(a, b, c); }
CROSSENT_INLINE NativeF64 fma(NativeF64 a, NativeF64 b, NativeF64 c) { return _mm256_fmadd_pd(a, b, c); }
CROSSENT_INLINE NativeF32 max(NativeF32 a, NativeF32 b) { return _mm256_max_ps(a, b); }
CROSSENT_INLINE NativeF64 max(NativeF64 a, NativeF64 b) { return _mm256_max_pd(a, b); }
CROSSENT_INLINE NativeF32 min(NativeF32 a, NativeF32 b) { return _mm256_min_ps(a, b); }
CROSSENT_INLINE NativeF64 min(NativeF64 a, NativeF64 b) { return _mm256_min_pd(a, b); }
CROSSENT_INLINE NativeF32 round(NativeF32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT); }
CROSSENT_INLINE NativeF64 round(NativeF64 a) { return _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT); }

#elif defined(__SSE2__)

constexpr int register_bytes = 16;
using NativeF32 = __m128;
using NativeF64 = __m128d;

CROSSENT_INLINE NativeF32 max(NativeF32 a, NativeF32 b) { return _mm_max_ps(a, b); }
CROSSENT_INLINE NativeF64 max(NativeF64 a, NativeF64 b) { return _mm_max_pd(a, b); }
CROSSENT_INLINE NativeF32 min(NativeF32 a, NativeF32 b) { return _mm_min_ps(a, b); }
CROSSENT_INLINE NativeF64 min(NativeF64 a, NativeF64 b) { return _mm_min_pd(a, b); }
// To nearest even, for |a| < 2^22 and 2^51: so large a number leaves no bits for a fraction.
CROSSENT_INLINE NativeF32 round(NativeF32 a) { return (a + 0x1.8p23f) - 0x1.8p23f; }
CROSSENT_INLINE NativeF64 round(NativeF64 a) { return (a + 0x1.8p52) - 0x1.8p52; }

#elif defined(__aarch64__)

constexpr int register_bytes = 16;
using NativeF32 = float32x4_t;
using NativeF64 = float64x2_t;

CROSSENT_INLINE NativeF32 fma(NativeF32 a, NativeF32 b, NativeF32 c) { return vfmaq_f32(c, a, b); }
CROSSENT_INLINE NativeF64 fma(NativeF64 a, NativeF64 b, NativeF64 c) { return vfmaq_f64(c, a, b); }
// As on x86: the second operand when either is nan, so that max(bound, x) keeps a nan of x.
CROSSENT_INLINE NativeF32 max(NativeF32 a, NativeF32 b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
CROSSENT_INLINE NativeF64 max(NativeF64 a, NativeF64 b) { return vbslq_f64(vcgtq_f64(a, b), a, b); }
CROSSENT_INLINE NativeF32 min(NativeF32 a, NativeF32 b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
CROSSENT_INLINE NativeF64 min(NativeF64 a, NativeF64 b) { return vbslq_f64(vcltq_f64(a, b), a, b); }
CROSSENT_INLINE NativeF32 round(NativeF32 a) { return vrndnq_f32(a); }
CROSSENT_INLINE NativeF64 round(NativeF64 a) { return vrndnq_f64(a); }

#else
#error "crossent has no section for this architecture in native.h"
#endif

constexpr int parts = 64 / register_bytes;  // registers in a value of 64 bytes

template <class T, int bytes = register_bytes>
using NativeOf __attribute__((vector_size(bytes))) = T;

using NativeI32 = NativeOf<int32_t>;
using NativeI64 = NativeOf<int64_t>;

#if defined(__FMA__) || defined(__aarch64__)
constexpr bool has_fma = true;
#else
constexpr bool has_fma = false;
// Without the instruction: two roundings. exp.h says where that would matter and what it does there.
CROSSENT_INLINE NativeF32 fma(NativeF32 a, NativeF32 b, NativeF32 c) { return a * b + c; }
CROSSENT_INLINE NativeF64 fma(NativeF64 a, NativeF64 b, NativeF64 c) { return a * b + c; }
#endif

#if !defined(__AVX512F__)
using NativeMask32 = NativeI32;
using NativeMask64 = NativeI64;
CROSSENT_INLINE NativeMask32 equal(NativeF32 a, NativeF32 b) { return (NativeI32)(a == b); }
CROSSENT_INLINE NativeMask64 equal(NativeF64 a, NativeF64 b) { return (NativeI64)(a == b); }
CROSSENT_INLINE NativeMask32 less(NativeF32 a, NativeF32 b) { return (NativeI32)(a < b); }
CROSSENT_INLINE NativeMask64 less(NativeF64 a, NativeF64 b) { return (NativeI64)(a < b); }
CROSSENT_INLINE NativeMask32 not_less(NativeF32 a, NativeF32 b) { return ~less(a, b); }
CROSSENT_INLINE NativeMask64 not_less(NativeF64 a, NativeF64 b) { return ~less(a, b); }
CROSSENT_INLINE NativeMask32 differ(NativeF32 a, NativeF32 b) { return ~equal(a, b); }
CROSSENT_INLINE NativeMask64 differ(NativeF64 a, NativeF64 b) { return ~equal(a, b); }
CROSSENT_INLINE NativeF32 select(NativeMask32 m, NativeF32 a, NativeF32 b) {
  return (NativeF32)((m & (NativeI32)a) | (~m & (NativeI32)b));
}
CROSSENT_INLINE NativeF64 select(NativeMask64 m, NativeF64 a, NativeF64 b) {
  return (NativeF64)((m & (NativeI64)a) | (~m & (NativeI64)b));
}
CROSSENT_INLINE NativeF32 add_where(NativeMask32 m, NativeF32 a, NativeF32 b) {
  return a + (NativeF32)(m & (NativeI32)b);
}
CROSSENT_INLINE NativeF64 add_where(NativeMask64 m, NativeF64 a, NativeF64 b) {
  return a + (NativeF64)(m & (NativeI64)b);
}
// A bit for each lane.
#if defined(__AVX2__)
CROSSENT_INLINE uint32_t bits_of(NativeMask32 m) { return (uint32_t)_mm256_movemask_ps((__m256)m); }
CROSSENT_INLINE uint32_t bits_of(NativeMask64 m) { return (uint32_t)_mm256_movemask_pd((__m256d)m); }
#elif defined(__SSE2__)
CROSSENT_INLINE uint32_t bits_of(NativeMask32 m) { return (uint32_t)_mm_movemask_ps((__m128)m); }
CROSSENT_INLINE uint32_t bits_of(NativeMask64 m) { return (uint32_t)_mm_movemask_pd((__m128d)m); }
#else
CROSSENT_INLINE uint32_t bits_of(NativeMask32 m) { return vaddvq_u32((uint32x4_t)(m & NativeI32{1, 2, 4, 8})); }
CROSSENT_INLINE uint32_t bits_of(NativeMask64 m) { return (uint32_t)vaddvq_u64((uint64x2_t)(m & NativeI64{1, 2})); }
#endif
#endif

// Of a register without nan.
#if defined(__AVX512F__)
CROSSENT_INLINE float largest_lane(NativeF32 a) { return _mm512_reduce_max_ps(a); }
CROSSENT_INLINE double largest_lane(NativeF64 a) { return _mm512_reduce_max_pd(a); }
#else
template <class Register>
CROSSENT_INLINE auto largest_lane(Register a) {
  auto largest = a[0];
  for (size_t i = 1; i < sizeof(a) / sizeof(a[0]); ++i) largest = a[i] > largest ? a[i] : largest;
  return largest;
}
#endif

// value · 2^exponent for a finite whole-numbered exponent: rounded once if the value is one of 2^-1 … 2^2 or nan, exact
// if it and the result are normal.
#if defined(__AVX512F__)
constexpr bool scales_in_one_instruction = true;  // which takes the floor of any exponent
CROSSENT_INLINE NativeF32 scale_by_power_of_two(NativeF32 value, NativeF32 exponent) {
  return _mm512_scalef_ps(value, exponent);
}
CROSSENT_INLINE NativeF64 scale_by_power_of_two(NativeF64 value, NativeF64 exponent) {
  return _mm512_scalef_pd(value, exponent);
}
#else
constexpr bool scales_in_one_instruction = false;
// 2^exponent for a whole-numbered exponent in the normal range: adding 1.5·2^(mantissa bits) + bias leaves the biased
// exponent in the lowest bits.
CROSSENT_INLINE NativeF32 power_of_two(NativeF32 exponent) {
  return (NativeF32)((NativeI32)(exponent + (0x1.8p23f + 127)) << 23);
}
CROSSENT_INLINE NativeF64 power_of_two(NativeF64 exponent) {
  return (NativeF64)((NativeI64)(exponent + (0x1.8p52 + 1023)) << 52);
}
// In two steps of half the exponent, of which only the last can round.
CROSSENT_INLINE NativeF32 scale_by_power_of_two(NativeF32 value, NativeF32 exponent) {
  const NativeF32 within = max(min(exponent, NativeF32{} + 254.0f), NativeF32{} - 252.0f);
  const NativeF32 half = round(within * 0.5f);
  return value * power_of_two(half) * power_of_two(within - half);
}
CROSSENT_INLINE NativeF64 scale_by_power_of_two(NativeF64 value, NativeF64 exponent) {
  const NativeF64 within = max(min(exponent, NativeF64{} + 2046.0), NativeF64{} - 2044.0);
  const NativeF64 half = round(within * 0.5);
  return value * power_of_two(half) * power_of_two(within - half);
}
#endif

// Of eight numbers, which lie at a multiple of 32 bytes, the one that the lowest three bits of each lane name.
#if defined(__AVX512F__)
CROSSENT_INLINE NativeF32 one_of_eight(const uint32_t* numbers, NativeF32 index) {
  const __m512 twice = _mm512_broadcast_f32x8(_mm256_load_ps((const float*)numbers));
  return _mm512_permutexvar_ps(_mm512_castps_si512(index), twice);
}
#elif defined(__AVX2__)
CROSSENT_INLINE NativeF32 one_of_eight(const uint32_t* numbers, NativeF32 index) {
  return _mm256_permutevar8x32_ps(_mm256_load_ps((const float*)numbers), _mm256_castps_si256(index));
}
#elif defined(__SSE2__)
CROSSENT_INLINE NativeF32 one_of_eight(const uint32_t* numbers, NativeF32 index) {
  const NativeI32 i = (NativeI32)index & 7;
  return (NativeF32)NativeI32{(int32_t)numbers[i[0]], (int32_t)numbers[i[1]], (int32_t)numbers[i[2]],
                              (int32_t)numbers[i[3]]};
}
#else
CROSSENT_INLINE NativeF32 one_of_eight(const uint32_t* numbers, NativeF32 index) {  // from bytes 4 i, 4 i + 1, …
  const uint8x16x2_t bytes = {vreinterpretq_u8_u32(vld1q_u32(numbers)), vreinterpretq_u8_u32(vld1q_u32(numbers + 4))};
  const uint32x4_t i = vreinterpretq_u32_f32(index) & vdupq_n_u32(7);
  const uint32x4_t places = vmlaq_u32(vdupq_n_u32(0x03020100), i, vdupq_n_u32(0x04040404));
  return vreinterpretq_f32_u8(vqtbl2q_u8(bytes, vreinterpretq_u8_u32(places)));
}
#endif

#if defined(__AVX512F__)
// The lanes whose bit is set; the others are `rest`, or 0 for half precision, or stay as they are in memory.
CROSSENT_INLINE NativeF32 load_masked(const float* p, uint32_t mask, NativeF32 rest) {
  return _mm512_mask_loadu_ps(rest, (__mmask16)mask, p);
}
CROSSENT_INLINE NativeF64 load_masked(const double* p, uint32_t mask, NativeF64 rest) {
  return _mm512_mask_loadu_pd(rest, (__mmask8)mask, p);
}
CROSSENT_INLINE NativeF32 load_half_masked(const uint16_t* p, uint32_t mask) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16((__mmask16)mask, p));
}
CROSSENT_INLINE NativeF32 load_brain_masked(const uint16_t* p, uint32_t mask) {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16((__mmask16)mask, p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
CROSSENT_INLINE void store_masked(float* p, uint32_t mask, NativeF32 a) {
  _mm512_mask_storeu_ps(p, (__mmask16)mask, a);
}
CROSSENT_INLINE void store_masked(double* p, uint32_t mask, NativeF64 a) {
  _mm512_mask_storeu_pd(p, (__mmask8)mask, a);
}
CROSSENT_INLINE void store_masked(uint16_t* p, uint32_t mask, const uint16_t (&lanes)[16]) {
  _mm256_mask_storeu_epi16(p, (__mmask16)mask, _mm256_load_si256((const __m256i*)lanes));
}
#elif defined(__AVX2__)
// All bits of the first `count` lanes of 32 or 64 bits.
CROSSENT_INLINE __m256i first_lanes_mask(ptrdiff_t count, int bytes) {
  alignas(32) static constexpr int32_t bits[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  const ptrdiff_t words = count * (bytes / 4);
  return _mm256_loadu_si256((const __m256i*)(bits + 8 - (words < 0 ? 0 : words > 8 ? 8 : words)));
}
CROSSENT_INLINE NativeF32 load_masked(const float* p, __m256i mask) { return _mm256_maskload_ps(p, mask); }
CROSSENT_INLINE NativeF64 load_masked(const double* p, __m256i mask) { return _mm256_maskload_pd(p, mask); }
CROSSENT_INLINE void store_masked(float* p, __m256i mask, NativeF32 a) { _mm256_maskstore_ps(p, mask, a); }
CROSSENT_INLINE void store_masked(double* p, __m256i mask, NativeF64 a) { _mm256_maskstore_pd(p, mask, a); }
#endif

// Every 16 bytes of a register from, and to, another place, `step` bytes further on.
CROSSENT_INLINE NativeF32 load_quarters(const char* p, [[maybe_unused]] ptrdiff_t step) {
#if defined(__AVX512F__)
  const auto quarter = [&](int i) __attribute__((always_inline)) { return _mm_loadu_ps((const float*)(p + i * step)); };
  const NativeF32 half = _mm512_insertf32x4(_mm512_castps128_ps512(quarter(0)), quarter(1), 1);
  return _mm512_insertf32x4(_mm512_insertf32x4(half, quarter(2), 2), quarter(3), 3);
#elif defined(__AVX2__)
  const NativeF32 half = _mm256_castps128_ps256(_mm_loadu_ps((const float*)p));
  return _mm256_insertf128_ps(half, _mm_loadu_ps((const float*)(p + step)), 1);
#else
  NativeF32 a;
  __builtin_memcpy(&a, p, sizeof(a));
  return a;
#endif
}
CROSSENT_INLINE void store_quarters(char* p, [[maybe_unused]] ptrdiff_t step, NativeF32 a) {
#if defined(__AVX512F__)
  _mm_storeu_ps((float*)p, _mm512_castps512_ps128(a));
  _mm_storeu_ps((float*)(p + step), _mm512_extractf32x4_ps(a, 1));
  _mm_storeu_ps((float*)(p + 2 * step), _mm512_extractf32x4_ps(a, 2));
  _mm_storeu_ps((float*)(p + 3 * step), _mm512_extractf32x4_ps(a, 3));
#elif defined(__AVX2__)
  _mm_storeu_ps((float*)p, _mm256_castps256_ps128(a));
  _mm_storeu_ps((float*)(p + step), _mm256_extractf128_ps(a, 1));
#else
  __builtin_memcpy(p, &a, sizeof(a));
#endif
}

// To memory without a detour through the cache; p is a multiple of register_bytes. What has been streamed is seen by
// other threads after finish_streaming().
#if defined(__x86_64__)
template <class Register>
CROSSENT_INLINE void stream(void* p, const Register& a) {
#if defined(__AVX512F__)
  _mm512_stream_si512((__m512i*)p, (__m512i)a);
#elif defined(__AVX2__)
  _mm256_stream_si256((__m256i*)p, (__m256i)a);
#else
  _mm_stream_si128((__m128i*)p, (__m128i)a);
#endif
}
CROSSENT_INLINE void finish_streaming() { _mm_sfence(); }
#else
template <class Register>
CROSSENT_INLINE void stream(void* p, const Register& a) {
  __builtin_memcpy(p, &a, sizeof(a));
}
CROSSENT_INLINE void finish_streaming() {}
#endif

// A register of floats as two of doubles, floats in memory as one, and back (rounded to nearest even).
#if defined(__AVX512F__)
CROSSENT_INLINE void widen(NativeF32 a, NativeF64& low, NativeF64& high) {
  low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
  high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}
CROSSENT_INLINE NativeF64 widened(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
CROSSENT_INLINE NativeF32 narrow(NativeF64 low, NativeF64 high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}
#elif defined(__AVX2__)
CROSSENT_INLINE void widen(NativeF32 a, NativeF64& low, NativeF64& high) {
  low = _mm256_cvtps_pd(_mm256_castps256_ps128(a));
  high = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
}
CROSSENT_INLINE NativeF64 widened(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
CROSSENT_INLINE NativeF32 narrow(NativeF64 low, NativeF64 high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1);
}
#elif defined(__SSE2__)
CROSSENT_INLINE void widen(NativeF32 a, NativeF64& low, NativeF64& high) {
  low = _mm_cvtps_pd(a);
  high = _mm_cvtps_pd(_mm_movehl_ps(a, a));
}
CROSSENT_INLINE NativeF64 widened(const float* p) {
  return _mm_cvtps_pd(_mm_loadl_pi(_mm_setzero_ps(), (const __m64*)p));
}
CROSSENT_INLINE NativeF32 narrow(NativeF64 low, NativeF64 high) {
  return _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
}
#else
CROSSENT_INLINE void widen(NativeF32 a, NativeF64& low, NativeF64& high) {
  low = vcvt_f64_f32(vget_low_f32(a));
  high = vcvt_high_f64_f32(a);
}
CROSSENT_INLINE NativeF64 widened(const float* p) { return vcvt_f64_f32(vld1_f32(p)); }
CROSSENT_INLINE NativeF32 narrow(NativeF64 low, NativeF64 high) { return vcvt_high_f32_f64(vcvt_f32_f64(low), high); }
#endif

// Adds those of a register's floats at p that are meant, the lower half to low and the upper half to high.
CROSSENT_INLINE void add_widened(const float* p, NativeMask32 meant, NativeF64& low, NativeF64& high) {
#if defined(__AVX512F__)
  low = add_where((NativeMask64)meant, low, widened(p));
  high = add_where((NativeMask64)_kshiftri_mask16(meant, 8), high, widened(p + 8));
#else
  NativeF32 a;
  NativeF64 wide_low, wide_high;
  __builtin_memcpy(&a, p, sizeof(a));
  widen(select(meant, a, NativeF32{}), wide_low, wide_high);
  low += wide_low;
  high += wide_high;
#endif
}

// float16 in memory: widened, and rounded to nearest even with denormals kept.
#if defined(__AVX512F__)
CROSSENT_INLINE NativeF32 load_half(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
}
CROSSENT_INLINE void store_half(uint16_t* p, NativeF32 a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#elif defined(__F16C__)
CROSSENT_INLINE NativeF32 load_half(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
CROSSENT_INLINE void store_half(uint16_t* p, NativeF32 a) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#elif defined(__aarch64__)
CROSSENT_INLINE NativeF32 load_half(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
CROSSENT_INLINE void store_half(uint16_t* p, NativeF32 a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }
#else
CROSSENT_INLINE NativeF32 load_half(const uint16_t* p) {
  NativeI32 bits = {};
  for (int i = 0; i < register_bytes / 4; ++i) bits[i] = p[i];
  const NativeI32 magnitude = bits & 0x7fff;
  const NativeI32 infinite_or_nan = (NativeI32)(magnitude >= 0x7c00) & 0x7f800000;
  const NativeF32 value = (NativeF32)(magnitude << 13) * 0x1p112f;  // exact, also from a denormal
  return (NativeF32)((NativeI32)value | infinite_or_nan | ((bits & 0x8000) << 16));
}
CROSSENT_INLINE void store_half(uint16_t* p, NativeF32 a) {
  using Bits = NativeOf<uint32_t>;
  const Bits bits = (Bits)a, magnitude = bits & 0x7fffffffu;
  const Bits normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
  const Bits denormal = (Bits)((NativeF32)magnitude + 0.5f) - 0x3f000000u;  // the addition rounds at 2^-24
  const Bits is_small = (Bits)(magnitude < 0x38800000u);
  const Bits is_large = (Bits)(magnitude >= 0x47800000u);
  const Bits large = ((Bits)(magnitude > 0x7f800000u) & 0x200u) | 0x7c00u;
  const Bits rounded = (is_small & denormal) | (is_large & large) | (~is_small & ~is_large & normal);
  for (int i = 0; i < register_bytes / 4; ++i) p[i] = (uint16_t)(rounded[i] | ((bits[i] >> 16) & 0x8000));
}
#endif

// Whole numbers below 2^16, from and to memory. (Where compilers make five instructions of a conversion: intrinsics.)
#if defined(__AVX512F__)
CROSSENT_INLINE NativeI32 load_words(const uint16_t* p) {
  return (NativeI32)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
}
CROSSENT_INLINE void store_words(uint16_t* p, NativeI32 a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16((__m512i)a));
}
#elif defined(__AVX2__)
CROSSENT_INLINE NativeI32 load_words(const uint16_t* p) {
  return (NativeI32)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
}
CROSSENT_INLINE void store_words(uint16_t* p, NativeI32 a) {
  const __m128i low = _mm256_castsi256_si128((__m256i)a), high = _mm256_extracti128_si256((__m256i)a, 1);
  _mm_storeu_si128((__m128i*)p, _mm_packus_epi32(low, high));
}
#else
typedef uint16_t NativeWords __attribute__((vector_size(register_bytes / 2)));
CROSSENT_INLINE NativeI32 load_words(const uint16_t* p) {
  NativeWords words;
  __builtin_memcpy(&words, p, sizeof(words));
  return __builtin_convertvector(words, NativeI32);
}
CROSSENT_INLINE void store_words(uint16_t* p, NativeI32 a) {
  const NativeWords words = __builtin_convertvector(a, NativeWords);
  __builtin_memcpy(p, &words, sizeof(words));
}
#endif

// bfloat16 in memory: the upper half of a float.
CROSSENT_INLINE NativeF32 load_brain(const uint16_t* p) { return (NativeF32)(load_words(p) << 16); }
CROSSENT_INLINE void store_brain(uint16_t* p, NativeF32 a) {
  using Bits = NativeOf<uint32_t>;
  const Bits bits = (Bits)a, rounded = bits + 0x7fffu + ((bits >> 16) & 1u), quiet_nan = bits | 0x400000u;
  store_words(p, (NativeI32)((Bits)select(equal(a, a), (NativeF32)rounded, (NativeF32)quiet_nan) >> 16));
}

// On x86, `value` is computed before this place, even if a branch behind it could do without.
template <class Register>
CROSSENT_INLINE void compute_here([[maybe_unused]] Register& value) {
#if defined(__SSE2__)
  asm volatile("" : "+v"(value));
#endif
}

// Asks for a line of memory: past the outer caches (locality 0), into the second (2) or the first as well (3). Once
// `value` is there, which its computation then waits for: left alone, compilers gather such requests, and many at once
// fill the buffers that loads need too.
template <int locality, class Register>
CROSSENT_INLINE void prefetch_beside([[maybe_unused]] Register& value, const void* line) {
#if defined(__SSE2__)
  const char& byte = *static_cast<const char*>(line);
  if constexpr (locality == 0) {
    asm volatile("prefetchnta %1" : "+v"(value) : "m"(byte));
  } else if constexpr (locality == 2) {
    asm volatile("prefetcht1 %1" : "+v"(value) : "m"(byte));
  } else {
    asm volatile("prefetcht0 %1" : "+v"(value) : "m"(byte));
  }
#else
  __builtin_prefetch(line, 0, locality);
#endif
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
