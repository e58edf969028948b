// COMPILED ONCE PER INSTRUCTION SET. What a batch of rows is reduced to in the plainest of problems, a vector of rows
// at a time. While the terms of these are summed, the maxima of the rows after them are found and the memory is asked
// for more: so each row comes to the first cache well before it is needed, and no sum waits for a maximum. All results
// have the bits that the general way (segment.h) gives them.
#pragma once

#include "batch_sums.h"
#include "reduce.h"
#include "staged_rows.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Rows in memory, and where their terms go, whole vectors; kept may be null.
template <class T>
struct Rows {
  const T* logits;
  ptrdiff_t stride;
  T* kept;
  ptrdiff_t kept_stride;

  Rows from(ptrdiff_t p) const {
    return {logits + p * stride, stride, kept ? kept + p * kept_stride : nullptr, kept_stride};
  }
};

template <class T>
class RowReduction {
  using E = PlainOf<T>;
  using Sums = BatchSums<T>;
  static constexpr ptrdiff_t width = lanes<T>, group_classes = width * group_terms;
  static constexpr bool is_written_out = parts == 1;  // else in less code
  static constexpr ptrdiff_t bytes_of(ptrdiff_t elements) { return elements * (ptrdiff_t)sizeof(T); }

 public:
  // Positions whose own class is negative are left out. Staged rows are written meanwhile.
  RowReduction(ptrdiff_t classes, StagedRows& staged)
      : staged_(staged),
        classes_(classes),
        whole_vectors_(classes % group_classes / width),
        has_tail_(classes % width != 0),
        tail_(first_lanes<T>(classes % width)) {
    for (auto& sum : last_group_) store(sum, splat<T>(0));
  }

  // Before the first batch, and after one that was given up, with the rows that are `there` from then on.
  __attribute__((noinline)) void begin(const Rows<T>& rows, ptrdiff_t there) {
    ahead_bytes_ = bytes_to_rows(row_bytes_ahead, bytes_of(classes_), bytes_of(rows.stride));
    soon_bytes_ = bytes_to_rows(bytes_to_first_cache, bytes_of(classes_), bytes_of(rows.stride));
    for (ptrdiff_t i = 0; i < width; ++i) {
      maxima_.put(i, i < there ? row_maxima<E>(rows.logits + i * rows.stride, classes_) : splat<T>(0));
    }
  }

  // The next `positions` rows of all that are `there`. False, and nothing to rely on, if a maximum is infinite or too
  // large for exp to reduce.
  __attribute__((noinline)) bool reduce(const Rows<T>& rows, ptrdiff_t positions, ptrdiff_t there, Sums& sums) {
    for (ptrdiff_t p = 0; p < positions; p += width) {
      if (!refer(p, sums)) return false;
      const Rows<T> some = rows.from(p);
      const ptrdiff_t left = positions - p - width, next = there - p - width;
      rows.kept ? sum_rows<true>(some, p, left, next, sums) : sum_rows<false>(some, p, left, next, sums);
      totals_.take(sums.rest + p);
      find_own_logits(some, p, sums);
    }
    return true;
  }

 private:
  CROSSENT_INLINE bool refer(ptrdiff_t p, Sums& sums) const {
    const Vec<T> maximum = maxima_.largest();
    const auto is_summed = not_less(load(sums.own_class + p), splat<T>(0));
    const Vec<T> magnitude = select(is_summed, absolute(maximum), splat<T>(0));
    if (bits_of(not_less(magnitude, splat((T)least_irreducible))) != 0) return false;
    sums.refer_to(maximum, p);
    return true;
  }

  // Of positions p, p + 1, …, the first of which is the first of the rows; `left` more come after these in the batch,
  // and in memory there are `next`.
  template <bool keeps>
  __attribute__((noinline)) void sum_rows(const Rows<T>& rows, ptrdiff_t p, ptrdiff_t left, ptrdiff_t next,
                                          Sums& sums) {
    for (ptrdiff_t i = 0; i < width; ++i) {
      const T* const x = rows.logits + i * rows.stride;
      const bool is_next_wanted = i < next && (i >= left || sums.own_class[p + width + i] >= 0);
      const T* const after = i < next ? x + width * rows.stride : x;  // even if it isn't wanted itself
      const T* const next_x = is_next_wanted ? after : x;
      if (sums.own_class[p + i] >= 0) {
        sum_row<keeps>(i, p + i, x, next_x, after, keeps ? rows.kept + i * rows.kept_stride : nullptr, sums);
      } else {
        totals_.put(i, Accumulator<T>::of_nothing());
        sums.count[p + i] = 1;
        ask_ahead(after);
        if (is_next_wanted) maxima_.put(i, row_maxima<E>(next_x, classes_));
      }
    }
  }

