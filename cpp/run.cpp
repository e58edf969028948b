// Positions are cut into blocks of a size that depends on the number of classes alone; the blocks are shared out among
// threads, and their sums are added in block order, so that no result depends on the number of threads.
#include "run.h"

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "dispatch.h"
#include "kept_memory.h"
#include "long_sum.h"
#include "loss.h"
#include "parallel.h"

namespace crossent {
namespace {

using Kernel = SegmentResult (*)(const Segment&);

// Scratch memory for each thread, taken from the heap only where it is large. Between two threads' there is a gap that
// the hardware's prefetching doesn't cross: lines fetched from another thread's make both wait (1,000,000 × 32 with
// gradient took 1.7 times as long). For a large result, which takes longer than fresh pages do, it goes back to the
// system at once: the C library would hold such a block for the next call, and when it has cut something off it a
// second.
class Scratch {
 public:
  Scratch(ptrdiff_t bytes, int threads, bool is_for_large_result)
      : bytes_((bytes + 63) / 64 * 64 + (threads > 1 ? gap_bytes : 0)) {
    const size_t all = static_cast<size_t>(bytes_ * threads);
    if (all <= sizeof(small_)) return;
    const bool is_fresh = is_for_large_result && all >= least_fresh_bytes;
    void* data = is_fresh ? fresh_pages(all) : ::operator new(all, std::align_val_t{64});
    if (!data) throw std::bad_alloc();
    large_ = {static_cast<char*>(data), Free{is_fresh ? all : 0}};
  }
  void* of_thread(int thread) { return (large_ ? large_.get() : small_) + thread * bytes_; }

 private:
  static constexpr ptrdiff_t gap_bytes = 8192;
  static constexpr size_t least_fresh_bytes = size_t{1} << 20;
  struct Free {
    size_t fresh_bytes;  // 0 for the heap
    void operator()(char* p) const {
      if (fresh_bytes > 0) return return_pages(p, fresh_bytes);
      ::operator delete(p, std::align_val_t{64});
    }
  };
  ptrdiff_t bytes_;
  std::unique_ptr<char, Free> large_;
  alignas(64) char small_[16384];
};

ptrdiff_t scratch_for(const Segment& segment, ptrdiff_t classes, ptrdiff_t positions) {
  const auto is_row = [](const Plane& plane) { return plane.data == nullptr || plane.class_stride == 1; };
  const Element element = segment.logits.element;
  const bool is_half = size_of(element) == 2;  // which some instruction sets convert beforehand
  const bool has_rows = is_row(segment.logits) && is_row(segment.output);
  const bool has_few_classes = classes <= (positions < many_positions ? few_classes : few_row_classes);
  const bool is_in_place =
      !is_half && segment.problem->temperature == 1 && !has_few_classes && has_rows && !segment.probabilities.data;
  const ptrdiff_t kept_bytes =
      segment.output.data && has_rows ? exponentials_bytes(classes, positions, element, segment.output_streams) : 0;
  if (is_in_place && !segment.output_is_staged) return kept_bytes;
  return std::max(kept_bytes, scratch_bytes(classes, element, segment.output_is_staged || segment.output_streams));
}

// Some 2^15 elements, in whole batches; few positions only where a single one is a lot of work.
ptrdiff_t positions_per_block(ptrdiff_t classes, bool by_columns) {
  const ptrdiff_t whole = by_columns ? lanes_at_most : 1;
  const ptrdiff_t wanted = (ptrdiff_t{1} << 15) / classes;
  if (classes <= 4096)
    return std::max(batch_positions, (wanted + batch_positions - 1) / batch_positions * batch_positions);
  return std::max(wanted, whole);
}

template <class T>
T* advanced(T* data, ptrdiff_t elements) {
  return data ? data + elements : nullptr;
}

void* advanced(void* data, Element element, ptrdiff_t elements) {
  return data ? static_cast<char*>(data) + elements * size_of(element) : nullptr;
}

// Whether the output would leave the cache before anybody reads it.
bool is_large(const Segment& start, ptrdiff_t positions) {
  constexpr ptrdiff_t large_bytes = ptrdiff_t{1} << 25;
  const Plane& y = start.output;
  return y.data && y.data != start.logits.data &&
         positions * start.problem->classes * size_of(y.element) >= large_bytes;
}

// Whether a large output has rows long enough to be streamed: short ones have too few whole cache lines, and vectors of
// half precision are not even one.
bool streams(const Segment& start) {
  constexpr ptrdiff_t least_row_bytes = 256;
  const Plane& y = start.output;
  if (size_of(y.element) < 4) return false;
  if (y.position_stride == 1 && y.class_stride != 1) return has_batches_of_columns(start.problem->classes, y.element);
  return start.problem->classes * size_of(y.element) >= least_row_bytes;
}

// Or short rows that are one piece of memory.
bool is_staged(const Segment& start) {
  const Plane& y = start.output;
  const ptrdiff_t classes = start.problem->classes;
  return y.element != Element::f64 && least_staged_classes <= classes &&
         classes * size_of(y.element) <= staged_row_bytes_at_most && y.class_stride == 1 &&
         y.position_stride == classes;
}

// The part of `start`, which begins at position 0, along a line of positions.
Segment segment_along(const Layout::Line& line, const Segment& start, void* scratch) {
  Segment segment = start;
  const auto move = [&](Plane& plane, LossOperand operand) {
    plane.data = advanced(plane.data, plane.element, line.offset[operand]);
  };
  segment.positions = line.count;
  move(segment.logits, logits_operand);
  move(segment.output, output_operand);
  move(segment.probabilities, probabilities_operand);
  segment.target = advanced(segment.target, line.offset[target_operand]);
  segment.scale += line.offset[scale_operand];
  segment.losses = advanced(segment.losses, start.problem->losses_are_f64 ? Element::f64 : Element::f32,
                            line.offset[losses_operand]);
  ScoreColumns& scores = segment.scores;
  for (int64_t** places : {&scores.predicted, &scores.rank}) *places = advanced(*places, line.offset[losses_operand]);
  for (void** figures : {&scores.confidence, &scores.log_sum_exp, &scores.entropy, &scores.sum_of_squares}) {
    *figures =
        advanced(*figures, start.problem->losses_are_f64 ? Element::f64 : Element::f32, line.offset[losses_operand]);
  }
  segment.scratch = scratch;
  segment.block_positions = line.count;
  return segment;
}

// Results of segments, added in the order they are given in.
class SegmentSum {
 public:
  void add(const SegmentResult& part) {
    sum_.add(part.loss_sum, part.loss_sum_error);
    target_changed_ |= part.target_changed;
  }
  // With the error of the sum beside it, or rounded into it.
  SegmentResult result() const { return {sum_.sum, sum_.error, target_changed_}; }
  SegmentResult rounded() const { return {sum_.total(), 0, target_changed_}; }

