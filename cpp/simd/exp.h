// COMPILED ONCE PER INSTRUCTION SET. exp(x) times a power of two, and the power of two that suits a row.
//
// float:   exp(x) = 2^n · 2^(j/8) · exp(r),  8 n + j = round(x · 8 log2 e),          r = x - (8 n + j) · ln 2 / 8
// double:  exp(x) = 2^n · exp(r),            n = round(x · log2 e - middle),         r = x - n · ln 2
// with polynomials from fit_polynomials.py. A double's is exp(r) = 1 + r q(r). The middle makes exp(r) lie in [3/4,
// 3/2] instead of [1/sqrt 2, sqrt 2]: r and exp(r) - 1 are then below the powers of two at which their rounding errors
// double. A float's is exp(r) = k (1 + p(r)), where k is such that k 2^(j/8) is within 0.06 ulp of a float for each of
// the eight powers, which fit in a register: that leaves room below an ulp for a p of degree 3, off by a third of one.
//
// A number so large is added before rounding (the shifter) that the steps, 8 n + j or n, come to lie in the lowest
// bits: from there n is moved into the exponent by integer arithmetic, as long as the result is a normal number. The
// shifter also adds the exponent of a row: a softmax needs exp(x - max), but the difference x - max is rounded before
// exp sees it (60 ulp for a gap of 100), whereas exp(x) · 2^-N with N = round(max · log2 e) only changes the exponent.
// So x itself is reduced and N is taken off n. Beyond |max| = 2^16 the reduction would need more digits of ln 2; there
// x - max is exact for every x that matters (neighbours within a factor of two), and that is formed.
#pragma once

#include "vec.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  static constexpr float steps = 8;  // of a binary order
  static constexpr float steps_per_unit = 0x1.715476p+3f, middle = 0;
  static constexpr float step_high = 0x1.62e43p-4f, step_low = -0x1.05c61p-32f;
  static constexpr float p[] = {0x1.508ap-9f, 0x1.00a846p+0f, 0x1.00b2ecp-1f, 0x1.5628d8p-3f};
  // k 2^(j/8) less the j / 8 that the bits of the steps bring along.
  alignas(32) static constexpr uint32_t power[8] = {0x3f7f5829, 0x3f7b3a3e, 0x3f77d424, 0x3f759202,
                                                    0x3f748e45, 0x3f74e5be, 0x3f76b7da, 0x3f7a26de};
  // And the whole of it.
  alignas(32) static constexpr uint32_t whole_power[8] = {power[0],
                                                          power[1] + 0x100000,
                                                          power[2] + 0x200000,
                                                          power[3] + 0x300000,
                                                          power[4] + 0x400000,
                                                          power[5] + 0x500000,
                                                          power[6] + 0x600000,
                                                          power[7] + 0x700000};
  static constexpr float shifter = 0x1.8p23f;
  static constexpr float largest = 0x1.fffffep127f;
  static constexpr double headroom = 60;    // binary orders between the largest term of a sum and 1; its square fits
  static constexpr double vanishing = 128;  // exp(-128) · 2^headroom is a normal number still
  // A term, scaled by 2^headroom, times a factor between these is no overflow, and 0 for a term that vanishes:
  // exp(-128) · 2^(headroom - 26) is below half of the least denormal.
  static constexpr double least_factor = 0x1p-126, greatest_factor = 0x1p-26;
  static constexpr double negligible = 200;  // exp(-200) times the largest float is 0
};
template <>
struct ExpConstants<double> {
  static constexpr double steps = 1;
  static constexpr double steps_per_unit = 0x1.71547652b82fep+0, middle = 0x1.5c01a39fbd688p-4;
  static constexpr double step_high = 0x1.62e42feep-1, step_low = 0x1.a39ef35793c76p-33;
  static constexpr double q[] = {1,
                                 0x1.ffffffffffff8p-2,
                                 0x1.55555555556cfp-3,
                                 0x1.555555555768dp-5,
                                 0x1.1111111090516p-7,
                                 0x1.6c16c16466ec8p-10,
                                 0x1.a01a056254ff7p-13,
                                 0x1.a01a0a31a1f8bp-16,
                                 0x1.71d26fb25ed31p-19,
                                 0x1.2826e0ed1a41fp-22,
                                 0x1.c9350f0266de8p-26};
  static constexpr double shifter = 0x1.8p52 + 1023;  // the bits of n + 1023 are those of 2^n
  static constexpr double largest = 0x1.fffffffffffffp1023;
  static constexpr double headroom = 500;
  static constexpr double vanishing = 1054;
  static constexpr double least_factor = 0x1p-1022, greatest_factor = 0x1p-64;
  static constexpr double negligible = 1500;
};