  // As beside a row that is summed: else the memory idles, and the hardware loses the stream of lines. Where 30 % of
  // rows are left out, that took an eighth (1000 classes) to a quarter (200) more.
  void ask_ahead(const T* after) const {
    const char* const line = reinterpret_cast<const char*>(after) + ahead_bytes_;
    for (ptrdiff_t byte = 0; byte < bytes_of(classes_); byte += line_bytes) __builtin_prefetch(line + byte, 0, 2);
  }

  // The i-th row, of position p. The memory is asked for what comes some rows after the one at `after`.
  template <bool keeps>
  CROSSENT_INLINE void sum_row(ptrdiff_t i, ptrdiff_t p, const T* x, const T* next_x, const T* after,
                               [[maybe_unused]] T* kept, Sums& sums) {
    const Vec<T> zero = splat<T>(0), maximum = splat(sums.references.maximum[p]),
                 lower = splat(sums.references.lower[p]), shifter = splat(sums.references.shifter[p]);
    const T lowest = -(T)__builtin_inf();
    Accumulator<T> sum = Accumulator<T>::of_nothing();
    Vec<T> next_maximum = splat(lowest);
    int maxima = 0;
    const auto term = [&](const Vec<T>& logits, Vec<T> next_logits, ptrdiff_t c) __attribute__((always_inline)) {
      prefetch_beside<2>(next_logits.part[0], reinterpret_cast<const char*>(after + c) + ahead_bytes_);
      prefetch_beside<3>(next_logits.part[0], reinterpret_cast<const char*>(after + c) + soon_bytes_);
      next_maximum = max(next_logits, next_maximum);
      const auto is_maximum = equal(logits, maximum);
      maxima += __builtin_popcount(bits_of(is_maximum));
      const Vec<T> e = scaled_exp(logits, lower, shifter);
      if constexpr (keeps) store(kept + c, e);
      return select(is_maximum, zero, e);
    };
    const auto whole = [&](ptrdiff_t c)
                           __attribute__((always_inline)) { return term(E::load(x + c), E::load(next_x + c), c); };
    const auto sum_of = [](const T(&terms)[group_terms][width]) __attribute__((always_inline)) {
      return tree_sum<group_terms>(CROSSENT_EACH(v) { return load(terms[v]); });
    };
    ptrdiff_t c = 0;
    for (; c + group_classes <= classes_; c += group_classes) {
      if constexpr (is_written_out) {
        sum.add(tree_sum<group_terms>(CROSSENT_EACH(v) { return whole(c + v * width); }));
      } else {
#pragma GCC unroll 1
        for (ptrdiff_t v = 0; v < group_terms; ++v) store(group_[v], whole(c + v * width));
        sum.add(sum_of(group_));
      }
      if constexpr (keeps && writes_meanwhile<T>) staged_.write<group_terms>();
    }
    if (c < classes_) {
      ptrdiff_t v = 0;
#pragma GCC unroll 1
      for (; v < whole_vectors_; ++v, c += width) {
        store(last_group_[v], whole(c));
        if constexpr (keeps && writes_meanwhile<T>) staged_.write<1>();
      }
      if (has_tail_) {
        const Vec<T> logits = load_partial<E>(x + c, tail_, lowest);
        store(last_group_[v], term(logits, load_partial<E>(next_x + c, tail_, lowest), c));
      }
      sum.add(sum_of(last_group_));
    }
    totals_.put(i, sum);
    sums.count[p] = (T)maxima;
    maxima_.put(i, next_maximum);
  }

  static CROSSENT_INLINE void find_own_logits(const Rows<T>& rows, ptrdiff_t p, Sums& sums) {
    for (ptrdiff_t i = 0; i < width; ++i) {
      const T own = sums.own_class[p + i];
      sums.own_logit[p + i] = own < 0 ? 0 : rows.logits[i * rows.stride + (ptrdiff_t)own];
    }
  }

  StagedRows& staged_;
  const ptrdiff_t classes_, whole_vectors_;  // these in the last group, if that isn't whole itself
  const bool has_tail_;
  const FirstLanes tail_;
  ptrdiff_t ahead_bytes_ = 0, soon_bytes_ = 0;  // from a row that comes to the first cache to what is asked for
  RowLanes<T> maxima_;                          // of the rows that are summed next
  RowTotals<T> totals_;
  alignas(64) T group_[group_terms][width], last_group_[group_terms][width];  // 0 where there are no classes
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
