// COMPILED ONCE PER INSTRUCTION SET. What a row of logits is reduced to, by rows (lanes are classes) or by columns
// (lanes are positions), with the same bits either way.
//
// The maximum M is kept out of the sum: with `count` classes equal to M and
//     rest = sum over x_c < M of exp(x_c - M),      lse = M + log(count + rest) = M + log1p(rest + (count - 1)),
// so a confident row (rest of 1e-30, say) keeps its small loss, and nothing has to be subtracted from lse.
//
// Order of summation, a function of the number of classes alone. Classes are cut into chunks of chunk_classes; inside
// one, class c belongs to lane c mod L and to group c / (8 L), with L lanes. The (up to) eight terms of a lane in a
// group are added as a balanced tree in the logits' precision; groups are added one after another in double (for
// doubles with the rounding errors carried along); lanes are added as a balanced tree. Absent classes add 0, which
// changes no bit.
#pragma once

#include "exp.h"
#include "log.h"
#include "terms.h"

namespace crossent::CROSSENT_ISA {
namespace {

constexpr int group_terms = 8;

// The terms t_c · (M - x_c) are summed in these units: the difference of the largest and the lowest number is no
// overflow, nor are eight of them.
constexpr double linear_unit = 256;

// The statistics of up to batch_positions rows, a column for each.
struct Statistics {
  alignas(64) double maximum[batch_positions];
  alignas(64) double rest[batch_positions];     // in units of exp(maximum)
  alignas(64) double count[batch_positions];    // of classes that equal the maximum
  alignas(64) double unit[batch_positions];     // unit_of(maximum)
  alignas(64) double linear[batch_positions];   // sum of t_c · (M - x_c) / linear_unit; M counts as 0 when infinite
  alignas(64) double mass[batch_positions];     // sum of t_c
  alignas(64) double is_used[batch_positions];  // 1 when some t_c is not 0
};

// A running sum of groups in double: of floats as they are, of doubles with the errors of addition kept.
template <class T>
struct Accumulator;

template <>
struct Accumulator<float> {
  Vec<double> low, high;

  static CROSSENT_INLINE Accumulator of_nothing() { return {splat(0.0), splat(0.0)}; }
  CROSSENT_INLINE void add(const Vec<float>& group) {
    Vec<double> group_low, group_high;
    widen(group, group_low, group_high);
    low = low + group_low;
    high = high + group_high;
  }
  friend CROSSENT_INLINE Accumulator operator+(const Accumulator& a, const Accumulator& b) {
    return {a.low + b.low, a.high + b.high};
  }
  CROSSENT_INLINE void store_sums(double* p) const {
    store(p, low);
    store(p + lanes<double>, high);
  }
  CROSSENT_INLINE double total() const { return sum_of_lanes(low + high); }
};

// A sum with its error, lane by lane what Accumulator<double> has.
struct ErrorSum {
  double sum, error;
  friend CROSSENT_INLINE ErrorSum operator+(const ErrorSum& a, const ErrorSum& b) {
    const double sum = a.sum + b.sum, b_part = sum - a.sum;
    return {sum, (a.error + b.error) + ((a.sum - (sum - b_part)) + (b.sum - b_part))};
  }
};

template <>
struct Accumulator<double> {
  Vec<double> sum, error;

