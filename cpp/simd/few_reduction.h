// COMPILED ONCE PER INSTRUCTION SET. What a batch of positions of few classes is reduced to, all positions one step at
// a time. All results have the bits that the general way (segment.h) gives them.
#pragma once

#include "few_terms.h"

namespace crossent::CROSSENT_ISA {
namespace {

// What a vector of positions is reduced to. The terms are in units of `unit`.
template <class T>
struct FewTotals {
  Doubles<T> maximum, count, rest, unit;
};

template <class T>
class FewReduction {
  using Places = FewPlaces<T>;
  static constexpr ptrdiff_t width = lanes<T>;
  static constexpr uint32_t all_lanes = (1u << width) - 1;

 public:
  // Of a batch, a column for each position. Where positions have a class of their own, it is put here first, and its
  // logit is found on the way.
  References<T> references;
  alignas(64) T own_class[batch_positions], own_logit[batch_positions];
  alignas(64) T count[batch_positions];      // of classes that equal the maximum
  alignas(64) double unit[batch_positions];  // of the terms
  alignas(64) double rest[batch_positions];  // the sum of the other terms

  FewReduction(ptrdiff_t classes, bool has_own) : classes_(classes), has_own_(has_own) {}

  __attribute__((noinline)) void reduce(const Places& places) {
    find_maxima(places);
    for (ptrdiff_t p = 0; p < places.count; p += width) refer(p);
    for (ptrdiff_t p = 0; p < places.count; p += width) sum_terms(places, p);
  }

  // Of positions p, p + 1, …, in units of exp(maximum).
  CROSSENT_INLINE FewTotals<T> totals(ptrdiff_t p) const {
    FewTotals<T> t = {load_as_doubles(references.maximum + p), load_as_doubles(count + p), load_doubles<T>(rest + p),
                      load_doubles<T>(unit + p)};
    repeat<double_vectors<T>>(CROSSENT_EACH(i) { t.rest.part[i] = t.rest.part[i] * t.unit.part[i]; });
    return t;
  }

  // With a bit for each position whose factor is no normal number, or so large that a term that vanishes might matter.
  static CROSSENT_INLINE uint32_t unusual_factors(const Vec<T>& factor) {
    const Vec<T> magnitude = absolute(factor);
    return all_lanes & ~(bits_of(less(splat((T)ExpConstants<T>::least_factor), magnitude)) &
                         bits_of(less(magnitude, splat((T)ExpConstants<T>::greatest_factor))));
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
    repeat<vectors>(CROSSENT_EACH(v) { store(references.maximum + p + v * width, m[v]); });
  }

  CROSSENT_INLINE void refer(ptrdiff_t p) {
    constexpr double headroom = ExpConstants<T>::headroom;
    Doubles<T> units;
    references.put(p, reference_of(load(references.maximum + p), units));
    repeat<double_vectors<T>>(
        CROSSENT_EACH(i) { units.part[i] = splat(__builtin_ldexp(1.0, -(int)headroom)) * units.part[i]; });
    store_doubles<T>(unit + p, units);
  }

  CROSSENT_INLINE void sum_terms(const Places& places, ptrdiff_t p) {
    const FewTerms<T> terms(places, classes_, references.along_positions(p), p);
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
      store_sums(terms.template sum_kept<true>(load(own_class + p), logit), p);
      store(own_logit + p, logit);
    } else {
      store_sums(terms.template sum_kept<false>(logit, logit), p);
    }
  }

  CROSSENT_INLINE void store_sums(const FewSums<T>& sums, ptrdiff_t p) {
    store_doubles<T>(rest + p, sums.rest);
    store(count + p, sums.count);
  }

  CROSSENT_INLINE void find_own_logits(const Places& places, ptrdiff_t p) {
    for (ptrdiff_t i = p; i < p + width; ++i) {
      const ptrdiff_t own = own_class[i] < 0 ? 0 : (ptrdiff_t)own_class[i];
      own_logit[i] = places.logits[own * places.logits_stride + i];
    }
  }

  const ptrdiff_t classes_;
  const bool has_own_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
