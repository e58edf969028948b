// COMPILED ONCE PER INSTRUCTION SET. The linear sum of label smoothing (Statistics::linear) of a row of ordinary
// logits, whose maximum M is known once the row has been read: from the first cache, with the bits of terms_of() in two
// passes. No logit of a whole group vanishes (OnePass has refused others), so 0 · inf can only be in the last one.
#pragma once

#include "row_groups.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class E, bool units_are_one, class T>
__attribute__((noinline)) Accumulator<T> linear_sums_of(const typename E::Storage* x, ptrdiff_t classes, T maximum,
                                                        const BaseTerms<T>& terms) {
  const Vec<T> small_maximum = splat(maximum * (T)(1 / linear_unit)), zero = splat<T>(0);
  Accumulator<T> sum = Accumulator<T>::of_nothing();
  const auto term = [&](const Vec<T>& x_lanes, ptrdiff_t c, int v, auto present) __attribute__((always_inline)) {
    constexpr bool is_whole = std::is_same_v<decltype(present), NoneVanishes>;
    const Vec<T> gap = fma(x_lanes, splat((T)(-1 / linear_unit)), small_maximum);
    if constexpr (is_whole && units_are_one) return gap;
    const Vec<T> t = terms.units_along_classes(c + v * lanes<T>, present);
    const Vec<T> value = units_are_one ? gap : t * gap;
    return is_whole ? value : select(equal(t, zero), zero, value);
  };
  const auto take = [&](const Vec<T>& group, ptrdiff_t) __attribute__((always_inline)) {
    sum.add(group);
    return true;
  };
  last_group<E>(x, each_whole_group<E, NoneVanishes>(x, 0, classes, term, take), classes, term, take);
  return sum;
}

template <class E, class T>
Accumulator<T> linear_sums(const typename E::Storage* x, ptrdiff_t classes, T maximum, const BaseTerms<T>& terms) {
  return terms.units_are_one ? linear_sums_of<E, true>(x, classes, maximum, terms)
                             : linear_sums_of<E, false>(x, classes, maximum, terms);
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
