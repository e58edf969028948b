// COMPILED ONCE PER INSTRUCTION SET. What lies in memory (float16, bfloat16, float32, float64) and the lanes it is
// computed in: float for the first three, double for the last.
#pragma once

#include "../kernels.h"
#include "vec.h"

namespace crossent::CROSSENT_ISA {
namespace {

struct F32 {
  using Storage = float;
  using Real = float;
  static CROSSENT_INLINE Vec<float> load(const float* p) { return CROSSENT_ISA::load(p); }
  static CROSSENT_INLINE void store(float* p, const Vec<float>& a) { CROSSENT_ISA::store(p, a); }
  static CROSSENT_INLINE void stream(float* p, const Vec<float>& a) {
    repeat<parts>(CROSSENT_EACH(i) { CROSSENT_ISA::stream(p + i * Vec<float>::lanes_per_part, a.part[i]); });
  }
#if defined(__AVX512F__)
  static CROSSENT_INLINE NativeF32 load_masked(const float* p, uint32_t mask, float fill) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), (__mmask16)mask, p);
  }
#endif
};

struct F64 {
  using Storage = double;
  using Real = double;
  static CROSSENT_INLINE Vec<double> load(const double* p) { return CROSSENT_ISA::load(p); }
  static CROSSENT_INLINE void store(double* p, const Vec<double>& a) { CROSSENT_ISA::store(p, a); }
  static CROSSENT_INLINE void stream(double* p, const Vec<double>& a) {
    repeat<parts>(CROSSENT_EACH(i) { CROSSENT_ISA::stream(p + i * Vec<double>::lanes_per_part, a.part[i]); });
  }
#if defined(__AVX512F__)
  static CROSSENT_INLINE NativeF64 load_masked(const double* p, uint32_t mask, double fill) {
    return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), (__mmask8)mask, p);
  }
#endif
};

struct F16 {
  using Storage = uint16_t;
  using Real = float;
  static CROSSENT_INLINE Vec<float> load(const uint16_t* p) {
    return each_part<Vec<float>>(CROSSENT_EACH(i) { return load_half(p + i * Vec<float>::lanes_per_part); });
  }
  static CROSSENT_INLINE void store(uint16_t* p, const Vec<float>& a) {
    repeat<parts>(CROSSENT_EACH(i) { store_half(p + i * Vec<float>::lanes_per_part, a.part[i]); });
  }
#if defined(__AVX512F__)
  static CROSSENT_INLINE NativeF32 load_masked(const uint16_t* p, uint32_t mask, float fill) {
    const __m256i bits = _mm256_maskz_loadu_epi16((__mmask16)mask, p);
    return _mm512_mask_blend_ps((__mmask16)mask, _mm512_set1_ps(fill), _mm512_cvtph_ps(bits));
  }
#endif
};

struct BF16 {
  using Storage = uint16_t;
  using Real = float;
  static CROSSENT_INLINE Vec<float> load(const uint16_t* p) {
    return each_part<Vec<float>>(CROSSENT_EACH(i) { return load_brain(p + i * Vec<float>::lanes_per_part); });
  }
  static CROSSENT_INLINE void store(uint16_t* p, const Vec<float>& a) {
    repeat<parts>(CROSSENT_EACH(i) { store_brain(p + i * Vec<float>::lanes_per_part, a.part[i]); });
  }
#if defined(__AVX512F__)
  static CROSSENT_INLINE NativeF32 load_masked(const uint16_t* p, uint32_t mask, float fill) {
    const __m256i bits = _mm256_maskz_loadu_epi16((__mmask16)mask, p);
    return _mm512_mask_blend_ps((__mmask16)mask, _mm512_set1_ps(fill),
                                _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)));
  }
#endif
};

// The element that is stored as it is computed.
template <class T>
struct PlainElement {
  using type = F32;
};
template <>
struct PlainElement<double> {
  using type = F64;
};
template <class T>
using PlainOf = typename PlainElement<T>::type;

template <class E>
constexpr int element_lanes = lanes<typename E::Real>;

// Whether whole vectors can be streamed; those of half precision are half a cache line.
template <class E>
constexpr bool can_stream = sizeof(typename E::Storage) >= 4;

