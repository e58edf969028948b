// COMPILED ONCE PER INSTRUCTION SET. The pass that writes: gradient_c = scale · (softmax_c · W - t_c), softmax (W =
// scale = 1, no targets) or log-softmax, by rows or by columns, from the logits, which are still in cache, and a
// batch's coefficients.
#pragma once

#include <type_traits>

#include "finish.h"

namespace crossent::CROSSENT_ISA {
namespace {

// What a vector of logits needs to become output.
template <class T>
struct OutputLanes {
  Reference<T> reference;
  Vec<T> term_factor, multiplier, exponent, scale, log_sum, substitute, most;
};

// The output from softmax · W, which has the scale already where nothing is subtracted. A nan stays.
template <class T, bool with_terms>
CROSSENT_INLINE Vec<T> without_target(const Vec<T>& part, const Vec<T>& t, const Vec<T>& scale, const Vec<T>& most) {
  if constexpr (with_terms) return scale * (part - t);  // the scale's rounding shrinks with the difference
  return min(most, part);
}

template <class T, bool logarithm, bool with_terms>
CROSSENT_INLINE Vec<T> output_of(const Vec<T>& x, const Vec<T>& t, const OutputLanes<T>& o) {
  if constexpr (logarithm) return (x - o.reference.maximum) - o.log_sum;
  const Vec<T> term = scaled_exp(x - o.reference.offset, o.reference.lower, o.reference.shifter);
  return without_target<T, with_terms>(term * o.term_factor, t, o.scale, o.most);
}

// The same where the factor is out of range.
template <class T, bool with_terms>
__attribute__((noinline)) Vec<T> unusual_output_of(const Vec<T>& x, const Vec<T>& t, const OutputLanes<T>& o) {
  using C = ExpConstants<T>;
  const Vec<T> lower = o.reference.lower - splat((T)(C::negligible - C::vanishing));
  return without_target<T, with_terms>(exp_product(o.multiplier, x - o.reference.offset, lower, o.exponent), t, o.scale,
                                       o.most);
}

template <class O>
CROSSENT_INLINE void write_vector(typename O::Storage* y, const Vec<typename O::Real>& value, bool streams) {
  if constexpr (can_stream<O>) {
    if (streams) return O::stream(y, value);
  }
  O::store(y, value);
}

// A row of output. value(c, present, is_whole) makes the vector of classes c, c + 1, …; is_whole is a constant.
template <class O, class Value>
CROSSENT_INLINE void write_line(typename O::Storage* y, ptrdiff_t classes, ptrdiff_t y_stride, bool streams,
                                const Value& value) {
  using T = typename O::Real;
  constexpr ptrdiff_t width = lanes<T>;
  ptrdiff_t c = 0;
  const auto whole_at = CROSSENT_EACH(v) { return value(c + v * width, first_lanes<T>(width), std::true_type{}); };
  const auto write_partially = [&](ptrdiff_t count) __attribute__((always_inline)) {
    store_partial<O>(y + c, value(c, first_lanes<T>(count), std::false_type{}), count);
  };
  if (streams) {  // up to the first whole line
    const ptrdiff_t before = bytes_to_line(y) / (ptrdiff_t)sizeof(*y);
    if (before > 0) write_partially(before < classes ? before : classes);
    c = before;
  }
  constexpr ptrdiff_t line = line_bytes / sizeof(*y), short_row = 1024 / sizeof(*y);
  if (!streams && classes <= short_row) {  // a later row's place, which the hardware would not foresee
    for (ptrdiff_t i = 0; i < classes; i += line) __builtin_prefetch(y + lanes_at_most * y_stride + i, 1);
  }
  // Four vectors are computed before the first is stored: loads that follow a store to the same place in another page
  // wait.
  constexpr int vectors = parts == 1 ? 4 : 1;
  for (; c + vectors * width <= classes; c += vectors * width) {
    Vec<T> result[vectors];
    repeat<vectors>(CROSSENT_EACH(v) { result[v] = whole_at(v); });
    repeat<vectors>(CROSSENT_EACH(v) { write_vector<O>(y + c + v * width, result[v], streams); });
  }
  for (; c + width <= classes; c += width) write_vector<O>(y + c, whole_at(0), streams);
  if (c < classes) write_partially(classes - c);
}

// The terms of a batch of rows, kept in memory as the sums have seen them, and what turns them into output.
template <class T>
struct KeptTerms {
  bool unit_is_one[batch_positions / lanes<T>] = {};  // instead of that of the references; by vector of positions
  bool are_usable = true;                             // else the chunks of a row have units of their own
  alignas(64) T factor[batch_positions];              // 0 where it is no normal number, or a substitute is written

