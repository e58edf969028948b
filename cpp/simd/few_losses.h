// COMPILED ONCE PER INSTRUCTION SET. The losses and gradients of class indices among few classes.
#pragma once

#include "few_reduction.h"
#include "general_output.h"
#include "index_losses.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class T>
class FewLosses {
  using Places = FewPlaces<T>;
  static constexpr ptrdiff_t width = lanes<T>;

 public:
  explicit FewLosses(const Segment& segment)
      : segment_(segment), reduction_(segment.problem->classes, true), losses_(segment) {}

  void add(const Places& places) {
    losses_.read(places.first, places.count, sums_);
    reduction_.reduce(places, sums_);
    losses_.finish(sums_);
    losses_.add_up();
    if (segment_.losses) losses_.write();
    if (!places.output) return;
    if (losses_.prepare_gradient(sums_) == 0) return write_gradient(places);
    target_changed_ |= write_generally(segment_, places);
  }

  SegmentResult take_result() {
    SegmentResult result = losses_.take_result();
    result.target_changed |= target_changed_;
    return result;
  }

 private:
  void write_gradient(const Places& places) const {
    const ptrdiff_t classes = segment_.problem->classes;
    const Vec<T> zero = splat<T>(0), one = splat<T>(1);
    for (ptrdiff_t p = 0; p < places.count; p += width) {
      const Vec<T> own_class = load(sums_.own_class + p), own_gradient = load(losses_.own_gradient + p),
                   factor = load(losses_.factor + p);
      const auto has_class = less(splat<T>(-1), own_class);
      Vec<T> number = zero;
      for (ptrdiff_t c = 0; c < classes; ++c) {
        const Vec<T> product = load(places.terms + c * batch_positions + p) * factor;
        const Vec<T> value = select(equal(number, own_class), own_gradient, select(has_class, product, zero));
        store(places.output + c * places.output_stride + p, value);
        number = number + one;
      }
    }
  }

  const Segment& segment_;
  BatchSums<T> sums_;
  FewReduction<T> reduction_;
  IndexLosses<T> losses_;
  bool target_changed_ = false;  // since its loss was computed
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
