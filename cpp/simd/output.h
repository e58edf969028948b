// COMPILED ONCE PER INSTRUCTION SET. The pass that writes: gradient_c = scale · (softmax_c · W - t_c), softmax (W =
// scale = 1, no targets) or log-softmax, by rows or by columns, from the logits, which are still in cache, and a
// batch's coefficients.
#pragma once

#include "finish.h"

namespace crossent::CROSSENT_ISA {
namespace {

// What a vector of logits needs to become output.
template <class T>
struct OutputLanes {
  Reference<T> reference;
  Vec<T> multiplier, exponent, scale, log_sum, substitute;
};

template <class T, bool logarithm, bool with_terms>
CROSSENT_INLINE Vec<T> output_of(const Vec<T>& x, const Vec<T>& t, const OutputLanes<T>& o) {
  if constexpr (logarithm) return (x - o.reference.maximum) - o.log_sum;
  const Vec<T> part = scaled_exp(x - o.reference.offset, o.reference.lower, o.exponent, o.multiplier);
  if constexpr (with_terms) return o.scale * (part - t);  // the scale's rounding shrinks with the difference
  return part;
}

template <class O>
CROSSENT_INLINE void write_vector(typename O::Storage* y, const Vec<typename O::Real>& value, bool streams) {
  if constexpr (can_stream<O>) {
    if (streams) return O::stream(y, value);
  }
  O::store(y, value);
}

// Row p of the batch: `classes` classes from x to y, which may be the same memory unless the output streams past the
// cache.
template <class E, class O, bool logarithm, class Terms>
void write_row(const typename E::Storage* x, typename O::Storage* y, ptrdiff_t classes, const Terms& terms,
               const References<typename E::Real>& references, const Coefficients& k, ptrdiff_t p, ptrdiff_t y_stride,
               bool streams) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  if (!(k.substitute[p] >= is_computed)) {
    for (ptrdiff_t c = 0; c < classes; c += width) store_partial<O>(y + c, splat((T)k.substitute[p]), classes - c);
    return;
  }
  const OutputLanes<T> o = {references.at(p),     splat((T)k.multiplier[p]), splat((T)k.exponent[p]),
                            splat((T)k.scale[p]), splat((T)k.log_sum[p]),    splat((T)1)};
  ptrdiff_t c = 0;
  const auto output_at = CROSSENT_EACH(v) {
    Vec<T> t = splat<T>(0);
    if constexpr (Terms::present) t = terms.along_classes(c + v * width, first_lanes<T>(width));
    return output_of<T, logarithm, Terms::present>(E::load(x + c + v * width), t, o);
  };
  const auto write_partially = [&](ptrdiff_t count) __attribute__((always_inline)) {
    const FirstLanes present = first_lanes<T>(count);
    Vec<T> t = splat<T>(0);
    if constexpr (Terms::present) t = terms.along_classes(c, present);
    store_partial<O>(y + c, output_of<T, logarithm, Terms::present>(load_partial<E>(x + c, present, 0), t, o), count);
  };
  if (streams) {  // up to the first whole line
    const ptrdiff_t before = (ptrdiff_t)(-(uintptr_t)y % 64 / sizeof(*y));
    if (before > 0) write_partially(before < classes ? before : classes);
    c = before;
  }
  constexpr ptrdiff_t line = 64 / sizeof(*y), short_row = 1024 / sizeof(*y);
  if (!streams && classes <= short_row) {  // a later row's place, which the hardware would not foresee
    for (ptrdiff_t i = 0; i < classes; i += line) __builtin_prefetch(y + lanes_at_most * y_stride + i, 1);
  }
  // Four vectors are computed before the first is stored: loads that follow a store to the same place in another page
  // wait.
  constexpr int vectors = parts == 1 ? 4 : 1;
  for (; c + vectors * width <= classes; c += vectors * width) {
    Vec<T> result[vectors];
    repeat<vectors>(CROSSENT_EACH(v) { result[v] = output_at(v); });
    repeat<vectors>(CROSSENT_EACH(v) { write_vector<O>(y + c + v * width, result[v], streams); });
  }
  for (; c + width <= classes; c += width) write_vector<O>(y + c, output_at(0), streams);
  if (c < classes) write_partially(classes - c);
}

// What has been written for a position: every nan becomes the same one.
template <class O>
__attribute__((noinline)) void unite_nans(typename O::Storage* y, ptrdiff_t class_stride, ptrdiff_t classes) {
  for (ptrdiff_t c = 0; c < classes; ++c) {
    const auto value = load_one<O>(y + c * class_stride);
    if (value != value) store_one<O>(y + c * class_stride, (typename O::Real)__builtin_nan(""));
  }
}

template <class E, class O, bool logarithm, class Terms>
void write_columns(const typename E::Storage* x, ptrdiff_t x_class_stride, typename O::Storage* y,
                   ptrdiff_t y_class_stride, ptrdiff_t classes, ptrdiff_t positions, const Terms& terms,
                   const References<typename E::Real>& references, const Coefficients& k) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  for (ptrdiff_t p = 0; p < positions; p += width) {
    const ptrdiff_t count = positions - p;
    const FirstLanes present = first_lanes<T>(count);
    const OutputLanes<T> o = {references.along_positions(p), load_as<T>(k.multiplier + p),
                              load_as<T>(k.exponent + p),    load_as<T>(k.scale + p),
                              load_as<T>(k.log_sum + p),     load_as<T>(k.substitute + p)};
    const auto computed = less(splat<T>(0), o.substitute);
    for (ptrdiff_t c = 0; c < classes; ++c) {
      Vec<T> t = splat<T>(0);
      if constexpr (Terms::present) t = terms.along_positions(c, p, count);
      const Vec<T> logits = load_partial<E>(x + c * x_class_stride + p, present, 0);
      const Vec<T> value = output_of<T, logarithm, Terms::present>(logits, t, o);
      __builtin_prefetch(y + c * y_class_stride + p + batch_positions, 1);
      store_partial<O>(y + c * y_class_stride + p, select(computed, value, o.substitute), count);
    }
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
