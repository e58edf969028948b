// COMPILED ONCE PER INSTRUCTION SET. The plainest of problems, class indices or no targets among few classes, batch by
// batch: where which problem goes is decided here. Where positions lie side by side in memory, "few" are many more.
#pragma once

#include "column_stream.h"
#include "few_losses.h"
#include "few_softmax.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class T>
bool is_for_few_classes(const Segment& s) {
  const Problem& problem = *s.problem;
  const ptrdiff_t most = s.positions < many_positions    ? few_classes
                         : s.logits.class_stride == 1    ? few_plain_row_classes<T>
                         : s.logits.position_stride != 1 ? few_classes
                                                         : few_column_bytes / (ptrdiff_t)sizeof(T);
  const bool has_enough = problem.classes > 1 || problem.operation == Operation::log_softmax;
  return is_plain(s) && has_enough && !s.shared && problem.classes <= most;
}

template <class E>
const typename E::Storage* element_at(const Plane& plane, ptrdiff_t p) {
  return static_cast<const typename E::Storage*>(plane.data) + p * plane.position_stride;
}

// What depends on the elements in memory: positions first … first + count - 1 come from `x` into a tile, and go from
// one to `y`. `readable` positions are there from the first on.
template <class T>
struct TilesOfElements {
  void (*load)(const Plane& x, ptrdiff_t first, ptrdiff_t classes, ptrdiff_t count, ptrdiff_t readable, T* tile);
  void (*store)(const T* tile, const Plane& y, ptrdiff_t first, ptrdiff_t classes, ptrdiff_t count);
};

template <class E>
void load_positions(const Plane& x, ptrdiff_t first, ptrdiff_t classes, ptrdiff_t count, ptrdiff_t readable,
                    typename E::Real* tile) {
  load_tile<E>(element_at<E>(x, first), x.position_stride, x.class_stride, classes, count, readable, !reads_meanwhile,
               tile);
}
template <class O>
void store_positions(const typename O::Real* tile, const Plane& y, ptrdiff_t first, ptrdiff_t classes,
                     ptrdiff_t count) {
  auto* output = static_cast<typename O::Storage*>(y.data) + first * y.position_stride;
  store_tile<O>(tile, output, y.position_stride, y.class_stride, classes, count);
}

// Batches of a segment: brought into tiles and back, unless they lie in memory as in tiles and do as well there.
template <class T>
class FewClassesKernel {
 public:
  FewClassesKernel(const Segment& segment, const TilesOfElements<T>& tiles)
      : segment_(segment),
        tiles_of_elements_(tiles),
        classes_(segment.problem->classes),
        tile_(static_cast<T*>(segment.scratch)),
        terms_(tile_ + scratch_elements(classes_, sizeof(T))),
        waiting_(terms_ + scratch_elements(classes_, sizeof(T))),
        column_stream_(segment.output, segment.positions, waiting_) {}

  SegmentResult run() {
    const Plane &x = segment_.logits, &y = segment_.output;
    reads_in_place_ = is_like_a_tile(x) && classes_ <= few_classes && !crowds_a_cache(x);  // more are padded in a tile
    streams_columns_ = y.data && is_like_a_tile(y) && segment_.output_streams;
    writes_in_place_ = y.data && is_like_a_tile(y) && !streams_columns_;
    for (ptrdiff_t i = classes_ * batch_positions; classes_ > few_classes && i < tile_elements(classes_);
         i += lanes<T>) {
      store(tile_ + i, splat(-(T)__builtin_inf()));
    }
    FewLosses<T> losses(segment_);
    FewSoftmax<T> softmax(segment_);
    FewPlaces<T> places = first_places();
    SegmentResult* of_block = segment_.of_blocks;
    for (ptrdiff_t first = 0, block_end = segment_.block_positions; first < segment_.positions;
         first += batch_positions) {  // of which a block has a whole number
      if (first == block_end) {
        *of_block++ = losses.take_result();
        block_end += segment_.block_positions;
      }
      const ptrdiff_t left = segment_.positions - first, count = left < batch_positions ? left : batch_positions;
      // Of the last batch, part of a vector: tiles have room for whole ones.
      if (count % lanes<T> != 0 && (reads_in_place_ || writes_in_place_)) {
        reads_in_place_ = writes_in_place_ = false;
        places = first_places();
      }
      if (!reads_in_place_) tiles_of_elements_.load(x, first, classes_, count, left, tile_);
      places.first = first;
      places.count = count;
      segment_.target ? losses.add(places) : softmax.add(places);
      if (y.data && !writes_in_place_) store_output(first, count);
      places.ahead += batch_positions * x.position_stride * size_of(x.element);
      if (reads_in_place_) places.logits += batch_positions;
      if (writes_in_place_) places.output += batch_positions;
    }
    if (writes_meanwhile<T> && segment_.output_is_staged) staged_.finish();
    if (streams_columns_ || segment_.output_is_staged) finish_streaming();
    return losses.take_result();
  }

