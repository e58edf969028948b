// COMPILED ONCE PER INSTRUCTION SET. Values of 64 bytes, 16 lanes of float or 8 of double, on every instruction set:
// as many native registers as that takes. The number of lanes, and so the order of every sum, is the same everywhere.
#pragma once

#include "native_memory.h"

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

// body(0), …, body(count - 1), written out: an array whose every index is a constant lives in registers.
template <int count, class Body>
CROSSENT_INLINE void repeat(const Body& body) {
  if constexpr (count > 0) {
    repeat<count - 1>(body);
    body(count - 1);
  }
}
#define CROSSENT_EACH(i) [&](int i) __attribute__((always_inline))

// A value of one register per part. Every operation is its native self, part by part.
template <class Value, class Part>
CROSSENT_INLINE Value each_part(const Part& part) {
  if constexpr (parts == 1) {
    return {part(0)};
  } else if constexpr (parts == 2) {
    return {part(0), part(1)};
  } else {
    return {part(0), part(1), part(2), part(3)};
  }
}

template <class T>
CROSSENT_INLINE Vec<T> splat(T value) {  // less 0, which keeps the sign of a zero
  return each_part<Vec<T>>([&](int) __attribute__((always_inline)) { return value - typename Vec<T>::Register{}; });
}

// 0, 1, 2, …
template <class T>
CROSSENT_INLINE Vec<T> lane_numbers() {
  return each_part<Vec<T>>([&](int i) __attribute__((always_inline)) {
    typename Vec<T>::Register r;
    repeat<Vec<T>::lanes_per_part>(CROSSENT_EACH(k) { r[k] = (T)(i * Vec<T>::lanes_per_part + k); });
    return r;
  });
}

#define CROSSENT_BINARY_OPERATOR(op)                                               \
  template <class T>                                                               \
  CROSSENT_INLINE Vec<T> operator op(const Vec<T>& a, const Vec<T>& b) {           \
    return each_part<Vec<T>>(CROSSENT_EACH(i) { return a.part[i] op b.part[i]; }); \
  }
CROSSENT_BINARY_OPERATOR(+)
CROSSENT_BINARY_OPERATOR(-)
CROSSENT_BINARY_OPERATOR(*)
CROSSENT_BINARY_OPERATOR(/)
#undef CROSSENT_BINARY_OPERATOR

#define CROSSENT_BINARY_FUNCTION(name, Result)                                            \
  template <class T>                                                                      \
  CROSSENT_INLINE Result<T> name(const Vec<T>& a, const Vec<T>& b) {                      \
    return each_part<Result<T>>(CROSSENT_EACH(i) { return name(a.part[i], b.part[i]); }); \
  }
CROSSENT_BINARY_FUNCTION(max, Vec)  // the second operand when either is nan
CROSSENT_BINARY_FUNCTION(min, Vec)
CROSSENT_BINARY_FUNCTION(scale_by_power_of_two, Vec)
CROSSENT_BINARY_FUNCTION(equal, Mask)
CROSSENT_BINARY_FUNCTION(less, Mask)
CROSSENT_BINARY_FUNCTION(not_less, Mask)  // true when either is nan
CROSSENT_BINARY_FUNCTION(differ, Mask)    // likewise
#undef CROSSENT_BINARY_FUNCTION

template <class T>
CROSSENT_INLINE Vec<T> fma(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
  return each_part<Vec<T>>(CROSSENT_EACH(i) { return fma(a.part[i], b.part[i], c.part[i]); });
}

// coefficients[0] + coefficients[1] x + … + coefficients[degree] x^degree, by Horner's rule.
template <class T, int degree, int k = 0>
CROSSENT_INLINE Vec<T> polynomial(const T* coefficients, const Vec<T>& x) {
  if constexpr (k == degree) {
    return splat(coefficients[k]);
  } else {
    return fma(polynomial<T, degree, k + 1>(coefficients, x), x, splat(coefficients[k]));
  }
}

template <class T>
CROSSENT_INLINE Vec<T> round(const Vec<T>& a) {
  return each_part<Vec<T>>(CROSSENT_EACH(i) { return round(a.part[i]); });
}

template <class T>
CROSSENT_INLINE Vec<T> select(const Mask<T>& mask, const Vec<T>& yes, const Vec<T>& no) {
  return each_part<Vec<T>>(CROSSENT_EACH(i) { return select(mask.part[i], yes.part[i], no.part[i]); });
}

// a + b in the lanes of the mask, a in the others, but for an a of -0, which may become +0.
template <class T>
CROSSENT_INLINE Vec<T> add_where(const Mask<T>& mask, const Vec<T>& a, const Vec<T>& b) {
  return each_part<Vec<T>>(CROSSENT_EACH(i) { return add_where(mask.part[i], a.part[i], b.part[i]); });
}

// A bit for each lane.
template <class T>
CROSSENT_INLINE uint32_t bits_of(const Mask<T>& mask) {
  uint32_t bits = 0;
  repeat<parts>(CROSSENT_EACH(i) { bits |= bits_of(mask.part[i]) << (i * Vec<T>::lanes_per_part); });
  return bits;
}

// Of a vector without nan.
template <class T>
CROSSENT_INLINE T largest_lane(const Vec<T>& a) {
  typename Vec<T>::Register largest = a.part[0];
  for (int i = 1; i < parts; ++i) largest = max(largest, a.part[i]);
  return largest_lane(largest);
}

// Which of two nan an operation keeps, and the sign of a new one, differ between CPUs: whatever may be nan goes through
// this on its way out.
template <class T>
CROSSENT_INLINE Vec<T> with_one_nan(const Vec<T>& a) {
  return select(equal(a, a), a, splat((T)__builtin_nan("")));
}

