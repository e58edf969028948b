// COMPILED ONCE PER INSTRUCTION SET. What a batch of positions of few classes is reduced to, all positions one step at
// a time. All results have the bits that the general way (segment.h) gives them.
#pragma once

#include "batch_sums.h"
#include "few_terms.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class T>
class FewReduction {
  using Places = FewPlaces<T>;
  using Sums = BatchSums<T>;
  static constexpr ptrdiff_t width = lanes<T>;

 public:
  FewReduction(ptrdiff_t classes, bool has_own) : classes_(classes), has_own_(has_own) {}

  __attribute__((noinline)) void reduce(const Places& places, Sums& sums) const {
    find_maxima(places, sums);
    for (ptrdiff_t p = 0; p < places.count; p += width) sums.refer_to(load(sums.references.maximum + p), p);
    for (ptrdiff_t p = 0; p < places.count; p += width) sum_terms(places, p, sums);
  }

 private:
  void find_maxima(const Places& places, Sums& sums) const {
    if (places.count == batch_positions) return column_maxima<batch_positions / width>(places, 0, sums);
    for (ptrdiff_t p = 0; p < places.count; p += width) column_maxima<1>(places, p, sums);
  }
  template <int vectors>
  CROSSENT_INLINE void column_maxima(const Places& places, ptrdiff_t p, Sums& sums) const {
    Vec<T> m[vectors];
    repeat<vectors>(CROSSENT_EACH(v) { m[v] = splat(-(T)__builtin_inf()); });
    for (ptrdiff_t c = 0; c < classes_; ++c) {
      repeat<vectors>(CROSSENT_EACH(v) {
        const T* x = places.logits + c * places.logits_stride + p + v * width;
        if constexpr (vectors > 1 && !reads_meanwhile) __builtin_prefetch(x + batch_positions);  // the next batch
        m[v] = max(load(x), m[v]);
      });
    }
    repeat<vectors>(CROSSENT_EACH(v) { store(sums.references.maximum + p + v * width, m[v]); });
  }

  CROSSENT_INLINE void sum_terms(const Places& places, ptrdiff_t p, Sums& sums) const {
    const FewTerms<T> terms(places, classes_, sums.references.along_positions(p), p);
    if (classes_ > few_classes) {
      put(terms.sum_by_lanes(), p, sums);
      if (has_own_) find_own_logits(places, p, sums);
      return;
    }
    Vec<T> logit = splat<T>(0);
    terms.keep_in_turn();
    if (has_own_) {
      put(terms.template sum_kept<true>(load(sums.own_class + p), logit), p, sums);
      store(sums.own_logit + p, logit);
    } else {
      put(terms.template sum_kept<false>(logit, logit), p, sums);
    }
  }

  static CROSSENT_INLINE void put(const FewSums<T>& some, ptrdiff_t p, Sums& sums) {
    store_doubles<T>(sums.rest + p, some.rest);
    store(sums.count + p, some.count);
  }

  static CROSSENT_INLINE void find_own_logits(const Places& places, ptrdiff_t p, Sums& sums) {
    for (ptrdiff_t i = p; i < p + width; ++i) {
      const ptrdiff_t own = sums.own_class[i] < 0 ? 0 : (ptrdiff_t)sums.own_class[i];
      sums.own_logit[i] = places.logits[own * places.logits_stride + i];
    }
  }

  const ptrdiff_t classes_;
  const bool has_own_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
