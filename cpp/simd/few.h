// COMPILED ONCE PER INSTRUCTION SET. The plainest of problems, class indices among few classes, batch by batch: where
// which problem goes is decided here.
#pragma once

#include "few_positions.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Batches of a segment: brought into tiles and back, unless they lie in memory as in tiles.
template <class E>
class FewClassesKernel {
  using T = typename E::Real;

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
    FewPositions<T> positions(segment_);
    SegmentResult* of_block = segment_.of_blocks;
    for (ptrdiff_t first = 0, block_end = segment_.block_positions; first < segment_.positions;
         first += batch_positions) {  // of which a block has a whole number
      if (first == block_end) {
        *of_block++ = positions.take_result();
        block_end += segment_.block_positions;
      }
      const ptrdiff_t left = segment_.positions - first, count = left < batch_positions ? left : batch_positions;
      if (!reads_in_place) {
        load_tile<E>(address<E>(x, first), x.position_stride, x.class_stride, classes_, count, left, tile_);
      }
      FewPlaces<T> places = {tile_,           batch_positions, terms_, y.data ? terms_ : nullptr,
                             batch_positions, first,           count,  !reads_in_place};
      if constexpr (is_plain) {
        if (reads_in_place) {
          places.logits = address<E>(x, first);
          places.logits_stride = x.class_stride;
        }
        if (writes_in_place && y.data) {
          places.gradient = address<E>(y, first);
          places.gradient_stride = y.class_stride;
        }
      }
      positions.add(places);
      if (y.data && !writes_in_place) store_gradient(first, count);
    }
    return positions.take_result();
  }

 private:
  static constexpr bool is_plain = is_stored_as_computed<E>;

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
