// COMPILED ONCE PER INSTRUCTION SET. What native.h is for arithmetic, for memory: registers from and to it, whole or in
// part, of every type of element, past the caches, or asked for in advance.
#pragma once

#include "native.h"

namespace crossent::CROSSENT_ISA {
namespace {

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

// Asks for a line of memory, into the second cache (locality 2) or the first as well (3). Once `value` is there, which
// its computation then waits for: left alone, compilers gather such requests, and many at once fill the buffers that
// loads need too.
template <int locality, class Register>
CROSSENT_INLINE void prefetch_beside([[maybe_unused]] Register& value, const void* line) {
#if defined(__SSE2__)
  const char& byte = *static_cast<const char*>(line);
  if constexpr (locality == 2) {
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
