// COMPILED ONCE PER INSTRUCTION SET. The weighted targets t_c of kernels.h that are known before a class index is: none
// (plain class indices), base_c (label smoothing), factor_c · q_c + base_c (class probabilities). And which sums
// columns of logits are reduced to with them, and rows without targets: the first is always `rest`; statistics.h has
// their names. Rows with targets have the sums over these from target_sums.h.
#pragma once

#include "element.h"

namespace crossent::CROSSENT_ISA {
namespace {

struct NoTerms {
  static constexpr int sums = 1, tree_sums = 1;
  static constexpr bool is_plain = true, present = false, has_mass = false, has_scores = false;
  NoTerms from_class(ptrdiff_t) const { return {}; }
};

// None, and the sums that scores are made of.
struct ScoreTerms {
  static constexpr int sums = 3, tree_sums = 1;
  static constexpr bool is_plain = false, present = false, has_mass = false, has_scores = true;
  ScoreTerms from_class(ptrdiff_t) const { return {}; }
};

// `units`: base in units of problem.base_unit, of which sums are made; may be null for the output.
template <class T>
struct BaseTerms {
  static constexpr int sums = 2, tree_sums = 2;
  static constexpr bool is_plain = false, present = true, has_scores = false,
                        has_mass = false;  // its sum over the classes is known
  const T* base;
  const T* units = nullptr;
  bool units_are_one = false;

  BaseTerms from_class(ptrdiff_t c) const { return {base + c, units + c, units_are_one}; }
  // Classes c, c + 1, … as lanes.
  CROSSENT_INLINE Vec<T> along_classes(ptrdiff_t c, FirstLanes some) const {
    return load_partial<PlainOf<T>>(base + c, some, 0);
  }
  // Positions p, p + 1, … of class c as lanes.
  CROSSENT_INLINE Vec<T> along_positions(ptrdiff_t c, ptrdiff_t, ptrdiff_t) const { return splat(base[c]); }
  // The same of the units.
  CROSSENT_INLINE Vec<T> units_along_classes(ptrdiff_t c, FirstLanes some) const {
    return load_partial<PlainOf<T>>(units + c, some, 0);
  }
  CROSSENT_INLINE Vec<T> units_along_positions(ptrdiff_t c, ptrdiff_t, ptrdiff_t) const { return splat(units[c]); }
};

template <class T>
struct ProbabilityTerms {
  static constexpr int sums = 2, tree_sums = 2;
  static constexpr bool is_plain = false, present = true, has_mass = true, has_scores = false;
  const T *base, *factor, *probability;
  ptrdiff_t class_stride;
  ptrdiff_t ahead = 0;  // so many elements further on is what will be read later

  ProbabilityTerms from_class(ptrdiff_t c) const {
    return {base + c, factor + c, probability + c * class_stride, class_stride, ahead};
  }
  CROSSENT_INLINE Vec<T> along_classes(ptrdiff_t c, FirstLanes some) const {
    using P = PlainOf<T>;
    Vec<T> q = load_partial<P>(probability + c, some, 0);
    prefetch_with<P, 2>(q, probability + c, 0, ahead * (ptrdiff_t)sizeof(T));
    prefetch_with<P, 3>(q, probability + c, 0, bytes_to_first_cache);
    return fma(load_partial<P>(factor + c, some, 0), q, load_partial<P>(base + c, some, 0));
  }
  CROSSENT_INLINE Vec<T> along_positions(ptrdiff_t c, ptrdiff_t p, ptrdiff_t count) const {
    return fma(splat(factor[c]), load_partial<PlainOf<T>>(probability + c * class_stride + p, count, 0),
               splat(base[c]));
  }
  CROSSENT_INLINE Vec<T> units_along_classes(ptrdiff_t c, FirstLanes some) const { return along_classes(c, some); }
  CROSSENT_INLINE Vec<T> units_along_positions(ptrdiff_t c, ptrdiff_t p, ptrdiff_t count) const {
    return along_positions(c, p, count);
  }
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
