// COMPILED ONCE PER INSTRUCTION SET. The two ways through a chunk of classes to its statistics: by rows, where the
// classes of a position lie side by side and are the lanes, and by columns, where the positions do and are.
#pragma once

#include "statistics.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class E>
CROSSENT_INLINE typename E::Real row_maximum(const typename E::Storage* x, ptrdiff_t classes) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  const T lowest = -(T)__builtin_inf();
  Vec<T> m[4] = {splat(lowest), splat(lowest), splat(lowest), splat(lowest)};
  ptrdiff_t c = 0;
  for (; c + 4 * width <= classes; c += 4 * width) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) m[v] = max(E::load(x + c + v * width), m[v]);
  }
  for (; c < classes; c += width) m[0] = max(load_partial<E>(x + c, classes - c, lowest), m[0]);
  return greatest_lane(max(max(m[0], m[1]), max(m[2], m[3])));
}

// The statistics of `classes` classes of one row into column p of `out`, rest still in units of 2^(exponent -
// headroom).
template <class E, class Terms>
void reduce_row(const typename E::Storage* x, ptrdiff_t classes, const Terms& terms, Statistics& out, ptrdiff_t p) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>, group = width * group_terms;
  const T maximum = row_maximum<E>(x, classes);
  const Vec<double> maxima = splat((double)maximum);
  const Reference<T> reference = reference_from<T>(maxima, maxima);

  auto sums = SumAccumulators<T, Terms::present>::of_nothing();
  Vec<T> count = splat<T>(0), is_used = count;
  ptrdiff_t c = 0;
  const auto terms_at = [&](int v) __attribute__((always_inline)) {
    const ptrdiff_t first = c + v * width, present = classes - first;
    Vec<T> t = {};
    if constexpr (Terms::present) t = terms.along_classes(first, present);
    return terms_of<T, Terms::present>(load_partial<E>(x + first, present, -(T)__builtin_inf()), t, reference, count,
                                       is_used, sums);
  };
  if constexpr (parts == 1) {
    const auto full_terms_at = [&](int v) __attribute__((always_inline)) {
      const ptrdiff_t first = c + v * width;
      Vec<T> t = {};
      if constexpr (Terms::present) t = terms.along_classes(first, width);
      return terms_of<T, Terms::present>(E::load(x + first), t, reference, count, is_used, sums);
    };
    for (; c + group <= classes; c += group) sums.add(tree_sum<group_terms>(full_terms_at));
  }
  for (; c < classes; c += group) {
    const ptrdiff_t left = (classes - c + width - 1) / width;
    sums.add(tree_sum_of_present<group_terms>(left < group_terms ? left : group_terms, terms_at));
  }

  out.maximum[p] = (double)maximum;
  out.rest[p] = sums.rest.total();
  out.count[p] = (double)sum_of_lanes(count);
  if constexpr (Terms::present) {
    out.linear[p] = sums.linear.total();
    out.mass[p] = sums.mass.total();
    out.is_used[p] = (double)greatest_lane(is_used);
  }
}

// `vectors` vectors of positions, all full, so that each class is read in one piece.
template <class E, int vectors>
CROSSENT_INLINE void column_maxima(const typename E::Storage* x, ptrdiff_t class_stride, ptrdiff_t classes,
                                   ptrdiff_t count, typename E::Real* out) {
  using T = typename E::Real;
  Vec<T> m[vectors];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) m[v] = splat(-(T)__builtin_inf());
  for (ptrdiff_t c = 0; c < classes; ++c) {
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const auto* p = x + c * class_stride + v * lanes<T>;
      m[v] = max(vectors == 1 ? load_partial<E>(p, count, 0) : E::load(p), m[v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) store(out + v * lanes<T>, m[v]);
}

template <class T>
CROSSENT_INLINE void store_as_double(double* out, const Vec<T>& a) {
  if constexpr (sizeof(T) == 4) {
    Vec<double> low, high;
    widen(a, low, high);
    store(out, low);
    store(out + lanes<double>, high);
  } else {
    store(out, a);
  }
}

// As reduce_row, for `positions` positions side by side; lane l of a row is here the l-th accumulator of a position.
template <class E, class Terms>
void reduce_columns(const typename E::Storage* x, ptrdiff_t class_stride, ptrdiff_t classes, ptrdiff_t positions,
                    const Terms& terms, Statistics& out) {
  using T = typename E::Real;
  using Accumulators = SumAccumulators<T, Terms::present>;
  constexpr ptrdiff_t width = lanes<T>, group = width * group_terms;

  alignas(64) T maximum[batch_positions];
  if (positions == batch_positions) {
    column_maxima<E, batch_positions / width>(x, class_stride, classes, width, maximum);
  } else {
    for (ptrdiff_t p = 0; p < positions; p += width) {
      column_maxima<E, 1>(x + p, class_stride, classes, positions - p, maximum + p);
    }
  }

  for (ptrdiff_t p = 0; p < positions; p += width) {
    store_as_double(out.maximum + p, load(maximum + p));
    const Reference<T> reference =
        reference_from<T>(load(out.maximum + p), load(out.maximum + p + (width - lanes<double>)));
    const ptrdiff_t present = positions - p;
    Vec<T> count = splat<T>(0), is_used = count;
    const ptrdiff_t used_lanes = classes < width ? classes : width;
    Accumulators lane[width];
    for (ptrdiff_t l = 0; l < used_lanes; ++l) {
      Accumulators sums = Accumulators::of_nothing();
      for (ptrdiff_t c = l; c < classes; c += group) {
        const ptrdiff_t left = (classes - c + width - 1) / width;
        sums.add(tree_sum_of_present<group_terms>(
            left < group_terms ? left : group_terms, [&](int v) __attribute__((always_inline)) {
              const ptrdiff_t k = c + v * width;
              Vec<T> t = {};
              if constexpr (Terms::present) t = terms.along_positions(k, p, present);
              return terms_of<T, Terms::present>(load_partial<E>(x + k * class_stride + p, present, 0), t, reference,
                                                 count, is_used, sums);
            }));
      }
      lane[l] = sums;
    }
    for (ptrdiff_t fold = width / 2; fold > 0; fold /= 2) {
      for (ptrdiff_t l = 0; l < fold && l + fold < used_lanes; ++l) lane[l] = lane[l] + lane[l + fold];
    }
    lane[0].rest.store_sums(out.rest + p);
    store_as_double(out.count + p, count);
    if constexpr (Terms::present) {
      lane[0].linear.store_sums(out.linear + p);
      lane[0].mass.store_sums(out.mass + p);
      store_as_double(out.is_used + p, is_used);
    }
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
