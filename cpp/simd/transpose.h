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

CROSSENT_INLINE void interleave(NativeF32& a, NativeF32& b) {
  [[maybe_unused]] typedef NativeI32 Numbers;
  const NativeF32 x = a, y = b;
#if defined(__AVX512F__)
  a = CROSSENT_SHUFFLE(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  b = CROSSENT_SHUFFLE(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__AVX2__)
  a = CROSSENT_SHUFFLE(x, y, 0, 8, 1, 9, 2, 10, 3, 11);
  b = CROSSENT_SHUFFLE(x, y, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  a = CROSSENT_SHUFFLE(x, y, 0, 4, 1, 5);
  b = CROSSENT_SHUFFLE(x, y, 2, 6, 3, 7);
#endif
}

CROSSENT_INLINE void interleave(NativeF64& a, NativeF64& b) {
  [[maybe_unused]] typedef NativeI64 Numbers;
  const NativeF64 x = a, y = b;
#if defined(__AVX512F__)
  a = CROSSENT_SHUFFLE(x, y, 0, 8, 1, 9, 2, 10, 3, 11);
  b = CROSSENT_SHUFFLE(x, y, 4, 12, 5, 13, 6, 14, 7, 15);
#elif defined(__AVX2__)
  a = CROSSENT_SHUFFLE(x, y, 0, 4, 1, 5);
  b = CROSSENT_SHUFFLE(x, y, 2, 6, 3, 7);
#else
  a = CROSSENT_SHUFFLE(x, y, 0, 2);
  b = CROSSENT_SHUFFLE(x, y, 1, 3);
#endif
}

// n registers of n lanes are transposed by log2 n rounds of interleaving register i with register i + n/2.
template <int rounds, class Register, int n>
CROSSENT_INLINE void transpose_registers(Register (&a)[n]) {
  if constexpr (rounds > 1) {
    Register next[n];
    repeat<n / 2>(CROSSENT_EACH(i) {
      next[2 * i] = a[i];
      next[2 * i + 1] = a[i + n / 2];
      interleave(next[2 * i], next[2 * i + 1]);
    });
    transpose_registers<rounds / 2>(next);
    repeat<n>(CROSSENT_EACH(i) { a[i] = next[i]; });
  }
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
      transpose_registers<n>(registers);
      repeat<n>(CROSSENT_EACH(i) { result[part * n + i].part[block] = registers[i]; });
    });
  });
  repeat<lanes<T>>(CROSSENT_EACH(i) { rows[i] = result[i]; });
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
