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

// Squares of as many rows and classes as 16 bytes have elements, all of a vector of rows at once: square q of a vector
// of positions is in its quarter q. The last of a row's squares may overlap the one before.
template <class T>
constexpr ptrdiff_t square_classes = 16 / sizeof(T);

// How many rows ahead the memory is asked for: a batch, unless that would be too much for a small L1 cache.
constexpr ptrdiff_t positions_ahead(ptrdiff_t classes) {
  return classes <= few_classes / 2 ? batch_positions : lanes_at_most;
}

template <class T>
CROSSENT_INLINE void transpose_squares(Vec<T> (&rows)[square_classes<T>]) {
  repeat<parts>(CROSSENT_EACH(k) {
    typename Vec<T>::Register a[square_classes<T>];
    repeat<square_classes<T>>(CROSSENT_EACH(i) { a[i] = rows[i].part[k]; });
    transpose_in_quarters<square_classes<T>>(a);
    repeat<square_classes<T>>(CROSSENT_EACH(i) { rows[i].part[k] = a[i]; });
  });
}

// A vector of rows becomes columns of the tile. Reads whole squares, beyond the last row where rows are shorter.
template <class T>
CROSSENT_INLINE void load_squares(const T* x, ptrdiff_t position_stride, ptrdiff_t classes, bool asks_ahead, T* tile) {
  constexpr ptrdiff_t m = square_classes<T>, line = 64 / sizeof(T), quarters = register_bytes / 16;
  const ptrdiff_t step = m * position_stride * (ptrdiff_t)sizeof(T);
  const T* const ahead = x + positions_ahead(classes) * position_stride;
  for (ptrdiff_t c = 0; c < classes; c += m) {
    if (asks_ahead && c % line == 0) {
      repeat<lanes<T>>(CROSSENT_EACH(i) { __builtin_prefetch(ahead + c + i * position_stride); });
    }
    if (c + m > classes && classes >= m) c = classes - m;
    Vec<T> rows[m];
    repeat<m>(CROSSENT_EACH(i) {
      const char* row = (const char*)(x + c + i * position_stride);
      rows[i] = each_part<Vec<T>>([&](int k) __attribute__((always_inline)) {
        return (typename Vec<T>::Register)load_quarters(row + k * quarters * step, step);
      });
    });
    transpose_squares(rows);
    repeat<m>(CROSSENT_EACH(i) {
      if (c + i < classes) store(tile + (c + i) * batch_positions, rows[i]);
    });
  }
}

// And back, for rows no shorter than a square.
template <class T>
CROSSENT_INLINE void store_squares(const T* tile, T* y, ptrdiff_t position_stride, ptrdiff_t classes) {
  constexpr ptrdiff_t m = square_classes<T>, line = 64 / sizeof(T), quarters = register_bytes / 16;
  const ptrdiff_t step = m * position_stride * (ptrdiff_t)sizeof(T);
  T* const ahead = y + positions_ahead(classes) * position_stride;
  for (ptrdiff_t c = 0; c < classes; c += m) {
    if (c % line == 0) {
      repeat<lanes<T>>(CROSSENT_EACH(i) { __builtin_prefetch(ahead + c + i * position_stride, 1); });
    }
    if (c + m > classes) c = classes - m;
    Vec<T> rows[m];
    repeat<m>(CROSSENT_EACH(i) { rows[i] = load(tile + (c + i) * batch_positions); });
    transpose_squares(rows);
    repeat<m>(CROSSENT_EACH(i) {
      char* row = (char*)(y + c + i * position_stride);
      repeat<parts>(CROSSENT_EACH(k) { store_quarters(row + k * quarters * step, step, (NativeF32)rows[i].part[k]); });
    });
  }
}

// The same for rows that are shorter, one behind the other: in their order, since the end of each square lies where the
// next row will.
template <class T>
CROSSENT_INLINE void store_short_rows(const T* tile, T* y, ptrdiff_t classes) {
  constexpr ptrdiff_t m = square_classes<T>, width = lanes<T>;
  Vec<T> rows[m];
  repeat<m>(CROSSENT_EACH(i) { rows[i] = load(tile + (i < classes ? i : 0) * batch_positions); });
  transpose_squares(rows);
  alignas(64) T memory[m][width];
  repeat<m>(CROSSENT_EACH(i) { store(memory[i], rows[i]); });
  const auto square = [&](ptrdiff_t p) { return memory[p % m] + p / m * m; };
  for (ptrdiff_t p = 0; p < width - 1; ++p) __builtin_memcpy(y + p * classes, square(p), m * sizeof(T));
  for (ptrdiff_t c = 0; c < classes; ++c) y[(width - 1) * classes + c] = square(width - 1)[c];
}

