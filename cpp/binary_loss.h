// The C++ interface of the binary loss: elementwise over operands of one shape, any strides, any real dtype.
#pragma once

#include <cstddef>
#include <cstdint>

namespace crossent {

enum class Scalar : uint8_t { f32, f64, f16, bf16, boolean, i8, i16, i32, i64, u8, u16, u32, u64 };

struct BinaryOperand {
  void* data = nullptr;  // null: absent
  Scalar scalar = Scalar::f64;
  ptrdiff_t stride[64] = {};  // in bytes, by axis
};

struct BinaryCall {
  int axes;
  ptrdiff_t extent[64];
  bool from_logits;
  BinaryOperand x, target, weight, pos_weight, grad_outputs;
  double grad_output;              // where grad_outputs is absent
  BinaryOperand losses, gradient;  // written; may be absent
};

// The sum of the losses.
double binary_cross_entropy(const BinaryCall& call);

}  // namespace crossent
