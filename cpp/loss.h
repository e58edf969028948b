// The C++ interface of the losses: plain pointers and strides in, numbers out. No Python, no instruction set.
#pragma once

#include <cstdint>

#include "kernels.h"
#include "layout.h"

namespace crossent {

// The operands of a Layout of logits.
enum LossOperand {
  logits_operand,
  output_operand,
  probabilities_operand,
  target_operand,
  scale_operand,
  losses_operand
};

// An operand along positions and classes; its strides along the positions are in a Layout.
struct Operand {
  void* data = nullptr;
  Element element = Element::f32;
  ptrdiff_t class_stride = 0;  // in elements
};

enum class Reduction : uint8_t { none, mean, sum };

struct CrossEntropyCall {
  Layout layout;
  ptrdiff_t classes = 0;
  Operand logits, gradient, probabilities;  // the last two may be absent
  const int64_t* target = nullptr;          // class indices in C order, or null
  const double* weight = nullptr;           // by class, or null
  bool has_ignore_index = false;
  int64_t ignore_index = 0;
  double label_smoothing = 0;
  Reduction reduction = Reduction::mean;
  double grad_output = 1;                // for every position, unless
  const double* grad_outputs = nullptr;  // each has its own
  void* losses = nullptr;                // by position, or null
  bool losses_are_f64 = false;
  double temperature = 1;                // the logits are divided by it first; not where there is a gradient
  const ScoreColumns* scores = nullptr;  // with the losses' strides; null unless this is a score
};

struct CrossEntropyOutcome {
  double value = 0;  // the mean or the sum
  // The first target in C order that is neither a class nor ignored; nothing has been written then. -1: there is none.
  ptrdiff_t bad_position = -1;
  int64_t bad_target = 0;
  bool target_changed = false;  // it turned out of range while the losses were computed
};

constexpr const char* target_changed_message = "target was changed to a value out of range during the call";

CrossEntropyOutcome cross_entropy(const CrossEntropyCall& call);

// Softmax and log-softmax into `output`, or logsumexp into `losses`.
struct SoftmaxCall {
  Layout layout;
  ptrdiff_t classes;
  Operation operation;
  Operand logits, output;
  void* losses;
  bool losses_are_f64;
};

void softmax(const SoftmaxCall& call);

}  // namespace crossent
