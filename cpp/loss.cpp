// Positions are cut into blocks of a size that depends on the number of classes alone; the blocks are shared out among
// threads, and their sums are added in block order, so that no result depends on the number of threads.
#include "loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "dispatch.h"
#include "long_sum.h"
#include "parallel.h"

namespace crossent {
namespace {

// What the mean divides by, and whether all targets are classes.
struct TargetScan {
  double weight_sum = 0;  // of the valid targets; their number without weights
  ptrdiff_t bad_position = -1;
};

bool is_class(int64_t label, ptrdiff_t classes) {
  return static_cast<uint64_t>(label) < static_cast<uint64_t>(classes);
}

bool is_ignored(const CrossEntropyCall& call, int64_t label) {
  return call.has_ignore_index && label == call.ignore_index;
}

ptrdiff_t first_bad_position(const CrossEntropyCall& call, ptrdiff_t first, ptrdiff_t end) {
  for (ptrdiff_t p = first; p < end; ++p) {
    const int64_t label = read_once(call.target + p);
    if (!is_ignored(call, label) && !is_class(label, call.classes)) return p;
  }
  return -1;  // the target was changed meanwhile
}

double weight_of_targets(const CrossEntropyCall& call, ptrdiff_t first, ptrdiff_t end) {
  LongSum sum;
  for (ptrdiff_t p = first; p < end; ++p) {
    const int64_t label = read_once(call.target + p);
    if (!is_ignored(call, label) && is_class(label, call.classes)) sum.add(call.weight[label]);
  }
  return sum.total();
}

// One pass over the class indices, without a branch, and others only where they are needed.
TargetScan scan_targets(const CrossEntropyCall& call, ptrdiff_t positions) {
  constexpr ptrdiff_t block_positions = 1 << 14;
  const ptrdiff_t blocks = (positions + block_positions - 1) / block_positions;
  PerBlock<TargetScan> found(blocks);
  for_each_block(blocks, threads_for(positions, blocks), [&](ptrdiff_t block, int) {
    const ptrdiff_t first = block * block_positions, end = std::min(positions, first + block_positions);
    TargetScan& scan = found[block];
    ptrdiff_t valid = 0;
    bool is_bad = false;
    for (ptrdiff_t p = first; p < end; ++p) {
      const int64_t label = read_once(call.target + p);
      const bool counts = !call.has_ignore_index | (label != call.ignore_index);
      is_bad |= counts & !is_class(label, call.classes);
      valid += counts;
    }
    scan.weight_sum = static_cast<double>(valid);
    if (is_bad) scan.bad_position = first_bad_position(call, first, end);
    if (call.weight) scan.weight_sum = weight_of_targets(call, first, end);
  });
  TargetScan all;
  LongSum weight_sum;
  for (const TargetScan& scan : found) {
    if (scan.bad_position >= 0) return scan;
    weight_sum.add(scan.weight_sum);
  }
  all.weight_sum = weight_sum.total();
  return all;
}

// A power of two near the largest weight where float's range might not do for the weights, 1 otherwise.
double unit_of_weights(const CrossEntropyCall& call) {
  if (!call.weight) return 1;
  double largest = 0;
  for (ptrdiff_t c = 0; c < call.classes; ++c) largest = std::max(largest, std::fabs(call.weight[c]));
  const bool is_ordinary = !std::isfinite(largest) || largest == 0 || (largest > 0x1p-60 && largest < 0x1p60);
  return is_ordinary ? 1 : std::ldexp(1.0, std::ilogb(largest));
}

// base_c and factor_c of kernels.h, in the type the logits are computed in.
template <class T>
struct ClassTerms {
  std::vector<T> base, factor;
  std::vector<double> base_sums;

