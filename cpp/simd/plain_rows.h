// COMPILED ONCE PER INSTRUCTION SET. The plainest of problems, class indices or no targets, among more than few
// classes, of rows that are stored as they are computed, batch by batch: where which problem goes is decided here.
#pragma once

#include "batch_softmax.h"
#include "index_losses.h"
#include "output.h"
#include "row_reduction.h"
#include "segment.h"
#include "staged_rows.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Shorter rows are for few.h, longer ones take less time in one pass (one_pass.h).
template <class T>
constexpr ptrdiff_t least_plain_row_classes = (sizeof(T) == 4 && parts > 1 ? 100 : few_classes) + 1;

template <class T>
bool is_for_plain_rows(const Segment& s) {
  const Problem& problem = *s.problem;
  const Plane &x = s.logits, &y = s.output;
  const bool are_rows = x.class_stride == 1 && (!y.data || (y.class_stride == 1 && size_of(y.element) == sizeof(T)));
  const bool is_of_length = least_plain_row_classes<T> <= problem.classes &&
                            problem.classes * (ptrdiff_t)sizeof(T) <= plain_row_bytes_at_most;
  return is_plain(s) && !s.shared && are_rows && is_of_length &&
         (!s.output_streams || (writes_meanwhile<T> && s.output_is_staged));
}

// E: of the logits and of the output.
template <class E>
class PlainRowsKernel {
  using T = typename E::Real;
  static constexpr ptrdiff_t width = lanes<T>;

 public:
  explicit PlainRowsKernel(const Segment& segment)
      : segment_(segment),
        classes_(segment.problem->classes),
        scratch_(static_cast<T*>(segment.scratch)),
        reduction_(classes_, staged_),
        losses_(segment),
        softmax_(segment) {}

  SegmentResult run() {
    // Whole vectors, of which a block has a whole number: the maxima of what comes next are known by vectors.
    static_assert(rows_per_batch(plain_row_bytes_at_most / sizeof(T)) >= width);
    const ptrdiff_t step = segment_.output.data ? rows_per_batch(classes_) / width * width : batch_positions;
    reduction_.begin(rows_from(0), segment_.positions);
    SegmentResult* of_block = segment_.of_blocks;
    for (ptrdiff_t first = 0, block_end = segment_.block_positions; first < segment_.positions;) {
      if (first == block_end) {
        *of_block++ = result_of_block();
        block_end += segment_.block_positions;
      }
      const ptrdiff_t end = block_end < segment_.positions ? block_end : segment_.positions;
      const ptrdiff_t count = end - first < step ? end - first : step;
      add(first, count);
      first += count;
    }
    if (segment_.output_is_staged) {
      staged_.finish();
      finish_streaming();
    }
    return result_of_block();
  }

 private:
  SegmentResult result_of_block() {
    SegmentResult result = losses_.take_result();
    result.target_changed |= target_changed_;
    return result;
  }

  Rows<T> rows_from(ptrdiff_t first) const {
    const Plane& x = segment_.logits;
    return {static_cast<const T*>(x.data) + first * x.position_stride, x.position_stride,
            segment_.output.data ? scratch_ : nullptr, padded_classes(classes_)};
  }

  void add(ptrdiff_t first, ptrdiff_t count) {
    if (segment_.target) {
      losses_.read(first, count, sums_);
    } else {
      for (ptrdiff_t p = 0; p < batch_positions; ++p) sums_.own_class[p] = p < count ? 0 : (T)no_class;
    }
    if (!reduction_.reduce(rows_from(first), count, segment_.positions - first, sums_)) {
      compute_generally(first, count);
      reduction_.begin(rows_from(first + count), segment_.positions - first - count);
    } else {
      segment_.target ? finish_losses(first, count) : finish_softmax(first, count);
    }
    if (!segment_.target) return;
    losses_.add_up();
    if (segment_.losses) losses_.write();
  }

  void finish_losses(ptrdiff_t first, ptrdiff_t count) {
    losses_.finish(sums_);
    if (!segment_.output.data) return;
    if (losses_.prepare_gradient(sums_) != 0) return compute_generally(first, count);
    write(first, count, [&](T* y, ptrdiff_t stride) { write_gradient(first, count, y, stride); });
  }

  void finish_softmax(ptrdiff_t first, ptrdiff_t count) {
    const Operation operation = segment_.problem->operation;
    const bool is_unusual = softmax_.prepare(count, sums_) != 0;
    if (operation == Operation::logsumexp) return softmax_.write_log_sum_exp(first, count, sums_);
    if (is_unusual) return compute_generally(first, count);
    write(first, count, [&](T* y, ptrdiff_t stride) {
      operation == Operation::softmax ? write_softmax<false>(first, count, y, stride)
                                      : write_softmax<true>(first, count, y, stride);
    });
  }

