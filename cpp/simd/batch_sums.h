// COMPILED ONCE PER INSTRUCTION SET. What the positions of a batch are reduced to in the plainest of problems (by
// few_reduction.h and row_reduction.h), before it becomes losses and output (index_losses.h, batch_softmax.h).
#pragma once

#include "statistics.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Label smoothing, probabilities, scores or a temperature need the general way.
inline bool is_plain(const Segment& s) {
  const Problem& problem = *s.problem;
  return problem.operation == Operation::cross_entropy
             ? s.target && !problem.base && problem.temperature == 1 && !problem.gradient_is_zero
             : problem.operation != Operation::score;
}

// A vector of positions, with `rest` in units of exp(maximum).
template <class T>
struct BatchTotals {
  Doubles<T> maximum, count, rest, unit;
};

// What the positions of a batch are reduced to, a column for each. Where positions have a class of their own, it is put
// here first, and its logit is found on the way.
template <class T>
struct BatchSums {
  References<T> references;
  alignas(64) T own_class[batch_positions], own_logit[batch_positions];
  alignas(64) T count[batch_positions];      // of classes that equal the maximum
  alignas(64) double unit[batch_positions];  // of the terms
  alignas(64) double rest[batch_positions];  // the sum of the other terms

  // Of positions p, p + 1, …
  CROSSENT_INLINE BatchTotals<T> totals(ptrdiff_t p) const {
    BatchTotals<T> t = {load_as_doubles(references.maximum + p), load_as_doubles(count + p), load_doubles<T>(rest + p),
                        load_doubles<T>(unit + p)};
    repeat<double_vectors<T>>(CROSSENT_EACH(i) { t.rest.part[i] = t.rest.part[i] * t.unit.part[i]; });
    return t;
  }
  CROSSENT_INLINE void refer_to(const Vec<T>& maximum, ptrdiff_t p) {
    Doubles<T> units;
    references.put(p, reference_of(maximum, units));
    repeat<double_vectors<T>>(CROSSENT_EACH(i) {
      units.part[i] = splat(__builtin_ldexp(1.0, -(int)ExpConstants<T>::headroom)) * units.part[i];
    });
    store_doubles<T>(unit + p, units);
  }
};

// With a bit for each position whose factor of terms is no normal number, or so large that a term that vanishes might
// matter.
template <class T>
CROSSENT_INLINE uint32_t unusual_factors(const Vec<T>& factor) {
  constexpr uint32_t all_lanes = (1u << lanes<T>)-1;
  const Vec<T> magnitude = absolute(factor);
  return all_lanes & ~(bits_of(less(splat((T)ExpConstants<T>::least_factor), magnitude)) &
                       bits_of(less(magnitude, splat((T)ExpConstants<T>::greatest_factor))));
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
