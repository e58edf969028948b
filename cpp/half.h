// Half precisions, one number at a time, where speed doesn't count (simd/native_memory.h has the vectors).
#pragma once

#include <bit>
#include <cstdint>

namespace crossent {

// The bits moved into a float's place are too small by 2^112, the difference of the exponents' biases.
inline float float_from_half(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu, sign = (half & 0x8000u) << 16;
  const uint32_t infinite_or_nan = magnitude >= 0x7c00u ? 0x7f800000u : 0u;
  const float value = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | infinite_or_nan | sign);
}

// To nearest even, denormals kept. Adding 0.5 rounds a float below 2^-14 at 2^-24, the step of float16's denormals.
inline uint16_t half_from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7fffffffu;
  const auto with_sign = [&](uint32_t half) { return static_cast<uint16_t>(half | ((bits >> 16) & 0x8000u)); };
  if (magnitude > 0x7f800000u) return with_sign(0x7e00u);
  if (magnitude >= 0x47800000u) return with_sign(0x7c00u);
  if (magnitude < 0x38800000u) {
    return with_sign(std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u);
  }
  return with_sign((magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13);
}

inline float float_from_brain(uint16_t brain) { return std::bit_cast<float>(uint32_t{brain} << 16); }

inline uint16_t brain_from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace crossent