// Doubles that need be no better than 2^-39, since floats are made of them.
struct ExpConstantsForFloats : ExpConstants<double> {
  static constexpr double q[] = {1,
                                 0x1.fffffffc7254ap-2,
                                 0x1.5555555951165p-3,
                                 0x1.55555cb393958p-5,
                                 0x1.1110f3265bbbbp-7,
                                 0x1.6c050f5ad85b0p-10,
                                 0x1.a0e3cc2c136e7p-13,
                                 0x1.ba8fefd971986p-16};
};
// For doubles on the way from logits of T to a result of T.
template <class T>
struct ExpConstantsOnTheWay : ExpConstants<double> {};
template <>
struct ExpConstantsOnTheWay<float> : ExpConstantsForFloats {};

// The shifter that multiplies by 2^exponent, for a whole-numbered exponent, and that exponent.
template <class T>
CROSSENT_INLINE Vec<T> shifter_of(const Vec<T>& exponent) {
  using C = ExpConstants<T>;
  return fma(exponent, splat<T>(C::steps), splat<T>(C::shifter));
}
template <class T>
CROSSENT_INLINE Vec<T> exponent_of(const Vec<T>& shifter) {
  using C = ExpConstants<T>;
  return (shifter - splat<T>(C::shifter)) * splat<T>(1 / C::steps);
}

// a · b + c, at least as good as if it were rounded once to double and then to float.
CROSSENT_INLINE Vec<float> fma_of_any_cpu(const Vec<float>& a, float b, const Vec<float>& c) {
  if constexpr (has_fma) return fma(a, splat(b), c);
  Vec<double> a_low, a_high, c_low, c_high;
  widen(a, a_low, a_high);
  widen(c, c_low, c_high);
  return narrow(a_low * splat<double>(b) + c_low, a_high * splat<double>(b) + c_high);
}

// The steps of x, and the same plus the shifter.
template <class T>
CROSSENT_INLINE Vec<T> steps_of(const Vec<T>& x, const Vec<T>& shifter, Vec<T>& shifted) {
  using C = ExpConstants<T>;
  if constexpr (C::middle == 0) {
    shifted = fma_of_any_cpu(x, C::steps_per_unit, shifter);  // or r would go too far for p where x is large
    return shifted - shifter;
  } else {
    const Vec<T> steps = round(fma(x, splat<T>(C::steps_per_unit), splat<T>(-C::middle)));  // the shifter may be odd
    shifted = steps + shifter;
    return steps;
  }
}

// 2^(steps / steps of a binary order), for floats k times that, a normal number.
CROSSENT_INLINE Vec<float> power_of_steps(const Vec<float>& shifted) {
  constexpr int bits = 23 - 3;  // of the mantissa below a step
  return each_part<Vec<float>>(CROSSENT_EACH(i) {
    const NativeF32 steps = shifted.part[i], power = one_of_eight(ExpConstants<float>::power, steps);
    return (NativeF32)((NativeOf<uint32_t>)power + ((NativeOf<uint32_t>)steps << bits));
  });
}
CROSSENT_INLINE Vec<double> power_of_steps(const Vec<double>& shifted) {
  return map_bits(shifted, [](NativeI64 steps)
                               __attribute__((always_inline)) { return (NativeI64)((NativeOf<uint64_t>)steps << 52); });
}

