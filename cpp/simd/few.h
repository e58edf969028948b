// COMPILED ONCE PER INSTRUCTION SET. Class indices among few classes, the plainest of problems: no label smoothing, no
// class probabilities. A vector of positions goes from its logits to its losses and gradients in registers. The losses
// have the bits that the general way (segment.h) gives them.
//
// The terms of a row, e_c = exp(x_c - M) in units of 2^-headroom and of the inverse unit, are kept, and with s = sum of
// e_c they become the gradient by one product each:
//     gradient_c = e_c · (W · scale / s),      gradient_y = -(W · scale / s) · (s - e_y),  summed without y.
// Where the factor or a product could leave the range of T's normal numbers, the general way computes the gradient:
// whether it does is decided by the position alone.
#pragma once

#include "segment.h"

namespace crossent::CROSSENT_ISA {
namespace {

// The class indices of a vector of positions as numbers; no_class where there is none to be heeded.
constexpr double no_class = -1, bad_class = -2;

// Of positions first, first + 1, …: `present` of them, the others have no class. bad_class: neither a class nor ignored.
template <class T>
CROSSENT_INLINE Doubles<T> read_class_numbers(const Segment& segment, ptrdiff_t first, ptrdiff_t present) {
  constexpr ptrdiff_t width = lanes<T>;
  const Problem& problem = *segment.problem;
  const int64_t* labels = segment.target + first * segment.target_stride;
  int64_t own[width];
  if (present < width || segment.target_stride != 1) {
    for (ptrdiff_t i = 0; i < width; ++i) own[i] = i < present ? read_once(labels + i * segment.target_stride) : 0;
    labels = own;
  }
  const auto number = [&](NativeI64 label) __attribute__((always_inline)) {
    using Bits = NativeOf<uint64_t>;
    constexpr int64_t shift = 0x4330000000000000, none = shift - 4;  // the bits of 2^52 and of 2^52 - 2
    const NativeI64 is_ignored = (NativeI64)(label == problem.ignore_index) & -(int64_t)problem.has_ignore_index;
    const NativeI64 is_class = (NativeI64)((Bits)label < (Bits{} + (uint64_t)problem.classes)) & ~is_ignored;
    return (is_class & (label | shift)) | (~is_class & (none + (is_ignored & 2)));
  };
  Doubles<T> result;
  repeat<double_vectors<T>>(CROSSENT_EACH(i) {
    Vec<double> lanes_of_labels;
    __builtin_memcpy(&lanes_of_labels, labels + i * lanes<double>, sizeof(lanes_of_labels));
    result.part[i] = map_bits(lanes_of_labels, number) - splat(0x1p52);
  });
  if (present < width) {
    double numbers[width];
    store_doubles<T>(numbers, result);
    for (ptrdiff_t i = present; i < width; ++i) numbers[i] = no_class;
    result = load_doubles<T>(numbers);
  }
  return result;
}

// What becomes of the positions of a segment, a vector of them at a time.
template <class T>
class FewPositions {
  using Plain = PlainOf<T>;
  static constexpr ptrdiff_t width = lanes<T>;
  static constexpr double headroom = ExpConstants<T>::headroom;

 public:
  explicit FewPositions(const Segment& segment) : segment_(segment), problem_(*segment.problem) {}

  // Where positions first, first + 1, …, `present` of them, have their logits, and their terms and gradient are to go;
  // `loaded` lanes of each class may be read and written.
  struct Place {
    const T* logits;
    ptrdiff_t logits_stride;
    T* terms;  // batch_positions from one class to the next; null without a gradient
    T* gradient;
    ptrdiff_t gradient_stride;
    ptrdiff_t first, present, loaded;
  };