// The first `count` lanes from memory, the others `fill`. Never reads beyond them.
template <class E>
__attribute__((noinline)) Vec<typename E::Real> load_few(const typename E::Storage* p, ptrdiff_t count,
                                                         typename E::Real fill) {
  alignas(64) typename E::Storage memory[element_lanes<E>] = {};
  alignas(64) typename E::Real lane[element_lanes<E>];
  __builtin_memcpy(memory, p, (size_t)(count > 0 ? count : 0) * sizeof(*p));
  store(lane, E::load(memory));
  for (ptrdiff_t i = count > 0 ? count : 0; i < element_lanes<E>; ++i) lane[i] = fill;
  return load(lane);
}

// Which lanes of a vector there are: the first `count`, all where it is large, none where it is negative.
#if defined(__AVX512F__)
struct FirstLanes {
  uint32_t bits;
};
template <class T>
CROSSENT_INLINE FirstLanes first_lanes(ptrdiff_t count) {
  const ptrdiff_t positive = count > 0 ? count : 0;
  return {_bzhi_u32((1u << lanes<T>)-1, (uint32_t)(positive < 255 ? positive : 255))};
}
#else
struct FirstLanes {
  ptrdiff_t count;
};
template <class T>
CROSSENT_INLINE FirstLanes first_lanes(ptrdiff_t count) {
  return {count};
}
#endif

// The vectors of a group of which the first `count` lanes are there: present[v].
template <class T, int vectors>
struct FirstVectors {
#if defined(__AVX512F__)
  static constexpr int vectors_per_word = 64 / lanes<T>;
  uint64_t word[(vectors + vectors_per_word - 1) / vectors_per_word];
  CROSSENT_INLINE explicit FirstVectors(ptrdiff_t count) {
    repeat<vectors / vectors_per_word>(CROSSENT_EACH(i) {
      const ptrdiff_t left = count - i * 64;
      word[i] = left >= 64 ? ~uint64_t{0} : _bzhi_u64(~uint64_t{0}, (uint64_t)(left > 0 ? left : 0));
    });
  }
  CROSSENT_INLINE FirstLanes operator[](int v) const {
    return {(uint32_t)(word[v / vectors_per_word] >> (v % vectors_per_word * lanes<T>)) & ((1u << lanes<T>)-1)};
  }
#else
  ptrdiff_t count;
  CROSSENT_INLINE explicit FirstVectors(ptrdiff_t n) : count(n) {}
  CROSSENT_INLINE FirstLanes operator[](int v) const { return {count - v * lanes<T>}; }
#endif
};

// The lanes that are there from memory, the others `fill`. Never reads beyond them.
template <class E>
CROSSENT_INLINE Vec<typename E::Real> load_partial(const typename E::Storage* p, FirstLanes present,
                                                   typename E::Real fill) {
#if defined(__AVX512F__)
  return {E::load_masked(p, present.bits, fill)};
#else
  if (present.count >= element_lanes<E>) return E::load(p);
#if defined(__AVX2__)
  using T = typename E::Real;
  if constexpr (sizeof(typename E::Storage) >= 4) {
    return each_part<Vec<T>>(CROSSENT_EACH(i) {
      constexpr ptrdiff_t part_lanes = Vec<T>::lanes_per_part;
      const __m256i mask = first_lanes_mask(present.count - i * part_lanes, sizeof(T));
      const auto fills = typename Vec<T>::Register{} + fill;
      return select((typename NativeTypes<T>::Mask)mask, load_masked(p + i * part_lanes, mask), fills);
    });
  }
#endif
  return load_few<E>(p, present.count, fill);
#endif
}
template <class E>
CROSSENT_INLINE Vec<typename E::Real> load_partial(const typename E::Storage* p, ptrdiff_t count,
                                                   typename E::Real fill) {
  return load_partial<E>(p, first_lanes<typename E::Real>(count), fill);
}

template <class E>
__attribute__((noinline)) void store_few(typename E::Storage* p, const Vec<typename E::Real>& a, ptrdiff_t count) {
  alignas(64) typename E::Storage memory[element_lanes<E>];
  E::store(memory, a);
  __builtin_memcpy(p, memory, (size_t)count * sizeof(*p));
}

