// COMPILED ONCE PER INSTRUCTION SET. Few classes: a batch of short rows is turned around in registers into a tile of
// classes × batch_positions, so that positions are the lanes, and the result is turned back.
#pragma once

#include "element.h"

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
template <class Register, int n>
CROSSENT_INLINE void transpose_registers(Register (&a)[n]) {
#pragma GCC unroll 4
  for (int round = 1; round < n; round *= 2) {
    Register next[n];
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) {
      next[2 * i] = a[i];
      next[2 * i + 1] = a[i + n / 2];
      interleave(next[2 * i], next[2 * i + 1]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) a[i] = next[i];
  }
}

// A square of lanes × lanes elements: rows become columns.
template <class T>
CROSSENT_INLINE void transpose(Vec<T> (&rows)[lanes<T>]) {
  constexpr int n = lanes<T> / parts;
  if constexpr (parts == 1) {
    typename Vec<T>::Register registers[n];
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) registers[i] = rows[i].part[0];
    transpose_registers(registers);
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i].part[0] = registers[i];
  } else {
    Vec<T> result[lanes<T>];
    for (int block = 0; block < parts; ++block) {
      for (int part = 0; part < parts; ++part) {
        typename Vec<T>::Register registers[n];
        for (int i = 0; i < n; ++i) registers[i] = rows[block * n + i].part[part];
        transpose_registers(registers);
        for (int i = 0; i < n; ++i) result[part * n + i].part[block] = registers[i];
      }
    }
    for (int i = 0; i < lanes<T>; ++i) rows[i] = result[i];
  }
}

// tile[c · batch_positions + p] = the element of class c at position p; positions beyond the last are 0.
template <class E>
void load_tile(const typename E::Storage* x, ptrdiff_t position_stride, ptrdiff_t class_stride, ptrdiff_t classes,
               ptrdiff_t positions, typename E::Real* tile) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  for (ptrdiff_t p = 0; p < positions; p += width) {
    const ptrdiff_t present = positions - p < width ? positions - p : width;
    for (ptrdiff_t c = 0; c < classes; c += width) {
      const ptrdiff_t used = classes - c < width ? classes - c : width;
      Vec<T> block[width];
      for (ptrdiff_t i = 0; i < width; ++i) {
        block[i] = splat<T>(0);
        if (i >= present) continue;
        const auto* row = x + (p + i) * position_stride + c * class_stride;
        if (class_stride == 1) {
          block[i] = load_partial<E>(row, used, 0);
        } else {
          alignas(64) typename E::Storage memory[width] = {};
          for (ptrdiff_t k = 0; k < used; ++k) memory[k] = row[k * class_stride];
          block[i] = E::load(memory);
        }
      }
      transpose(block);
      for (ptrdiff_t i = 0; i < used; ++i) store(tile + (c + i) * batch_positions + p, block[i]);
    }
  }
}

template <class O>
void store_tile(const typename O::Real* tile, typename O::Storage* y, ptrdiff_t position_stride, ptrdiff_t class_stride,
                ptrdiff_t classes, ptrdiff_t positions) {
  using T = typename O::Real;
  constexpr ptrdiff_t width = lanes<T>;
  for (ptrdiff_t p = 0; p < positions; p += width) {
    const ptrdiff_t present = positions - p < width ? positions - p : width;
    for (ptrdiff_t c = 0; c < classes; c += width) {
      const ptrdiff_t used = classes - c < width ? classes - c : width;
      Vec<T> block[width];
      for (ptrdiff_t i = 0; i < width; ++i) {
        block[i] = i < used ? load(tile + (c + i) * batch_positions + p) : splat<T>(0);
      }
      transpose(block);
      for (ptrdiff_t i = 0; i < present; ++i) {
        auto* row = y + (p + i) * position_stride + c * class_stride;
        if (class_stride == 1) {
          store_partial<O>(row, block[i], used);
        } else {
          alignas(64) typename O::Storage memory[width];
          O::store(memory, block[i]);
          for (ptrdiff_t k = 0; k < used; ++k) row[k * class_stride] = memory[k];
        }
      }
    }
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
