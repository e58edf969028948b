// COMPILED ONCE PER INSTRUCTION SET. Few classes: a batch of short rows is turned around in registers into a tile of
// classes × batch_positions, so that positions are the lanes, and the result is turned back.
#pragma once

#include "element.h"
#include "transpose.h"

namespace crossent::CROSSENT_ISA {
namespace {

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