template <class E>
CROSSENT_INLINE void store_partial(typename E::Storage* p, const Vec<typename E::Real>& a, ptrdiff_t count) {
  if (count >= element_lanes<E>) return E::store(p, a);
#if defined(__AVX512F__)
  if constexpr (sizeof(typename E::Storage) == 4) {
    return _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), a.part[0]);
  } else if constexpr (sizeof(typename E::Storage) == 8) {
    return _mm512_mask_storeu_pd(p, (__mmask8)((1u << count) - 1), a.part[0]);
  } else {
    alignas(32) uint16_t memory[16];
    E::store(memory, a);
    return _mm256_mask_storeu_epi16(p, (__mmask16)((1u << count) - 1), _mm256_load_si256((const __m256i*)memory));
  }
#elif defined(__AVX2__)
  using T = typename E::Real;
  if constexpr (sizeof(typename E::Storage) >= 4) {
    return repeat<parts>(CROSSENT_EACH(i) {
      constexpr ptrdiff_t part_lanes = Vec<T>::lanes_per_part;
      store_masked(p + i * part_lanes, first_lanes_mask(count - i * part_lanes, sizeof(T)), a.part[i]);
    });
  }
#endif
  store_few<E>(p, a, count);
}

// One element at a time, for the few that are touched alone.
template <class E>
CROSSENT_INLINE typename E::Real load_one(const typename E::Storage* p) {
  if constexpr (sizeof(typename E::Storage) != 2) {
    return *p;
  } else {
    typename E::Storage memory[element_lanes<E>] = {*p};
    typename E::Real lane[element_lanes<E>];
    store(lane, E::load(memory));
    return lane[0];
  }
}

template <class E>
CROSSENT_INLINE void store_one(typename E::Storage* p, typename E::Real value) {
  if constexpr (sizeof(typename E::Storage) != 2) {
    *p = value;
  } else {
    typename E::Storage memory[element_lanes<E>];
    E::store(memory, splat(value));
    *p = memory[0];
  }
}

// function(E{}) for the element type E that is only known when running.
template <class Function>
CROSSENT_INLINE auto with_element(Element element, const Function& function) {
  switch (element) {
    case Element::f16:
      return function(F16{});
    case Element::bf16:
      return function(BF16{});
    case Element::f64:
      return function(F64{});
    default:
      return function(F32{});
  }
}

// A line of elements at any stride becomes lanes' own type, side by side.
template <class T>
void gather_line(const void* source, Element element, ptrdiff_t stride, ptrdiff_t count, T* target) {
  with_element(element, [&](auto e) {
    using E = decltype(e);
    const auto* p = static_cast<const typename E::Storage*>(source);
    constexpr int width = element_lanes<E>;
    ptrdiff_t i = 0;
    for (; i < count; i += width) {
      const ptrdiff_t n = count - i < width ? count - i : width;
      alignas(64) typename E::Real lane[width];
      if (stride == 1) {
        store(lane, load_partial<E>(p + i, n, 0));
      } else {
        alignas(64) typename E::Storage memory[width] = {};
        for (ptrdiff_t k = 0; k < n; ++k) memory[k] = p[(i + k) * stride];
        store(lane, E::load(memory));
      }
      for (ptrdiff_t k = 0; k < n; ++k) target[i + k] = (T)lane[k];
    }
  });
}

// Lanes' own type, side by side, becomes a line of elements at any stride.
template <class E>
void scatter_line(const typename E::Real* source, ptrdiff_t count, typename E::Storage* target, ptrdiff_t stride) {
  constexpr int width = element_lanes<E>;
  for (ptrdiff_t i = 0; i < count; i += width) {
    const ptrdiff_t n = count - i < width ? count - i : width;
    const auto value = load_partial<PlainOf<typename E::Real>>(source + i, n, 0);
    if (stride == 1) {
      store_partial<E>(target + i, value, n);
    } else {
      alignas(64) typename E::Storage memory[width];
      E::store(memory, value);
      for (ptrdiff_t k = 0; k < n; ++k) target[(i + k) * stride] = memory[k];
    }
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
