// COMPILED ONCE PER INSTRUCTION SET. The two ways through a chunk of classes to its statistics: by rows, where the
// classes of a position lie side by side and are the lanes, and by columns, where the positions do and are. By rows
// without the sums over targets by class. Both leave rest in units of 2^(exponent - headroom).
#pragma once

#include "input.h"
#include "statistics.h"
#include "waiting_rows.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class E>
CROSSENT_INLINE Vec<typename E::Real> row_maxima(const typename E::Storage* x, ptrdiff_t classes) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  const T lowest = -(T)__builtin_inf();
  Vec<T> m[4] = {splat(lowest), splat(lowest), splat(lowest), splat(lowest)};
  ptrdiff_t c = 0;
  for (; c + 4 * width <= classes; c += 4 * width) {
    repeat<4>(CROSSENT_EACH(v) { m[v] = max(E::load(x + c + v * width), m[v]); });
  }
  for (; c + width <= classes; c += width) m[0] = max(E::load(x + c), m[0]);
  if (c < classes) m[1] = max(load_partial<E>(x + c, classes - c, lowest), m[1]);
  return max(max(m[0], m[1]), max(m[2], m[3]));
}

// Goes through the groups of a row: what term(lanes, c, v, present) makes of the v-th vector from class c on, summed
// over the group, to take(sum, vectors), vectors being a constant where it is group_terms. Absent classes are -inf.
// First whole groups from class c on, as long as take() returns true; returns where that ends.
using whole_group = std::integral_constant<ptrdiff_t, group_terms>;
template <class E, class Present = FirstLanes, class Term, class Take>
CROSSENT_INLINE ptrdiff_t each_whole_group(const typename E::Storage* x, ptrdiff_t c, ptrdiff_t classes,
                                           const Term& term, const Take& take) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>, group = width * group_terms;
  const auto terms_at = CROSSENT_EACH(v) {
    return term(E::load(x + c + v * width), c, v, Present{first_lanes<T>(width)});
  };
  while (c + group <= classes && take(tree_sum<group_terms>(terms_at), whole_group{})) c += group;
  return c;
}

// term() as a function of v, for a group of which not all classes need be present.
template <class E, class Term>
CROSSENT_INLINE auto present_terms(const typename E::Storage* x, ptrdiff_t c, const Term& term,
                                   const FirstVectors<typename E::Real, group_terms>& present) {
  using T = typename E::Real;
  return [=, &term, &present](int v) __attribute__((always_inline)) {
    return term(load_partial<E>(x + c + v * lanes<T>, present[v], -(T)__builtin_inf()), c, v, present[v]);
  };
}

// Then what is left from class c on, in pairs, whose absent classes are computed as exp(-inf).
template <class E, class Term, class Take>
CROSSENT_INLINE void last_group(const typename E::Storage* x, ptrdiff_t c, ptrdiff_t classes, const Term& term,
                                const Take& take) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  const ptrdiff_t left = classes - c;
  if (left <= 0) return;
  const FirstVectors<T, group_terms> present(left);
  const auto terms_at = present_terms<E>(x, c, term, present);
  auto part = tree_sum<2>(terms_at);
  if (left > 2 * width) part = part + tree_sum<2>(terms_at, 2);
  if (left > 4 * width) {
    auto next_part = tree_sum<2>(terms_at, 4);
    if (left > 6 * width) next_part = next_part + tree_sum<2>(terms_at, 6);
    part = part + next_part;
  }
  take(part, (left + 2 * width - 1) / (2 * width) * 2);
}

// Or all of them in less code.
template <class E, class Term, class Take>
CROSSENT_INLINE void each_group_in_a_loop(const typename E::Storage* x, ptrdiff_t c, ptrdiff_t classes,
                                          const Term& term, const Take& take) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  for (; c < classes; c += width * group_terms) {
    const FirstVectors<T, group_terms> present(classes - c);
    const ptrdiff_t left = (classes - c + width - 1) / width;
    const ptrdiff_t used = left < group_terms ? left : group_terms;
    take(sum_of_present<group_terms>(used, present_terms<E>(x, c, term, present)), used);
  }
}

