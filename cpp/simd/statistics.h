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
  // With t_c in units of problem.base_unit where there are no class probabilities:
  alignas(64) double linear[batch_positions];   // sum of t_c · (M - x_c) / linear_unit; M counts as 0 when infinite
  alignas(64) double mass[batch_positions];     // sum of t_c
  alignas(64) double is_used[batch_positions];  // 1 when some t_c is not 0
  // For scores: the sums over x_c < M of exp(x_c - M) · (M - x_c) and of exp(x_c - M)^2, and what rank.h finds: the
  // first class that equals M, or is nan, and how many classes come before the target's.
  alignas(64) double gaps[batch_positions];
  alignas(64) double squares[batch_positions];
  alignas(64) double place[batch_positions];
  alignas(64) double ahead[batch_positions];
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
// double from the start.
template <class T, class Terms>
struct RunningSums {
  Accumulator<T> sum[Terms::sums];
  Accumulator<T> mass = Accumulator<T>::of_nothing();
  Vec<T> count = splat<T>(0), is_used = splat<T>(0);

  CROSSENT_INLINE RunningSums() {
    repeat<Terms::sums>(CROSSENT_EACH(i) { sum[i] = Accumulator<T>::of_nothing(); });
  }
  CROSSENT_INLINE void add(const Sums<T, Terms::tree_sums>& group) {
    repeat<Terms::tree_sums>(CROSSENT_EACH(i) { sum[i].add(group.sum[i]); });
  }
  CROSSENT_INLINE void add_scores(const Vec<T>& gaps, const Vec<T>& squares) {
    sum[1].add(gaps);
    sum[2].add(squares);
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

template <class T>
CROSSENT_INLINE Vec<T> zero_unless_finite(const Vec<T>& a) {
  return select(less(absolute(a), splat((T)__builtin_inf())), a, splat<T>(0));
}

// What the terms of a chunk are measured against; the same for every class of a row.
template <class T>
struct Reference {
  Vec<T> maximum, offset, lower, shifter;
  CROSSENT_INLINE Vec<T> small_maximum() const { return zero_unless_finite(maximum) * splat((T)(1 / linear_unit)); }
};

// The references of a batch, a column for each position.
template <class T>
struct References {
  alignas(64) T maximum[batch_positions], offset[batch_positions], lower[batch_positions], shifter[batch_positions];

  // Of positions p, p + 1, … as lanes, and of p alone.
  CROSSENT_INLINE Reference<T> along_positions(ptrdiff_t p) const {
    return {load(maximum + p), load(offset + p), load(lower + p), load(shifter + p)};
  }
  CROSSENT_INLINE void put(ptrdiff_t p, const Reference<T>& reference) {
    store(maximum + p, reference.maximum);
    store(offset + p, reference.offset);
    store(lower + p, reference.lower);
    store(shifter + p, reference.shifter);
  }
  CROSSENT_INLINE Reference<T> at(ptrdiff_t p) const {
    return {splat(maximum[p]), splat(offset[p]), splat(lower[p]), splat(shifter[p])};
  }
};

template <class T>
CROSSENT_INLINE Vec<T> load_as(const double* p) {
  return as_lanes(load_doubles<T>(p));
}

// The reference and the inverse unit of each lane's maximum.
template <class T>
CROSSENT_INLINE_LARGE Reference<T> reference_of(const Vec<T>& maximum, Doubles<T>& inverse_unit) {
  const Doubles<T> maxima = as_doubles(maximum);
  // as a rule; for floats the bound is 2^16, which shift_of() answers in the same way
  const bool are_reducible = bits_of(not_less(absolute(maximum), splat((T)least_irreducible))) == 0;
  Doubles<T> offset, exponent;
  repeat<double_vectors<T>>(CROSSENT_EACH(i) {
    const Shift shift = are_reducible ? shift_of_reducible(maxima.part[i]) : shift_of<T>(maxima.part[i]);
    inverse_unit.part[i] = inverse_unit_of<T>(maxima.part[i], shift);
    offset.part[i] = shift.offset;
    exponent.part[i] = shift.exponent;
  });
  const Vec<T> order = as_lanes(exponent);
  return {maximum, as_lanes(offset), lower_bound(order), shifter_of(splat((T)ExpConstants<T>::headroom) - order)};
}

// The references and inverse units of positions p, p + 1, …, a vector of them, whose maxima are known.
template <class T>
__attribute__((noinline)) void refer_to_maxima(Statistics& s, References<T>& references, ptrdiff_t p) {
  Doubles<T> inverse_unit;
  references.put(p, reference_of(load_as<T>(s.maximum + p), inverse_unit));
  store_doubles<T>(s.inverse_unit + p, inverse_unit);
}

// A vector in a register, or in memory, where GCC would copy a struct of several registers word by word.
template <class T, bool in_register>
struct Slot {
  alignas(64) T value[lanes<T>];
  CROSSENT_INLINE void put(const Vec<T>& a) { store(value, a); }
  CROSSENT_INLINE Vec<T> get() const { return load(value); }
};
template <class T>
struct Slot<T, true> {
  Vec<T> value;
  CROSSENT_INLINE void put(const Vec<T>& a) { value = a; }
  CROSSENT_INLINE Vec<T> get() const { return value; }
};

// What scores need of a group of up to `terms` terms e of logits x < M, lane by lane: with the group's largest logit m
//     sum of e · (M - x) = sum of e · (m - x) + (M - m) · sum of e,
// whose parts are all positive, and where M can be told later.
template <class T, int terms>
class ScoresOfGroup {
 public:
  // For logits of at least `least`, a finite number.
  CROSSENT_INLINE explicit ScoresOfGroup(const Vec<T>& least) {
    least_.put(least);
    clear();
  }

  CROSSENT_INLINE void put(int v, const Vec<T>& e, const Vec<T>& x) {
    e_[v].put(e);
    x_[v].put(x);
  }
  struct Sums {
    Vec<T> gaps, squares;
  };
  // The gaps to m, of the first `used` terms. All are known by then, so that no exp waits for these sums.
  CROSSENT_INLINE Sums take(const Vec<T>& largest, ptrdiff_t used) {
    Sums sums = {splat<T>(0), splat<T>(0)};
    each(used, [&](int v) __attribute__((always_inline)) {
      const Vec<T> e = e_[v].get();
      if constexpr (terms > 1) sums.gaps = fma(e, largest - x_[v].get(), sums.gaps);
      sums.squares = fma(e, e, sums.squares);
    });
    clear();
    return sums;
  }
  CROSSENT_INLINE Vec<T> largest(ptrdiff_t used) const {
    Vec<T> largest = x_[0].get();
    each(used, [&](int v) __attribute__((always_inline)) { largest = max(x_[v].get(), largest); });
    return largest;
  }
  // From the gaps to m to those to M, with the sum of e.
  static CROSSENT_INLINE Vec<T> gaps_to(const Vec<T>& maximum, const Vec<T>& largest, const Vec<T>& sum,
                                        const Vec<T>& gaps) {
    return fma(maximum - largest, sum, gaps);
  }

 private:
  static constexpr bool in_registers = parts == 1;  // where there are enough; then unused terms are 0 and added too

  template <class Body>
  static CROSSENT_INLINE void each([[maybe_unused]] ptrdiff_t used, const Body& body) {
    if constexpr (in_registers) {
      repeat<terms>(body);
    } else {
#pragma GCC unroll 1
      for (int v = 0; v < used; ++v) body(v);
    }
  }
  CROSSENT_INLINE void clear() {
    repeat<in_registers ? terms : 0>(CROSSENT_EACH(v) { put(v, splat<T>(0), least_.get()); });
  }

  Slot<T, in_registers> e_[terms], x_[terms], least_;
};

// One vector of logits x, with its targets t, as terms of the sums; keep(e, rest, x) gets e = exp(x - M) and
// the first of the terms, which is e without the maximum's own.
template <class T, class Terms, class Keep>
CROSSENT_INLINE_LARGE Sums<T, Terms::tree_sums> terms_of(const Vec<T>& x, [[maybe_unused]] const Vec<T>& t,
                                                         const Reference<T>& reference, RunningSums<T, Terms>& running,
                                                         const Keep& keep) {
  const Vec<T> zero = splat<T>(0), one = splat<T>(1);
  const auto is_maximum = equal(x, reference.maximum);
  const Vec<T> shifted = x - reference.offset, e = scaled_exp(shifted, reference.lower, reference.shifter);
  running.count = add_where(is_maximum, running.count, one);
  const Vec<T> rest = select(is_maximum, zero, e);
  keep(e, rest, shifted);
  if constexpr (Terms::present) {
    const auto is_absent = equal(t, zero);  // 0 · inf is 0
    if constexpr (Terms::has_mass) {
      running.is_used = select(is_absent, running.is_used, one);
      running.mass.add(t);
    }
    const Vec<T> gap = fma(x, splat<T>((T)(-1 / linear_unit)), reference.small_maximum());
    return {{rest, select(is_absent, zero, t * gap)}};
  } else {
    return {{rest}};
  }
}

// Adds a group to the running sums; `scores` has got `used` terms, with the logits bounded as they are for exp, since
// 0 · inf is no 0.
template <class T, class Terms, int terms>
CROSSENT_INLINE void add_group(const Sums<T, Terms::tree_sums>& group, [[maybe_unused]] const Reference<T>& reference,
                               [[maybe_unused]] ScoresOfGroup<T, terms>& scores, [[maybe_unused]] ptrdiff_t used,
                               RunningSums<T, Terms>& running) {
  running.add(group);
  if constexpr (Terms::has_scores) {
    const Vec<T> maximum = reference.maximum - reference.offset, largest = scores.largest(used);
    const auto [gaps, squares] = scores.take(largest, used);
    running.add_scores(scores.gaps_to(maximum, largest, group.sum[0], gaps), squares);
  }
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
      // sum of e · f · (M' - x) = f · (sum of e · (M - x) + (M' - M) · sum of e), and 0 · inf is 0; f is nan beside two
      // infinite maxima, of which -inf may be followed by a finite one
      const Vec<double> distance = select(less(zero, factor), zero - gap.sum, zero);
      const Vec<double> gaps = pick(total.gaps, next.gaps, true), lesser_gaps = pick(total.gaps, next.gaps, false);
      store(total.gaps + p, gaps + select(are_equal, lesser_gaps, fma(factor, lesser_gaps, moved_rest * distance)));
      const Vec<double> squares = pick(total.squares, next.squares, true);
      const Vec<double> lesser_squares = pick(total.squares, next.squares, false);
      store(total.squares + p,
            squares + select(are_equal, lesser_squares, (lesser_count + lesser_squares) * (factor * factor)));
      const Vec<double> place = pick(total.place, next.place, true), total_rest = load(total.rest + p);
      const Vec<double> next_rest = load(next.rest + p);  // nan with a logit that is, which counts as the largest
      store(total.place + p,
            select(equal(total_rest, total_rest), select(equal(next_rest, next_rest), place, load(next.place + p)),
                   load(total.place + p)));
      store(total.ahead + p, load(total.ahead + p) + load(next.ahead + p));
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
