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
  // For scores: the sums over x_c < M of exp(x_c - M) · (M - x_c) and of exp(x_c - M)^2.
  alignas(64) double gaps[batch_positions];
  alignas(64) double squares[batch_positions];
};

// A position's column of these arrays.
template <class Columns>
using Column = double (Columns::*)[batch_positions];

// Where the sums go that a row is reduced to.
template <class Terms>
constexpr Column<Statistics> sum_columns[] = {&Statistics::rest, &Statistics::linear};
template <>
constexpr Column<Statistics> sum_columns<ScoreTerms>[] = {&Statistics::rest, &Statistics::gaps, &Statistics::squares};

// The sums of a row so far, lane by lane. The mass, of which a gradient's every element is a multiple, is summed in
// double from the start; what scores need is summed one after another inside a group.
template <class T, class Terms>
struct RunningSums {
  Accumulator<T> sum[Terms::sums];
  Accumulator<T> mass = Accumulator<T>::of_nothing();
  Vec<T> count = splat<T>(0), is_used = splat<T>(0);
  Vec<T> gaps_of_group = splat<T>(0), squares_of_group = splat<T>(0);

  CROSSENT_INLINE RunningSums() {
    repeat<Terms::sums>(CROSSENT_EACH(i) { sum[i] = Accumulator<T>::of_nothing(); });
  }
  CROSSENT_INLINE void add_score(const Vec<T>& rest, const Vec<T>& gap) {
    gaps_of_group = fma(rest, gap, gaps_of_group);
    squares_of_group = fma(rest, rest, squares_of_group);
  }
  CROSSENT_INLINE void add(const Sums<T, Terms::tree_sums>& group) {
    repeat<Terms::tree_sums>(CROSSENT_EACH(i) { sum[i].add(group.sum[i]); });
    if constexpr (Terms::has_scores) {
      sum[1].add(gaps_of_group);
      sum[2].add(squares_of_group);
      gaps_of_group = squares_of_group = splat<T>(0);
    }
  }
  friend CROSSENT_INLINE RunningSums operator+(const RunningSums& a, const RunningSums& b) {
    RunningSums both;
    repeat<Terms::sums>(CROSSENT_EACH(i) { both.sum[i] = a.sum[i] + b.sum[i]; });
    both.count = a.count + b.count;
    if constexpr (Terms::has_mass) {
      both.mass = a.mass + b.mass;
      both.is_used = max(a.is_used, b.is_used);
    }
    return both;
  }
};

// What the terms of a chunk are measured against; the same for every class of a row.
template <class T>
struct Reference {
  Vec<T> maximum, small_maximum, offset, lower, shifter;
};

// The references of a batch, a column for each position.
template <class T>
struct References {
  alignas(64) T maximum[batch_positions], small_maximum[batch_positions], offset[batch_positions];
  alignas(64) T lower[batch_positions], shifter[batch_positions];

  // Of positions p, p + 1, … as lanes, and of p alone.
  CROSSENT_INLINE Reference<T> along_positions(ptrdiff_t p) const {
    return {load(maximum + p), load(small_maximum + p), load(offset + p), load(lower + p), load(shifter + p)};
  }
  CROSSENT_INLINE void put(ptrdiff_t p, const Reference<T>& reference) {
    store(maximum + p, reference.maximum);
    store(small_maximum + p, reference.small_maximum);
    store(offset + p, reference.offset);
    store(lower + p, reference.lower);
    store(shifter + p, reference.shifter);
  }
  CROSSENT_INLINE Reference<T> at(ptrdiff_t p) const {
    return {splat(maximum[p]), splat(small_maximum[p]), splat(offset[p]), splat(lower[p]), splat(shifter[p])};
  }
};

template <class T>
CROSSENT_INLINE Vec<T> load_as(const double* p) {
  return as_lanes(load_doubles<T>(p));
}

template <class T>
CROSSENT_INLINE Vec<T> zero_unless_finite(const Vec<T>& a) {
  return select(less(absolute(a), splat((T)__builtin_inf())), a, splat<T>(0));
}

// The reference and the inverse unit of each lane's maximum.
template <class T>
CROSSENT_INLINE_LARGE Reference<T> reference_of(const Vec<T>& maximum, Doubles<T>& inverse_unit) {
  const Doubles<T> maxima = as_doubles(maximum);
  Doubles<T> offset, exponent;
  repeat<double_vectors<T>>(CROSSENT_EACH(i) {
    const Shift shift = shift_of<T>(maxima.part[i]);
    inverse_unit.part[i] = inverse_unit_of<T>(maxima.part[i], shift);
    offset.part[i] = shift.offset;
    exponent.part[i] = shift.exponent;
  });
  const Vec<T> order = as_lanes(exponent);
  return {maximum, zero_unless_finite(maximum) * splat<T>((T)(1 / linear_unit)), as_lanes(offset), lower_bound(order),
          shifter_of(splat((T)ExpConstants<T>::headroom) - order)};
}

