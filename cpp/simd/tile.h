// COMPILED ONCE PER INSTRUCTION SET. Few classes: a batch of short rows is turned around in registers into a tile of
// classes × batch_positions, so that positions are the lanes, and the result is turned back.
#pragma once

#include "element.h"
#include "transpose.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class E>
CROSSENT_INLINE Vec<typename E::Real> load_strided(const typename E::Storage* x, ptrdiff_t stride, ptrdiff_t count) {
  if (stride == 1) return load_partial<E>(x, count, 0);
  alignas(64) typename E::Storage memory[element_lanes<E>] = {};
  for (ptrdiff_t i = 0; i < count; ++i) memory[i] = x[i * stride];
  return E::load(memory);
}

template <class E>
CROSSENT_INLINE void store_strided(typename E::Storage* y, ptrdiff_t stride, ptrdiff_t count,
                                   const Vec<typename E::Real>& value) {
  if (stride == 1) return store_partial<E>(y, value, count);
  alignas(64) typename E::Storage memory[element_lanes<E>];
  E::store(memory, value);
  for (ptrdiff_t i = 0; i < count; ++i) y[i * stride] = memory[i];
}

// tile[c · batch_positions + p] = the element of class c at position p; positions beyond the last are 0.
template <class E>
void load_tile(const typename E::Storage* x, ptrdiff_t position_stride, ptrdiff_t class_stride, ptrdiff_t classes,
               ptrdiff_t positions, typename E::Real* tile) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  for (ptrdiff_t p = 0; p < positions; p += width) {
    const ptrdiff_t present = positions - p < width ? positions - p : width;
    for (ptrdiff_t c = 0; c < classes && position_stride == 1; ++c) {  // as a tile has them already
      store(tile + c * batch_positions + p, load_partial<E>(x + p + c * class_stride, present, 0));
    }
    for (ptrdiff_t c = 0; c < classes && position_stride != 1; c += width) {
      const ptrdiff_t used = classes - c < width ? classes - c : width;
      Vec<T> block[width];
      const auto* first_row = x + p * position_stride + c * class_stride;
      if (parts == 1 && class_stride == 1 && present == width) {
        const FirstLanes lanes_used = first_lanes<T>(used);
        repeat<width>(CROSSENT_EACH(i) {
          const auto* row = first_row + i * position_stride;
          __builtin_prefetch(row + batch_positions * position_stride);  // of the batch after this one
          block[i] = load_partial<E>(row, lanes_used, 0);
        });
      } else {
        for (ptrdiff_t i = 0; i < width; ++i) {
          block[i] = i < present ? load_strided<E>(first_row + i * position_stride, class_stride, used) : splat<T>(0);
        }
      }
      transpose(block);
      repeat<width>(CROSSENT_EACH(i) {
        if (i < used) store(tile + (c + i) * batch_positions + p, block[i]);
      });
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
    for (ptrdiff_t c = 0; c < classes && position_stride == 1; ++c) {
      store_partial<O>(y + p + c * class_stride, load(tile + c * batch_positions + p), present);
    }
    for (ptrdiff_t c = 0; c < classes && position_stride != 1; c += width) {
      const ptrdiff_t used = classes - c < width ? classes - c : width;
      Vec<T> block[width];
      repeat<width>(
          CROSSENT_EACH(i) { block[i] = i < used ? load(tile + (c + i) * batch_positions + p) : splat<T>(0); });
      transpose(block);
      auto* first_row = y + p * position_stride + c * class_stride;
      if (parts == 1 && class_stride == 1) {
        repeat<width>(CROSSENT_EACH(i) {
          if (i < present) {
            auto* row = first_row + i * position_stride;
            __builtin_prefetch(row + batch_positions * position_stride, 1);
            store_partial<O>(row, block[i], used);
          }
        });
      } else {
        for (ptrdiff_t i = 0; i < present; ++i) {
          store_strided<O>(first_row + i * position_stride, class_stride, used, block[i]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
