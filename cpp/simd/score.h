// COMPILED ONCE PER INSTRUCTION SET. What a score has beside the loss: figures of the probabilities, which follow from
// the statistics of a row, and the places of the largest logit and of the target's among the others, for which the
// logits, still in cache, are gone through once more.
#pragma once

#include "finish.h"
#include "input.h"

namespace crossent::CROSSENT_ISA {
namespace {

// The scores of a batch, a column for each position.
struct Scores {
  alignas(64) double confidence[batch_positions];
  alignas(64) double log_sum_exp[batch_positions];
  alignas(64) double entropy[batch_positions];
  alignas(64) double sum_of_squares[batch_positions];
  ptrdiff_t predicted[batch_positions];  // the first class whose logit is the largest; -1 before it is found
  ptrdiff_t rank[batch_positions];       // of the classes gone through, how many come before the target's
};

// With s = count + rest, p_c = exp(x_c - M) / s:
//     max p = 1 / s     -sum p log p = log s + gaps / s     sum p^2 = (count + squares) / s^2,
// sums of what is not negative. nan where there are no probabilities.
template <class T>
void finish_scores(const Statistics& s, const double* log_sum, ptrdiff_t positions, Scores& out) {
  for (ptrdiff_t p = 0; p < positions; p += lanes<double>) {
    const Vec<double> count = load(s.count + p), rest = load(s.rest + p), log_s = load(log_sum + p);
    const Vec<double> inverse = splat(1.0) / (count + rest);
    const auto is_valid = equal(log_s, log_s);
    const auto valid = [&](const Vec<double>& a) { return select(is_valid, a, splat(__builtin_nan(""))); };
    store(out.confidence + p, valid(inverse));
    store(out.log_sum_exp + p, log_sum_exp<T>(load(s.maximum + p), count, rest));
    store(out.entropy + p, valid(fma(load(s.gaps + p), inverse, log_s)));
    store(out.sum_of_squares + p, valid((count + load(s.squares + p)) * inverse * inverse));
  }
  for (ptrdiff_t p = 0; p < positions; ++p) {
    out.predicted[p] = -1;
    out.rank[p] = 0;
  }
}

inline bool has_nan(const Statistics& s, ptrdiff_t p) { return s.rest[p] != s.rest[p]; }

// The lanes of which test(logits) holds, for vectors of classes c, c + 1, …, as bits.
template <class E, class Test>
CROSSENT_INLINE uint32_t where(const typename E::Storage* x, ptrdiff_t c, ptrdiff_t classes, const Test& test) {
  const ptrdiff_t left = classes - c;
  if (left >= element_lanes<E>) return bits_of(test(E::load(x + c)));
  return bits_of(test(load_partial<E>(x + c, left, 0))) & ((1u << left) - 1);
}

// The first class of which test(logits) holds, or -1.
template <class E, class Test>
CROSSENT_INLINE ptrdiff_t first_where(const typename E::Storage* x, ptrdiff_t classes, const Test& test) {
  for (ptrdiff_t c = 0; c < classes; c += element_lanes<E>) {
    if (const uint32_t bits = where<E>(x, c, classes, test)) return c + __builtin_ctz(bits);
  }
  return -1;
}

// How many classes there are of which test(logits) holds.
template <class E, class Test>
CROSSENT_INLINE ptrdiff_t count_where(const typename E::Storage* x, ptrdiff_t classes, const Test& test) {
  constexpr ptrdiff_t width = element_lanes<E>;
  ptrdiff_t count = 0, c = 0;
  for (; c + 2 * width <= classes; c += 2 * width) {  // two at a time, counted as one
    const uint32_t first = where<E>(x, c, classes, test), second = where<E>(x, c + width, classes, test);
    count += __builtin_popcount(first | second << 16);
  }
  for (; c < classes; c += width) count += __builtin_popcount(where<E>(x, c, classes, test));
  return count;
}

// Classes first, first + 1, … of position p, side by side from x. `target_logit` is that of `target`, -1 for none.
template <class E>
void rank_row(const typename E::Storage* x, ptrdiff_t first, ptrdiff_t classes, bool has_nan, double maximum,
              ptrdiff_t target, double target_logit, ptrdiff_t p, Scores& out) {
  using T = typename E::Real;
  const Vec<T> largest = splat((T)maximum), own = splat((T)target_logit);
  if (out.predicted[p] < 0) {  // nan counts as the largest, as in NumPy
    const ptrdiff_t c =
        has_nan ? first_where<E>(
                      x, classes,
                      [](const Vec<T>& a) { return less(splat<T>(0), select(equal(a, a), splat<T>(0), splat<T>(1))); })
                : first_where<E>(x, classes, [&](const Vec<T>& a) { return equal(a, largest); });
    if (c >= 0) out.predicted[p] = first + c;
  }
  if (target < 0 || has_nan || out.predicted[p] == target) return;
  const ptrdiff_t before = target <= first ? 0 : target < first + classes ? target - first : classes;
  out.rank[p] += before - count_where<E>(x, before, [&](const Vec<T>& a) { return less(a, own); });
  if (target_logit == maximum) return;
  out.rank[p] += count_where<E>(x + before, classes - before, [&](const Vec<T>& a) { return less(own, a); });
}

// The same of positions p, p + 1, …, a vector of them, that lie side by side; none has nan.
template <class E>
void rank_columns(const typename E::Storage* x, ptrdiff_t class_stride, ptrdiff_t first, ptrdiff_t classes,
                  ptrdiff_t present, const double* maximum, const Targets& targets, ptrdiff_t p, Scores& out) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  const Vec<T> zero = splat<T>(0), one = splat<T>(1), nowhere = splat((T)__builtin_inf());
  alignas(64) T own_class[width];
  for (ptrdiff_t i = 0; i < width; ++i) {
    const ptrdiff_t own = targets.index[p + i] - first;
    own_class[i] = (T)(own < -1 ? -1 : own > classes ? classes : own);
  }
  const Vec<T> largest = load_as<T>(maximum + p), own = load_as<T>(targets.logit + p), own_index = load(own_class);
  Vec<T> predicted = nowhere, rank = zero;
  for (ptrdiff_t c = 0; c < classes; ++c) {
    const Vec<T> value = load_partial<E>(x + c * class_stride, present, 0), index = splat((T)c);
    predicted = min(select(equal(value, largest), index, nowhere), predicted);
    rank = rank + select(less(own, value), one, zero);
    rank = rank + select(equal(value, own), select(less(index, own_index), one, zero), zero);
  }
  alignas(64) T found[width], ranks[width];
  store(found, predicted);
  store(ranks, rank);
  for (ptrdiff_t i = 0; i < width; ++i) {
    if (out.predicted[p + i] < 0 && found[i] < (T)classes) out.predicted[p + i] = first + (ptrdiff_t)found[i];
    out.rank[p + i] += (ptrdiff_t)ranks[i];
  }
}

template <class E>
void rank_batch_of_columns(const SegmentInput<typename E::Real>& in, const Statistics& s, Scores& out) {
  using T = typename E::Real;
  for (ptrdiff_t p = 0; p < in.positions; p += lanes<T>) {
    for (ptrdiff_t c = 0; c < in.problem.classes; c += chunk_classes) {
      const ptrdiff_t classes = classes_of_chunk(in.problem, c), present = in.positions - p;
      if (in.path == Path::tile) {
        rank_columns<PlainOf<T>>(in.scratch_logits + p, batch_positions, c, classes, present, s.maximum, in.targets, p,
                                 out);
      } else {
        rank_columns<InPlace<E>>(in.template logits<InPlace<E>>(p, c), in.segment.logits.class_stride, c, classes,
                                 present, s.maximum, in.targets, p, out);
      }
    }
  }
  for (ptrdiff_t p = 0; p < in.positions; ++p) {
    if (!has_nan(s, p)) continue;
    for (ptrdiff_t c = in.problem.classes - 1; c >= 0; --c) {
      const T x = load_one<E>(in.template logits<E>(p, c));
      if (x != x) out.predicted[p] = c;
    }
  }
}

// R: the element of the rows, which may have been gathered.
template <class R>
void rank_batch_of_rows(SegmentInput<typename R::Real>& in, const Statistics& s, Scores& out) {
  for (ptrdiff_t c = 0; c < in.problem.classes; c += chunk_classes) {
    const ptrdiff_t classes = classes_of_chunk(in.problem, c);
    if (in.path == Path::gather && in.problem.classes > chunk_classes) in.gather_logits(c, classes);
    for (ptrdiff_t p = 0; p < in.positions; ++p) {
      if (in.targets.is_live[p] == 0) continue;
      rank_row<R>(in.template row<R>(p, c, classes), c, classes, has_nan(s, p), s.maximum[p], in.targets.index[p],
                  in.targets.logit[p], p, out);
    }
  }
}

// The scores of a batch, to where the caller wants them; the losses have been written already.
template <class E>
void write_scores(SegmentInput<typename E::Real>& in, const Statistics& s, const double* log_sum) {
  using T = typename E::Real;
  Scores scores;
  finish_scores<T>(s, log_sum, in.positions, scores);
  if (in.path == Path::rows || in.path == Path::gather) {
    rank_batch_of_rows<PlainOf<T>>(in, s, scores);
  } else {
    rank_batch_of_columns<E>(in, s, scores);
  }
  const ScoreColumns& out = in.segment.scores;
  for (ptrdiff_t p = 0; p < in.positions; ++p) {
    const bool is_live = in.targets.is_live[p] != 0, has_rank = scores.confidence[p] == scores.confidence[p];
    const ptrdiff_t position = in.first + p, offset = position * in.segment.losses_stride;
    const auto write = [&](void* figures, double value) {
      store_figure(in.segment, figures, position, is_live ? value : __builtin_nan(""));
    };
    out.predicted[offset] = is_live ? scores.predicted[p] : -1;
    if (out.rank) out.rank[offset] = !is_live ? -1 : has_rank ? scores.rank[p] : in.problem.classes;
    write(out.confidence, scores.confidence[p]);
    write(out.log_sum_exp, scores.log_sum_exp[p]);
    write(out.entropy, scores.entropy[p]);
    write(out.sum_of_squares, scores.sum_of_squares[p]);
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