// The sums of a row, lane by lane. With `keeps` its first terms go to `kept` as well. Meanwhile the memory gets `next`,
// as many elements, on their way: between two rows or chunks the hardware would not think of it in time.
template <class E, bool keeps, class Terms>
CROSSENT_INLINE RunningSums<typename E::Real, Terms> row_sums(const typename E::Storage* x,
                                                              const typename E::Storage* next, ptrdiff_t classes,
                                                              const Reference<typename E::Real>& reference,
                                                              [[maybe_unused]] typename E::Real* kept) {
  using T = typename E::Real;
  RunningSums<T, Terms> sums;
  ScoresOfGroup<T, group_terms> scores(reference.lower);
  // For scores, which as a rule take one pass, it would only be much code; short rows are worth it for floats.
  constexpr bool is_written_out = parts == 1 && !(Terms::has_scores && sizeof(typename E::Storage) != 4);
  const auto term = [&](Vec<T> x_lanes, ptrdiff_t c, int v, FirstLanes) __attribute__((always_inline)) {
    prefetch_with<E, 2>(x_lanes, next + c, v, 0);
    return terms_of(x_lanes, Vec<T>{}, reference, sums,
                    [&]([[maybe_unused]] const Vec<T>& e, const Vec<T>& rest, const Vec<T>& shifted)
                        __attribute__((always_inline)) {
                          if constexpr (keeps) store(kept + c + v * lanes<T>, e);
                          if constexpr (Terms::has_scores) scores.put(v, rest, max(reference.lower, shifted));
                        });
  };
  const auto take = [&](const auto& group, ptrdiff_t used) __attribute__((always_inline)) {
    add_group(group, reference, scores, used, sums);
    return true;
  };
  if constexpr (is_written_out) {
    last_group<E>(x, each_whole_group<E>(x, 0, classes, term, take), classes, term, take);
  } else {
    each_group_in_a_loop<E>(x, 0, classes, term, take);
  }
  return sums;
}

// The statistics of classes c, c + 1, … of positions first, first + 1, … of a batch (a vector of them, or what is
// left), but for those over targets by class; use(i, maximum) gets to know the maximum of the i-th while its row is in
// the first cache. The steps are taken for all positions before the next, so that no row waits for another's last
// value.
template <class E, bool keeps, class Terms, class Use>
CROSSENT_INLINE void reduce_rows(const SegmentInput<typename E::Real>& in, ptrdiff_t c, ptrdiff_t classes,
                                 ptrdiff_t first, WaitingRows<typename E::Real>& waiting,
                                 References<typename E::Real>& references, Statistics& out, const Use& use) {
  using T = typename E::Real;
  const ptrdiff_t left = in.positions - first, positions = left < lanes<T> ? left : lanes<T>;
  const auto is_skipped = [&](ptrdiff_t i) { return i >= positions || in.targets.is_live[first + i] == 0; };
  const Vec<T> zero = splat<T>(0);
  RowLanes<T> lanes_of_maximum, lanes_of_count;
  for (ptrdiff_t i = 0; i < lanes<T>; ++i) {
    const ptrdiff_t p = first + i;
    lanes_of_maximum.put(i, is_skipped(i) ? zero : row_maxima<E>(in.template row<E>(p, c, classes), classes));
  }
  store_doubles(out.maximum + first, as_doubles(lanes_of_maximum.largest()));
  refer_to_maxima<T>(out, references, first);

  RowTotals<T> totals[Terms::sums];
  for (ptrdiff_t i = 0; i < lanes<T>; ++i) {
    RunningSums<T, Terms> sums;
    if (!is_skipped(i)) {
      const ptrdiff_t p = first + i;
      if constexpr (!Terms::has_scores) waiting.make_room(p, c, classes);
      sums =
          row_sums<E, keeps, Terms>(in.template row<E>(p, c, classes), in.template ahead<E>(p, positions, c, classes),
                                    classes, references.at(p), keeps ? in.kept_row(p, c) : nullptr);
      use(i, references.maximum[p]);
    }
    repeat<Terms::sums>(CROSSENT_EACH(k) { totals[k].put(i, sums.sum[k]); });
    lanes_of_count.put(i, sums.count);
  }
  for (int k = 0; k < Terms::sums; ++k) totals[k].take(out.*sum_columns<Terms>[k] + first);
  store_doubles(out.count + first, as_doubles(lanes_of_count.sum()));
  for (ptrdiff_t i = 0; i < positions; ++i) {
    if (is_skipped(i)) out.count[first + i] = 1;
  }
}

