// COMPILED ONCE PER INSTRUCTION SET. The sums over the targets by class of rows (Statistics: linear, mass, is_used),
// for label smoothing and class probabilities: made by themselves, once a row's maximum is known, while it is in
// cache. So the sums of exp(x), in one pass or two, are the same code with and without targets.
#pragma once

#include "reduce.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Those of classes c, c + 1, … of a vector of positions from the first on, if there are such targets.
template <class T>
class SumsOverTargets {
  using Plain = PlainOf<T>;

 public:
  SumsOverTargets(const SegmentInput<T>& in, ptrdiff_t c, ptrdiff_t classes, ptrdiff_t first)
      : in_(in), c_(c), classes_(classes), first_(first) {
    in.with_terms_of_rows([&](const auto& terms) { are_wanted_ = terms.present; });
    const Accumulator<T> nothing = Accumulator<T>::of_nothing();
    for (ptrdiff_t i = 0; i < lanes<T> && are_wanted_; ++i) put(i, nothing, nothing, splat<T>(0));
  }

  // Of a row with these logits and their maximum. `none_vanishes`: no logit of a whole group is below
  // Ordinary<T>::vanishing, or -inf.
  CROSSENT_INLINE void add_row(ptrdiff_t i, const T* x, T maximum, bool none_vanishes) {
    if (are_wanted_) add_wanted_row(i, x, maximum, none_vanishes);
  }

  void take(Statistics& out) const {
    if (!are_wanted_) return;
    linear_.take(out.linear + first_);
    if (!in_.problem.factor) return;
    mass_.take(out.mass + first_);
    store_doubles<T>(out.is_used + first_, as_doubles(use_.largest()));
  }

 private:
  void add_wanted_row(ptrdiff_t i, const T* x, T maximum, bool none_vanishes) {
    in_.with_terms_of_rows([&]<class Terms>(const Terms& all_terms) {
      if constexpr (Terms::present) {
        const Terms terms = in_.terms_of_row(all_terms, first_ + i, c_, classes_);
        if constexpr (!Terms::has_mass) {
          if (terms.units_are_one) return add<true, true>(i, x, maximum, terms);
          if (none_vanishes) return add<false, true>(i, x, maximum, terms);
        }
        add<false, false>(i, x, maximum, terms);
      }
    });
  }

  // 0 · inf is 0: that may be where a class is absent, or in a whole group unless `is_finite`.
  template <bool units_are_one, bool is_finite, class Terms>
  __attribute__((noinline)) void add(ptrdiff_t i, const T* x, T maximum, const Terms& terms) {
    struct Whole : FirstLanes {};
    const Vec<T> zero = splat<T>(0), one = splat<T>(1);
    const Vec<T> small_maximum = zero_unless_finite(splat(maximum)) * splat((T)(1 / linear_unit));
    Accumulator<T> linear = Accumulator<T>::of_nothing(), mass = linear;
    Vec<T> used = zero;
    const auto term = [&](const Vec<T>& logits, ptrdiff_t c, int v, auto present) __attribute__((always_inline)) {
      constexpr bool is_whole = std::is_same_v<decltype(present), Whole>;
      const Vec<T> gap = fma(logits, splat((T)(-1 / linear_unit)), small_maximum);
      if constexpr (is_whole && units_are_one) return gap;
      const Vec<T> t = terms.units_along_classes(c + v * lanes<T>, present), value = t * gap;
      if constexpr (is_whole && is_finite) return value;
      const auto is_absent = equal(t, zero);
      if constexpr (Terms::has_mass) {
        mass.add(t);
        used = select(is_absent, used, one);
      }
      return select(is_absent, zero, value);
    };
    const auto take = [&](const Vec<T>& group, ptrdiff_t) __attribute__((always_inline)) {
      linear.add(group);
      return true;
    };
    if constexpr (parts == 1) {
      last_group<Plain>(x, each_whole_group<Plain, Whole>(x, 0, classes_, term, take), classes_, term, take);
    } else if constexpr (CROSSENT_IS_SMALL) {
      each_group_in_a_loop<Plain>(x, 0, classes_, term, take);
    } else {
      each_group_in_a_loop<Plain>(x, each_whole_group<Plain, Whole>(x, 0, classes_, term, take), classes_, term, take);
    }
    put(i, linear, mass, used);
  }

  CROSSENT_INLINE void put(ptrdiff_t i, const Accumulator<T>& linear, const Accumulator<T>& mass, const Vec<T>& used) {
    linear_.put(i, linear);
    mass_.put(i, mass);
    use_.put(i, used);
  }

  const SegmentInput<T>& in_;
  const ptrdiff_t c_, classes_, first_;
  bool are_wanted_ = false;
  RowTotals<T> linear_, mass_;
  RowLanes<T> use_;
};

// reduce_rows() with these.
template <class E, bool keeps, class Terms>
__attribute__((noinline)) void reduce_rows_and_targets(const SegmentInput<typename E::Real>& in, ptrdiff_t c,
                                                       ptrdiff_t classes, ptrdiff_t first,
                                                       WaitingRows<typename E::Real>& waiting,
                                                       References<typename E::Real>& references, Statistics& out) {
  using T = typename E::Real;
  if constexpr (Terms::has_scores || sizeof(typename E::Storage) < 4) {
    reduce_rows<E, keeps, Terms>(in, c, classes, first, waiting, references, out, [](ptrdiff_t, T) {});
  } else {
    SumsOverTargets<T> sums(in, c, classes, first);
    reduce_rows<E, keeps, Terms>(in, c, classes, first, waiting, references, out, [&](ptrdiff_t i, T maximum) {
      sums.add_row(i, in.template row<E>(first + i, c, classes), maximum, false);
    });
    sums.take(out);
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