 private:
  LongSum sum_;
  bool target_changed_ = false;
};

SegmentResult total(PerBlock<SegmentResult>& results) {
  SegmentSum sum;
  for (const SegmentResult& part : results) sum.add(part);
  return sum.rounded();
}

// How many blocks one thread takes in a row, none of which shows in a result. A kernel asks the memory for what comes
// next, which after a block would else be another thread's, and writes one batch beside the next.
ptrdiff_t blocks_per_run(ptrdiff_t blocks, ptrdiff_t block_elements, int threads) {
  constexpr ptrdiff_t most_elements = 1 << 20, runs_of_thread = 16;
  const ptrdiff_t most = std::min(blocks / (runs_of_thread * threads), most_elements / block_elements);
  return std::max<ptrdiff_t>(most, 1);
}

// Few positions of many classes: the chunks of each are shared out among threads. They are put together in their order,
// as the kernel does that has a row to itself. What is too long for any cache goes the same way, whatever the number of
// threads: nothing is lost, and no block is so long that a stop request would wait for it.
class SharedPositions {
 public:
  SharedPositions(const Layout& layout, const Segment& start, Kernel kernel, ptrdiff_t at_once)
      : layout_(layout),
        start_(start),
        kernel_(kernel),
        positions_(layout.positions()),
        at_once_(at_once),
        batches_((positions_ + at_once - 1) / at_once),
        classes_(start.problem->classes),
        blocks_(batches_ * ((classes_ + block_classes - 1) / block_classes)),
        threads_(threads_for(positions_ * classes_, blocks_)),
        run_classes_(block_classes * blocks_per_run(blocks_, at_once * block_classes, threads_)),
        runs_((classes_ + run_classes_ - 1) / run_classes_),
        scratch_(scratch_for(start, classes_, 0), threads_, start.output_streams),
        chunks_(static_cast<size_t>(positions_ * chunks_of_row(classes_))),
        outputs_(static_cast<size_t>(positions_)) {}

  // For positions of which the kernel takes `at_once` together.
  static bool are_worth_it(ptrdiff_t positions, ptrdiff_t classes, ptrdiff_t at_once) {
    const bool is_for_few_threads = positions <= (thread_limit() - 1) * at_once;
    return classes >= longest_whole / at_once || (classes >= 2 * block_classes && is_for_few_threads);
  }

