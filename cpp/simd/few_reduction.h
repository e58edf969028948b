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
  static constexpr ptrdiff_t width = lanes<T>;

 public:
  FewReduction(BatchSums<T>& sums, ptrdiff_t classes, bool has_own)
      : sums_(sums), classes_(classes), has_own_(has_own) {}

  __attribute__((noinline)) void reduce(const Places& places) {
    find_maxima(places);
    for (ptrdiff_t p = 0; p < places.count; p += width) sums_.refer_to(load(sums_.references.maximum + p), p);
    for (ptrdiff_t p = 0; p < places.count; p += width) sum_terms(places, p);
  }

 private:
  void find_maxima(const Places& places) {
    if (places.count == batch_positions) return column_maxima<batch_positions / width>(places, 0);
    for (ptrdiff_t p = 0; p < places.count; p += width) column_maxima<1>(places, p);
  }
  template <int vectors>
  CROSSENT_INLINE void column_maxima(const Places& places, ptrdiff_t p) {
    Vec<T> m[vectors];
    repeat<vectors>(CROSSENT_EACH(v) { m[v] = splat(-(T)__builtin_inf()); });
    for (ptrdiff_t c = 0; c < classes_; ++c) {
      repeat<vectors>(CROSSENT_EACH(v) {
        const T* x = places.logits + c * places.logits_stride + p + v * width;
        if constexpr (vectors > 1 && !reads_meanwhile) __builtin_prefetch(x + batch_positions);  // the next batch
        m[v] = max(load(x), m[v]);
      });
    }
    repeat<vectors>(CROSSENT_EACH(v) { store(sums_.references.maximum + p + v * width, m[v]); });
  }

  CROSSENT_INLINE void sum_terms(const Places& places, ptrdiff_t p) {
    const FewTerms<T> terms(places, classes_, sums_.references.along_positions(p), p);
    if constexpr (few_plain_classes<T> > few_classes) {
      if (classes_ > few_classes) {
        store_sums(terms.sum_by_lanes(), p);
        if (has_own_) find_own_logits(places, p);
        return;
      }
    }
    Vec<T> logit = splat<T>(0);
    terms.keep_in_turn();
    if (has_own_) {
      store_sums(terms.template sum_kept<true>(load(sums_.own_class + p), logit), p);
      store(sums_.own_logit + p, logit);
    } else {
      store_sums(terms.template sum_kept<false>(logit, logit), p);
    }
  }

  CROSSENT_INLINE void store_sums(const FewSums<T>& sums, ptrdiff_t p) {
    store_doubles<T>(sums_.rest + p, sums.rest);
    store(sums_.count + p, sums.count);
  }

  CROSSENT_INLINE void find_own_logits(const Places& places, ptrdiff_t p) {
    for (ptrdiff_t i = p; i < p + width; ++i) {
      const ptrdiff_t own = sums_.own_class[i] < 0 ? 0 : (ptrdiff_t)sums_.own_class[i];
      sums_.own_logit[i] = places.logits[own * places.logits_stride + i];
    }
  }

  BatchSums<T>& sums_;
  const ptrdiff_t classes_;
  const bool has_own_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