// `vectors` vectors of positions, all full, so that each class is read in one piece.
template <class E, int vectors>
CROSSENT_INLINE void column_maxima(const typename E::Storage* x, ptrdiff_t class_stride, ptrdiff_t classes,
                                   ptrdiff_t count, double* out) {
  using T = typename E::Real;
  Vec<T> m[vectors];
  repeat<vectors>(CROSSENT_EACH(v) { m[v] = splat(-(T)__builtin_inf()); });
  for (ptrdiff_t c = 0; c < classes; ++c) {
    repeat<vectors>(CROSSENT_EACH(v) {
      const auto* p = x + c * class_stride + v * lanes<T>;
      m[v] = max(vectors == 1 ? load_partial<E>(p, count, 0) : E::load(p), m[v]);
    });
  }
  repeat<vectors>(CROSSENT_EACH(v) { store_doubles(out + v * lanes<T>, as_doubles(m[v])); });
}

// The maxima of positions that lie side by side.
template <class E>
void maxima_of_columns(const typename E::Storage* x, ptrdiff_t class_stride, ptrdiff_t classes, ptrdiff_t positions,
                       Statistics& out) {
  constexpr ptrdiff_t width = element_lanes<E>;
  if (positions == batch_positions) {
    return column_maxima<E, batch_positions / width>(x, class_stride, classes, width, out.maximum);
  }
  for (ptrdiff_t p = 0; p < positions; p += width) {
    column_maxima<E, 1>(x + p, class_stride, classes, positions - p, out.maximum + p);
  }
}

// A vector of positions; the same of the batch after this one gets on its way.
template <class E, class Present>
CROSSENT_INLINE Vec<typename E::Real> load_column(const typename E::Storage* x, const Present& present) {
  Vec<typename E::Real> value = load_partial<E>(x, present, 0);
  prefetch_beside<2>(value.part[0], (const char*)(x + batch_positions) + line_bytes - 1);
  return value;
}

template <class T, class Terms>
CROSSENT_INLINE void store_columns(const RunningSums<T, Terms>& sums, ptrdiff_t p, Statistics& out) {
  repeat<Terms::sums>(CROSSENT_EACH(k) { store_doubles(out.*sum_columns<Terms>[k] + p, sums.sum[k].totals()); });
  store_doubles(out.count + p, as_doubles(sums.count));
  if constexpr (Terms::has_mass) {
    store_doubles(out.mass + p, sums.mass.totals());
    store_doubles(out.is_used + p, as_doubles(sums.is_used));
  }
}

// As reduce_rows, for positions that lie side by side. Few classes: one lane, groups of one term.
template <class E, class Terms>
void reduce_few_columns(const typename E::Storage* x, ptrdiff_t class_stride, ptrdiff_t classes, ptrdiff_t positions,
                        const Terms& terms, References<typename E::Real>& references, Statistics& out) {
  using T = typename E::Real;
  maxima_of_columns<E>(x, class_stride, classes, positions, out);
  for (ptrdiff_t p = 0; p < positions; p += lanes<T>) {
    refer_to_maxima<T>(out, references, p);
    const Reference<T> reference = references.along_positions(p);
    const ptrdiff_t left = positions - p;
    const FirstLanes present = first_lanes<T>(left);
    RunningSums<T, Terms> sums;
    ScoresOfGroup<T, 1> scores(reference.lower);
    const auto keep = [&]([[maybe_unused]] const Vec<T>& e, const Vec<T>& rest, const Vec<T>& shifted)
                          __attribute__((always_inline)) {
                            if constexpr (Terms::has_scores) scores.put(0, rest, max(reference.lower, shifted));
                          };
    for (ptrdiff_t c = 0; c < classes; ++c) {
      Vec<T> t = {};
      if constexpr (Terms::present) t = terms.units_along_positions(c, p, left);
      const auto term = terms_of(load_column<E>(x + c * class_stride + p, present), t, reference, sums, keep);
      add_group(term, reference, scores, 1, sums);
    }
    store_columns(sums, p, out);
  }
}