// The references and inverse units of positions p, p + 1, …, a vector of them, whose maxima are known.
template <class T>
__attribute__((noinline)) void refer_to_maxima(Statistics& s, References<T>& references, ptrdiff_t p) {
  Doubles<T> inverse_unit;
  references.put(p, reference_of(load_as<T>(s.maximum + p), inverse_unit));
  store_doubles<T>(s.inverse_unit + p, inverse_unit);
}

// One vector of logits x, with its targets t, as terms of the sums; keep(exp(x - M)) gets the first of them with the
// maximum's own. For scores, add_score(rest, gap) is called too.
template <class T, class Terms, class Keep, class AddScore>
CROSSENT_INLINE_LARGE Sums<T, Terms::tree_sums> terms_of(const Vec<T>& x, [[maybe_unused]] const Vec<T>& t,
                                                         const Reference<T>& reference, RunningSums<T, Terms>& running,
                                                         const Keep& keep, [[maybe_unused]] const AddScore& add_score) {
  const Vec<T> zero = splat<T>(0), one = splat<T>(1);
  const auto is_maximum = equal(x, reference.maximum);
  const Vec<T> e = scaled_exp(x - reference.offset, reference.lower, reference.shifter);
  keep(e);
  running.count = running.count + select(is_maximum, one, zero);
  const Vec<T> rest = select(is_maximum, zero, e);
  if constexpr (Terms::present) {
    const auto is_absent = equal(t, zero);  // 0 · inf is 0
    if constexpr (Terms::has_mass) {
      running.is_used = select(is_absent, running.is_used, one);
      running.mass.add(t);
    }
    const Vec<T> gap = fma(x, splat<T>((T)(-1 / linear_unit)), reference.small_maximum);
    return {{rest, select(is_absent, zero, t * gap)}};
  } else {
    if constexpr (Terms::has_scores) {  // the gap is bounded as x is for exp: 0 · inf is 0
      add_score(rest, (reference.maximum - reference.offset) - max(reference.lower, x - reference.offset));
    }
    return {{rest}};
  }
}
template <class T, class Terms>
CROSSENT_INLINE Sums<T, Terms::tree_sums> terms_of(const Vec<T>& x, const Vec<T>& t, const Reference<T>& reference,
                                                   RunningSums<T, Terms>& running) {
  return terms_of(
      x, t, reference, running, [](const Vec<T>&) __attribute__((always_inline)) {},
      [&](const Vec<T>& rest, const Vec<T>& gap) __attribute__((always_inline)) { running.add_score(rest, gap); });
}

// The sums in units of exp(maximum) instead of 2^(exponent - headroom).
template <class T>
CROSSENT_INLINE void use_units_of_maximum(Statistics& s, ptrdiff_t positions, bool with_scores) {
  const Vec<double> headroom = splat(__builtin_ldexp(1.0, -(int)ExpConstants<T>::headroom));
  for (ptrdiff_t p = 0; p < positions; p += lanes<double>) {
    const Vec<double> rest = load(s.rest + p), unit = headroom * load(s.inverse_unit + p);
    const auto is_finite = less(absolute(load(s.maximum + p)), splat(__builtin_inf()));
    store(s.rest + p, select(is_finite, rest * unit, rest));
    if (!with_scores) continue;
    store(s.gaps + p, select(is_finite, load(s.gaps + p) * unit, splat(0.0)));
    store(s.squares + p, select(is_finite, load(s.squares + p) * unit * unit, splat(0.0)));
  }
}

// Adds the statistics of the next chunk to those of the chunks before it, position by position. The inverse units are
// left to refer_to_maxima(), once all chunks are in.
template <class T>
void merge(Statistics& total, const Statistics& next, ptrdiff_t positions, bool with_scores) {
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
    const Vec<double> moved_rest = select(are_equal, lesser_rest, (lesser_count + lesser_rest) * factor);
    if (with_scores) {
      // sum of e · f · (M' - x) = f · (sum of e · (M - x) + (M' - M) · sum of e), and 0 · inf is 0
      const Vec<double> distance = select(less(zero, factor), zero - gap.sum, zero);
      const Vec<double> gaps = pick(total.gaps, next.gaps, true), lesser_gaps = pick(total.gaps, next.gaps, false);
      store(total.gaps + p, gaps + fma(factor, lesser_gaps, select(are_equal, zero, moved_rest * distance)));
      const Vec<double> squares = pick(total.squares, next.squares, true);
      const Vec<double> lesser_squares = pick(total.squares, next.squares, false);
      store(total.squares + p,
            squares + select(are_equal, lesser_squares, (lesser_count + lesser_squares) * (factor * factor)));
    }
    store(total.rest + p, rest + moved_rest);
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
