// From a call to the problem and the segment that the kernels are given, and from their sums to the result.
#include "loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "dispatch.h"
#include "long_sum.h"
#include "parallel.h"
#include "run.h"
#include "stop_requests.h"

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

// One pass over the class indices, and others only where they are needed.
TargetScan scan_targets(const CrossEntropyCall& call, ptrdiff_t positions) {
  constexpr ptrdiff_t block_positions = 1 << 14;
  const ptrdiff_t blocks = (positions + block_positions - 1) / block_positions;
  const TargetRange range = {call.classes, call.has_ignore_index, call.ignore_index};
  const Kernels& kernels = active_kernels();
  PerBlock<TargetScan> found(blocks);
  for_each_block(blocks, threads_for(positions, blocks), [&](ptrdiff_t block, int) {
    const ptrdiff_t first = block * block_positions, end = std::min(positions, first + block_positions);
    TargetScan& scan = found[block];
    const TargetCount targets = kernels.count_targets(call.target + first, end - first, range);
    scan.weight_sum = static_cast<double>(targets.counted);
    if (targets.has_bad) scan.bad_position = first_bad_position(call, first, end);
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
  std::vector<T> base, factor, units;
  std::vector<double> base_sums;

  ClassTerms(const CrossEntropyCall& call, Problem& problem) {
    const bool has_probabilities = call.probabilities.data != nullptr;
    if (!has_probabilities && call.label_smoothing == 0) return;
    if (!has_probabilities && !call.weight) {
      set_equal(call, problem);
      return;
    }
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
        StopRequests::heed_current();
      }
      problem.base_is_zero &= base[c] == 0;
    }
    problem.base = base.data();
    problem.factor = has_probabilities ? factor.data() : nullptr;
    problem.factor_is_one = has_probabilities && call.label_smoothing == 0 && !call.weight;
    problem.base_sum = sum.total();
    problem.base_unit = 1;
    problem.base_units = base.data();
    problem.base_sums = base_sums.data();
  }

 private:
  // A share for each class: the kernels need not multiply by units of 1. Sums of doubles, which are made in double too,
  // might overflow with these, so their units are less by a power of two.
  void set_equal(const CrossEntropyCall& call, Problem& problem) {
    constexpr bool is_float = sizeof(T) == sizeof(float);
    const auto classes = static_cast<double>(call.classes);
    const double unit = is_float ? 1 : std::ldexp(1.0, -std::ilogb(classes));
    const T share = static_cast<T>(call.label_smoothing / classes);
    base.assign(static_cast<size_t>(call.classes), share);
    units.assign(static_cast<size_t>(call.classes), static_cast<T>(unit));
    for (ptrdiff_t c = 0; c < call.classes; c += chunk_classes) {
      base_sums.push_back(static_cast<double>(std::min(chunk_classes, call.classes - c)) * unit);
    }
    problem.base = base.data();
    problem.base_sum = static_cast<double>(share) * classes;
    problem.base_is_zero = share == 0;
    problem.base_unit = static_cast<double>(share) / unit;
    problem.base_units = units.data();
    problem.base_units_are_one = is_float;
    problem.base_sums = base_sums.data();
  }
};

Plane plane_of(const Operand& operand, const Layout& layout, LossOperand position) {
  return {operand.data, operand.element, layout.last_stride(position), operand.class_stride};
}

}  // namespace

CrossEntropyOutcome cross_entropy(const CrossEntropyCall& call) {
  CrossEntropyOutcome outcome;
  Layout layout = call.layout;
  layout.check_size(call.classes);
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
  problem.operation = call.scores && call.target ? Operation::score : Operation::cross_entropy;
  problem.temperature = call.temperature;
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
  if (call.scores) start.scores = *call.scores;
  const SegmentResult result = run(layout, start);
  outcome.target_changed = result.target_changed;
  if (call.scores && !call.target) {  // the losses are here, and what has nothing to do with a target is to come
    problem.operation = Operation::score;
    problem.base = problem.factor = nullptr;
    start.probabilities.data = nullptr;
    start.losses = nullptr;
    run(layout, start);
  }
  outcome.value = with_one_nan(!is_mean             ? result.loss_sum
                               : denominator == 0.0 ? std::numeric_limits<double>::quiet_NaN()
                                                    : result.loss_sum / denominator);
  return outcome;
}

void softmax(const SoftmaxCall& call) {
  call.layout.check_size(call.classes);
  if (call.layout.positions() == 0) return;
  Problem problem = {};
  problem.operation = call.operation;
  problem.classes = call.classes;
  problem.unit = problem.target_share = problem.temperature = 1;
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
