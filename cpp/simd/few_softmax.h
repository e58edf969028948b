// COMPILED ONCE PER INSTRUCTION SET. Softmax, log-softmax and log-sum-exp of few classes.
#pragma once

#include "batch_softmax.h"
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
      : segment_(segment), reduction_(segment.problem->classes, false), softmax_(segment) {}

  void add(const Places& places) {
    const Operation operation = segment_.problem->operation;
    reduction_.reduce(places, sums_);
    const bool is_unusual = softmax_.prepare(places.count, sums_) != 0;
    if (operation == Operation::logsumexp) return softmax_.write_log_sum_exp(places.first, places.count, sums_);
    if (is_unusual) {
      write_generally(segment_, places);
    } else {
      operation == Operation::softmax ? write<false>(places) : write<true>(places);
    }
  }

 private:
  template <bool logarithm>
  void write(const Places& places) const {
    const Vec<T> most = splat<T>(1);
    for (ptrdiff_t p = 0; p < places.count; p += width) {
      const Vec<T> number = load(softmax_.number + p), maximum = load(sums_.references.maximum + p);
      for (ptrdiff_t c = 0; c < segment_.problem->classes; ++c) {
        const Vec<T> value = logarithm ? (load(places.logits + c * places.logits_stride + p) - maximum) - number
                                       : min(most, load(places.terms + c * batch_positions + p) * number);
        store(places.output + c * places.output_stride + p, value);
      }
    }
  }

  const Segment& segment_;
  BatchSums<T> sums_;
  FewReduction<T> reduction_;
  BatchSoftmax<T> softmax_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