  ClassTerms(const CrossEntropyCall& call, Problem& problem) {
    const bool has_probabilities = call.probabilities.data != nullptr;
    if (!has_probabilities && call.label_smoothing == 0) return;
    const auto classes = static_cast<size_t>(call.classes);
    base.resize(classes);
    if (has_probabilities) factor.resize(classes);
    LongSum sum, chunk_sum;
    for (size_t c = 0; c < classes; ++c) {
      const double weight = call.weight ? call.weight[c] / problem.unit : 1.0;
      base[c] = static_cast<T>(call.label_smoothing / static_cast<double>(call.classes) * weight);
      if (has_probabilities) factor[c] = static_cast<T>((1 - call.label_smoothing) * weight);
      sum.add(static_cast<double>(base[c]));
      chunk_sum.add(static_cast<double>(base[c]));
      if ((c + 1) % chunk_classes == 0 || c + 1 == classes) {
        base_sums.push_back(chunk_sum.total());
        chunk_sum = LongSum();
      }
      problem.base_is_zero &= base[c] == 0;
    }
    problem.base = base.data();
    problem.factor = has_probabilities ? factor.data() : nullptr;
    problem.base_sum = sum.total();
    problem.base_sums = base_sums.data();
  }
};

// Scratch memory for each thread, taken from the heap only where it is large.
class Scratch {
 public:
  Scratch(ptrdiff_t bytes, int threads) : bytes_((bytes + 63) / 64 * 64) {
    if (bytes_ * threads > static_cast<ptrdiff_t>(sizeof(small_))) {
      heap_.reset(static_cast<char*>(::operator new(static_cast<size_t>(bytes_ * threads), std::align_val_t{64})));
    }
  }
  void* of_thread(int thread) { return (heap_ ? heap_.get() : small_) + thread * bytes_; }

