// COMPILED ONCE PER INSTRUCTION SET (the macro CROSSENT_ISA). The first look at all class indices, before anything is
// computed.
#include "../kernels.h"
#include "vec.h"

namespace crossent::CROSSENT_ISA {

// In signs: of label | (classes - 1 - label) for what is no class, of x | -x for x = label ^ ignore_index for what is
// not ignored. What a changing array makes of one look is no danger: the kernels check what they read.
TargetCount count_targets(const int64_t* target, ptrdiff_t count, const TargetRange& range) {
  using Bits = NativeOf<uint64_t>;
  constexpr ptrdiff_t width = register_bytes / 8, unrolled = 4;
  const Bits last = Bits{} + (uint64_t)(range.classes - 1), ignored = Bits{} + (uint64_t)range.ignore_index;
  const Bits nothing_is_ignored = Bits{} - (uint64_t)!range.has_ignore_index;
  Bits bad = {}, counted = {};
  const auto look = [&](Bits label) __attribute__((always_inline)) {
    const Bits x = label ^ ignored, counts = x | -x | nothing_is_ignored;
    bad |= (label | (last - label)) & counts;
    counted += counts >> 63;
  };
  ptrdiff_t p = 0;
  for (; p + unrolled * width <= count; p += unrolled * width) {
    repeat<unrolled>(CROSSENT_EACH(i) {
      Bits label;
      __builtin_memcpy(&label, target + p + i * width, sizeof(label));
      look(label);
    });
  }
  TargetCount result = {0, false};
  for (; p < count; ++p) {
    const uint64_t label = (uint64_t)read_once(target + p);
    const bool counts = !range.has_ignore_index | (label != (uint64_t)range.ignore_index);
    result.counted += counts;
    result.has_bad |= counts & (label >= (uint64_t)range.classes);
  }
  for (ptrdiff_t i = 0; i < width; ++i) {
    result.counted += (ptrdiff_t)counted[i];
    result.has_bad |= (int64_t)bad[i] < 0;
  }
  return result;
}

}  // namespace crossent::CROSSENT_ISA
