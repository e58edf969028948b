// The C++ interface of the binary loss: elementwise over operands of one shape, any strides, any real dtype.
#pragma once

#include <cstdint>

#include "layout.h"

namespace crossent {

enum class Scalar : uint8_t { f32, f64, f16, bf16, boolean, i8, i16, i32, i64, u8, u16, u32, u64 };

enum class BinaryOperand : uint8_t { x, target, weight, pos_weight, grad_outputs, losses, gradient };
constexpr int binary_operands = 7;

struct BinaryCall {
  Layout layout;
  bool from_logits;
  void* data[binary_operands];  // null: absent, which counts as 1; losses and gradient are written
  Scalar scalar[binary_operands];
  double grad_output;  // where grad_outputs is absent
  bool is_mean;        // loss and grad_output are divided by the number of elements
};

// The sum of the losses, or their mean.
double binary_cross_entropy(const BinaryCall& call);

}  // namespace crossent
