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

// The references of a batch, a column for each position.
template <class T>
struct References {
  alignas(64) T maximum[batch_positions], small_maximum[batch_positions], offset[batch_positions];
  alignas(64) T lower[batch_positions], exponent[batch_positions];

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

// exp(offset - maximum) · 2^exponent, which turns what has been shifted by shift_of(maximum) into units of
// exp(maximum).
template <class T>
CROSSENT_INLINE_LARGE Vec<double> inverse_unit_of(const Vec<double>& maximum, const Shift& shift) {
  return scaled_exp<double, ExpConstantsOnTheWay<T>>(shift.offset - maximum, splat(-0x1p17), shift.exponent);
}

// The references and inverse units of positions p, p + 1, …, a vector of them, whose maxima are known.
template <class T>
CROSSENT_INLINE_LARGE void refer_to_maxima(Statistics& s, References<T>& references, ptrdiff_t p) {
  const Vec<double> small = splat(1 / linear_unit), headroom = splat(ExpConstants<T>::headroom);
  const auto shifted = [&](ptrdiff_t i, Shift& shift) __attribute__((always_inline)) {
    const Vec<double> maximum = load(s.maximum + i);
    shift = shift_of<T>(maximum);
    store(s.inverse_unit + i, inverse_unit_of<T>(maximum, shift));
    return maximum;
  };
  Shift a, b;
  const Vec<double> low = shifted(p, a);
  Vec<double> high = low;
  if constexpr (sizeof(T) == 4) {
    high = shifted(p + lanes<double>, b);
  } else {
    b = a;
  }
  store(references.maximum + p, as_lanes<T>(low, high));
  store(references.small_maximum + p, as_lanes<T>(zero_unless_finite(low) * small, zero_unless_finite(high) * small));
  store(references.offset + p, as_lanes<T>(a.offset, b.offset));
  store(references.lower + p, as_lanes<T>(lower_bound<T>(a), lower_bound<T>(b)));
  store(references.exponent + p, as_lanes<T>(headroom - a.exponent, headroom - b.exponent));
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

// rest in units of exp(maximum) instead of 2^(exponent - headroom).
template <class T>
CROSSENT_INLINE void use_units_of_maximum(Statistics& s, ptrdiff_t positions) {
  const Vec<double> headroom = splat(__builtin_ldexp(1.0, -(int)ExpConstants<T>::headroom));
  for (ptrdiff_t p = 0; p < positions; p += lanes<double>) {
    const Vec<double> rest = load(s.rest + p);
    const auto is_finite = less(absolute(load(s.maximum + p)), splat(__builtin_inf()));
    store(s.rest + p, select(is_finite, rest * headroom * load(s.inverse_unit + p), rest));
  }
}

// Adds the statistics of the next chunk to those of the chunks before it, position by position. The inverse units are
// left to refer_to_maxima(), once all chunks are in.
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
    const Vec<double> factor = exp_of_sum<T>(gap.sum, gap.error);
    const Vec<double> rest = pick(total.rest, next.rest, true), lesser_rest = pick(total.rest, next.rest, false);
    const Vec<double> count = pick(total.count, next.count, true), lesser_count = pick(total.count, next.count, false);
    store(total.rest + p, rest + select(are_equal, lesser_rest, (lesser_count + lesser_rest) * factor));
    store(total.count + p, count + select(are_equal, lesser_count, zero));
    store(total.maximum + p, greater);
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
