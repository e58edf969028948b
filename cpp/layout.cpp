#include "layout.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <stdexcept>

namespace crossent {
namespace {

constexpr ptrdiff_t short_line = 4;

}  // namespace

ptrdiff_t Layout::positions() const {
  ptrdiff_t count = 1;
  for (int i = 0; i < axes; ++i) count *= axis[i].extent;
  return count;
}

void Layout::check_size(ptrdiff_t elements) const {
  ptrdiff_t bytes = 8;
  bool is_countable = !__builtin_mul_overflow(bytes, elements, &bytes);
  for (int i = 0; i < axes; ++i) {
    if (axis[i].extent == 0) return;
    is_countable &= !__builtin_mul_overflow(bytes, axis[i].extent, &bytes);
  }
  if (!is_countable) throw std::length_error("an array has more elements than can be counted");
}

void Layout::simplify() {
  axes = static_cast<int>(std::remove_if(axis, axis + axes, [](const Axis& a) { return a.extent == 1; }) - axis);
  if (axes <= 1) return;
  const auto step = [](const Axis& a) {  // a broadcast axis goes to the outside
    return a.stride[0] == 0 ? std::numeric_limits<ptrdiff_t>::max() : std::abs(a.stride[0]);
  };
  const auto comes_first = [&](const Axis& a, const Axis& b) { return step(a) > step(b); };
  for (Axis* next = axis + 1; next < axis + axes; ++next) {  // into its place among those before it
    std::rotate(std::upper_bound(axis, next, *next, comes_first), next, next + 1);
  }
  int last = 0;
  for (int i = 1; i < axes; ++i) {
    Axis& outer = axis[last];
    const Axis& inner = axis[i];
    bool is_even = true;
    for (int o = 0; o < most_operands; ++o) is_even &= outer.stride[o] == inner.stride[o] * inner.extent;
    if (is_even) {
      const ptrdiff_t extent = outer.extent * inner.extent;
      outer = inner;
      outer.extent = extent;
    } else {
      axis[++last] = inner;
    }
  }
  axes = last + 1;

  // A line of a few positions is hardly worth a kernel's start: the longest axis takes its place.
  if (axes > 1 && axis[axes - 1].extent <= short_line) {
    Axis* longest =
        std::max_element(axis, axis + axes, [](const Axis& a, const Axis& b) { return a.extent < b.extent; });
    std::rotate(longest, longest + 1, axis + axes);
  }
}

Layout::Line Layout::line(ptrdiff_t position, ptrdiff_t end) const {
  Line result = {1, {}};
  ptrdiff_t index = position;
  for (int i = axes - 1; i >= 0; --i) {
    const ptrdiff_t along = index % axis[i].extent;
    index /= axis[i].extent;
    if (i == axes - 1) result.count = std::min(axis[i].extent - along, end - position);
    for (int o = 0; o < most_operands; ++o) result.offset[o] += along * axis[i].stride[o];
  }
  return result;
}

}  // namespace crossent
