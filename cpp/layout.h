// The positions of a call: the axes other than the classes, with the strides of every operand along them, in the order in
// which the logits lie in memory.
#pragma once

#include <cstddef>

namespace crossent {

struct Layout {
  enum Operand { logits, output, probabilities, target, scale, losses, operands };
  static constexpr int most_axes = 64;

  struct Axis {
    ptrdiff_t extent;
    ptrdiff_t stride[operands];  // in elements; 0 for an absent operand
  };

  int axes = 0;
  Axis axis[most_axes];

  void add_axis(ptrdiff_t extent) { axis[axes++] = {extent, {}}; }
  ptrdiff_t positions() const;

  // Drops axes of one position, puts the logits' smallest stride last, joins axes that every operand steps through evenly.
  void simplify();

  // The part of a line of positions, along the last axis, that starts at `position` and ends before `end`.
  struct Line {
    ptrdiff_t count;
    ptrdiff_t offset[operands];
  };
  Line line(ptrdiff_t position, ptrdiff_t end) const;
  ptrdiff_t last_stride(Operand operand) const { return axes ? axis[axes - 1].stride[operand] : 0; }
};

}  // namespace crossent
