// COMPILED ONCE PER INSTRUCTION SET. The general way (segment.h) out for batches of few classes with unusual output.
#pragma once

#include "few_terms.h"
#include "segment.h"

namespace crossent::CROSSENT_ISA {
namespace {

// The output of a batch. The logits may lie where it goes. True if a target is no class any more.
template <class T>
__attribute__((noinline)) bool write_generally(const Segment& whole, const FewPlaces<T>& places) {
  constexpr Element element = sizeof(T) == 4 ? Element::f32 : Element::f64;
  Segment segment = whole;
  segment.positions = places.count;
  segment.logits = {const_cast<T*>(places.logits), element, 1, places.logits_stride};
  segment.output = {places.output, element, 1, places.output_stride};
  segment.output_streams = false;
  if (whole.target) segment.target += places.first * whole.target_stride;
  segment.scale += places.first * whole.scale_stride;
  segment.losses = nullptr;
  return SegmentKernel<PlainOf<T>>(segment).run().target_changed;
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
