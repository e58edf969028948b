// COMPILED ONCE PER INSTRUCTION SET. What a row of logits is reduced to, by rows (lanes are classes) or by columns (lanes are
// positions), with the same bits either way.
//
// The maximum M is kept out of the sum: with `count` classes equal to M and
//     rest = sum over x_c < M of exp(x_c - M),      lse = M + log(count + rest) = M + log1p(rest + (count - 1)),
// so a confident row (rest of 1e-30, say) keeps its small loss, and nothing has to be subtracted from lse.
//
// Order of summation, a function of the number of classes alone. Classes are cut into chunks of chunk_classes; inside one,
// class c belongs to lane c mod L and to group c / (8 L), with L lanes. The (up to) eight terms of a lane in a group are added as a
// balanced tree in the logits' precision; groups are added one after another in double (for doubles with the rounding
// errors carried along); lanes are added as a balanced tree. Absent classes add 0, which changes no bit.
#pragma once

#include "exp.h"
#include "log.h"
#include "terms.h"

namespace crossent::CROSSENT_ISA {
namespace {

constexpr int group_terms = 8;

// The statistics of up to batch_positions rows, a column for each.
struct Statistics {
  alignas(64) double maximum[batch_positions];
  alignas(64) double rest[batch_positions];     // in units of exp(maximum)
  alignas(64) double count[batch_positions];    // of classes that equal the maximum
  alignas(64) double linear[batch_positions];   // sum of t_c · (M - x_c); M counts as 0 when infinite
  alignas(64) double mass[batch_positions];     // sum of t_c
  alignas(64) double is_used[batch_positions];  // 1 when some t_c is not 0
};

// A running sum of groups in double: of floats as they are, of doubles with the errors of addition kept.
template <class T>
struct Accumulator;

template <>
struct Accumulator<float> {
  Vec<double> low = splat(0.0), high = splat(0.0);

  CROSSENT_INLINE void add(const Vec<float>& group) {
    Vec<double> group_low, group_high;
    widen(group, group_low, group_high);
    low = low + group_low;
    high = high + group_high;
  }
  friend CROSSENT_INLINE Accumulator operator+(const Accumulator& a, const Accumulator& b) {
    Accumulator r;
    r.low = a.low + b.low;
    r.high = a.high + b.high;
    return r;
  }
  CROSSENT_INLINE void store_sums(double* p) const {
    store(p, low);
    store(p + lanes<double>, high);
  }
  CROSSENT_INLINE double sum_of_lanes() const {
    double lane[lanes<float>];
    store_sums(lane);
    for (int width = lanes<float> / 2; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) lane[i] = lane[i] + lane[i + width];
    }
    return lane[0];
  }
};

template <>
struct Accumulator<double> {
  Vec<double> sum = splat(0.0), error = splat(0.0);

