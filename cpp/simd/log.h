// COMPILED ONCE PER INSTRUCTION SET. The logarithm of a sum of two doubles, log(a + b), without rounding the sum first.
//
// a + b = u + c exactly (two-sum), log(u + c) = log u + c / u to first order, which is enough for |c| <= ulp(u) / 2.
// u = 2^k · (1 + f) with 1 + f in [1/sqrt 2, sqrt 2];  s = f / (2 + f), z = s^2:
// log(1 + f) = 2 s + s z R(z) = f - (f^2/2 - s (f^2/2 + z R)), whose leading term f is exact. R is from
// fit_polynomials.py. For results of float, f = (a / 2^k - 1) + b / 2^k is enough, exact where k = 0 and a = 1: then a
// small b is the leading term.
#pragma once

#include "vec.h"

namespace crossent::CROSSENT_ISA {
namespace {

// sum + error = a + b exactly (Knuth).
struct ExactSum {
  Vec<double> sum, error;
};
CROSSENT_INLINE ExactSum two_sum(const Vec<double>& a, const Vec<double>& b) {
  const Vec<double> sum = a + b, b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

template <class T>
struct LogConstants;
template <>
struct LogConstants<double> {
  static constexpr double r[] = {0x1.5555555555592p-1, 0x1.999999997fdabp-2, 0x1.24924941f1dc8p-2, 0x1.c71c5208c1484p-3,
                                 0x1.74663f09bc1a1p-3, 0x1.39a1b73a65924p-3, 0x1.2f0587f478488p-3};
};
template <>
struct LogConstants<float> {
  static constexpr double r[] = {0x1.555554fd9a563p-1, 0x1.999a7a8ef09b9p-2, 0x1.2438d698340d4p-2,
                                 0x1.e2f68970056cep-3};
};

// u = mantissa · 2^k with a mantissa in [1/sqrt 2, sqrt 2], for a normal u > 0: k, and the bits of 2^k less those of 1.
struct Order {
  Vec<double> k, bits;
};
CROSSENT_INLINE Order order_of(const Vec<double>& u) {
  constexpr uint64_t one_bits = 0x3ff0000000000000, half_sqrt2_bits = 0x3fe6a09e667f3bcd;
  // k + 1023 sits in the exponent bits once the range [1/sqrt 2, sqrt 2] has been moved to start at a power of two.
  using Bits = NativeOf<uint64_t>;
  const Vec<double> moved =
      map_bits(u, [](NativeI64 bits) { return (NativeI64)((Bits)bits + (one_bits - half_sqrt2_bits)); });
  const Vec<double> k = map_bits(moved, [](NativeI64 bits) {
    return (NativeI64)(((Bits)bits >> 52) | 0x4330000000000000u);  // 2^52 + k + 1023
  });
  const auto bits_of_k = [](NativeI64 bits) { return (NativeI64)(((Bits)bits & 0x7ff0000000000000u) - one_bits); };
  return {k - splat(0x1p52 + 1023), map_bits(moved, bits_of_k)};
}

// log(a + b) for a normal a + b > 0, nan unless it is finite, for results of T. Maximum error for double
// log_of_sum_ulp, for float, where a is a whole number >= 1 and b >= 0, 2^-36.
[[maybe_unused]] constexpr double log_of_sum_ulp = 1.0;
template <class T>
CROSSENT_INLINE_LARGE Vec<double> log_of_sum(const Vec<double>& a, const Vec<double>& b) {
  constexpr auto& r = LogConstants<T>::r;
  constexpr int degree = sizeof(r) / sizeof(double) - 1;
  if constexpr (sizeof(T) == 4) {
    const Order order = order_of(a + b);
    const Vec<double> inverse = map_bits(order.bits, [](NativeI64 bits) { return 0x3ff0000000000000 - bits; });
    const Vec<double> f = fma(b, inverse, a * inverse - splat(1.0));
    const Vec<double> s = f / (splat(2.0) + f), z = s * s;
    return fma(order.k, splat(0x1.62e42fefa39efp-1), s * fma(z, polynomial<double, degree>(r, z), splat(2.0)));
  } else {
    const ExactSum u = two_sum(a, b);
    const Order order = order_of(u.sum);
    const Vec<double> mantissa = subtract_bits(u.sum, order.bits);
    const Vec<double> f = mantissa - splat(1.0), f_plus_two = splat(2.0) + f;
    const Vec<double> quotient = splat(1.0) / (f_plus_two * u.sum);  // the one division serves both
    const Vec<double> s = f * (u.sum * quotient), z = s * s, half_square = splat(0.5) * f * f;
    const Vec<double> tail = fma(order.k, splat(0x1.a39ef35793c76p-33), u.error * (f_plus_two * quotient));
    const Vec<double> curved = half_square - fma(s, fma(z, polynomial<double, degree>(r, z), half_square), tail);
    const Vec<double> result = fma(order.k, splat(0x1.62e42feep-1), f - curved);
    return result + (u.sum - u.sum);  // nan for nan and infinity, whose bits the above takes for a number's
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