  void set_factors(const Coefficients& k, const References<T>& references, ptrdiff_t positions) {
    const Vec<T> zero = splat<T>(0), infinity = splat((T)__builtin_inf());
    for (ptrdiff_t p = 0; p < positions; p += lanes<T>) {
      Vec<T> of_unit = load_as<T>(k.term_factor + p);
      if (unit_is_one[p / lanes<T>]) {
        of_unit = scale_by_power_of_two(of_unit, exponent_of(load(references.shifter + p)));
      }
      const Vec<T> magnitude = absolute(of_unit), least = splat((T)ExpConstants<T>::least_factor);
      const Vec<T> not_small = select(less(least, magnitude), of_unit, zero);  // the least may have been rounded to
      const Vec<T> normal = select(less(magnitude, infinity), not_small, zero);
      store(factor + p, are_usable ? select(less(zero, load_as<T>(k.substitute + p)), normal, zero) : zero);
    }
  }
};

// What a row's output is made of, but for targets by class.
template <class T>
struct OutputRow {
  T maximum, offset, lower, shifter;
  T term_factor;  // of the terms that are kept, or of those computed again
  T scale, log_sum, most, own_gradient;
  ptrdiff_t target;
};

// From a row's terms, a whole number of vectors. The target's own gradient is written on the way: afterwards its place
// might have to be fetched from memory.
template <class O, class Terms>
__attribute__((noinline)) void write_kept_row(const OutputRow<typename O::Real>& row, const typename O::Real* kept,
                                              typename O::Storage* y, ptrdiff_t classes, const Terms& terms,
                                              ptrdiff_t y_stride, bool streams) {
  using T = typename O::Real;
  const Vec<T> factor = splat(row.term_factor), scale = splat(row.scale), own = splat(row.own_gradient);
  const Vec<T> numbers = lane_numbers<T>(), most = splat(row.most);
  write_line<O>(y, classes, y_stride, streams,
                [&](ptrdiff_t c, [[maybe_unused]] FirstLanes present, auto) __attribute__((always_inline)) {
                  Vec<T> t = splat<T>(0);
                  if constexpr (Terms::present) t = terms.along_classes(c, present);
                  const Vec<T> value = without_target<T, Terms::present>(load(kept + c) * factor, t, scale, most);
                  return select(equal(numbers, splat((T)(row.target - c))), own, value);
                });
}

// From a row's logits x, but for the target's own gradient. y may be the same memory unless the output streams past the
// cache.
template <class E, class O, bool logarithm, class Terms>
__attribute__((noinline)) void write_computed_row(const OutputRow<typename E::Real>& row, const typename E::Storage* x,
                                                  typename O::Storage* y, ptrdiff_t classes, const Terms& terms,
                                                  ptrdiff_t y_stride, bool streams) {
  using T = typename E::Real;
  OutputLanes<T> o = {};
  o.reference = {splat(row.maximum), splat(row.offset), splat(row.lower), splat(row.shifter)};
  o.term_factor = splat(row.term_factor);
  o.scale = splat(row.scale);
  o.log_sum = splat(row.log_sum);
  o.most = splat(row.most);
  write_line<O>(y, classes, y_stride, streams,
                [&](ptrdiff_t c, FirstLanes present, auto is_whole) __attribute__((always_inline)) {
                  Vec<T> t = splat<T>(0), logits;
                  if constexpr (Terms::present) t = terms.along_classes(c, present);
                  if constexpr (is_whole) {
                    logits = E::load(x + c);
                    prefetch_with<E, 2>(logits, x + c, 0, bytes_ahead);  // a row in parts comes from memory again
                  } else {
                    logits = load_partial<E>(x + c, present, 0);
                  }
                  return output_of<T, logarithm, Terms::present>(logits, t, o);
                });
}

// The same where the factor of row p's terms is out of range.
template <class E, class O, class Terms>
__attribute__((noinline)) void write_unusual_row(const typename E::Storage* x, typename O::Storage* y,
                                                 ptrdiff_t classes, const Terms& terms,
                                                 const References<typename E::Real>& references, const Coefficients& k,
                                                 ptrdiff_t p) {
  using T = typename E::Real;
  OutputLanes<T> o = {};
  o.reference = references.at(p);
  o.multiplier = splat((T)k.multiplier[p]);
  o.exponent = splat((T)k.exponent[p]);
  o.scale = splat((T)k.scale[p]);
  o.most = splat((T)k.most_output);
  for (ptrdiff_t c = 0; c < classes; c += lanes<T>) {
    const FirstLanes present = first_lanes<T>(classes - c);
    Vec<T> t = splat<T>(0);
    if constexpr (Terms::present) t = terms.along_classes(c, present);
    const Vec<T> logits = load_partial<E>(x + c, present, 0);
    store_partial<O>(y + c, unusual_output_of<T, Terms::present>(logits, t, o), classes - c);
  }
}

// A row of one value.
template <class O>
void write_substitute(typename O::Storage* y, ptrdiff_t classes, double substitute) {
  using T = typename O::Real;
  for (ptrdiff_t c = 0; c < classes; c += lanes<T>) store_partial<O>(y + c, splat((T)substitute), classes - c);
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
    const OutputLanes<T> o = {references.along_positions(p), load_as<T>(k.term_factor + p),
                              load_as<T>(k.multiplier + p),  load_as<T>(k.exponent + p),
                              load_as<T>(k.scale + p),       load_as<T>(k.log_sum + p),
                              load_as<T>(k.substitute + p),  splat((T)k.most_output)};
    const auto computed = less(splat<T>(0), o.substitute), is_unusual = equal(o.term_factor, splat<T>(0));
    const uint32_t present_bits = count < width ? (1u << count) - 1 : (1u << width) - 1;
    const bool some_are_unusual = !logarithm && (bits_of(is_unusual) & present_bits) != 0;
    for (ptrdiff_t c = 0; c < classes; ++c) {
      Vec<T> t = splat<T>(0);
      if constexpr (Terms::present) t = terms.along_positions(c, p, count);
      const Vec<T> logits = load_partial<E>(x + c * x_class_stride + p, present, 0);
      Vec<T> value = output_of<T, logarithm, Terms::present>(logits, t, o);
      if (some_are_unusual) value = select(is_unusual, unusual_output_of<T, Terms::present>(logits, t, o), value);
      __builtin_prefetch(y + c * y_class_stride + p + batch_positions, 1);
      store_partial<O>(y + c * y_class_stride + p, select(computed, value, o.substitute), count);
    }
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
