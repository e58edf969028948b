// COMPILED ONCE PER INSTRUCTION SET. The general way (segment.h) out for positions of few classes whose output is
// unusual.
#pragma once

#include "few_terms.h"
#include "segment.h"

namespace crossent::CROSSENT_ISA {
namespace {

// The output of a batch in the general way, for those positions that need it: a bit for each in `unusual`. It is
// computed before anything is written, since the logits may lie where the output goes.
template <class T>
class GeneralOutput {
 public:
  __attribute__((noinline)) void compute(const Segment& whole, const FewPlaces<T>& places) {
    constexpr Element element = sizeof(T) == 4 ? Element::f32 : Element::f64;
    Segment segment = whole;
    segment.positions = places.count;
    segment.logits = {const_cast<T*>(places.logits), element, 1, places.logits_stride};
    segment.output = {output_, element, 1, batch_positions};
    segment.output_streams = false;
    if (whole.target) segment.target += places.first * whole.target_stride;
    segment.scale += places.first * whole.scale_stride;
    segment.losses = nullptr;
    SegmentKernel<PlainOf<T>>(segment).run();
  }
  __attribute__((noinline)) void put(uint64_t unusual, const FewPlaces<T>& places, ptrdiff_t classes) const {
    for (ptrdiff_t c = 0; c < classes; ++c) {
      for (ptrdiff_t p = 0; p < places.count; ++p) {
        if (unusual >> p & 1) places.output[c * places.output_stride + p] = output_[c * batch_positions + p];
      }
    }
  }

 private:
  T output_[few_plain_classes<T> * batch_positions];
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
