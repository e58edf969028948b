// COMPILED ONCE PER INSTRUCTION SET. Values of 64 bytes, 16 lanes of float or 8 of double, on every instruction set:
// as many native registers as that takes. The number of lanes, and so the order of every sum, is the same everywhere.
#pragma once

#include "native.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class T>
struct NativeTypes;
template <>
struct NativeTypes<float> {
  using Register = NativeF32;
  using Mask = NativeMask32;
  using Integers = NativeI32;
};
template <>
struct NativeTypes<double> {
  using Register = NativeF64;
  using Mask = NativeMask64;
  using Integers = NativeI64;
};

template <class T>
struct Vec {
  using Register = typename NativeTypes<T>::Register;
  static constexpr int lanes = 64 / sizeof(T);
  static constexpr int lanes_per_part = lanes / parts;
  Register part[parts];
};

template <class T>
struct Mask {
  typename NativeTypes<T>::Mask part[parts];
};

template <class T>
constexpr int lanes = Vec<T>::lanes;

// Every operation is its native self, part by part.
#define CROSSENT_FOR_PARTS _Pragma("GCC unroll 4") for (int i = 0; i < parts; ++i)

template <class T>
CROSSENT_INLINE Vec<T> splat(T value) {
  Vec<T> r;
  CROSSENT_FOR_PARTS r.part[i] = typename Vec<T>::Register{} + value;
  return r;
}

#define CROSSENT_BINARY_OPERATOR(op)                                 \
  template <class T>                                                 \
  CROSSENT_INLINE Vec<T> operator op(const Vec<T>& a, const Vec<T>& b) { \
    Vec<T> r;                                                        \
    CROSSENT_FOR_PARTS r.part[i] = a.part[i] op b.part[i];           \
    return r;                                                        \
  }
CROSSENT_BINARY_OPERATOR(+)
CROSSENT_BINARY_OPERATOR(-)
CROSSENT_BINARY_OPERATOR(*)
CROSSENT_BINARY_OPERATOR(/)
#undef CROSSENT_BINARY_OPERATOR

#define CROSSENT_BINARY_FUNCTION(name)                                       \
  template <class T>                                                         \
  CROSSENT_INLINE Vec<T> name(const Vec<T>& a, const Vec<T>& b) {            \
    Vec<T> r;                                                                \
    CROSSENT_FOR_PARTS r.part[i] = name(a.part[i], b.part[i]);               \
    return r;                                                                \
  }
CROSSENT_BINARY_FUNCTION(max)  // the second operand when either is nan
CROSSENT_BINARY_FUNCTION(min)
CROSSENT_BINARY_FUNCTION(scale_by_power_of_two)
#undef CROSSENT_BINARY_FUNCTION

#define CROSSENT_COMPARISON(name)                                   \
  template <class T>                                                \
  CROSSENT_INLINE Mask<T> name(const Vec<T>& a, const Vec<T>& b) {  \
    Mask<T> r;                                                      \
    CROSSENT_FOR_PARTS r.part[i] = name(a.part[i], b.part[i]);      \
    return r;                                                       \
  }
CROSSENT_COMPARISON(equal)
CROSSENT_COMPARISON(less)
#undef CROSSENT_COMPARISON

template <class T>
CROSSENT_INLINE Vec<T> fma(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
  Vec<T> r;
  CROSSENT_FOR_PARTS r.part[i] = fma(a.part[i], b.part[i], c.part[i]);
  return r;
}

template <class T>
CROSSENT_INLINE Vec<T> select(const Mask<T>& mask, const Vec<T>& yes, const Vec<T>& no) {
  Vec<T> r;
  CROSSENT_FOR_PARTS r.part[i] = select(mask.part[i], yes.part[i], no.part[i]);
  return r;
}

// The bits of each lane through a function of native integers.
template <class T, class Function>
CROSSENT_INLINE Vec<T> map_bits(const Vec<T>& a, Function function) {
  using Integers = typename NativeTypes<T>::Integers;
  Vec<T> r;
  CROSSENT_FOR_PARTS r.part[i] = (typename Vec<T>::Register)function((Integers)a.part[i]);
  return r;
}

