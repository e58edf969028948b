// COMPILED ONCE PER INSTRUCTION SET. What lies in memory (float16, bfloat16, float32, float64) and the lanes it is
// computed in: float for the first three, double for the last.
#pragma once

#include "../kernels.h"
#include "vec.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Stored as it is computed.
template <class T>
struct PlainOf {
  using Storage = T;
  using Real = T;
  static CROSSENT_INLINE Vec<T> load(const T* p) { return CROSSENT_ISA::load(p); }
  static CROSSENT_INLINE void store(T* p, const Vec<T>& a) { CROSSENT_ISA::store(p, a); }
  static CROSSENT_INLINE void stream(T* p, const Vec<T>& a) {
    repeat<parts>(CROSSENT_EACH(i) { CROSSENT_ISA::stream(p + i * Vec<T>::lanes_per_part, a.part[i]); });
  }
#if defined(__AVX512F__)
  static CROSSENT_INLINE typename Vec<T>::Register load_masked(const T* p, uint32_t mask, T fill) {
    return CROSSENT_ISA::load_masked(p, mask, fill - typename Vec<T>::Register{});
  }
#endif
};
using F32 = PlainOf<float>;
using F64 = PlainOf<double>;

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
    return select((NativeMask32)mask, load_half_masked(p, mask), fill - NativeF32{});
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
    return select((NativeMask32)mask, load_brain_masked(p, mask), fill - NativeF32{});
  }
#endif
};

template <class E>
constexpr int element_lanes = lanes<typename E::Real>;

// Whether a half precision is converted by instructions of its own. Where it takes many, rows of it are brought side by
// side as floats first, and no other code is compiled for it.
#if defined(__AVX512F__) || defined(__F16C__) || defined(__aarch64__)
constexpr bool converts_halves = true;
#else
constexpr bool converts_halves = false;
#endif

// E where it is computed on in place, the floats it is gathered to otherwise.
template <class E, bool in_place = converts_halves || sizeof(typename E::Storage) != 2>
struct InPlaceOf {
  using Type = E;
};
template <class E>
struct InPlaceOf<E, false> {
  using Type = F32;
};
template <class E>
using InPlace = typename InPlaceOf<E>::Type;

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
      const auto fills = fill - typename Vec<T>::Register{};
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
  const uint32_t mask = (1u << count) - 1;
  if constexpr (sizeof(typename E::Storage) >= 4) {
    return store_masked(p, mask, a.part[0]);
  } else {
    alignas(32) uint16_t memory[16];
    E::store(memory, a);
    return store_masked(p, mask, memory);
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
    return load_partial<E>(p, 1, 0).part[0][0];
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

constexpr ptrdiff_t line_bytes = 64;  // of memory

// How many bytes from `p` on there are to where a line begins.
static inline ptrdiff_t bytes_to_line(const void* p) { return (ptrdiff_t)(-(uintptr_t)p % line_bytes); }

// How far ahead of a stream the memory is asked: at the end of a row the hardware would not think of the next in time.
constexpr ptrdiff_t bytes_ahead = 16384;
// And once more shortly before it is read: terms that wait for the second cache keep others from beginning. From memory
// that takes 1 to 5 % off the time.
constexpr ptrdiff_t bytes_to_first_cache = 512;
// How far ahead of rows that are read one after another: it keeps the memory busy.
constexpr ptrdiff_t row_bytes_ahead = 12288;
// In whole rows where these have gaps, or it would be the gaps that are asked for. Small ones do little harm.
constexpr bool have_gaps(ptrdiff_t row_bytes, ptrdiff_t stride_bytes) {
  return stride_bytes < row_bytes || stride_bytes - row_bytes > row_bytes / 8;
}
constexpr ptrdiff_t bytes_to_rows(ptrdiff_t bytes, ptrdiff_t row_bytes, ptrdiff_t stride_bytes) {
  return have_gaps(row_bytes, stride_bytes) ? (bytes + row_bytes - 1) / row_bytes * stride_bytes : bytes;
}

// See prefetch_beside(): with the v-th of some vectors from x on, the line `ahead_bytes` after it, if it begins
// one.
template <class E, int locality>
CROSSENT_INLINE void prefetch_with(Vec<typename E::Real>& value, const typename E::Storage* x, int v,
                                   ptrdiff_t ahead_bytes) {
  constexpr int vector_bytes = element_lanes<E> * sizeof(typename E::Storage);
  if (v * vector_bytes % line_bytes != 0) return;
  prefetch_beside<locality>(value.part[0], reinterpret_cast<const char*>(x + v * element_lanes<E>) + ahead_bytes);
}

// A line of elements at any stride becomes lanes' own type, side by side.
template <class T>
void gather_line(const void* source, Element element, ptrdiff_t stride, ptrdiff_t count, T* target) {
  with_element(element, [&](auto e) {
    using E = decltype(e);
    const auto* p = static_cast<const typename E::Storage*>(source);
    constexpr int width = element_lanes<E>;
    ptrdiff_t i = 0;
    if constexpr (sizeof(typename E::Real) == sizeof(T)) {
      if (stride == 1) {
        constexpr ptrdiff_t ahead = bytes_ahead / sizeof(*p);
        for (; i + width <= count; i += width) {
          __builtin_prefetch(p + i + ahead);
          store(target + i, E::load(p + i));
        }
        if (i < count) store_partial<PlainOf<T>>(target + i, load_partial<E>(p + i, count - i, 0), count - i);
        return;
      }
    }
    if constexpr (sizeof(*p) != 2) {
      for (; i < count; ++i) target[i] = (T)p[i * stride];
    }
    for (; i < count; i += width) {  // half precision
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
