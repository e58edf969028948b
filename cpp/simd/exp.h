// COMPILED ONCE PER INSTRUCTION SET. exp(x) times a power of two, and the power of two that suits a row.
//
// exp(x) = 2^n · exp(r),  n = round(x · log2 e - middle),  r = x - n · ln 2,  exp(r) = 1 + r + r^2 q(r).
// The middle makes exp(r) lie in [3/4, 3/2] instead of [1/sqrt 2, sqrt 2]: r and exp(r) - 1 are then below the powers
// of two at which their rounding errors double, and the error stays below an ulp. A softmax needs exp(x - max). The
// difference x - max is rounded before exp sees it (60 ulp for a gap of 100), whereas exp(x) · 2^-N with N = round(max
// · log2 e) only changes the exponent that is put on at the end. So x itself is reduced and N is taken off n. Beyond
// |max| = 2^16 the reduction would need more digits of ln 2; there x - max is exact for every x that matters
// (neighbours within a factor of two), and that is formed. q comes from fit_polynomials.py.
#pragma once

#include "vec.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  static constexpr float log2_e = 0x1.715476p+0f;
  static constexpr float ln2_high = 0x1.62e43p-1f, ln2_low = -0x1.05c61p-29f;
  static constexpr float middle = 0x1.5c01a4p-4f;
  static constexpr float q[] = {0x1.000008p-1f, 0x1.5554f6p-3f, 0x1.553f9ep-5f, 0x1.11d818p-7f, 0x1.838ceep-10f};
  static constexpr float largest = 0x1.fffffep127f;
  static constexpr double negligible = 200;  // exp(-200) times the largest float is 0
  static constexpr double headroom = 60;     // binary orders between the largest term of a sum and 1; its square fits
};
template <>
struct ExpConstants<double> {
  static constexpr double log2_e = 0x1.71547652b82fep+0;
  static constexpr double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
  static constexpr double middle = 0x1.5c01a39fbd688p-4;
  static constexpr double q[] = {0x1.ffffffffffff8p-2,  0x1.55555555556cfp-3,  0x1.555555555768dp-5,
                                 0x1.1111111090516p-7,  0x1.6c16c16466ec8p-10, 0x1.a01a056254ff7p-13,
                                 0x1.a01a0a31a1f8bp-16, 0x1.71d26fb25ed31p-19, 0x1.2826e0ed1a41fp-22,
                                 0x1.c9350f0266de8p-26};
  static constexpr double largest = 0x1.fffffffffffffp1023;
  static constexpr double negligible = 1500;
  static constexpr double headroom = 500;
};

// Doubles that need be no better than 2^-39, since floats are made of them.
struct ExpConstantsForFloats : ExpConstants<double> {
  static constexpr double q[] = {0x1.fffffffc7254ap-2, 0x1.5555555951165p-3,  0x1.55555cb393958p-5,
                                 0x1.1110f3265bbbbp-7, 0x1.6c050f5ad85b0p-10, 0x1.a0e3cc2c136e7p-13,
                                 0x1.ba8fefd971986p-16};
};
// For doubles on the way from logits of T to a result of T.
template <class T>
struct ExpConstantsOnTheWay : ExpConstants<double> {};
template <>
struct ExpConstantsOnTheWay<float> : ExpConstantsForFloats {};

// x - n ln 2. With FMA the first step is exact; the two parts of ln 2 leave an error below 2^-31 (float, |x| <= 2^17).
template <class T>
CROSSENT_INLINE Vec<T> reduce(const Vec<T>& x, const Vec<T>& n) {
  using C = ExpConstants<T>;
  if constexpr (!has_fma && sizeof(T) == 4) {  // in doubles, where the product is exact
    const Vec<double> ln2 = splat(0x1.62e42fefa39efp-1);
    Vec<double> x_low, x_high, n_low, n_high;
    widen(x, x_low, x_high);
    widen(n, n_low, n_high);
    return narrow(x_low - n_low * ln2, x_high - n_high * ln2);
  } else {  // ln2_high of a double has 32 bits: n · ln2_high is exact without FMA too
    return fma(n, splat<T>(-C::ln2_low), fma(n, splat<T>(-C::ln2_high), x));
  }
}

// The n of x.
template <class T>
CROSSENT_INLINE Vec<T> binary_order(const Vec<T>& x) {
  using C = ExpConstants<T>;
  return round(fma(x, splat<T>(C::log2_e), splat<T>(-C::middle)));
}