// The lines that the memory is asked for while a batch of columns is summed, one with each vector of positions. The
// next batch's, or those of the four that follow as long as they have room in a small L2 cache, a part of the classes
// with each batch: then the lines of a class are asked for one after another, which sets the hardware's own prefetching
// on. Of each vector of positions the line in which it ends: the one in which it begins may be asked for already.
template <class E>
class ColumnsAhead {
 public:
  ColumnsAhead(const typename E::Storage* x, ptrdiff_t class_stride, ptrdiff_t classes, ptrdiff_t batch, ptrdiff_t step)
      : class_stride_(class_stride) {
    constexpr ptrdiff_t most_elements = (1 << 19) / sizeof(*x), most_batches = 4;
    ptrdiff_t batches = 1;
    while (batches < most_batches && 2 * batches * step * classes <= most_elements) batches *= 2;
    const ptrdiff_t done = batch % batches, lines = step / element_lanes<E>;
    next_ = x + (batches - done) * step;
    number_ = done * classes * lines;
    while (ptrdiff_t{1} << order_ < batches * lines) ++order_;
  }
  CROSSENT_INLINE const char* take() {
    const ptrdiff_t line = number_ & ((ptrdiff_t{1} << order_) - 1), c = number_ >> order_;
    ++number_;
    return (const char*)(next_ + c * class_stride_ + line * element_lanes<E>)+line_bytes - 1;
  }

 private:
  const typename E::Storage* next_;
  ptrdiff_t class_stride_, number_;
  int order_ = 0;  // of the number of lines of a class
};

// The same of more classes: lane l of a row is here the l-th of as many accumulators.
template <class E, class Terms>
void reduce_columns(const typename E::Storage* x, ptrdiff_t class_stride, ptrdiff_t classes, ptrdiff_t positions,
                    const Terms& terms, ColumnsAhead<E> ahead, References<typename E::Real>& references,
                    Statistics& out) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  maxima_of_columns<E>(x, class_stride, classes, positions, out);
  const ptrdiff_t used_lanes = classes < width ? classes : width;
  for (ptrdiff_t p = 0; p < positions; p += width) {
    refer_to_maxima<T>(out, references, p);
    const Reference<T> reference = references.along_positions(p);
    const ptrdiff_t present = positions - p;
    RunningSums<T, Terms> lane[width];
    for (ptrdiff_t l = 0; l < used_lanes; ++l) {
      RunningSums<T, Terms> sums;
      ScoresOfGroup<T, group_terms> scores(reference.lower);
      for (ptrdiff_t c = l; c < classes; c += width * group_terms) {
        const ptrdiff_t left = (classes - c + width - 1) / width, used = left < group_terms ? left : group_terms;
        const auto group = sum_of_present<group_terms>(used, [&](int v) __attribute__((always_inline)) {
          const ptrdiff_t k = c + v * width;
          Vec<T> t = {};
          if constexpr (Terms::present) t = terms.units_along_positions(k, p, present);
          Vec<T> value = load_partial<E>(x + k * class_stride + p, present, 0);
          prefetch_beside<2>(value.part[0], ahead.take());
          return terms_of(value, t, reference, sums,
                          [&]([[maybe_unused]] const Vec<T>& e, const Vec<T>& rest, const Vec<T>& shifted)
                              __attribute__((always_inline)) {
                                if constexpr (Terms::has_scores) scores.put(v, rest, max(reference.lower, shifted));
                              });
        });
        add_group(group, reference, scores, used, sums);
      }
      lane[l] = sums;
    }
    for (ptrdiff_t fold = width / 2; fold > 0; fold /= 2) {
      for (ptrdiff_t l = 0; l < fold && l + fold < used_lanes; ++l) lane[l] = lane[l] + lane[l + fold];
    }
    store_columns(lane[0], p, out);
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
