// COMPILED ONCE PER INSTRUCTION SET. Columns of output that go to memory past the caches, from tiles, batch after
// batch. Some lines of memory of a class one after another, which takes half as long as one line of each class in turn.
#pragma once

#include "shared_line.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class T>
class ColumnStream {
  using Plain = PlainOf<T>;
  static constexpr ptrdiff_t width = lanes<T>;
  static_assert(width * sizeof(T) == line_bytes);

 public:
  // For positions 0 … end - 1. `edges` has room for a vector of each class and one more.
  ColumnStream(const Plane& y, ptrdiff_t end, T* edges) : y_(y), end_(end), edges_(edges) {}

  // A tile of classes c, c + 1, … of positions first, first + 1, …, at least a vector of them unless they are the last;
  // with memory that may be read, a vector of it, before it.
  // The line that the next batch has a part of waits for it: to store a part of a line, it would have to be fetched.
  void write(const T* tile, ptrdiff_t first, ptrdiff_t positions, ptrdiff_t c, ptrdiff_t classes) const {
    const bool is_last = first + positions == end_;
    T* y = static_cast<T*>(y_.data) + c * y_.class_stride + first;
    T* edge = edges_ + c * width;
    for (ptrdiff_t i = 0; i < classes; ++i, tile += batch_positions, y += y_.class_stride, edge += width) {
      const ptrdiff_t before = (ptrdiff_t)((uintptr_t)y % line_bytes / sizeof(T));  // of the first line
      ptrdiff_t p =
          before == 0 ? 0 : write_shared_line(tile, y, first == 0 ? 0 : before, width - before, positions, edge);
      for (; p + width <= positions; p += width) Plain::stream(y + p, load(tile + p));
      if (is_last) {
        const ptrdiff_t left = positions - p;
        if (left > 0) store_partial<Plain>(y + p, load_partial<Plain>(tile + p, left, 0), left);
      } else if (before != 0) {
        store(edge, load(tile + positions - width));
      }
    }
  }

 private:
  // The line before y + after: `waiting` positions of the batch before and `after` of this one, which are returned.
  static CROSSENT_INLINE ptrdiff_t write_shared_line(const T* tile, T* y, ptrdiff_t waiting, ptrdiff_t after,
                                                     ptrdiff_t positions, const T* edge) {
    const ptrdiff_t count = after < positions ? after : positions;
    const auto is_waiting = less(lane_numbers<T>(), splat((T)waiting));
    const Vec<T> line = select(is_waiting, load(edge + width - waiting), load(tile - waiting));
    if (waiting + count == width) {
      Plain::stream(y - waiting, line);
    } else {
      store_partial<Plain>(y - waiting, line, waiting + count);
    }
    return count;
  }

  const Plane y_;
  const ptrdiff_t end_;
  T* const edges_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