// A vector of positions one element at a time; absent ones are 0.
template <class T>
void load_elements(const T* x, ptrdiff_t position_stride, ptrdiff_t class_stride, ptrdiff_t classes, ptrdiff_t present,
                   T* tile) {
  for (ptrdiff_t p = 0; p < lanes<T>; ++p, x += position_stride) {
    for (ptrdiff_t c = 0; c < classes; ++c) tile[c * batch_positions + p] = p < present ? x[c * class_stride] : 0;
  }
}

template <class E>
constexpr bool is_stored_as_computed = sizeof(typename E::Storage) == sizeof(typename E::Real);

// tile[c · batch_positions + p] = the element of class c at position p; positions beyond the last are 0. `readable`
// positions are there in memory from the first on. `asks_ahead`: the memory is asked for later positions, too.
template <class E>
__attribute__((noinline)) void load_tile(const typename E::Storage* x, ptrdiff_t position_stride,
                                         ptrdiff_t class_stride, ptrdiff_t classes, ptrdiff_t positions,
                                         ptrdiff_t readable, bool asks_ahead, typename E::Real* tile) {
  using T = typename E::Real;
  constexpr ptrdiff_t width = lanes<T>;
  if (position_stride == 1) {  // as a tile has them; class by class, so that a line is read once for two vectors
    for (ptrdiff_t c = 0; c < classes; ++c) {
      for (ptrdiff_t p = 0; p < positions; p += width) {
        const auto* first = x + p + c * class_stride;
        if (asks_ahead) __builtin_prefetch(first + batch_positions + width - 1);
        store(tile + c * batch_positions + p, load_partial<E>(first, positions - p, 0));
      }
    }
    return;
  }
  for (ptrdiff_t p = 0; p < positions; p += width) {
    const ptrdiff_t present = positions - p < width ? positions - p : width;
    if constexpr (is_stored_as_computed<E>) {
      if (class_stride != 1) {
        load_elements(x + p * position_stride, position_stride, class_stride, classes, present, tile + p);
        continue;
      }
      const bool has_more = position_stride == classes && classes > 1 && p + width < readable;
      if (present == width && (classes >= square_classes<T> || has_more)) {
        load_squares<T>(x + p * position_stride, position_stride, classes, asks_ahead, tile + p);
        continue;
      }
    }
    for (ptrdiff_t c = 0; c < classes; c += width) {
      const ptrdiff_t used = classes - c < width ? classes - c : width;
      Vec<T> block[width];
      const auto* first_row = x + p * position_stride + c * class_stride;
      if (parts == 1 && !is_stored_as_computed<E> && class_stride == 1 && present == width) {
        const FirstLanes lanes_used = first_lanes<T>(used);
        repeat<width>(CROSSENT_EACH(i) {
          const auto* row = first_row + i * position_stride;
          if (asks_ahead) __builtin_prefetch(row + batch_positions * position_stride);  // of the batch after this one
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
__attribute__((noinline)) void store_tile(const typename O::Real* tile, typename O::Storage* y,
                                          ptrdiff_t position_stride, ptrdiff_t class_stride, ptrdiff_t classes,
                                          ptrdiff_t positions) {
  using T = typename O::Real;
  constexpr ptrdiff_t width = lanes<T>;
  if (position_stride == 1) {
    for (ptrdiff_t c = 0; c < classes; ++c) {
      for (ptrdiff_t p = 0; p < positions; p += width) {
        store_partial<O>(y + p + c * class_stride, load(tile + c * batch_positions + p), positions - p);
      }
    }
    return;
  }
  for (ptrdiff_t p = 0; p < positions; p += width) {
    const ptrdiff_t present = positions - p < width ? positions - p : width;
    if constexpr (is_stored_as_computed<O>) {
      if (class_stride == 1 && present == width && classes >= square_classes<T>) {
        store_squares<T>(tile + p, y + p * position_stride, position_stride, classes);
        continue;
      }
      if (class_stride == 1 && present == width && classes > 1 && position_stride == classes) {
        store_short_rows<T>(tile + p, y + p * classes, classes);
        continue;
      }
    }
    for (ptrdiff_t c = 0; c < classes; c += width) {
      const ptrdiff_t used = classes - c < width ? classes - c : width;
      Vec<T> block[width];
      repeat<width>(
          CROSSENT_EACH(i) { block[i] = i < used ? load(tile + (c + i) * batch_positions + p) : splat<T>(0); });
      transpose(block);
      auto* first_row = y + p * position_stride + c * class_stride;
      for (ptrdiff_t i = 0; i < present; ++i) {
        auto* row = first_row + i * position_stride;
        __builtin_prefetch(row + batch_positions * position_stride, 1);
        store_strided<O>(row, class_stride, used, block[i]);
      }
    }
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