template <class C, class T>
CROSSENT_INLINE Vec<T> rest_of_exp(const Vec<T>& r) {
  return polynomial<T, sizeof(C::q) / sizeof(T) - 1>(C::q, r);
}
// exp(r) as 1 + r (1 + r q(r)), an operation less than the form above, and nearer the truth unless every step is
// rounded twice.
template <class C, class T>
CROSSENT_INLINE Vec<T> exp_of_reduced(const Vec<T>& r) {
  const Vec<T> one = splat<T>(1), q = rest_of_exp<C>(r);
  return has_fma ? fma(fma(q, r, one), r, one) : fma(q, r * r, r) + one;
}

// exp(x) · 2^exponent. x below `lower` counts as `lower`, nan stays nan. Types float, double; maximum error
// scaled_exp_ulp for |x|, |lower| <= 2^17 and a whole-numbered exponent; results that are denormal are rounded once.
[[maybe_unused]] constexpr double scaled_exp_ulp = 1.0;
template <class T, class C = ExpConstants<T>>
CROSSENT_INLINE_LARGE Vec<T> scaled_exp(const Vec<T>& x, const Vec<T>& lower, const Vec<T>& exponent) {
  const Vec<T> bounded = max(lower, x), n = binary_order(bounded);
  return scale_by_power_of_two(exp_of_reduced<C>(reduce(bounded, n)), n + exponent);
}
// multiplier · exp(x) · 2^exponent.
template <class T>
CROSSENT_INLINE_LARGE Vec<T> scaled_exp(const Vec<T>& x, const Vec<T>& lower, const Vec<T>& exponent,
                                        const Vec<T>& multiplier) {
  const Vec<T> bounded = max(lower, x), n = binary_order(bounded), r = reduce(bounded, n);
  const Vec<T> below = fma(rest_of_exp<ExpConstants<T>>(r), r * r, r);
  return scale_by_power_of_two(fma(below, multiplier, multiplier), n + exponent);
}

// What is taken off before exp: exp(x - offset) · 2^-exponent is at most 4/3 when x is at most the maximum.
struct Shift {
  Vec<double> offset, exponent;
};

template <class T>
CROSSENT_INLINE_LARGE Shift shift_of(const Vec<double>& maximum) {
  using C = ExpConstants<double>;
  const Vec<double> zero = splat(0.0), magnitude = absolute(maximum);
  const auto is_reducible = less(magnitude, splat(0x1.0000000000001p16));
  const auto is_finite = less(magnitude, splat(__builtin_inf()));
  const auto is_positive = less(splat(0.0), maximum);
  // An infinite maximum takes the largest number off, so that finite logits beside +inf vanish instead of overflowing.
  const Vec<double> beyond = select(is_positive, splat((double)ExpConstants<T>::largest), zero);
  const Vec<double> offset = select(is_reducible, zero, select(is_finite, maximum, beyond));
  const Vec<double> exponent = round(fma(maximum, splat(C::log2_e), splat(C::middle)));
  return {offset, select(is_reducible, exponent, zero)};
}

// exp(offset - maximum) · 2^exponent, which turns what has been shifted into units of exp(maximum): the exponent is
// the one by which exp would reduce -maximum, and so nothing is left to scale. Maximum error as that of exp.
template <class T>
CROSSENT_INLINE_LARGE Vec<double> inverse_unit_of(const Vec<double>& maximum, const Shift& shift) {
  return exp_of_reduced<ExpConstantsOnTheWay<T>>(reduce(shift.offset - maximum, splat(0.0) - shift.exponent));
}

// The logits below which exp vanishes beside the maximum, after the offset, from the shift's exponent.
template <class T>
CROSSENT_INLINE Vec<T> lower_bound(const Vec<T>& exponent) {
  return fma(exponent, splat((T)0x1.62e42fefa39efp-1), splat((T)-ExpConstants<T>::negligible));
}

// exp(high + low) for |low| below an ulp of high <= 0, for results of T. Maximum error for double exp_of_sum_ulp, for
// float 2^-38.
[[maybe_unused]] constexpr double exp_of_sum_ulp = 1.6;
template <class T>
[[maybe_unused]] CROSSENT_INLINE_LARGE Vec<double> exp_of_sum(const Vec<double>& high, const Vec<double>& low) {
  const Vec<double> one = splat(1.0);
  const Vec<double> value = scaled_exp<double, ExpConstantsOnTheWay<T>>(high, splat(-800.0), splat(0.0));
  return fma(value, select(less(absolute(low), one), low, splat(0.0)), value);
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
