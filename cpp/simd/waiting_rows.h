// COMPILED ONCE PER INSTRUCTION SET. Rows of output that go to memory past the caches. They wait until the next batch
// is read; whenever a piece of a row has been read there, a piece of these is written. So the memory reads and writes
// at once: batch after batch it would do one of them, and each time be waited for.
#pragma once

#include "output.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Of 4 KB, written at once.
template <class T>
constexpr ptrdiff_t piece_classes = 64 * lanes<T>;

template <class T>
class WaitingRows {
 public:
  // A row of `classes` classes to be written to y, from the terms that are kept of it or from its logits, which have to
  // stay as they are until then. All rows that wait at a time are made in the same way.
  template <class O, class Terms>
  void add_kept(const OutputRow<T>& row, const T* kept, typename O::Storage* y, ptrdiff_t classes, const Terms& terms) {
    add<O>(row, kept, y, classes, terms);
    write_ = [](const Waiting& w, ptrdiff_t c) {
      const Part<O, Terms> part(w, c);
      write_kept_row<O>(part.row, static_cast<const T*>(w.source) + c, part.y, part.classes, part.terms, 0, true);
      return c + part.classes;
    };
  }
  template <class E, class O, bool logarithm, class Terms>
  void add_computed(const OutputRow<T>& row, const typename E::Storage* x, typename O::Storage* y, ptrdiff_t classes,
                    const Terms& terms) {
    add<O>(row, x, y, classes, terms);
    write_ = [](const Waiting& w, ptrdiff_t c) {
      const Part<O, Terms> part(w, c);
      const auto* logits = static_cast<const typename E::Storage*>(w.source) + c;
      write_computed_row<E, O, logarithm>(part.row, logits, part.y, part.classes, part.terms, 0, true);
      const ptrdiff_t target = part.row.target;
      if (0 <= target && target < part.classes) store_one<O>(part.y + target, part.row.own_gradient);
      return c + part.classes;
    };
  }

  // As much as has been read, `classes` of a row. As a rule nothing waits, and the caller's registers are left alone.
  CROSSENT_INLINE void write(ptrdiff_t classes) {
    if (__builtin_expect(written_ < rows_, false)) write_pieces(classes);
  }
  void write_all() {
    while (written_ < rows_) write_piece();
    written_ = rows_ = 0;
  }

 private:
  struct Waiting {
    OutputRow<T> row;
    const void* source;
    const T* base;  // of targets by class, or null
    void* y;
    ptrdiff_t classes;
  };

  // Classes c, c + 1, … of a row; all but the first begin where a line of memory does.
  template <class O, class Terms>
  struct Part {
    OutputRow<T> row;
    typename O::Storage* y;
    ptrdiff_t classes;
    Terms terms;

    Part(const Waiting& w, ptrdiff_t c) : row(w.row), y(static_cast<typename O::Storage*>(w.y) + c) {
      const ptrdiff_t left = w.classes - c, wanted = piece_classes<T> + (ptrdiff_t)(-(uintptr_t)y % 64 / sizeof(*y));
      classes = left < wanted ? left : wanted;
      if (row.target >= 0) row.target -= c;
      if constexpr (Terms::present) terms = {w.base + c};
    }
  };

  template <class O, class Terms>
  void add(const OutputRow<T>& row, const void* source, typename O::Storage* y, ptrdiff_t classes, const Terms& terms) {
    __builtin_prefetch(y + classes - 1, 1);  // the line that the next row shares isn't written whole
    const T* base = nullptr;
    if constexpr (Terms::present) base = terms.base;
    row_[rows_++] = {row, source, base, y, classes};
  }

  __attribute__((noinline)) void write_pieces(ptrdiff_t classes) {
    for (; classes > 0 && written_ < rows_; classes -= piece_classes<T>) write_piece();
  }
  void write_piece() {
    class_ = write_(row_[written_], class_);
    if (class_ < row_[written_].classes) return;
    class_ = 0;
    ++written_;
  }

  ptrdiff_t (*write_)(const Waiting&, ptrdiff_t c) = nullptr;  // returns the class that comes next
  ptrdiff_t rows_ = 0, written_ = 0, class_ = 0;               // all, those written, and how far the next is
  Waiting row_[lanes<T>];
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