  __attribute__((noinline)) void add(const Place& place) {
    const ptrdiff_t classes = problem_.classes;
    const Vec<T> zero = splat<T>(0), one = splat<T>(1);
    const FirstLanes loaded = first_lanes<T>(place.loaded);
    const auto logits_of = [&](ptrdiff_t c) __attribute__((always_inline)) {
      return load_partial<Plain>(place.logits + c * place.logits_stride, loaded, 0);
    };
    Vec<T> maximum = splat(-(T)__builtin_inf());
    for (ptrdiff_t c = 0; c < classes; ++c) {
      __builtin_prefetch(place.logits + c * place.logits_stride + batch_positions);
      maximum = max(logits_of(c), maximum);
    }
    Doubles<T> inverse_unit;
    const Reference<T> reference = reference_of(maximum, inverse_unit);
    Doubles<T> numbers = read_class_numbers<T>(segment_, place.first, place.present);
    repeat<double_vectors<T>>(CROSSENT_EACH(i) { least_number_ = min(numbers.part[i], least_number_); });
    Doubles<T> share;
    repeat<double_vectors<T>>(CROSSENT_EACH(i) { share.part[i] = splat(problem_.target_share); });
    if (problem_.weight) weigh(numbers, share);
    const Vec<T> own_class = as_lanes(numbers);

    Accumulator<T> sum = Accumulator<T>::of_nothing();
    Vec<T> count = zero, own_logit = zero, own_rest = zero, number = zero;
    for (ptrdiff_t c = 0; c < classes; ++c) {
      const Vec<T> x = logits_of(c);
      const auto is_maximum = equal(x, maximum), is_own = equal(number, own_class);
      const Vec<T> e = scaled_exp(x - reference.offset, reference.lower, reference.exponent);
      const Vec<T> rest = select(is_maximum, zero, e);
      if (place.terms) store(place.terms + c * batch_positions, e);
      sum.add(rest);
      count = count + select(is_maximum, one, zero);
      own_logit = select(is_own, x, own_logit);
      own_rest = select(is_own, rest, own_rest);
      number = number + one;
    }

    const Doubles<T> rests = sum.totals(), counts = as_doubles(count), maxima = as_doubles(maximum);
    const Doubles<T> own_logits = as_doubles(own_logit);
    Doubles<T> log_sum, unit, losses;
    repeat<double_vectors<T>>(CROSSENT_EACH(i) {
      const Vec<double> none = splat(0.0);
      unit.part[i] = splat(__builtin_ldexp(1.0, -(int)headroom)) * inverse_unit.part[i];
      log_sum.part[i] = log_of_count_and_rest<T>(maxima.part[i], counts.part[i], rests.part[i] * unit.part[i]);
      const Vec<double> linear = share.part[i] * (maxima.part[i] - own_logits.part[i]);
      const Vec<double> loss = fma(share.part[i], log_sum.part[i], linear) * splat(problem_.unit);
      losses.part[i] = select(less(numbers.part[i], none), none, with_one_nan(loss));
      loss_sum_.add(losses.part[i]);
    });
    if (segment_.losses) write_losses(losses, place);
    if (!place.gradient) return;

    const Doubles<T> scale = scales(place), own_rests = as_doubles(own_rest);
    const Doubles<T> own_counts = as_doubles(select(equal(own_logit, maximum), one, zero));
    Doubles<T> factor, own_gradient;
    repeat<double_vectors<T>>(CROSSENT_EACH(i) {
      const Vec<double> total = fma(rests.part[i], unit.part[i], counts.part[i]);
      const Vec<double> ratio = scale.part[i] * share.part[i] / total;
      const Vec<double> others =
          fma(rests.part[i] - own_rests.part[i], unit.part[i], counts.part[i] - own_counts.part[i]);
      factor.part[i] = ratio * unit.part[i];
      own_gradient.part[i] = splat(0.0) - ratio * others;
    });
    const GradientLanes lanes_of_gradient = {own_class, as_lanes(own_gradient),
                                             as_lanes(factor) + (maximum - maximum)};  // nan for an infinite maximum
    // Beyond, the factor or a term that matters is denormal.
    constexpr double least = sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022, most_order = sizeof(T) == 4 ? -24 : -53;
    const Vec<T> magnitude = absolute(lanes_of_gradient.factor);
    const uint32_t usual = bits_of(less(splat((T)least), magnitude)) &
                           bits_of(less(magnitude, splat((T)__builtin_ldexp(1.0, (int)most_order))));
    const uint32_t unusual = bits_of(less(splat<T>(-1), own_class)) & ~usual;
    if (unusual == 0) return write_gradient(place, lanes_of_gradient);
    write_unusual_gradient(place, lanes_of_gradient, unusual);
  }

  SegmentResult result() const {
    alignas(64) double least[lanes<double>];
    store(least, least_number_);
    const double lowest = fold<lanes<double>>(least, [](double a, double b) { return a < b ? a : b; });
    const ErrorSum sum = loss_sum_.folded();
    return {sum.sum, sum.error, lowest == bad_class};
  }

 private:
  struct GradientLanes {
    Vec<T> own_class, own_gradient, factor;
  };

  // The shares of the positions' weights; a position of weight 0 counts as one without a class.
  __attribute__((noinline)) void weigh(Doubles<T>& numbers, Doubles<T>& share) const {
    double number[width], value[width];
    store_doubles<T>(number, numbers);
    for (ptrdiff_t i = 0; i < width; ++i) {
      value[i] = number[i] < 0 ? 0 : problem_.target_share * problem_.weight[(ptrdiff_t)number[i]];
      if (value[i] == 0 && number[i] >= 0) number[i] = no_class;
    }
    numbers = load_doubles<T>(number);
    share = load_doubles<T>(value);
  }

  CROSSENT_INLINE Doubles<T> scales(const Place& place) const {
    double value[width];
    for (ptrdiff_t i = 0; i < width; ++i) {
      const ptrdiff_t position = place.first + (i < place.present ? i : 0);
      value[i] = segment_.scale[position * segment_.scale_stride] * problem_.unit;
    }
    return load_doubles<T>(value);
  }

  __attribute__((noinline)) void write_losses(const Doubles<T>& losses, const Place& place) const {
    double value[width];
    store_doubles<T>(value, losses);
    for (ptrdiff_t i = 0; i < place.present; ++i) {
      store_figure(segment_, segment_.losses, place.first + i, value[i]);
    }
  }

