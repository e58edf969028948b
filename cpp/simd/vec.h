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

#define CROSSENT_BINARY_OPERATOR(op)                                     \
  template <class T>                                                     \
  CROSSENT_INLINE Vec<T> operator op(const Vec<T>& a, const Vec<T>& b) { \
    Vec<T> r;                                                            \
    CROSSENT_FOR_PARTS r.part[i] = a.part[i] op b.part[i];               \
    return r;                                                            \
  }
CROSSENT_BINARY_OPERATOR(+)
CROSSENT_BINARY_OPERATOR(-)
CROSSENT_BINARY_OPERATOR(*)
CROSSENT_BINARY_OPERATOR(/)
#undef CROSSENT_BINARY_OPERATOR

#define CROSSENT_BINARY_FUNCTION(name)                            \
  template <class T>                                              \
  CROSSENT_INLINE Vec<T> name(const Vec<T>& a, const Vec<T>& b) { \
    Vec<T> r;                                                     \
    CROSSENT_FOR_PARTS r.part[i] = name(a.part[i], b.part[i]);    \
    return r;                                                     \
  }
CROSSENT_BINARY_FUNCTION(max)  // the second operand when either is nan
CROSSENT_BINARY_FUNCTION(min)
CROSSENT_BINARY_FUNCTION(scale_by_power_of_two)
#undef CROSSENT_BINARY_FUNCTION

#define CROSSENT_COMPARISON(name)                                  \
  template <class T>                                               \
  CROSSENT_INLINE Mask<T> name(const Vec<T>& a, const Vec<T>& b) { \
    Mask<T> r;                                                     \
    CROSSENT_FOR_PARTS r.part[i] = name(a.part[i], b.part[i]);     \
    return r;                                                      \
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
CROSSENT_INLINE Vec<T> round(const Vec<T>& a) {
  Vec<T> r;
  CROSSENT_FOR_PARTS r.part[i] = round(a.part[i]);
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
  NativeF64 wide[2 * parts];
  CROSSENT_FOR_PARTS widen(a.part[i], wide[2 * i], wide[2 * i + 1]);
  CROSSENT_FOR_PARTS low.part[i] = wide[i];
  CROSSENT_FOR_PARTS high.part[i] = wide[parts + i];
}

CROSSENT_INLINE Vec<float> narrow(const Vec<double>& low, const Vec<double>& high) {
  NativeF64 wide[2 * parts];
  CROSSENT_FOR_PARTS wide[i] = low.part[i];
  CROSSENT_FOR_PARTS wide[parts + i] = high.part[i];
  Vec<float> r;
  CROSSENT_FOR_PARTS r.part[i] = narrow(wide[2 * i], wide[2 * i + 1]);
  return r;
}

// combine() over `count` values, a power of two: halves are joined, value i with value i + count / 2.
template <int count, class Value, class Combine>
CROSSENT_INLINE Value fold(const Value* value, const Combine& combine) {
  if constexpr (count == 1) {
    return value[0];
  } else {
    Value half[count / 2];
#pragma GCC unroll 16
    for (int i = 0; i < count / 2; ++i) half[i] = combine(value[i], value[i + count / 2]);
    return fold<count / 2>(half, combine);
  }
}

// The greatest lane, any nan aside.
template <class T>
CROSSENT_INLINE T greatest_lane(const Vec<T>& a) {
  T lane[lanes<T>];
  store(lane, a);
  return fold<lanes<T>>(lane, [](T x, T y) { return x > y ? x : y; });
}

template <class T>
CROSSENT_INLINE T sum_of_lanes(const Vec<T>& a) {
  T lane[lanes<T>];
  store(lane, a);
  return fold<lanes<T>>(lane, [](T x, T y) { return x + y; });
}

// body(0) + … + body(present - 1) as the balanced tree of `most` terms in which the absent ones are 0; `most` is a
// power of two. Unrolled where a value is one register and all are present; otherwise through memory, which keeps the
// code of the many-register instruction sets small.
template <int most, class Body>
CROSSENT_INLINE auto tree_sum(const Body& body, int first = 0) {
  if constexpr (most == 1) {
    return body(first);
  } else {
    const auto left = tree_sum<most / 2>(body, first);
    const auto right = tree_sum<most / 2>(body, first + most / 2);
    return left + right;
  }
}

template <int most, class Body>
CROSSENT_INLINE auto tree_sum_of_present(ptrdiff_t present, const Body& body) {
  decltype(body(0)) part[most];
#pragma GCC unroll 1
  for (int i = 0; i < present; ++i) part[i] = body(i);
#pragma GCC unroll 1
  for (int stride = 1; stride < present; stride *= 2) {
#pragma GCC unroll 1
    for (int i = 0; i + stride < present; i += 2 * stride) part[i] = part[i] + part[i + stride];
  }
  return part[0];
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