 private:
  struct Free {
    void operator()(char* p) const { ::operator delete(p, std::align_val_t{64}); }
  };
  ptrdiff_t bytes_;
  std::unique_ptr<char, Free> heap_;
  alignas(64) char small_[16384];
};

ptrdiff_t scratch_for(const Segment& segment, ptrdiff_t classes) {
  const auto is_row = [](const Plane& plane) { return plane.data == nullptr || plane.class_stride == 1; };
  const bool needs_none =
      classes > few_classes && is_row(segment.logits) && is_row(segment.output) && !segment.probabilities.data;
  return needs_none ? 0 : scratch_bytes(classes);
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

// Whether the output would leave the cache before anybody reads it. Short rows have too few whole cache lines.
bool streams(const Segment& start, ptrdiff_t positions) {
  constexpr ptrdiff_t large_bytes = ptrdiff_t{1} << 25, long_row_bytes = 2048;
  const ptrdiff_t row_bytes = start.problem->classes * size_of(start.output.element);
  return start.output.data && start.output.data != start.logits.data && row_bytes >= long_row_bytes &&
         positions * row_bytes >= large_bytes;
}

// Runs the kernel over all positions of `layout`; `start` is the segment of position 0 with its strides filled in.
SegmentResult run(const Layout& layout, const Segment& start) {
  const Problem& problem = *start.problem;
  const ptrdiff_t positions = layout.positions();
  const bool by_columns = start.logits.position_stride == 1 && start.logits.class_stride != 1;
  const ptrdiff_t block_positions = positions_per_block(problem.classes, by_columns);
  const ptrdiff_t blocks = (positions + block_positions - 1) / block_positions;
  const int threads = threads_for(positions * problem.classes, blocks);

  const Kernels& kernels = active_kernels();
  const bool output_streams = streams(start, positions);
  const auto kernel = start.logits.element == Element::f64 ? kernels.segment_double : kernels.segment_float;
  Scratch scratch(scratch_for(start, problem.classes), threads);
  PerBlock<SegmentResult> results(blocks);
  for_each_block(blocks, threads, [&](ptrdiff_t block, int thread) {
    LongSum sum;
    bool target_changed = false;
    const ptrdiff_t end = std::min(positions, (block + 1) * block_positions);
    for (ptrdiff_t position = block * block_positions; position < end;) {
      const Layout::Line line = layout.line(position, end);
      Segment segment = start;
      const auto move = [&](Plane& plane, LossOperand operand) {
        plane.data = advanced(plane.data, plane.element, line.offset[operand]);
      };
      segment.positions = line.count;
      segment.output_streams = output_streams;
      move(segment.logits, logits_operand);
      move(segment.output, output_operand);
      move(segment.probabilities, probabilities_operand);
      segment.target = advanced(segment.target, line.offset[target_operand]);
      segment.scale += line.offset[scale_operand];
      segment.losses =
          advanced(segment.losses, problem.losses_are_f64 ? Element::f64 : Element::f32, line.offset[losses_operand]);
      segment.scratch = scratch.of_thread(thread);
      const SegmentResult result = kernel(segment);
      sum.add(result.loss_sum, result.loss_sum_error);
      target_changed |= result.target_changed;
      position += line.count;
    }
    results[block] = {sum.sum, sum.error, target_changed};
  });
  LongSum sum;
  SegmentResult all = {0, 0, false};
  for (const SegmentResult& result : results) {
    sum.add(result.loss_sum, result.loss_sum_error);
    all.target_changed |= result.target_changed;
  }
  all.loss_sum = sum.total();
  return all;
}

Plane plane_of(const Operand& operand, const Layout& layout, LossOperand position) {
  return {operand.data, operand.element, layout.last_stride(position), operand.class_stride};
}

}  // namespace

CrossEntropyOutcome cross_entropy(const CrossEntropyCall& call) {
  CrossEntropyOutcome outcome;
  Layout layout = call.layout;
  const ptrdiff_t positions = layout.positions();
  double denominator = static_cast<double>(positions);
  if (call.target) {
    const TargetScan scan = scan_targets(call, positions);
    if (scan.bad_position >= 0) {
      outcome.bad_position = scan.bad_position;
      outcome.bad_target = call.target[scan.bad_position];
      return outcome;
    }
    denominator = scan.weight_sum;
  }
  const bool is_mean = call.reduction == Reduction::mean;
  if (positions == 0) {
    outcome.value = is_mean ? std::numeric_limits<double>::quiet_NaN() : 0.0;
    return outcome;
  }

  Problem problem = {};
  problem.operation = Operation::cross_entropy;
  problem.classes = call.classes;
  problem.has_ignore_index = call.has_ignore_index;
  problem.ignore_index = call.ignore_index;
  problem.unit = unit_of_weights(call);
  problem.target_share = (1 - call.label_smoothing) / problem.unit;
  problem.weight = call.weight;
  problem.base_is_zero = true;
  problem.gradient_is_zero = is_mean && denominator == 0;
  problem.losses_are_f64 = call.losses_are_f64;
  const bool is_double = call.logits.element == Element::f64;
  std::unique_ptr<ClassTerms<double>> double_terms;
  std::unique_ptr<ClassTerms<float>> float_terms;
  if (is_double) {
    double_terms = std::make_unique<ClassTerms<double>>(call, problem);
  } else {
    float_terms = std::make_unique<ClassTerms<float>>(call, problem);
  }

  layout.simplify();
  const double scale = is_mean ? call.grad_output / denominator : call.grad_output;
  Segment start = {};
  start.problem = &problem;
  start.logits = plane_of(call.logits, layout, logits_operand);
  start.output = plane_of(call.gradient, layout, output_operand);
  start.probabilities = plane_of(call.probabilities, layout, probabilities_operand);
  start.target = call.target;
  start.target_stride = layout.last_stride(target_operand);
  start.scale = call.grad_outputs ? call.grad_outputs : &scale;
  start.scale_stride = call.grad_outputs ? layout.last_stride(scale_operand) : 0;
  start.losses = call.losses;
  start.losses_stride = layout.last_stride(losses_operand);
  const SegmentResult result = run(layout, start);
  outcome.target_changed = result.target_changed;
  outcome.value = !is_mean             ? result.loss_sum
                  : denominator == 0.0 ? std::numeric_limits<double>::quiet_NaN()
                                       : result.loss_sum / denominator;
  return outcome;
}

void softmax(const SoftmaxCall& call) {
  if (call.layout.positions() == 0) return;
  Problem problem = {};
  problem.operation = call.operation;
  problem.classes = call.classes;
  problem.unit = problem.target_share = 1;
  problem.base_is_zero = true;
  problem.losses_are_f64 = call.losses_are_f64;
  const double scale = 1;
  Layout layout = call.layout;
  layout.simplify();
  Segment start = {};
  start.problem = &problem;
  start.logits = plane_of(call.logits, layout, logits_operand);
  start.output = plane_of(call.output, layout, output_operand);
  start.scale = &scale;
  start.losses = call.losses;
  start.losses_stride = layout.last_stride(losses_operand);
  run(layout, start);
}

}  // namespace crossent