  CROSSENT_INLINE void write_gradient(const Place& place, const GradientLanes& k) const {
    const Vec<T> zero = splat<T>(0), one = splat<T>(1);
    const auto has_class = less(splat<T>(-1), k.own_class);
    Vec<T> number = zero;
    for (ptrdiff_t c = 0; c < problem_.classes; ++c) {
      const Vec<T> product = load(place.terms + c * batch_positions) * k.factor;
      const Vec<T> value = select(equal(number, k.own_class), k.own_gradient, select(has_class, product, zero));
      store_partial<Plain>(place.gradient + c * place.gradient_stride, value, place.loaded);
      number = number + one;
    }
  }

  // `unusual`: a bit for each position whose gradient is for the general way. The logits may lie where it goes.
  __attribute__((noinline)) void write_unusual_gradient(const Place& place, const GradientLanes& k,
                                                        uint32_t unusual) const {
    constexpr Element element = sizeof(T) == 4 ? Element::f32 : Element::f64;
    alignas(64) T general[few_classes * width];
    Segment segment = segment_;
    segment.positions = place.present;
    segment.logits = {const_cast<T*>(place.logits), element, 1, place.logits_stride};
    segment.output = {general, element, 1, width};
    segment.target += place.first * segment.target_stride;
    segment.scale += place.first * segment.scale_stride;
    segment.losses = nullptr;
    SegmentKernel<Plain>(segment).run();
    write_gradient(place, k);
    for (ptrdiff_t c = 0; c < problem_.classes; ++c) {
      for (ptrdiff_t i = 0; i < place.present; ++i) {
        if (unusual >> i & 1) place.gradient[c * place.gradient_stride + i] = general[c * width + i];
      }
    }
  }

  const Segment& segment_;
  const Problem& problem_;
  Accumulator<double> loss_sum_ = Accumulator<double>::of_nothing();
  Vec<double> least_number_ = splat(0.0);
};

// Batches of a segment: brought into tiles and back, unless they lie in memory as in tiles.
template <class E>
class FewClassesKernel {
  using T = typename E::Real;
  using Positions = FewPositions<T>;
  static constexpr ptrdiff_t width = lanes<T>;

 public:
  static bool is_for(const Segment& s) {
    const Problem& problem = *s.problem;
    return problem.operation == Operation::cross_entropy && s.target && !s.shared && problem.classes > 1 &&
           problem.classes <= few_classes && !problem.base && problem.temperature == 1 && !problem.gradient_is_zero;
  }

  explicit FewClassesKernel(const Segment& segment)
      : segment_(segment),
        classes_(segment.problem->classes),
        tile_(static_cast<T*>(segment.scratch)),
        terms_(tile_ + classes_ * batch_positions) {}

  SegmentResult run() {
    const Plane &x = segment_.logits, &y = segment_.output;
    const bool reads_in_place = is_like_a_tile(x), writes_in_place = reads_in_place && is_like_a_tile(y);
    Positions positions(segment_);
    for (ptrdiff_t first = 0; first < segment_.positions; first += batch_positions) {
      const ptrdiff_t left = segment_.positions - first, count = left < batch_positions ? left : batch_positions;
      if (!reads_in_place) {
        load_tile<E>(address<E>(x, first), x.position_stride, x.class_stride, classes_, count, tile_);
      }
      for (ptrdiff_t p = 0; p < count; p += width) {
        typename Positions::Place place = {tile_ + p, batch_positions, nullptr, nullptr, batch_positions, first + p,
                                           count - p < width ? count - p : width, width};
        if (y.data) place.terms = place.gradient = terms_ + p;
        if constexpr (is_plain) {
          if (reads_in_place) {
            place.logits = address<E>(x, first + p);
            place.logits_stride = x.class_stride;
            place.loaded = place.present;
          }
          if (writes_in_place && y.data) {
            place.gradient = address<E>(y, first + p);
            place.gradient_stride = y.class_stride;
          }
        }
        positions.add(place);
      }
      if (y.data && !writes_in_place) store_gradient(first, count);
    }
    return positions.result();
  }

 private:
  static constexpr bool is_plain = sizeof(typename E::Storage) == sizeof(T);

  static bool is_like_a_tile(const Plane& plane) {
    return is_plain && plane.position_stride == 1 && plane.class_stride != 1;
  }

  template <class O>
  static typename O::Storage* address(const Plane& plane, ptrdiff_t p) {
    return static_cast<typename O::Storage*>(plane.data) + p * plane.position_stride;
  }

  void store_gradient(ptrdiff_t first, ptrdiff_t count) const {
    if constexpr (!is_plain) {  // the gradient of half precision may be float
      if (segment_.output.element == Element::f32) return store_gradient_as<F32>(first, count);
    }
    store_gradient_as<E>(first, count);
  }
  template <class O>
  void store_gradient_as(ptrdiff_t first, ptrdiff_t count) const {
    const Plane& y = segment_.output;
    store_tile<O>(terms_, address<O>(y, first), y.position_stride, y.class_stride, classes_, count);
  }

  const Segment& segment_;
  const ptrdiff_t classes_;
  T *const tile_, *const terms_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
