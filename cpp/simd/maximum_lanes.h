// COMPILED ONCE PER INSTRUCTION SET. The lanes of groups that hold their row's maximum, summed again without it.
#pragma once

#include "row_groups.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Up to a vector of them. With `scores` the maximum's place is found on the way.
template <class T, bool scores>
class MaximumLanes {
 public:
  bool are_full() const { return used_ == lanes<T>; }

  // A lane of a group of `classes` classes of position p, from class c at x on: its sums are to be mended.
  template <class E>
  void put(const typename E::Storage* x, ptrdiff_t c, ptrdiff_t classes, T maximum, Group<T, scores>& group,
           ptrdiff_t lane, Statistics& out, ptrdiff_t p) {
    for (int v = 0; v < group_terms; ++v) {
      x_[v][used_] = v * lanes<T> < classes ? load_one<E>(x + v * lanes<T>) : -(T)__builtin_inf();
    }
    maximum_[used_] = maximum;
    sum_[used_] = reinterpret_cast<T*>(&group.sum) + lane;
    count_[used_] = out.count + p;
    if constexpr (scores) {
      squares_[used_] = reinterpret_cast<T*>(&group.squares) + lane;
      place_[used_] = out.place + p;
      first_class_[used_] = c;
    }
    ++used_;
  }

  __attribute__((noinline)) void sum_again() {
    const Vec<T> zero = splat<T>(0), one = splat<T>(1), maximum = load(maximum_);
    Vec<T> count = zero, square = zero, place = splat<T>(group_terms);
    const Vec<T> sum = tree_sum<group_terms>(CROSSENT_EACH(v) {
      const Vec<T> x = load(x_[v]);
      const auto is_maximum = equal(x, maximum);
      count = add_where(is_maximum, count, one);
      const Vec<T> e = select(not_less(x, splat(Ordinary<T>::vanishing)), exp_in_range(x), zero);
      const Vec<T> rest = select(is_maximum, zero, e);
      if constexpr (scores) {
        square = fma(rest, rest, square);
        place = min(select(is_maximum, splat<T>(v), place), place);
      }
      return rest;
    });
    put_back(sum, sum_);
    if constexpr (scores) put_back(square, squares_);
    alignas(64) T counts[lanes<T>], places[lanes<T>];
    store(counts, count);
    store(places, place);
    for (int i = 0; i < used_; ++i) {
      *count_[i] += counts[i];
      if constexpr (scores) {
        const double found = (double)(first_class_[i] + (ptrdiff_t)places[i] * lanes<T>);
        *place_[i] = found < *place_[i] ? found : *place_[i];
      }
    }
    used_ = 0;
  }

 private:
  void put_back(const Vec<T>& sums, T* const (&to)[lanes<T>]) const {
    alignas(64) T sum[lanes<T>];
    store(sum, sums);
    for (int i = 0; i < used_; ++i) *to[i] = sum[i];
  }

  alignas(64) T x_[group_terms][lanes<T>] = {}, maximum_[lanes<T>] = {};
  T *sum_[lanes<T>], *squares_[lanes<T>];
  double *count_[lanes<T>], *place_[lanes<T>];
  ptrdiff_t first_class_[lanes<T>];
  int used_ = 0;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
