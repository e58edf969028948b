// All positions of a call through the kernels, on as many threads as they are worth.
#pragma once

#include "kernels.h"
#include "layout.h"

namespace crossent {

// The loss_sum of the result is the whole sum. `all` is the segment of position 0 with its strides filled in; `layout`
// has been simplified.
SegmentResult run(const Layout& layout, const Segment& all);

}  // namespace crossent
