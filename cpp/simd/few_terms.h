// COMPILED ONCE PER INSTRUCTION SET. The terms of a batch of positions of few classes, and their sums, in the order of
// accumulate.h.
#pragma once

#include "accumulate.h"
#include "staged_rows.h"
#include "statistics.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Up to here rows go this way in the plainest problems if plain_rows.h doesn't take them: as long as that takes less
// than the general way, which is faster where a value is a single register.
template <class T>
constexpr ptrdiff_t few_plain_row_classes = sizeof(T) != 4 ? few_classes
                                            : parts == 1   ? 100
                                                           : few_row_classes;

// Whether the memory is given work to read while terms are computed, instead of being waited for.
constexpr bool reads_meanwhile = parts <= 2;

// A batch of positions in memory, a whole number of vectors: their logits, and where the terms and the output of each
// class go.
template <class T>
struct FewPlaces {
  const T* logits;
  ptrdiff_t logits_stride;
  T* terms;   // batch_positions from one class to the next
  T* output;  // the gradient, or what else is to be written; may be null
  ptrdiff_t output_stride;
  ptrdiff_t first, count;  // positions
  // What the memory does meanwhile: it gets the logits of the next batch on their way, as many as are computed, and
  // takes the rows that wait for it. So it is busy all the time.
  const char* ahead;
  ptrdiff_t ahead_position_bytes, ahead_class_bytes;
  ptrdiff_t last_class_ahead;  // that may be asked for: of rows also those after the last, where the next row lies
  StagedRows* staged;
};

// The sum of a position's terms but for those of the maximum, and how many have it.
template <class T>
struct FewSums {
  Doubles<T> rest;
  Vec<T> count;
};

// The terms of positions p, p + 1, …, a vector of them, class by class. All are kept if there is an output.
template <class T>
class FewTerms {
  static constexpr ptrdiff_t width = lanes<T>;
  // Classes whose terms are computed side by side, since each step waits for the one before.
  static constexpr int together = parts == 1 ? 4 : 1;

 public:
  CROSSENT_INLINE FewTerms(const FewPlaces<T>& places, ptrdiff_t classes, const Reference<T>& reference, ptrdiff_t p)
      : places_(places), classes_(classes), reference_(reference), p_(p) {}

  // One after another, in two loops: what waits for the last step of a term would be in the way of the next terms. The
  // memory is asked for the lines of half the classes in each, since many at once would have to wait.
  CROSSENT_INLINE void keep_in_turn() const {
    const bool takes_rows = classes_ >= least_staged_classes;
    ptrdiff_t c = 0;
    for (; c + together <= classes_; c += together) {
      Vec<T> e[together];
      repeat<together>(CROSSENT_EACH(i) {
        Vec<T> x = logits(c + i);
        if ((together > 1 ? i : c) % 2 == 0) look_ahead(c + i, x);
        e[i] = term_of(x);
      });
      repeat<together>(CROSSENT_EACH(i) {
        store(kept(c + i), e[i]);
        if (takes_rows) write_staged(i);
      });
    }
    for (; c < classes_ && together > 1; ++c) {
      Vec<T> x = logits(c);
      if (c % 2 == 0) look_ahead(c, x);
      store(kept(c), term_of(x));
    }
  }
  template <bool has_own>
  CROSSENT_INLINE FewSums<T> sum_kept([[maybe_unused]] const Vec<T>& own_class,
                                      [[maybe_unused]] Vec<T>& own_logit) const {
    const Vec<T> zero = splat<T>(0), one = splat<T>(1);
    Accumulator<T> sum = Accumulator<T>::of_nothing();
    Vec<T> others = zero, number = zero;
    for (ptrdiff_t c = 0; c < classes_; ++c) {
      Vec<T> x = logits(c);
      if (c % 2 != 0) look_ahead(c, x);
      const auto is_other = differ(x, reference_.maximum);
      sum.add(kept(c), is_other);
      others = add_where(is_other, others, one);
      if constexpr (has_own) {
        own_logit = select(equal(number, own_class), x, own_logit);
        number = number + one;
      }
    }
    return {sum.totals(), splat((T)classes_) - others};
  }