  static CROSSENT_INLINE Accumulator of_nothing() { return {splat(0.0), splat(0.0)}; }
  CROSSENT_INLINE void add(const Vec<double>& group) {
    const ExactSum next = two_sum(sum, group);
    sum = next.sum;
    error = error + next.error;
  }
  friend CROSSENT_INLINE Accumulator operator+(const Accumulator& a, const Accumulator& b) {
    const ExactSum both = two_sum(a.sum, b.sum);
    return {both.sum, (a.error + b.error) + both.error};
  }
  CROSSENT_INLINE void store_sums(double* p) const {  // an overflow leaves nan in the error
    store(p, select(less(absolute(sum), splat(__builtin_inf())), sum + error, sum));
  }
  CROSSENT_INLINE ErrorSum folded() const {
    double s[lanes<double>], e[lanes<double>];
    store(s, sum);
    store(e, error);
    ErrorSum lane[lanes<double>];
    for (int i = 0; i < lanes<double>; ++i) lane[i] = {s[i], e[i]};
    return fold<lanes<double>>(lane, [](const ErrorSum& a, const ErrorSum& b) { return a + b; });
  }
  CROSSENT_INLINE double total() const {
    const ErrorSum all = folded();
    return __builtin_fabs(all.sum) < __builtin_inf() ? all.sum + all.error : all.sum;
  }
};

// The sums of a group, and of groups; without targets known by class there is only the first. The mass, of which a
// gradient's every element is a multiple, is summed in double from the start.
template <class T, bool with_terms>
struct Sums {
  Vec<T> rest, linear;
  friend CROSSENT_INLINE Sums operator+(const Sums& a, const Sums& b) { return {a.rest + b.rest, a.linear + b.linear}; }
};
template <class T>
struct Sums<T, false> {
  Vec<T> rest;
  friend CROSSENT_INLINE Sums operator+(const Sums& a, const Sums& b) { return {a.rest + b.rest}; }
};

template <class T, bool with_terms>
struct SumAccumulators {
  using A = Accumulator<T>;
  A rest, linear, mass;
  static CROSSENT_INLINE SumAccumulators of_nothing() { return {A::of_nothing(), A::of_nothing(), A::of_nothing()}; }
  CROSSENT_INLINE void add(const Sums<T, true>& group) {
    rest.add(group.rest);
    linear.add(group.linear);
  }
  CROSSENT_INLINE void add_mass(const Vec<T>& t) { mass.add(t); }
  friend CROSSENT_INLINE SumAccumulators operator+(const SumAccumulators& a, const SumAccumulators& b) {
    return {a.rest + b.rest, a.linear + b.linear, a.mass + b.mass};
  }
};
template <class T>
struct SumAccumulators<T, false> {
  Accumulator<T> rest;
  static CROSSENT_INLINE SumAccumulators of_nothing() { return {Accumulator<T>::of_nothing()}; }
  CROSSENT_INLINE void add(const Sums<T, false>& group) { rest.add(group.rest); }
  friend CROSSENT_INLINE SumAccumulators operator+(const SumAccumulators& a, const SumAccumulators& b) {
    return {a.rest + b.rest};
  }
};

// What the terms of a chunk are measured against; the same for every class of a row.
template <class T>
struct Reference {
  Vec<T> maximum, small_maximum, offset, lower, exponent;
};

template <class T>
CROSSENT_INLINE Vec<T> as_lanes(const Vec<double>& low, [[maybe_unused]] const Vec<double>& high) {
  if constexpr (sizeof(T) == 4)
    return narrow(low, high);
  else
    return low;
}

CROSSENT_INLINE Vec<double> zero_unless_finite(const Vec<double>& a) {
  return select(less(absolute(a), splat(__builtin_inf())), a, splat(0.0));
}

// For the maxima of a vector of positions; doubles fill `low` alone.
template <class T>
CROSSENT_INLINE_LARGE Reference<T> reference_from(const Vec<double>& low, const Vec<double>& high) {
  const Shift a = shift_of<T>(low), b = shift_of<T>(high);
  const Vec<double> headroom = splat(ExpConstants<T>::headroom), small = splat(1 / linear_unit);
  return {as_lanes<T>(low, high), as_lanes<T>(zero_unless_finite(low) * small, zero_unless_finite(high) * small),
          as_lanes<T>(a.offset, b.offset), as_lanes<T>(lower_bound<T>(a), lower_bound<T>(b)),
          as_lanes<T>(headroom - a.exponent, headroom - b.exponent)};
}

// One vector of logits x, with its targets t, as terms of the sums.
template <class T, bool with_terms>
CROSSENT_INLINE_LARGE Sums<T, with_terms> terms_of(const Vec<T>& x, [[maybe_unused]] const Vec<T>& t,
                                                   const Reference<T>& reference, Vec<T>& count,
                                                   [[maybe_unused]] Vec<T>& is_used,
                                                   [[maybe_unused]] SumAccumulators<T, with_terms>& sums) {
  const Vec<T> zero = splat<T>(0), one = splat<T>(1);
  const auto is_maximum = equal(x, reference.maximum);
  const Vec<T> e = scaled_exp(x - reference.offset, reference.lower, reference.exponent, one);
  count = count + select(is_maximum, one, zero);
  if constexpr (with_terms) {
    const auto is_absent = equal(t, zero);  // 0 · inf is 0
    is_used = select(is_absent, is_used, one);
    sums.add_mass(t);
    const Vec<T> gap = fma(x, splat<T>((T)(-1 / linear_unit)), reference.small_maximum);
    return {select(is_maximum, zero, e), select(is_absent, zero, t * gap)};
  } else {
    return {select(is_maximum, zero, e)};
  }
}

// exp(maximum - offset) · 2^-exponent, the unit of what has been shifted by shift_of(maximum).
template <class T>
CROSSENT_INLINE_LARGE Vec<double> unit_of(const Vec<double>& maximum) {
  const Shift shift = shift_of<T>(maximum);
  return scaled_exp(maximum - shift.offset, lower_bound<double>(shift), splat(0.0) - shift.exponent, splat(1.0));
}

// rest in units of exp(maximum) instead of 2^(exponent - headroom).
template <class T>
CROSSENT_INLINE void use_units_of_maximum(Statistics& s, ptrdiff_t positions) {
  const Vec<double> headroom = splat(__builtin_ldexp(1.0, -(int)ExpConstants<T>::headroom));
  for (ptrdiff_t p = 0; p < positions; p += lanes<double>) {
    const Vec<double> rest = load(s.rest + p), maximum = load(s.maximum + p), unit = unit_of<T>(maximum);
    const auto is_finite = less(absolute(maximum), splat(__builtin_inf()));
    store(s.rest + p, select(is_finite, rest * headroom / unit, rest));
    store(s.unit + p, unit);
  }
}

// Adds the statistics of the next chunk to those of the chunks before it, position by position.
template <class T>
void merge(Statistics& total, const Statistics& next, ptrdiff_t positions) {
  const Vec<double> zero = splat(0.0);
  for (ptrdiff_t p = 0; p < positions; p += lanes<double>) {
    const Vec<double> a = load(total.maximum + p), b = load(next.maximum + p);
    const auto b_is_greater = less(a, b), are_equal = equal(a, b);
    const Vec<double> greater = select(b_is_greater, b, a), lesser = select(b_is_greater, a, b);
    const auto pick = [&](const double* x, const double* y, bool of_greater) {
      const Vec<double> from_a = load(x + p), from_b = load(y + p);
      return of_greater ? select(b_is_greater, from_b, from_a) : select(b_is_greater, from_a, from_b);
    };
    const ExactSum gap = two_sum(lesser, zero - greater);
    const Vec<double> factor = exp_of_sum(gap.sum, gap.error);
    const Vec<double> rest = pick(total.rest, next.rest, true), lesser_rest = pick(total.rest, next.rest, false);
    const Vec<double> count = pick(total.count, next.count, true), lesser_count = pick(total.count, next.count, false);
    store(total.rest + p, rest + select(are_equal, lesser_rest, (lesser_count + lesser_rest) * factor));
    store(total.count + p, count + select(are_equal, lesser_count, zero));
    store(total.maximum + p, greater);
    store(total.unit + p, unit_of<T>(greater));
    const auto small = [&](const Vec<double>& m) { return zero_unless_finite(m) * splat(1 / linear_unit); };
    const auto moved = [&](const Statistics& s, const Vec<double>& from) {
      return load(s.linear + p) + load(s.mass + p) * (small(greater) - small(from));
    };
    store(total.linear + p, moved(total, a) + moved(next, b));
    store(total.mass + p, load(total.mass + p) + load(next.mass + p));
    store(total.is_used + p, max(load(total.is_used + p), load(next.is_used + p)));
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