 private:
  static bool is_like_a_tile(const Plane& plane) {
    return size_of(plane.element) == sizeof(T) && plane.position_stride == 1 && plane.class_stride != 1;
  }

  // Whether a first cache of 8 ways of 4 KB can't hold a position's classes, which are a power of two apart: read once
  // into a tile, 21 classes 4 MB apart take a sixth less on an AMD EPYC (Zen 4).
  bool crowds_a_cache(const Plane& plane) const {
    constexpr ptrdiff_t way_bytes = 4096, ways = 8;
    const ptrdiff_t apart = plane.class_stride * (ptrdiff_t)sizeof(T), power_of_two = apart & -apart;
    return classes_ * (power_of_two < way_bytes ? power_of_two : way_bytes) > ways * way_bytes;
  }

  __attribute__((noinline)) FewPlaces<T> first_places() {
    const Plane &x = segment_.logits, &y = segment_.output;
    FewPlaces<T> places = {};
    places.logits = reads_in_place_ ? static_cast<const T*>(x.data) : tile_;
    places.logits_stride = reads_in_place_ ? x.class_stride : batch_positions;
    places.terms = terms_;
    places.output = writes_in_place_ ? static_cast<T*>(y.data) : y.data ? terms_ : nullptr;
    places.output_stride = writes_in_place_ ? y.class_stride : batch_positions;
    places.staged = &staged_;
    const ptrdiff_t bytes = size_of(x.element);
    // Of the next batch, the lines in which its vectors end: those in which they begin may be this batch's, too.
    places.ahead = static_cast<const char*>(x.data) + batch_positions * x.position_stride * bytes + line_bytes - 1;
    if (x.position_stride == 1) {
      places.ahead_position_bytes = bytes;
      places.ahead_class_bytes = x.class_stride * bytes;
      places.last_class_ahead = classes_ - 1;
    } else if (x.class_stride == 1) {  // a line of memory for each vector of logits
      places.ahead_position_bytes = x.position_stride * bytes;
      places.ahead_class_bytes = lanes<T> * bytes;
      places.last_class_ahead = few_row_classes - 1;
    }
    return places;
  }

  void store_output(ptrdiff_t first, ptrdiff_t count) {
    const Plane& y = segment_.output;
    if (streams_columns_) return column_stream_.write(terms_, first, count, 0, classes_);
    if (!writes_meanwhile<T> || !segment_.output_is_staged)
      return tiles_of_elements_.store(terms_, y, first, classes_, count);
    staged_.write_all();
    tiles_of_elements_.store(terms_, {waiting_, y.element, classes_, 1}, 0, classes_, count);
    const ptrdiff_t row_bytes = classes_ * size_of(y.element);
    staged_.add(waiting_, static_cast<char*>(y.data) + first * row_bytes, count * row_bytes);
  }

  const Segment& segment_;
  const TilesOfElements<T> tiles_of_elements_;
  const ptrdiff_t classes_;
  T *const tile_, *const terms_, *const waiting_;  // rows that are staged, or the edges of columns that stream
  bool reads_in_place_ = false, writes_in_place_ = false, streams_columns_ = false;
  StagedRows staged_;
  const ColumnStream<T> column_stream_;
};

template <class E>
SegmentResult run_few_classes(const Segment& segment) {
  using T = typename E::Real;
  const bool is_of_floats = sizeof(T) == 4 && segment.output.element == Element::f32;  // of half precision, too
  const auto store = is_of_floats ? store_positions<PlainOf<T>> : store_positions<E>;
  return FewClassesKernel<T>(segment, {load_positions<E>, store}).run();
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