// What the steps leave of x. With FMA the first product is exact; the two parts of a step leave an error below 2^-31
// (float, |x| <= 2^17). `unit`: a power of two, by which the steps were divided.
template <class T>
CROSSENT_INLINE Vec<T> reduce(const Vec<T>& x, const Vec<T>& steps, T unit = 1) {
  using C = ExpConstants<T>;
  if constexpr (!has_fma && sizeof(T) == 4) {  // in doubles, where the product is exact
    const Vec<double> step = splat(0x1.62e42fefa39efp-1 / C::steps * unit);
    Vec<double> x_low, x_high, steps_low, steps_high;
    widen(x, x_low, x_high);
    widen(steps, steps_low, steps_high);
    return narrow(x_low - steps_low * step, x_high - steps_high * step);
  } else {  // step_high of a double has 32 bits: the product is exact without FMA too
    return fma(steps, splat<T>(-C::step_low * unit), fma(steps, splat<T>(-C::step_high * unit), x));
  }
}

// power · exp(r), for a power of two, or for floats one of the eight powers, which have the k of exp(r) = k (1 + p(r)).
template <class C>
CROSSENT_INLINE Vec<float> times_exp(const Vec<float>& power, const Vec<float>& r) {
  return fma(power, polynomial<float, 3>(C::p, r), power);
}
template <class C>
CROSSENT_INLINE Vec<double> times_exp(const Vec<double>& power, const Vec<double>& r) {
  constexpr int degree = sizeof(C::q) / sizeof(double) - 1;
  if constexpr (has_fma) return fma(power * r, polynomial<double, degree>(C::q, r), power);
  // r itself is added last: every step is rounded twice here
  return fma(fma(polynomial<double, degree - 1>(C::q + 1, r), r * r, r), power, power);
}

// exp(x) · 2^exponent, which has to be normal, for the shifter of the exponent; nan for nan.
template <class T>
CROSSENT_INLINE Vec<T> normal_exp(const Vec<T>& x, const Vec<T>& shifter) {
  Vec<T> shifted;
  const Vec<T> steps = steps_of(x, shifter, shifted);
  return times_exp<ExpConstants<T>>(power_of_steps(shifted), reduce(x, steps));
}

// exp(x) in fewer steps where there is an instruction that scales. Bit for bit what normal_exp(x) is for an exponent of
// 0 as long as no step of that is denormal, as for the ordinary logits of row_groups.h.
template <class T>
CROSSENT_INLINE Vec<T> exp_in_range(const Vec<T>& x) {
  using C = ExpConstants<T>;
  if constexpr (!scales_in_one_instruction) {
    return normal_exp(x, splat(C::shifter));
  } else if constexpr (sizeof(T) == 4) {  // the exponent is n + j / 8, whose floor the instruction takes
    const Vec<T> shifter = splat(C::shifter / C::steps), shifted = fma(x, splat(C::steps_per_unit / C::steps), shifter);
    const Vec<T> exponent = shifted - shifter;
    const Vec<T> power = each_part<Vec<T>>(CROSSENT_EACH(i) { return one_of_eight(C::whole_power, shifted.part[i]); });
    return scale_by_power_of_two(times_exp<C>(power, reduce(x, exponent, C::steps)), exponent);
  } else {
    Vec<T> shifted;
    const Vec<T> n = steps_of(x, splat(C::shifter), shifted);
    return scale_by_power_of_two(times_exp<C>(splat<T>(1), reduce(x, n)), n);
  }
}

// normal_exp(x, shifter), or 0 for x below `lower`. Types float, double; maximum error scaled_exp_ulp for |x| <= 2^17.
[[maybe_unused]] constexpr double scaled_exp_ulp = 1.0;
template <class T>
CROSSENT_INLINE_LARGE Vec<T> scaled_exp(const Vec<T>& x, const Vec<T>& lower, const Vec<T>& shifter) {
  return select(not_less(x, lower), normal_exp(x, shifter), splat<T>(0));
}

