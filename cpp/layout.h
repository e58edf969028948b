// The positions of a call: the axes that it goes through one by one, with the strides of every operand along them, in
// the order in which the first operand lies in memory.
#pragma once

#include <algorithm>
#include <cstddef>

namespace crossent {

struct Layout {
  static constexpr int most_operands = 7;
  static constexpr int most_axes = 64;

  struct Axis {
    ptrdiff_t extent;
    ptrdiff_t stride[most_operands];  // in elements; 0 for an absent operand
  };

  int axes = 0;
  Axis axis[most_axes];  // of which the first `axes` are set: a call pays for the axes it has

  Layout() {}
  Layout(const Layout& other) { *this = other; }
  Layout& operator=(const Layout& other) {
    axes = other.axes;
    std::copy_n(other.axis, axes, axis);
    return *this;
  }

  void add_axis(ptrdiff_t extent) { axis[axes++] = {extent, {}}; }
  ptrdiff_t positions() const;
  // Throws std::length_error unless the bytes of so many elements a position, of 8 bytes at most, can be counted.
  void check_size(ptrdiff_t elements) const;

  // Drops axes of one position, puts operand 0's smallest stride last, joins axes that every operand steps through
  // evenly.
  void simplify();

  // The part of a line of positions, along the last axis, that starts at `position` and ends before `end`.
  struct Line {
    ptrdiff_t count;
    ptrdiff_t offset[most_operands];
  };
  Line line(ptrdiff_t position, ptrdiff_t end) const;
  ptrdiff_t last_stride(int operand) const { return axes ? axis[axes - 1].stride[operand] : 0; }
};

}  // namespace crossent
