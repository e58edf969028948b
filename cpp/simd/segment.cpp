// COMPILED ONCE PER INSTRUCTION SET (the macro CROSSENT_ISA) and for each of the types computed in (CROSSENT_REAL:
// float, also for half precision, or double). One exported symbol an object.
#include "segment.h"

namespace crossent::CROSSENT_ISA {
namespace {

[[maybe_unused]] SegmentResult run(const Segment& segment, float) {
  switch (segment.logits.element) {
    case Element::f16:
      return SegmentKernel<F16>(segment).run();
    case Element::bf16:
      return SegmentKernel<BF16>(segment).run();
    default:
      return SegmentKernel<F32>(segment).run();
  }
}

[[maybe_unused]] SegmentResult run(const Segment& segment, double) { return SegmentKernel<F64>(segment).run(); }

}  // namespace

#define CROSSENT_JOIN(a, b) a##b
#define CROSSENT_NAME(prefix, real) CROSSENT_JOIN(prefix, real)

SegmentResult CROSSENT_NAME(segment_, CROSSENT_REAL)(const Segment& segment) { return run(segment, CROSSENT_REAL()); }

}  // namespace crossent::CROSSENT_ISA