// multiplier · exp(x) · 2^exponent for any result. x below `lower` counts as `lower`. Maximum error for a multiplier of
// 1 as above; results that are denormal are rounded once more.
template <class T, class C = ExpConstants<T>>
CROSSENT_INLINE_LARGE Vec<T> exp_product(const Vec<T>& multiplier, const Vec<T>& x, const Vec<T>& lower,
                                         const Vec<T>& exponent) {
  const Vec<T> bounded = max(lower, x);
  Vec<T> shifted;
  const Vec<T> steps = steps_of(bounded, splat<T>(C::shifter), shifted), r = reduce(bounded, steps);
  if constexpr (C::steps == 1) {  // the steps are n
    return scale_by_power_of_two(times_exp<C>(splat<T>(1), r) * multiplier, steps + exponent);
  } else {  // n = floor(steps / C::steps)
    const Vec<T> n = round(fma(steps, splat<T>(1 / C::steps), splat<T>((1 - C::steps) / (2 * C::steps))));
    const Vec<T> power = power_of_steps(fma(n, splat<T>(-C::steps), shifted));
    return scale_by_power_of_two(times_exp<C>(power, r) * multiplier, n + exponent);
  }
}

// What is taken off before exp: exp(x - offset) · 2^-exponent is at most 3/2 when x is at most the maximum.
struct Shift {
  Vec<double> offset, exponent;
};

constexpr double least_irreducible = 0x1.0000000000001p16;

// Of maxima whose magnitude is below that.
CROSSENT_INLINE Shift shift_of_reducible(const Vec<double>& maximum) {
  using C = ExpConstants<double>;
  return {splat(0.0), round(fma(maximum, splat(C::steps_per_unit), splat(C::middle)))};
}
template <class T>
CROSSENT_INLINE_LARGE Shift shift_of(const Vec<double>& maximum) {
  const Vec<double> zero = splat(0.0), magnitude = absolute(maximum);
  const auto is_reducible = less(magnitude, splat(least_irreducible));
  const auto is_finite = less(magnitude, splat(__builtin_inf()));
  const auto is_positive = less(zero, maximum);
  // An infinite maximum takes the largest number off, so that finite logits beside +inf vanish instead of overflowing.
  const Vec<double> beyond = select(is_positive, splat((double)ExpConstants<T>::largest), zero);
  const Vec<double> offset = select(is_reducible, zero, select(is_finite, maximum, beyond));
  return {offset, select(is_reducible, shift_of_reducible(maximum).exponent, zero)};
}

// exp(offset - maximum) · 2^exponent, which turns what has been shifted into units of exp(maximum): the exponent is
// the one by which exp would reduce -maximum, and so nothing is left to scale. Maximum error as that of exp.
template <class T>
CROSSENT_INLINE_LARGE Vec<double> inverse_unit_of(const Vec<double>& maximum, const Shift& shift) {
  const Vec<double> r = reduce(shift.offset - maximum, splat(0.0) - shift.exponent);
  return times_exp<ExpConstantsOnTheWay<T>>(splat(1.0), r);
}

// The logits below which a term vanishes beside the maximum, after the offset, from the shift's exponent.
template <class T>
CROSSENT_INLINE Vec<T> lower_bound(const Vec<T>& exponent) {
  return fma(exponent, splat((T)0x1.62e42fefa39efp-1), splat((T)-ExpConstants<T>::vanishing));
}

// exp(high + low) for |low| below an ulp of high <= 0, for results of T. Maximum error for double exp_of_sum_ulp, for
// float 2^-38, beside which low is nothing: it changes what is above exp(-800) by 2^-43.
[[maybe_unused]] constexpr double exp_of_sum_ulp = 1.6;
template <class T>
[[maybe_unused]] CROSSENT_INLINE_LARGE Vec<double> exp_of_sum(const Vec<double>& high, const Vec<double>& low) {
  const Vec<double> one = splat(1.0);
  const Vec<double> value = exp_product<double, ExpConstantsOnTheWay<T>>(one, high, splat(-800.0), splat(0.0));
  if constexpr (sizeof(T) == 4) return value;
  return fma(value, select(less(absolute(low), one), low, splat(0.0)), value);
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