template <class T>
CROSSENT_INLINE Vec<T> absolute(const Vec<T>& a) {
  if constexpr (sizeof(T) == 4) {
    return map_bits(a, [](NativeI32 bits) { return bits & 0x7fffffff; });
  } else {
    return map_bits(a, [](NativeI64 bits) { return bits & 0x7fffffffffffffff; });
  }
}

template <class T>
CROSSENT_INLINE Vec<T> load(const T* p) {
  Vec<T> r;
  __builtin_memcpy(&r, p, sizeof(r));
  return r;
}

template <class T>
CROSSENT_INLINE void store(T* p, const Vec<T>& a) {
  __builtin_memcpy(p, &a, sizeof(a));
}

// The lower and upper eight lanes as doubles, and back (rounded to nearest even).
CROSSENT_INLINE void widen(const Vec<float>& a, Vec<double>& low, Vec<double>& high) {
  typedef float Half __attribute__((vector_size(register_bytes / 2)));
  CROSSENT_FOR_PARTS {
    Half halves[2];
    __builtin_memcpy(halves, &a.part[i], sizeof(halves));
    Vec<double>& target = i * 2 < parts ? low : high;
    if constexpr (parts == 1) {
      low.part[0] = (NativeF64)__builtin_convertvector(halves[0], NativeOf<double>);
      high.part[0] = (NativeF64)__builtin_convertvector(halves[1], NativeOf<double>);
    } else {
      target.part[(2 * i) % parts] = (NativeF64)__builtin_convertvector(halves[0], NativeOf<double>);
      target.part[(2 * i + 1) % parts] = (NativeF64)__builtin_convertvector(halves[1], NativeOf<double>);
    }
  }
}

CROSSENT_INLINE Vec<float> narrow(const Vec<double>& low, const Vec<double>& high) {
  typedef float Half __attribute__((vector_size(register_bytes / 2)));
  Vec<float> r;
  CROSSENT_FOR_PARTS {
    const Vec<double>& source = i * 2 < parts ? low : high;
    Half halves[2];
    if constexpr (parts == 1) {
      halves[0] = __builtin_convertvector((NativeOf<double>)low.part[0], Half);
      halves[1] = __builtin_convertvector((NativeOf<double>)high.part[0], Half);
    } else {
      halves[0] = __builtin_convertvector((NativeOf<double>)source.part[(2 * i) % parts], Half);
      halves[1] = __builtin_convertvector((NativeOf<double>)source.part[(2 * i + 1) % parts], Half);
    }
    __builtin_memcpy(&r.part[i], halves, sizeof(halves));
  }
  return r;
}

// The greatest lane, any nan aside.
template <class T>
CROSSENT_INLINE T greatest_lane(const Vec<T>& a) {
  T lane[lanes<T>];
  store(lane, a);
  for (int width = lanes<T> / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] = lane[i] > lane[i + width] ? lane[i] : lane[i + width];
  }
  return lane[0];
}

// body(0) + … + body(count - 1) as a balanced tree; count is a power of two. In registers where a value is one register;
// otherwise through memory, which keeps the code of the many-register instruction sets small.
template <int count, class Body>
CROSSENT_INLINE auto tree_sum(const Body& body, int first = 0) {
  if constexpr (count == 1) {
    return body(first);
  } else if constexpr (parts == 1) {
    const auto left = tree_sum<count / 2>(body, first);
    const auto right = tree_sum<count / 2>(body, first + count / 2);
    return left + right;
  } else {
    decltype(body(0)) part[count];
#pragma GCC unroll 1
    for (int i = 0; i < count; ++i) part[i] = body(i);
#pragma GCC unroll 1
    for (int stride = 1; stride < count; stride *= 2) {
#pragma GCC unroll 1
      for (int i = 0; i < count; i += 2 * stride) part[i] = part[i] + part[i + stride];
    }
    return part[0];
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