  // Every position is finished before one is written: the output may be in the logits' place.
  SegmentResult run() {
    run_stage(SharedClasses::Stage::reduce, runs_);
    const SegmentResult result = run_stage(SharedClasses::Stage::finish, 1);
    if (start_.output.data) run_stage(SharedClasses::Stage::write, runs_);
    return result;
  }

 private:
  static constexpr ptrdiff_t block_classes = 4 * chunk_classes;
  static constexpr ptrdiff_t longest_whole = ptrdiff_t{1} << 22;

  SegmentResult run_stage(SharedClasses::Stage stage, ptrdiff_t runs_of_batch) {
    PerBlock<SegmentResult> results(batches_ * runs_of_batch);
    for_each_block(batches_ * runs_of_batch, threads_, [&](ptrdiff_t index, int thread) {
      const ptrdiff_t first = index / runs_of_batch * at_once_, end = std::min(positions_, first + at_once_);
      const ptrdiff_t first_class = index % runs_of_batch * run_classes_;
      SegmentSum sum;
      for (ptrdiff_t position = first; position < end;) {
        const Layout::Line line = layout_.line(position, end);
        const SharedClasses shared = {stage, first_class, std::min(classes_, first_class + run_classes_),
                                      chunks_.data() + position * chunks_of_row(classes_), outputs_.data() + position};
        Segment segment = segment_along(line, start_, scratch_.of_thread(thread));
        segment.shared = &shared;
        sum.add(kernel_(segment));
        position += line.count;
      }
      results[index] = sum.result();
    });
    return total(results);
  }

  const Layout& layout_;
  const Segment& start_;
  const Kernel kernel_;
  const ptrdiff_t positions_, at_once_, batches_, classes_, blocks_;
  const int threads_;
  const ptrdiff_t run_classes_, runs_;  // of the classes
  Scratch scratch_;
  std::vector<RowStatistics> chunks_;
  std::vector<RowOutput> outputs_;
};

// Where a segment from `position` on ends: with the line, as far as that has whole blocks, or inside a block.
ptrdiff_t end_of_segment(const Layout& layout, ptrdiff_t position, ptrdiff_t end, ptrdiff_t block_positions) {
  const ptrdiff_t line_end = position + layout.line(position, end).count, block = position / block_positions;
  if (position % block_positions != 0 || line_end < (block + 1) * block_positions) {
    return std::min(line_end, (block + 1) * block_positions);
  }
  return line_end == end ? end : line_end / block_positions * block_positions;
}

}  // namespace

SegmentResult run(const Layout& layout, const Segment& all) {
  const Problem& problem = *all.problem;
  const ptrdiff_t positions = layout.positions();
  const bool by_columns = all.logits.position_stride == 1 && all.logits.class_stride != 1 && problem.temperature == 1;
  const Kernels& kernels = active_kernels();
  const auto kernel = all.logits.element == Element::f64 ? kernels.segment_double : kernels.segment_float;
  Segment start = all;
  start.output_streams = is_large(all, positions) && streams(all);
  start.output_is_staged = is_large(all, positions) && is_staged(all);

  const ptrdiff_t at_once = by_columns ? lanes_at_most : 1;
  if (SharedPositions::are_worth_it(positions, problem.classes, at_once)) {
    return SharedPositions(layout, start, kernel, at_once).run();
  }

  const ptrdiff_t block_positions = positions_per_block(problem.classes, by_columns);
  const ptrdiff_t blocks = (positions + block_positions - 1) / block_positions;
  const int threads = threads_for(positions * problem.classes, blocks);
  const ptrdiff_t run_positions = block_positions * blocks_per_run(blocks, block_positions * problem.classes, threads);
  Scratch scratch(scratch_for(start, problem.classes, std::min(positions, block_positions)), threads,
                  start.output_streams);
  PerBlock<SegmentResult> results(blocks);
  for_each_block((positions + run_positions - 1) / run_positions, threads, [&](ptrdiff_t run, int thread) {
    SegmentSum sum;
    const ptrdiff_t end = std::min(positions, (run + 1) * run_positions);
    for (ptrdiff_t position = run * run_positions; position < end;) {
      const ptrdiff_t block = position / block_positions;
      const Layout::Line line = layout.line(position, end_of_segment(layout, position, end, block_positions));
      Segment segment = segment_along(line, start, scratch.of_thread(thread));
      segment.block_positions = block_positions;
      segment.of_blocks = &results[block];
      sum.add(kernel(segment));
      position += line.count;
      if (position % block_positions == 0 || position == end) {
        results[(position - 1) / block_positions] = sum.result();
        sum = SegmentSum();
      }
    }
  });
  return total(results);
}

}  // namespace crossent