  CROSSENT_INLINE void add(const Vec<double>& group) {
    const ExactSum next = two_sum(sum, group);
    sum = next.sum;
    error = error + next.error;
  }
  friend CROSSENT_INLINE Accumulator operator+(const Accumulator& a, const Accumulator& b) {
    Accumulator r;
    const ExactSum both = two_sum(a.sum, b.sum);
    r.sum = both.sum;
    r.error = (a.error + b.error) + both.error;
    return r;
  }
  CROSSENT_INLINE Vec<double> total() const {
    // An overflow leaves nan in the error.
    return select(less(absolute(sum), splat(__builtin_inf())), sum + error, sum);
  }
  CROSSENT_INLINE void store_sums(double* p) const { store(p, total()); }
  CROSSENT_INLINE double sum_of_lanes() const {
    Accumulator folded = *this;
    alignas(64) double s[lanes<double>], e[lanes<double>];
    for (int width = lanes<double> / 2; width > 0; width /= 2) {
      alignas(64) double upper_sum[lanes<double>] = {}, upper_error[lanes<double>] = {};
      store(s, folded.sum);
      store(e, folded.error);
      for (int i = 0; i < width; ++i) upper_sum[i] = s[i + width], upper_error[i] = e[i + width];
      Accumulator upper;
      upper.sum = load(upper_sum);
      upper.error = load(upper_error);
      folded = folded + upper;
    }
    store(s, folded.total());
    return s[0];
  }
};

// The three sums of a group, added together.
template <class T, bool with_terms>
struct Sums {
  Vec<T> rest, linear, mass;
  friend CROSSENT_INLINE Sums operator+(const Sums& a, const Sums& b) {
    if constexpr (with_terms) return {a.rest + b.rest, a.linear + b.linear, a.mass + b.mass};
    return {a.rest + b.rest, a.linear, a.mass};
  }
};

template <class T, bool with_terms>
struct SumAccumulators {
  Accumulator<T> rest, linear, mass;
  CROSSENT_INLINE void add(const Sums<T, with_terms>& group) {
    rest.add(group.rest);
    if constexpr (with_terms) {
      linear.add(group.linear);
      mass.add(group.mass);
    }
  }
  friend CROSSENT_INLINE SumAccumulators operator+(const SumAccumulators& a, const SumAccumulators& b) {
    if constexpr (with_terms) return {a.rest + b.rest, a.linear + b.linear, a.mass + b.mass};
    return {a.rest + b.rest, a.linear, a.mass};
  }
};

// What the terms of a chunk are measured against; the same for every class of a row.
template <class T>
struct Reference {
  Vec<T> maximum, finite_maximum, offset, lower, exponent;
};

template <class T>
CROSSENT_INLINE_LARGE Reference<T> reference_from(const Vec<double>* maxima) {
  Vec<T> part[5];
  Vec<double> wide[5][2];
  constexpr int halves = sizeof(double) / sizeof(T);
  for (int h = 0; h < halves; ++h) {
    const Shift shift = shift_of<T>(maxima[h]);
    const Vec<double> finite =
        select(less(absolute(maxima[h]), splat(__builtin_inf())), maxima[h], splat(0.0));
    wide[0][h] = maxima[h];
    wide[1][h] = finite;
    wide[2][h] = shift.offset;
    wide[3][h] = lower_bound<T>(shift);
    wide[4][h] = splat(ExpConstants<T>::headroom) - shift.exponent;
  }
  for (int i = 0; i < 5; ++i) {
    if constexpr (halves == 2) {
      part[i] = narrow(wide[i][0], wide[i][1]);
    } else {
      part[i] = wide[i][0];
    }
  }
  return {part[0], part[1], part[2], part[3], part[4]};
}

// One vector of logits x, with its targets t, as terms of the sums.
template <class T, bool with_terms>
CROSSENT_INLINE_LARGE Sums<T, with_terms> terms_of(const Vec<T>& x, const Vec<T>& t, const Reference<T>& reference,
                                             Vec<T>& count, Vec<T>& is_used) {
  const Vec<T> zero = splat<T>(0), one = splat<T>(1);
  const auto is_maximum = equal(x, reference.maximum);
  const Vec<T> e = scaled_exp(x - reference.offset, reference.lower, reference.exponent, one);
  count = count + select(is_maximum, one, zero);
  Sums<T, with_terms> sums{select(is_maximum, zero, e), zero, zero};
  if constexpr (with_terms) {
    const auto is_absent = equal(t, zero);  // 0 · inf is 0
    is_used = select(is_absent, is_used, one);
    sums.linear = select(is_absent, zero, t * (reference.finite_maximum - x));
    sums.mass = t;
  }
  return sums;
}

// rest in units of exp(M) instead of 2^(exponent - headroom).
template <class T>
CROSSENT_INLINE Vec<double> in_units_of_maximum(const Vec<double>& rest, const Vec<double>& maximum) {
  const Shift shift = shift_of<T>(maximum);
  const Vec<double> unit = scaled_exp(maximum - shift.offset, lower_bound<double>(shift),
                                      splat(ExpConstants<T>::headroom) - shift.exponent, splat(1.0));
  return select(less(absolute(maximum), splat(__builtin_inf())), rest / unit, rest);
}

// Adds the statistics of the next chunk to those of the chunks before it, position by position.
inline void merge(Statistics& total, const Statistics& next, ptrdiff_t positions) {
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
    const auto finite = [&](const Vec<double>& m) {
      return select(less(absolute(m), splat(__builtin_inf())), m, zero);
    };
    const auto moved = [&](const Statistics& s, const Vec<double>& from) {
      return load(s.linear + p) + load(s.mass + p) * (finite(greater) - finite(from));
    };
    store(total.linear + p, moved(total, a) + moved(next, b));
    store(total.mass + p, load(total.mass + p) + load(next.mass + p));
    store(total.is_used + p, max(load(total.is_used + p), load(next.is_used + p)));
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
