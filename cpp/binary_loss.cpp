// Elements are numbered in C order and cut into blocks; a block's operands are brought side by side as doubles, which is what
// the kernel works on, and its results are rounded to where they belong.
#include "binary_loss.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "dispatch.h"
#include "long_sum.h"
#include "parallel.h"

namespace crossent {
namespace {

constexpr ptrdiff_t block_elements = 1024;

template <class T>
T read(const char* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

double from_half(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  const double magnitude = exponent == 31 ? (mantissa ? std::nan("") : INFINITY)
                           : exponent     ? std::ldexp(mantissa + 1024, exponent - 25)
                                          : std::ldexp(mantissa, -24);
  return bits & 0x8000 ? -magnitude : magnitude;
}

double from_brain(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// Rounds to a float format of `mantissa_bits` stored bits and the given smallest normal exponent, to nearest even.
double rounded_to(double value, int mantissa_bits, int smallest_exponent) {
  if (!std::isfinite(value) || value == 0) return value;
  const int exponent = std::max(std::ilogb(value), smallest_exponent) - mantissa_bits;
  return std::ldexp(std::nearbyint(std::ldexp(value, -exponent)), exponent);
}

uint16_t to_half(double value) {
  const double rounded = std::fabs(rounded_to(value, 10, -14));
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  if (std::isnan(value)) return sign | 0x7e00;
  if (rounded >= 65536) return sign | 0x7c00;
  if (rounded < std::ldexp(1, -14)) return static_cast<uint16_t>(sign | static_cast<int>(std::ldexp(rounded, 24)));
  const int exponent = std::ilogb(rounded);
  const int mantissa = static_cast<int>(std::ldexp(rounded, 10 - exponent)) - 1024;
  return static_cast<uint16_t>(sign | ((exponent + 15) << 10) | mantissa);
}

uint16_t to_brain(double value) {
  const float rounded = static_cast<float>(rounded_to(value, 7, -126));
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(rounded) >> 16 | (std::isnan(value) ? 0x40 : 0));
}

double read_scalar(const char* p, Scalar scalar) {
  switch (scalar) {
    case Scalar::f32: return read<float>(p);
    case Scalar::f16: return from_half(read<uint16_t>(p));
    case Scalar::bf16: return from_brain(read<uint16_t>(p));
    case Scalar::boolean: return read<uint8_t>(p) != 0;
    case Scalar::i8: return read<int8_t>(p);
    case Scalar::i16: return read<int16_t>(p);
    case Scalar::i32: return read<int32_t>(p);
    case Scalar::i64: return static_cast<double>(read<int64_t>(p));
    case Scalar::u8: return read<uint8_t>(p);
    case Scalar::u16: return read<uint16_t>(p);
    case Scalar::u32: return read<uint32_t>(p);
    case Scalar::u64: return static_cast<double>(read<uint64_t>(p));
    default: return read<double>(p);
  }
}

template <class T>
void write(char* p, T value) {
  std::memcpy(p, &value, sizeof(value));
}

void write_scalar(char* p, Scalar scalar, double value) {
  switch (scalar) {
    case Scalar::f32: return write(p, static_cast<float>(value));
    case Scalar::f16: return write(p, to_half(value));
    case Scalar::bf16: return write(p, to_brain(value));
    default: return write(p, value);
  }
}

// Calls visit(i, address) for elements first … first + count - 1 of `operand`, i counting from 0.
template <class Visit>
void for_each_element(const BinaryCall& call, const BinaryOperand& operand, ptrdiff_t first, ptrdiff_t count,
                      const Visit& visit) {
  ptrdiff_t along[64];
  char* p = static_cast<char*>(operand.data);
  ptrdiff_t rest = first;
  for (int i = call.axes - 1; i >= 0; --i) {
    along[i] = rest % call.extent[i];
    rest /= call.extent[i];
    p += along[i] * operand.stride[i];
  }
  for (ptrdiff_t i = 0; i < count; ++i) {
    visit(i, p);
    for (int a = call.axes - 1; a >= 0; --a) {
      p += operand.stride[a];
      if (++along[a] < call.extent[a]) break;
      p -= operand.stride[a] * call.extent[a];
      along[a] = 0;
    }
  }
}

void gather(const BinaryCall& call, const BinaryOperand& operand, ptrdiff_t first, ptrdiff_t count, double otherwise,
            double* out) {
  if (!operand.data) {
    for (ptrdiff_t i = 0; i < count; ++i) out[i] = otherwise;
    return;
  }
  for_each_element(call, operand, first, count,
                   [&](ptrdiff_t i, const char* p) { out[i] = read_scalar(p, operand.scalar); });
}

void scatter(const BinaryCall& call, const BinaryOperand& operand, ptrdiff_t first, ptrdiff_t count, const double* in) {
  if (!operand.data) return;
  for_each_element(call, operand, first, count, [&](ptrdiff_t i, char* p) { write_scalar(p, operand.scalar, in[i]); });
}

}  // namespace

double binary_cross_entropy(const BinaryCall& call) {
  ptrdiff_t elements = 1;
  for (int i = 0; i < call.axes; ++i) elements *= call.extent[i];
  const ptrdiff_t blocks = (elements + block_elements - 1) / block_elements;
  std::vector<LongSum> sums(static_cast<size_t>(blocks));
  const auto kernel = active_kernels().binary;
  for_each_block(blocks, threads_for(elements * 8, blocks), [&](ptrdiff_t block, int) {
    alignas(64) double x[block_elements], target[block_elements], weight[block_elements], pos_weight[block_elements];
    alignas(64) double scale[block_elements], losses[block_elements], gradient[block_elements];
    const ptrdiff_t first = block * block_elements;
    const ptrdiff_t count = std::min(block_elements, elements - first);
    for (ptrdiff_t i = count; i < (count + 7) / 8 * 8; ++i) {
      x[i] = target[i] = weight[i] = pos_weight[i] = scale[i] = 0;
    }
    gather(call, call.x, first, count, 0, x);
    gather(call, call.target, first, count, 0, target);
    gather(call, call.weight, first, count, 1, weight);
    gather(call, call.pos_weight, first, count, 1, pos_weight);
    gather(call, call.grad_outputs, first, count, call.grad_output, scale);
    kernel({call.from_logits, count, x, target, weight, pos_weight, scale, losses,
            call.gradient.data ? gradient : nullptr});
    LongSum sum;
    for (ptrdiff_t i = 0; i < count; ++i) sum.add(losses[i]);
    sums[static_cast<size_t>(block)] = sum;
    scatter(call, call.losses, first, count, losses);
    scatter(call, call.gradient, first, count, gradient);
  });
  LongSum total;
  for (const LongSum& sum : sums) total.add(sum.sum, sum.error);
  return total.total();
}

}  // namespace crossent
