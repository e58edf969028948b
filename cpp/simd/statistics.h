// COMPILED ONCE PER INSTRUCTION SET. What a row of logits is reduced to, by rows (lanes are classes) or by columns
// (lanes are positions), with the same bits either way.
//
// The maximum M is kept out of the sum: with `count` classes equal to M and
//     rest = sum over x_c < M of exp(x_c - M),      lse = M + log(count + rest) = M + log1p(rest + (count - 1)),
// so a confident row (rest of 1e-30, say) keeps its small loss, and nothing has to be subtracted from lse.
#pragma once

#include "accumulate.h"
#include "exp.h"
#include "terms.h"

namespace crossent::CROSSENT_ISA {
namespace {

// The terms t_c · (M - x_c) are summed in these units: the difference of the largest and the lowest number is no
// overflow, nor are eight of them.
constexpr double linear_unit = 256;

// The statistics of up to batch_positions rows, a column for each.
struct Statistics {
  alignas(64) double maximum[batch_positions];
  alignas(64) double rest[batch_positions];          // in units of exp(maximum)
  alignas(64) double count[batch_positions];         // of classes that equal the maximum
  alignas(64) double inverse_unit[batch_positions];  // inverse_unit_of(maximum)
  alignas(64) double linear[batch_positions];   // sum of t_c · (M - x_c) / linear_unit; M counts as 0 when infinite
  alignas(64) double mass[batch_positions];     // sum of t_c
  alignas(64) double is_used[batch_positions];  // 1 when some t_c is not 0
};

// What the terms of a chunk are measured against; the same for every class of a row.
template <class T>
struct Reference {
  Vec<T> maximum, small_maximum, offset, lower, exponent;
};

// The references of a vector of positions, or more.
template <class T, int positions = lanes<T>>
struct References {
  alignas(64) T maximum[positions], small_maximum[positions], offset[positions], lower[positions], exponent[positions];

  CROSSENT_INLINE void put(ptrdiff_t p, const Reference<T>& r) {
    store(maximum + p, r.maximum);
    store(small_maximum + p, r.small_maximum);
    store(offset + p, r.offset);
    store(lower + p, r.lower);
    store(exponent + p, r.exponent);
  }
  // Of positions p, p + 1, … as lanes, and of p alone.
  CROSSENT_INLINE Reference<T> along_positions(ptrdiff_t p) const {
    return {load(maximum + p), load(small_maximum + p), load(offset + p), load(lower + p), load(exponent + p)};
  }
  CROSSENT_INLINE Reference<T> at(ptrdiff_t p) const {
    return {splat(maximum[p]), splat(small_maximum[p]), splat(offset[p]), splat(lower[p]), splat(exponent[p])};
  }
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
template <class T, class Terms>
CROSSENT_INLINE_LARGE Sums<T, Terms::present> terms_of(const Vec<T>& x, [[maybe_unused]] const Vec<T>& t,
                                                       const Reference<T>& reference, Vec<T>& count,
                                                       [[maybe_unused]] Vec<T>& is_used,
                                                       [[maybe_unused]] SumAccumulators<T, Terms::present>& sums) {
  const Vec<T> zero = splat<T>(0), one = splat<T>(1);
  const auto is_maximum = equal(x, reference.maximum);
  const Vec<T> e = scaled_exp(x - reference.offset, reference.lower, reference.exponent);
  count = count + select(is_maximum, one, zero);
  if constexpr (Terms::present) {
    const auto is_absent = equal(t, zero);  // 0 · inf is 0
    if constexpr (Terms::has_mass) {
      is_used = select(is_absent, is_used, one);
      sums.mass.add(t);
    }
    const Vec<T> gap = fma(x, splat<T>((T)(-1 / linear_unit)), reference.small_maximum);
    return {select(is_maximum, zero, e), select(is_absent, zero, t * gap)};
  } else {
    return {select(is_maximum, zero, e)};
  }
}

// exp(offset - maximum) · 2^exponent, which turns what has been shifted by shift_of(maximum) into units of
// exp(maximum).
template <class T>
CROSSENT_INLINE_LARGE Vec<double> inverse_unit_of(const Vec<double>& maximum) {
  const Shift shift = shift_of<T>(maximum);
  return scaled_exp(shift.offset - maximum, splat(-0x1p17), shift.exponent);
}

// rest in units of exp(maximum) instead of 2^(exponent - headroom).
template <class T>
CROSSENT_INLINE void use_units_of_maximum(Statistics& s, ptrdiff_t positions) {
  const Vec<double> headroom = splat(__builtin_ldexp(1.0, -(int)ExpConstants<T>::headroom));
  for (ptrdiff_t p = 0; p < positions; p += lanes<double>) {
    const Vec<double> rest = load(s.rest + p), maximum = load(s.maximum + p);
    const Vec<double> inverse_unit = inverse_unit_of<T>(maximum);
    const auto is_finite = less(absolute(maximum), splat(__builtin_inf()));
    store(s.rest + p, select(is_finite, rest * headroom * inverse_unit, rest));
    store(s.inverse_unit + p, inverse_unit);
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
    store(total.inverse_unit + p, inverse_unit_of<T>(greater));
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