  // What has no factor, or no reference that is simple enough. Nothing of it has been written yet.
  __attribute__((noinline)) void compute_generally(ptrdiff_t first, ptrdiff_t count) {
    staged_.write_all();
    Problem problem = *segment_.problem;
    Segment part = segment_;
    part.problem = &problem;
    part.positions = count;
    part.logits.data = const_cast<T*>(rows_from(first).logits);
    if (part.output.data) part.output.data = static_cast<T*>(part.output.data) + first * part.output.position_stride;
    part.output_streams = part.output_is_staged = false;
    part.block_positions = count;
    if (part.target) {  // losses come here
      part.target += first * part.target_stride;
      part.scale += first * part.scale_stride;
      for (double& loss : losses_.loss) loss = 0;
      problem.losses_are_f64 = true;
      part.losses = losses_.loss;
      part.losses_stride = 1;
    } else if (part.losses) {
      part.losses = static_cast<char*>(part.losses) + first * part.losses_stride * (problem.losses_are_f64 ? 8 : 4);
    }
    target_changed_ |= SegmentKernel<E>(part).run().target_changed;
  }

  // By write_rows(y, stride): to the output itself, or to where it waits for the memory.
  template <class WriteRows>
  void write(ptrdiff_t first, ptrdiff_t count, const WriteRows& write_rows) {
    const Plane& output = segment_.output;
    T* const y = static_cast<T*>(output.data) + first * output.position_stride;
    if (!writes_meanwhile<T> || !segment_.output_is_staged) {
      return write_rows(y, output.position_stride);
    }
    T* const rows = scratch_ + scratch_elements(classes_, sizeof(T));
    staged_.write_all();
    write_rows(rows, classes_);
    staged_.add(rows, y, count * classes_ * (ptrdiff_t)sizeof(T));
  }

  __attribute__((noinline)) void write_gradient(ptrdiff_t first, ptrdiff_t count, T* y, ptrdiff_t stride) const {
    for (ptrdiff_t p = 0; p < count; ++p, y += stride) {
      const ptrdiff_t own = (ptrdiff_t)sums_.own_class[p];
      if (own < 0) {
        __builtin_memset(y, 0, (size_t)classes_ * sizeof(T));
        continue;
      }
      const T* const kept = scratch_ + p * padded_classes(classes_);
      const Vec<T> factor = splat(losses_.factor[p]);
      write_row(y, distance_ahead(first + p, stride),
                [&](ptrdiff_t c, auto) __attribute__((always_inline)) { return load(kept + c) * factor; });
      y[own] = losses_.own_gradient[p];
    }
  }

  template <bool logarithm>
  __attribute__((noinline)) void write_softmax(ptrdiff_t first, ptrdiff_t count, T* y, ptrdiff_t stride) const {
    const Rows<T> rows = rows_from(first);
    const Vec<T> most = splat<T>(1);
    for (ptrdiff_t p = 0; p < count; ++p, y += stride) {
      const Vec<T> number = splat(softmax_.number[p]), maximum = splat(sums_.references.maximum[p]);
      const T *const kept = rows.kept + p * rows.kept_stride, *const x = rows.logits + p * rows.stride;
      write_row(y, distance_ahead(first + p, stride), [&](ptrdiff_t c, auto is_whole) __attribute__((always_inline)) {
        if constexpr (!logarithm) return min(most, load(kept + c) * number);
        return ((is_whole ? load(x + c) : load_partial<E>(x + c, classes_ - c, 0)) - maximum) - number;
      });
    }
  }

  // From a row to one whose place is asked for, if that is the segment's: two threads would take the lines off each
  // other.
  ptrdiff_t distance_ahead(ptrdiff_t position, ptrdiff_t stride) const {
    return position + lanes_at_most < segment_.positions ? lanes_at_most * stride : 0;
  }

  // value(c, is_whole) makes the vector of classes c, c + 1, …; is_whole is a constant.
  template <class Value>
  CROSSENT_INLINE void write_row(T* y, ptrdiff_t ahead, const Value& value) const {
    constexpr int vectors = parts == 1 ? 4 : 1;  // computed before the first is stored: see write_line()
    ptrdiff_t c = 0;
    for (; c + vectors * width <= classes_; c += vectors * width) {
      Vec<T> values[vectors];
      repeat<vectors>(CROSSENT_EACH(v) {
        __builtin_prefetch(y + ahead + c + v * width, 1);
        values[v] = value(c + v * width, std::true_type{});
      });
      repeat<vectors>(CROSSENT_EACH(v) { store(y + c + v * width, values[v]); });
    }
    for (; c + width <= classes_; c += width) store(y + c, value(c, std::true_type{}));
    if (c < classes_) store_partial<E>(y + c, value(c, std::false_type{}), classes_ - c);
  }

  const Segment& segment_;
  const ptrdiff_t classes_;
  T* const scratch_;  // for the terms of a batch, and for the rows that wait
  StagedRows staged_;
  bool target_changed_ = false;  // since it was first read
  BatchSums<T> sums_;
  RowReduction<T> reduction_;
  IndexLosses<T> losses_;
  BatchSoftmax<T> softmax_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
