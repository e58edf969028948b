// COMPILED ONCE PER INSTRUCTION SET. Squares of lanes × lanes elements, turned around in registers.
#pragma once

#include "vec.h"

namespace crossent::CROSSENT_ISA {
namespace {

// The lanes of a followed by those of b, picked by number.
#if defined(__clang__)
#define CROSSENT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CROSSENT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Numbers{__VA_ARGS__})
#endif

// a0 b0 a1 b1 … from the lower and the upper halves of every 16 bytes.
CROSSENT_INLINE void interleave_in_quarters(NativeF32& a, NativeF32& b) {
  [[maybe_unused]] typedef NativeI32 Numbers;
  const NativeF32 x = a, y = b;
#if defined(__AVX512F__)
  a = CROSSENT_SHUFFLE(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
  b = CROSSENT_SHUFFLE(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
#elif defined(__AVX2__)
  a = CROSSENT_SHUFFLE(x, y, 0, 8, 1, 9, 4, 12, 5, 13);
  b = CROSSENT_SHUFFLE(x, y, 2, 10, 3, 11, 6, 14, 7, 15);
#else
  a = CROSSENT_SHUFFLE(x, y, 0, 4, 1, 5);
  b = CROSSENT_SHUFFLE(x, y, 2, 6, 3, 7);
#endif
}

CROSSENT_INLINE void interleave_in_quarters(NativeF64& a, NativeF64& b) {
  [[maybe_unused]] typedef NativeI64 Numbers;
  const NativeF64 x = a, y = b;
#if defined(__AVX512F__)
  a = CROSSENT_SHUFFLE(x, y, 0, 8, 2, 10, 4, 12, 6, 14);
  b = CROSSENT_SHUFFLE(x, y, 1, 9, 3, 11, 5, 13, 7, 15);
#elif defined(__AVX2__)
  a = CROSSENT_SHUFFLE(x, y, 0, 4, 2, 6);
  b = CROSSENT_SHUFFLE(x, y, 1, 5, 3, 7);
#else
  a = CROSSENT_SHUFFLE(x, y, 0, 2);
  b = CROSSENT_SHUFFLE(x, y, 1, 3);
#endif
}

// Registers as rows of 16-byte elements, as many as a register has of them: rows become columns.
template <class Register>
CROSSENT_INLINE void transpose_quarters([[maybe_unused]] Register (&a)[register_bytes / 16]) {
  [[maybe_unused]] typedef NativeI64 Numbers;
  [[maybe_unused]] const auto quarters = [](Register r) { return (NativeF64)r; };
#if defined(__AVX512F__)
  const auto even = [&](Register x, Register y) __attribute__((always_inline)) {
    return (Register)CROSSENT_SHUFFLE(quarters(x), quarters(y), 0, 1, 4, 5, 8, 9, 12, 13);
  };
  const auto odd = [&](Register x, Register y) __attribute__((always_inline)) {
    return (Register)CROSSENT_SHUFFLE(quarters(x), quarters(y), 2, 3, 6, 7, 10, 11, 14, 15);
  };
  const auto lower = [&](Register x, Register y) __attribute__((always_inline)) {
    return (Register)CROSSENT_SHUFFLE(quarters(x), quarters(y), 0, 1, 2, 3, 8, 9, 10, 11);
  };
  const auto upper = [&](Register x, Register y) __attribute__((always_inline)) {
    return (Register)CROSSENT_SHUFFLE(quarters(x), quarters(y), 4, 5, 6, 7, 12, 13, 14, 15);
  };
  const Register lower_first = lower(a[0], a[1]), lower_last = lower(a[2], a[3]);
  const Register upper_first = upper(a[0], a[1]), upper_last = upper(a[2], a[3]);
  a[0] = even(lower_first, lower_last);
  a[1] = odd(lower_first, lower_last);
  a[2] = even(upper_first, upper_last);
  a[3] = odd(upper_first, upper_last);
#elif defined(__AVX2__)
  const NativeF64 x = quarters(a[0]), y = quarters(a[1]);
  a[0] = (Register)CROSSENT_SHUFFLE(x, y, 0, 1, 4, 5);
  a[1] = (Register)CROSSENT_SHUFFLE(x, y, 2, 3, 6, 7);
#endif
}

// m registers, whose every 16 bytes hold m lanes: these squares are transposed by log2 m rounds of interleaving
// register i with register i + m/2.
template <int rounds, class Register, int m>
CROSSENT_INLINE void transpose_in_quarters(Register (&a)[m]) {
  if constexpr (rounds > 1) {
    Register next[m];
    repeat<m / 2>(CROSSENT_EACH(i) {
      next[2 * i] = a[i];
      next[2 * i + 1] = a[i + m / 2];
      interleave_in_quarters(next[2 * i], next[2 * i + 1]);
    });
    transpose_in_quarters<rounds / 2>(next);
    repeat<m>(CROSSENT_EACH(i) { a[i] = next[i]; });
  }
}

// n registers of n lanes: the squares inside 16 bytes first, which is cheap, and then 16 bytes at a time.
template <class Register, int n>
CROSSENT_INLINE void transpose_registers(Register (&a)[n]) {
  constexpr int quarters = register_bytes / 16, m = n / quarters;
  repeat<quarters>(CROSSENT_EACH(q) {
    Register square[m];
    repeat<m>(CROSSENT_EACH(i) { square[i] = a[q * m + i]; });
    transpose_in_quarters<m>(square);
    repeat<m>(CROSSENT_EACH(i) { a[q * m + i] = square[i]; });
  });
  repeat<m>(CROSSENT_EACH(i) {
    Register column[quarters];
    repeat<quarters>(CROSSENT_EACH(q) { column[q] = a[q * m + i]; });
    transpose_quarters(column);
    repeat<quarters>(CROSSENT_EACH(q) { a[q * m + i] = column[q]; });
  });
}

// A square of lanes × lanes elements: rows become columns. A part of a row is turned with the same part of the next
// rows as a block; the block then takes its mirror image's place.
template <class T>
CROSSENT_INLINE_IF_ONE_PART void transpose(Vec<T> (&rows)[lanes<T>]) {
  constexpr int n = lanes<T> / parts;
  Vec<T> result[lanes<T>];
  repeat<parts>(CROSSENT_EACH(block) {
    repeat<parts>(CROSSENT_EACH(part) {
      typename Vec<T>::Register registers[n];
      repeat<n>(CROSSENT_EACH(i) { registers[i] = rows[block * n + i].part[part]; });
      transpose_registers(registers);
      repeat<n>(CROSSENT_EACH(i) { result[part * n + i].part[block] = registers[i]; });
    });
  });
  repeat<lanes<T>>(CROSSENT_EACH(i) { rows[i] = result[i]; });
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
