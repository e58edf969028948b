// COMPILED ONCE PER INSTRUCTION SET. Rows of output that go to memory past the caches. They wait until the next batch
// is read; whenever a piece of a row has been read there, a piece of these is written. So the memory reads and writes
// at once: batch after batch it would do one of them, and each time be waited for.
#pragma once

#include "output.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class T>
constexpr ptrdiff_t piece_classes = 64 * lanes<T>;  // 4 KB

template <class T>
class WaitingRows {
 public:
  // A row of `classes` classes to be written to y. Rows that wait together are of one kind.
  template <class O, class Terms>
  void add(KeptRow<T> row, typename O::Storage* y, ptrdiff_t classes, const Terms& terms) {
    write_ = write_piece_as<O, Terms>;
    __builtin_prefetch(y + classes - 1, 1);  // the line that the next row shares isn't written whole
    constexpr ptrdiff_t line = 64 / sizeof(*y);
    const ptrdiff_t before_line = (ptrdiff_t)(-(uintptr_t)y % 64 / sizeof(*y)) % line;
    for (ptrdiff_t c = 0, end; c < classes; c = end) {
      end = c + piece_classes<T> + (c == 0 ? before_line : 0);
      if (end > classes) end = classes;
      const T* base = nullptr;
      if constexpr (Terms::present) base = terms.base + c;
      piece_[pieces_++] = {
          {row.terms + c, row.factor, row.scale, row.own_gradient, row.most, row.target - c}, base, y + c, end - c};
    }
  }

  void write_next() {
    if (written_ < pieces_) write_(piece_[written_++]);
  }
  void write_all() {
    while (written_ < pieces_) write_next();
    written_ = pieces_ = 0;
  }

 private:
  struct Piece {
    KeptRow<T> row;
    const T* base;
    void* y;
    ptrdiff_t classes;
  };

  template <class O, class Terms>
  static void write_piece_as(const Piece& piece) {
    Terms terms;
    if constexpr (Terms::present) terms = {piece.base};
    write_kept_row<O>(piece.row, static_cast<typename O::Storage*>(piece.y), piece.classes, terms, 0, true);
  }

  // A piece for each row, and one more for every whole one.
  static constexpr ptrdiff_t most_pieces = batch_positions + chunk_classes / piece_classes<T>;

  void (*write_)(const Piece&) = nullptr;
  ptrdiff_t pieces_ = 0, written_ = 0;
  Piece piece_[most_pieces];
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