  // As reduce_columns() does: class l of every vector of classes is one accumulator's. Several of these are summed side
  // by side, pair by pair of their groups' terms; the classes that a last pair lacks have logits of -inf. All lies in
  // tiles.
  CROSSENT_INLINE FewSums<T> sum_by_lanes() const {
    constexpr int pairs_of_group = group_terms / 2;
    const Vec<T> zero = splat<T>(0), one = splat<T>(1);
    const T* const x = places_.logits + p_;
    T* const terms = places_.terms + p_;
    const ptrdiff_t terms_stride = places_.output ? batch_positions : 0;  // one place where nobody needs them
    Accumulator<T> lane[width];
    Vec<T> count = zero;
    for (ptrdiff_t l = 0; l < width; l += together) {
      for (int i = 0; i < together; ++i) lane[l + i] = Accumulator<T>::of_nothing();
      for (ptrdiff_t c = l; c < classes_; c += width * group_terms) {
        const ptrdiff_t left = (classes_ - c + 2 * width - 1) / (2 * width);
        const ptrdiff_t pairs = left < pairs_of_group ? left : pairs_of_group;
        Vec<T> part[pairs_of_group][together];
        for (ptrdiff_t pair = 0; pair < pairs; ++pair) {
          const auto number = CROSSENT_EACH(k) { return c + 2 * pair * width + k % together + k / together * width; };
          const auto logits_of = CROSSENT_EACH(k) { return load(x + number(k) * batch_positions); };
          const ptrdiff_t last = places_.last_class_ahead - (together - 1);
          const ptrdiff_t ahead[2] = {number(0) < last ? number(0) : last,
                                      number(together) < last ? number(together) : last};
          Vec<T> e[2 * together];
          repeat<2 * together>(CROSSENT_EACH(k) {
            Vec<T> logits = logits_of(k);
            look_ahead(ahead[k / together] + k % together, logits);
            e[k] = term_of(logits);
          });
          repeat<2 * together>(CROSSENT_EACH(k) {
            store(terms + number(k) * terms_stride, e[k]);
            write_staged(k);
          });
          repeat<2 * together>(CROSSENT_EACH(k) {
            const auto is_maximum = equal(logits_of(k), reference_.maximum);
            count = add_where(is_maximum, count, one);
            e[k] = select(is_maximum, zero, e[k]);
          });
          repeat<together>(CROSSENT_EACH(i) { part[pair][i] = e[i] + e[i + together]; });
        }
        for (int i = 0; i < together; ++i) {
          Vec<T> sum = part[0][i];
          if (pairs > 1) sum = sum + part[1][i];
          if (pairs == 3) sum = sum + part[2][i];
          if (pairs == 4) sum = sum + (part[2][i] + part[3][i]);
          lane[l + i].add(sum);
        }
      }
    }
    return {fold<width>(lane, [](const auto& a, const auto& b) { return a + b; }).totals(), count};
  }

 private:
  CROSSENT_INLINE Vec<T> logits(ptrdiff_t c) const { return load(places_.logits + c * places_.logits_stride + p_); }
  CROSSENT_INLINE T* kept(ptrdiff_t c) const { return places_.terms + c * batch_positions + p_; }
  CROSSENT_INLINE Vec<T> term_of(const Vec<T>& x) const {
    return scaled_exp(x - reference_.offset, reference_.lower, reference_.shifter);
  }
  // With the i-th term: two lines of the rows that wait, every other time.
  CROSSENT_INLINE void write_staged(int i) const {
    if constexpr (writes_meanwhile<T>) {
      if (i % 2 != 0) places_.staged->template write<2>();
    }
  }
  // See prefetch_beside().
  CROSSENT_INLINE void look_ahead(ptrdiff_t c, Vec<T>& x) const {
    if constexpr (reads_meanwhile) {
      const char* line = places_.ahead + p_ * places_.ahead_position_bytes + c * places_.ahead_class_bytes;
      prefetch_beside<2>(x.part[0], line);
    }
  }

  const FewPlaces<T>& places_;
  const ptrdiff_t classes_;
  const Reference<T> reference_;
  const ptrdiff_t p_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
