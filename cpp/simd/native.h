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

// On x86, `value` is computed before this place, even if a branch behind it could do without.
template <class Register>
CROSSENT_INLINE void compute_here([[maybe_unused]] Register& value) {
#if defined(__SSE2__)
  asm volatile("" : "+v"(value));
#endif
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