// The bits of each lane through a function of native integers.
template <class T, class Function>
CROSSENT_INLINE Vec<T> map_bits(const Vec<T>& a, Function function) {
  using Integers = typename NativeTypes<T>::Integers;
  return each_part<Vec<T>>(CROSSENT_EACH(i) { return (typename Vec<T>::Register)function((Integers)a.part[i]); });
}

// The bits of a less those of b, as integers.
CROSSENT_INLINE Vec<double> subtract_bits(const Vec<double>& a, const Vec<double>& b) {
  return each_part<Vec<double>>(CROSSENT_EACH(i) { return (NativeF64)((NativeI64)a.part[i] - (NativeI64)b.part[i]); });
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
  return each_part<Vec<T>>(CROSSENT_EACH(i) {
    typename Vec<T>::Register r;
    __builtin_memcpy(&r, p + i * Vec<T>::lanes_per_part, sizeof(r));
    return r;
  });
}

template <class T>
CROSSENT_INLINE void store(T* p, const Vec<T>& a) {
  repeat<parts>(CROSSENT_EACH(i) { __builtin_memcpy(p + i * Vec<T>::lanes_per_part, &a.part[i], register_bytes); });
}

// The lower and upper eight lanes as doubles, and back (rounded to nearest even).
CROSSENT_INLINE void widen(const Vec<float>& a, Vec<double>& low, Vec<double>& high) {
  NativeF64 wide[2 * parts];
  repeat<parts>(CROSSENT_EACH(i) { widen(a.part[i], wide[2 * i], wide[2 * i + 1]); });
  low = each_part<Vec<double>>(CROSSENT_EACH(i) { return wide[i]; });
  high = each_part<Vec<double>>(CROSSENT_EACH(i) { return wide[parts + i]; });
}

CROSSENT_INLINE Vec<float> narrow(const Vec<double>& low, const Vec<double>& high) {
  const auto wide = CROSSENT_EACH(i) { return i < parts ? low.part[i] : high.part[i - parts]; };
  return each_part<Vec<float>>(CROSSENT_EACH(i) { return narrow(wide(2 * i), wide(2 * i + 1)); });
}

// The lanes of a vector of T as doubles: two vectors of them, or the one itself.
template <class T>
constexpr int double_vectors = lanes<T> / lanes<double>;

template <class T>
struct Doubles {
  Vec<double> part[double_vectors<T>];
};

CROSSENT_INLINE Doubles<float> as_doubles(const Vec<float>& a) {
  Doubles<float> wide;
  widen(a, wide.part[0], wide.part[1]);
  return wide;
}
CROSSENT_INLINE Doubles<double> as_doubles(const Vec<double>& a) { return {{a}}; }

CROSSENT_INLINE Doubles<float> load_as_doubles(const float* p) {
  Doubles<float> wide;
  repeat<2>(CROSSENT_EACH(v) {
    wide.part[v] = each_part<Vec<double>>(
        CROSSENT_EACH(i) { return widened(p + v * lanes<double> + i * Vec<double>::lanes_per_part); });
  });
  return wide;
}
CROSSENT_INLINE Doubles<double> load_as_doubles(const double* p) { return {{load(p)}}; }

CROSSENT_INLINE Vec<float> as_lanes(const Doubles<float>& a) { return narrow(a.part[0], a.part[1]); }
CROSSENT_INLINE Vec<double> as_lanes(const Doubles<double>& a) { return a.part[0]; }

template <class T>
CROSSENT_INLINE Doubles<T> load_doubles(const double* p) {
  Doubles<T> a;
  repeat<double_vectors<T>>(CROSSENT_EACH(i) { a.part[i] = load(p + i * lanes<double>); });
  return a;
}
template <class T>
CROSSENT_INLINE void store_doubles(double* p, const Doubles<T>& a) {
  repeat<double_vectors<T>>(CROSSENT_EACH(i) { store(p + i * lanes<double>, a.part[i]); });
}

// combine() over `count` values, a power of two: halves are joined, value i with value i + count / 2.
template <int count, int joined = 1, class Value, class Combine>
CROSSENT_INLINE Value fold(const Value* value, const Combine& combine, int first = 0) {
  if constexpr (joined == count) {
    return value[first];
  } else {
    return combine(fold<count, 2 * joined>(value, combine, first),
                   fold<count, 2 * joined>(value, combine, first + joined));
  }
}

// body(0) + … + body(most - 1) as a balanced tree, for a power of two.
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

// The same tree with body(present) … body(most - 1) left out. Pairs are computed in a loop, which keeps the code small;
// or single bodies, where the registers of two would be too many.
template <int most, class Body>
CROSSENT_INLINE auto sum_of_present(ptrdiff_t present, const Body& body) {
  decltype(body(0)) part[most];
  ptrdiff_t used = 0;
  if constexpr (parts > 1) {
#pragma GCC unroll 1
    while (used < present) {
      part[used] = body((int)used);
      ++used;
    }
  } else {
#pragma GCC unroll 1
    for (int i = 0; i + 1 < present; i += 2) {
      const auto left = body(i);  // bodies that have a sum of their own are called in order
      part[used++] = left + body(i + 1);
    }
    if (present % 2 != 0) part[used++] = body((int)present - 1);
  }
#pragma GCC unroll 1
  for (int stride = 1; stride < used; stride *= 2) {
#pragma GCC unroll 1
    for (int i = 0; i + stride < used; i += 2 * stride) part[i] = part[i] + part[i + stride];
  }
  return part[0];
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
