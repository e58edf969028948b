// COMPILED ONCE PER INSTRUCTION SET (the macro CROSSENT_ISA) and for each of the types computed in (CROSSENT_REAL:
// float, also for half precision, or double). One exported symbol an object.
#include "few.h"
#include "plain_rows.h"

namespace crossent::CROSSENT_ISA {
namespace {

// The plainest of problems have ways of their own, with the same bits: short rows, and few classes.
template <class E>
SegmentResult run_as(const Segment& segment) {
  if constexpr (parts <= 2 && sizeof(typename E::Storage) >= 4) {
    if (is_for_plain_rows<typename E::Real>(segment)) return PlainRowsKernel<E>(segment).run();
  }
  if constexpr (!CROSSENT_IS_SMALL) {
    if (is_for_few_classes<typename E::Real>(segment)) return run_few_classes<E>(segment);
  }
  return SegmentKernel<E>(segment).run();
}

[[maybe_unused]] SegmentResult run(const Segment& segment, float) {
  switch (segment.logits.element) {
    case Element::f16:
      return run_as<F16>(segment);
    case Element::bf16:
      return run_as<BF16>(segment);
    default:
      return run_as<F32>(segment);
  }
}

[[maybe_unused]] SegmentResult run(const Segment& segment, double) { return run_as<F64>(segment); }

}  // namespace

#define CROSSENT_JOIN(a, b) a##b
#define CROSSENT_NAME(prefix, real) CROSSENT_JOIN(prefix, real)

SegmentResult CROSSENT_NAME(segment_, CROSSENT_REAL)(const Segment& segment) { return run(segment, CROSSENT_REAL()); }

}  // namespace crossent::CROSSENT_ISA
