// COMPILED ONCE PER INSTRUCTION SET. What has no targets, among few classes: with s = sum of the terms e_c of a row,
//     softmax_c = e_c / s        log_softmax_c = (x_c - M) - log s        lse = M + log s
// with s in units of exp(M) for the last two. Rows that have no such number are for the general way.
#pragma once

#include "few_reduction.h"
#include "general_output.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class T>
class FewSoftmax {
  using Places = FewPlaces<T>;
  static constexpr ptrdiff_t width = lanes<T>;

 public:
  explicit FewSoftmax(const Segment& segment)
      : segment_(segment), operation_(segment.problem->operation), sums_(segment.problem->classes, false) {}

  void add(const Places& places) {
    const bool is_softmax = operation_ == Operation::softmax;
    sums_.reduce(places);
    if (!is_softmax) take_logarithms(places.count);
    if (operation_ == Operation::logsumexp) return write_log_sum_exp(places);
    uint64_t unusual = 0;
    for (ptrdiff_t p = 0; p < places.count; p += width) {
      unusual |= (uint64_t)(is_softmax ? prepare_factor(p) : prepare_log_sum(p)) << p;
    }
    GeneralOutput<T> general;
    if (unusual != 0) general.compute(segment_, places);
    is_softmax ? write<false>(places) : write<true>(places);
    if (unusual != 0) general.put(unusual, places, segment_.problem->classes);
  }

 private:
  void take_logarithms(ptrdiff_t positions) {
    for (ptrdiff_t p = 0; p < positions; p += width) {
      const FewTotals<T> sums = sums_.totals(p);
      repeat<double_vectors<T>>(CROSSENT_EACH(i) {
        store(log_sum_ + p + i * lanes<double>,
              log_of_count_and_rest<T>(sums.maximum.part[i], sums.count.part[i], sums.rest.part[i]));
      });
    }
  }

  // An infinite M is the answer itself, unless there is nan.
  void write_log_sum_exp(const Places& places) const {
    for (ptrdiff_t p = 0; p < places.count; ++p) {
      const double maximum = sums_.references.maximum[p];
      const double value = maximum + (__builtin_isfinite(maximum) ? log_sum_[p] : sums_.rest[p]);
      store_figure(segment_, segment_.losses, places.first + p, value == value ? value : __builtin_nan(""));
    }
  }

  // The number that turns a term into softmax. Says with a bit for each position which have none.
  CROSSENT_INLINE uint32_t prepare_factor(ptrdiff_t p) {
    const FewTotals<T> sums = sums_.totals(p);
    const Vec<T> maximum = load(sums_.references.maximum + p);
    Doubles<T> factor;
    repeat<double_vectors<T>>(CROSSENT_EACH(i) {
      factor.part[i] = Divisor<T>(sums.count.part[i] + sums.rest.part[i]).quotient(sums.unit.part[i]);
    });
    const Vec<T> factors = as_lanes(factor) + (maximum - maximum);  // nan for an infinite maximum
    store(number_ + p, factors);
    return FewReduction<T>::unusual_factors(factors);
  }
  // And x_c - M into log-softmax.
  CROSSENT_INLINE uint32_t prepare_log_sum(ptrdiff_t p) {
    const Vec<T> log_sum = load_as<T>(log_sum_ + p);
    store(number_ + p, log_sum);
    return bits_of(differ(log_sum, log_sum));
  }

  template <bool logarithm>
  void write(const Places& places) const {
    const Vec<T> most = splat<T>(1);
    for (ptrdiff_t p = 0; p < places.count; p += width) {
      const Vec<T> number = load(number_ + p), maximum = load(sums_.references.maximum + p);
      for (ptrdiff_t c = 0; c < segment_.problem->classes; ++c) {
        const Vec<T> value = logarithm ? (load(places.logits + c * places.logits_stride + p) - maximum) - number
                                       : min(most, load(places.terms + c * batch_positions + p) * number);
        store(places.output + c * places.output_stride + p, value);
      }
    }
  }

  const Segment& segment_;
  const Operation operation_;
  FewReduction<T> sums_;
  alignas(64) T number_[batch_positions];  // see prepare_factor()
  alignas(64) double log_sum_[batch_positions];
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
