// Elements are cut into blocks of a fixed size, shared out among threads; a block's operands are brought side by side
// as doubles, which is what the kernel works on, and its results are rounded to where they belong.
#include "binary_loss.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "dispatch.h"
#include "half.h"
#include "long_sum.h"
#include "parallel.h"

namespace crossent {
namespace {

constexpr ptrdiff_t block_elements = 1 << 14;  // the work of one thread at a time
constexpr ptrdiff_t part_elements = 1 << 10;   // what of it is brought side by side at once

struct Brain {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};
struct Boolean {
  uint8_t byte;  // any but 0 is true
};
double to_double(Half value) { return float_from_half(value.bits); }
double to_double(Brain value) { return float_from_brain(value.bits); }
double to_double(Boolean value) { return value.byte != 0; }
double to_double(auto value) { return static_cast<double>(value); }

// use(T*) for the type of a scalar.
template <class Use>
void with_type(Scalar scalar, void* data, const Use& use) {
  switch (scalar) {
    case Scalar::f32:
      return use(static_cast<float*>(data));
    case Scalar::f64:
      return use(static_cast<double*>(data));
    case Scalar::f16:
      return use(static_cast<Half*>(data));
    case Scalar::bf16:
      return use(static_cast<Brain*>(data));
    case Scalar::boolean:
      return use(static_cast<Boolean*>(data));
    case Scalar::u8:
      return use(static_cast<uint8_t*>(data));
    case Scalar::i8:
      return use(static_cast<int8_t*>(data));
    case Scalar::i16:
      return use(static_cast<int16_t*>(data));
    case Scalar::i32:
      return use(static_cast<int32_t*>(data));
    case Scalar::i64:
      return use(static_cast<int64_t*>(data));
    case Scalar::u16:
      return use(static_cast<uint16_t*>(data));
    case Scalar::u32:
      return use(static_cast<uint32_t*>(data));
    case Scalar::u64:
      return use(static_cast<uint64_t*>(data));
  }
}

// A block of one operand, its elements in the order of the positions.
class BlockOperand {
 public:
  BlockOperand(const BinaryCall& call, BinaryOperand operand, ptrdiff_t first, ptrdiff_t end)
      : call_(call), operand_(static_cast<int>(operand)), first_(first), end_(end) {}

  bool is_present() const { return call_.data[operand_] != nullptr; }

  void read(double* out, double otherwise) const {
    if (!is_present()) {
      std::fill(out, out + (end_ - first_), otherwise);
      return;
    }
    for_each_line([&](auto* p, ptrdiff_t i, ptrdiff_t count, ptrdiff_t stride) {
      for (ptrdiff_t k = 0; k < count; ++k) out[i + k] = to_double(p[k * stride]);
    });
  }

  void write(const double* in) const {
    if (!is_present()) return;
    for_each_line([&](auto* p, ptrdiff_t i, ptrdiff_t count, ptrdiff_t stride) {
      using T = std::remove_pointer_t<decltype(p)>;
      for (ptrdiff_t k = 0; k < count; ++k) {
        if constexpr (std::is_same_v<T, Half>) {
          p[k * stride].bits = half_from_float(static_cast<float>(in[i + k]));
        } else if constexpr (std::is_same_v<T, Brain>) {
          p[k * stride].bits = brain_from_float(static_cast<float>(in[i + k]));
        } else if constexpr (std::is_arithmetic_v<T>) {
          p[k * stride] = static_cast<T>(in[i + k]);
        }
      }
    });
  }

 private:
  template <class Use>
  void for_each_line(const Use& use) const {
    const ptrdiff_t stride = call_.layout.last_stride(operand_);
    with_type(call_.scalar[operand_], call_.data[operand_], [&](auto* data) {
      for (ptrdiff_t position = first_; position < end_;) {
        const Layout::Line line = call_.layout.line(position, end_);
        use(data + line.offset[operand_], position - first_, line.count, stride);
        position += line.count;
      }
    });
  }

  const BinaryCall& call_;
  int operand_;
  ptrdiff_t first_, end_;
};

}  // namespace

double binary_cross_entropy(const BinaryCall& original) {
  BinaryCall call = original;
  call.layout.check_size(1);
  call.layout.simplify();
  const ptrdiff_t elements = call.layout.positions();
  const ptrdiff_t blocks = (elements + block_elements - 1) / block_elements;
  const double divisor = call.is_mean ? static_cast<double>(elements) : 1;
  call.grad_output /= divisor;
  std::vector<LongSum> sums(static_cast<size_t>(blocks));
  const auto kernel = active_kernels().binary;
  for_each_block(blocks, threads_for(elements, blocks), [&](ptrdiff_t block, int) {
    using enum BinaryOperand;
    alignas(64) double values[binary_operands][part_elements] = {};
    const auto here = [&](BinaryOperand which) { return values[static_cast<int>(which)]; };
    LongSum& sum = sums[static_cast<size_t>(block)];
    const ptrdiff_t block_end = std::min(elements, (block + 1) * block_elements);
    for (ptrdiff_t begin = block * block_elements; begin < block_end; begin += part_elements) {
      const ptrdiff_t end = std::min(block_end, begin + part_elements);
      const auto in_memory = [&](BinaryOperand which) { return BlockOperand(call, which, begin, end); };
      for (const BinaryOperand input : {x, target, weight, pos_weight}) in_memory(input).read(here(input), 1);
      in_memory(grad_outputs).read(here(grad_outputs), call.grad_output);
      kernel({call.from_logits, end - begin, here(x), here(target), here(weight), here(pos_weight), here(grad_outputs),
              here(losses), in_memory(gradient).is_present() ? here(gradient) : nullptr});
      for (ptrdiff_t i = 0; i < end - begin; ++i) sum.add(here(losses)[i]);
      in_memory(losses).write(here(losses));
      in_memory(gradient).write(here(gradient));
    }
  });
  LongSum total;
  for (const LongSum& sum : sums) total.add(sum.sum, sum.error);
  return with_one_nan(total.total() / divisor);
}

}  // namespace crossent
