// COMPILED ONCE PER INSTRUCTION SET. Rows of output that go to memory past the caches. They wait until the next batch
// is read: as that is summed, class by class, the same classes of these are written. So the memory reads and writes at
// once: batch after batch it would do one of them, and each time be waited for. And the terms that are kept of a row go
// where those of the batch before have just been used up, so that they fill no more of the cache.
#pragma once

#include "output.h"
#include "shared_line.h"

namespace crossent::CROSSENT_ISA {
namespace {

// Of 4 KB, written at once where terms are computed again.
template <class T>
constexpr ptrdiff_t piece_classes = 64 * lanes<T>;

template <class T>
class WaitingRows {
  using Plain = PlainOf<T>;  // other output doesn't stream
  static constexpr ptrdiff_t width = lanes<T>, group_classes = width * group_terms;
  static_assert(width * sizeof(T) == line_bytes);

 public:
  // The row of position p of a batch, of `classes` classes, to be written to y: from the terms that are kept of it, or
  // from its logits. These and the targets by class have to stay as they are until then. All rows that wait at a time
  // are made in the same way, but for those with a substitute.
  template <class Terms>
  void add_kept(ptrdiff_t p, const OutputRow<T>& row, const T* kept, T* y, ptrdiff_t classes, const Terms& terms) {
    add(p, row, kept, y, classes, terms);
    write_ = nullptr;
  }
  template <class E, bool logarithm, class Terms>
  void add_computed(ptrdiff_t p, const OutputRow<T>& row, const typename E::Storage* x, T* y, ptrdiff_t classes,
                    const Terms& terms) {
    add(p, row, x, y, classes, terms);
    write_ = [](const Waiting& w, ptrdiff_t c, ptrdiff_t count, T* to, bool streams) {
      const Part<Terms> part(w, c);
      const auto* logits = static_cast<const typename E::Storage*>(w.source) + c;
      write_computed_row<E, Plain, logarithm>(part.row, logits, to, count, part.terms, 0, streams);
      const ptrdiff_t target = part.row.target;
      if (0 <= target && target < count) to[target] = part.row.own_gradient;
    };
  }

  // The same for a row with `value` in every class.
  void add_substitute(ptrdiff_t p, T value, T* y, ptrdiff_t classes) {
    OutputRow<T> row = {};
    row.own_gradient = value;
    add(p, row, nullptr, y, classes, NoTerms{});
  }

  // Before classes c, c + 1, … of position p are summed: what waits of them is written, with all of the positions
  // before. As a rule nothing does, and the caller's registers are left alone.
  CROSSENT_INLINE void make_room(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) {
    if (!CROSSENT_IS_SMALL && __builtin_expect(written_ < rows_, false)) write_until(p, c + classes);
  }

  // The same a group at a time: of the first one, …
  CROSSENT_INLINE void make_room_for_group(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) {
    if (__builtin_expect(written_ < rows_, false)) begin_groups(p, c, classes);
  }
  // … after each of the next, …
  CROSSENT_INLINE void make_room_for_next_group() {
    if (!is_in_groups_) return;
    const Waiting& w = row_[written_];
    const bool has_target = (size_t)(w.row.target - class_) < (size_t)group_classes;
    if (has_target || class_ + group_classes > w.classes) return write_unusual_group();
    w.base ? write_usual_group<true>(w) : write_usual_group<false>(w);
    class_ += group_classes;
  }

  // … and after the last, if it isn't whole.
  CROSSENT_INLINE void end_groups() {
    if (is_in_groups_) write_unusual_group();
  }

  void write_all() {
    if constexpr (CROSSENT_IS_SMALL) return;
    while (written_ < rows_) write_piece(piece_classes<T>);
    written_ = rows_ = 0;
  }

  // After the last row.
  void finish() {
    if constexpr (CROSSENT_IS_SMALL) return;
    write_all();
    shared_line_.leave();
  }

 private:
  struct Waiting {
    OutputRow<T> row;
    const void* source;  // null for a substitute, which is in row.own_gradient
    const T* base;       // the targets by class, or null
    T* y;
    ptrdiff_t classes, position;

    const T* kept(ptrdiff_t c) const { return static_cast<const T*>(source) + c; }
  };

  // Of a row from class c on.
  template <class Terms>
  struct Part {
    OutputRow<T> row;
    Terms terms;

    Part(const Waiting& w, ptrdiff_t c) : row(w.row) {
      if (row.target >= 0) row.target -= c;
      if constexpr (Terms::present) terms = {w.base + c};
    }
  };

  template <class Terms>
  void add(ptrdiff_t p, const OutputRow<T>& row, const void* source, T* y, ptrdiff_t classes, const Terms& terms) {
    const T* base = nullptr;
    if constexpr (Terms::has_mass) {  // with factors of 1
      base = terms.probability;
    } else if constexpr (Terms::present) {
      base = terms.base;
    }
    row_[rows_++] = {row, source, base, y, classes, p};
  }

  bool waits(ptrdiff_t p) const { return written_ < rows_ && row_[written_].position == p; }

  // Whole lines of what is made of kept terms, without a target's class.
  template <bool has_base>
  CROSSENT_INLINE void write_usual_group(const Waiting& w) const {
    constexpr int vectors = parts == 1 ? 4 : 1;  // as in write_line()
    const Vec<T> factor = splat(w.row.term_factor), scale = splat(w.row.scale), most = splat(w.row.most);
    for (int i = 0; i < group_terms; i += vectors) {
      Vec<T> value[vectors];
      repeat<vectors>(CROSSENT_EACH(v) {
        const ptrdiff_t c = class_ + (i + v) * width;
        const Vec<T> base = has_base ? load(w.base + c) : factor;
        value[v] = without_target<T, has_base>(load(w.kept(c)) * factor, base, scale, most);
      });
      repeat<vectors>(CROSSENT_EACH(v) { Plain::stream(w.y + class_ + (i + v) * width, value[v]); });
    }
  }

  // A substitute isn't written class by class: nothing is put where its terms would be.
  __attribute__((noinline)) void write_until(ptrdiff_t p, ptrdiff_t end) {
    while (written_ < rows_ && (row_[written_].position < p || (waits(p) && !row_[written_].source))) {
      write_piece(piece_classes<T>);
    }
    while (waits(p) && class_ < end) write_piece(piece_classes<T>);
  }

  __attribute__((noinline)) void begin_groups(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) {
    write_until(p, write_ ? c + classes : c);
    is_in_groups_ = !write_ && waits(p);
    if (is_in_groups_) write_group(c + group_classes);
  }
  // With the target, or what is left of the row.
  __attribute__((noinline)) void write_unusual_group() { write_group(class_ + group_classes); }
  void write_group(ptrdiff_t end) {
    const ptrdiff_t row = written_;
    while (written_ == row && class_ < end) write_piece(group_classes);
  }

  // The next of a row's classes: what belongs to a line that isn't the row's alone, or whole lines, `wanted` classes or
  // as many as are left.
  __attribute__((noinline)) void write_piece(ptrdiff_t wanted) {
    const Waiting& w = row_[written_];
    T* const y = w.y + class_;
    const ptrdiff_t left = w.classes - class_, before = bytes_to_line(y) / (ptrdiff_t)sizeof(T);
    const bool has_own_way = write_ && w.source;
    ptrdiff_t classes = left < wanted ? left / width * width : wanted;
    if (before != 0 || left < width) {
      classes = before == 0 || left < before ? left : before;
      T* const to = reinterpret_cast<T*>(shared_line_.room_for(y));
      has_own_way ? write_(w, class_, classes, to, false) : store(to, kept_output(w, class_));
      shared_line_.add(classes * (ptrdiff_t)sizeof(T));
    } else if (has_own_way) {
      write_(w, class_, classes, y, true);
    } else {
      for (ptrdiff_t c = 0; c < classes; c += width) Plain::stream(y + c, kept_output(w, class_ + c));
    }
    class_ += classes;
    if (class_ < w.classes) return;
    class_ = 0;
    ++written_;
    is_in_groups_ = false;
  }

  // A vector of output from kept terms, or of a substitute.
  static CROSSENT_INLINE Vec<T> kept_output(const Waiting& w, ptrdiff_t c) {
    if (!w.source) return splat(w.row.own_gradient);
    const Vec<T> part = load(w.kept(c)) * splat(w.row.term_factor), scale = splat(w.row.scale),
                 most = splat(w.row.most);
    const Vec<T> base = w.base ? load_partial<Plain>(w.base + c, first_lanes<T>(w.classes - c), 0) : part;
    const Vec<T> value =
        w.base ? without_target<T, true>(part, base, scale, most) : without_target<T, false>(part, part, scale, most);
    return select(equal(lane_numbers<T>(), splat((T)(w.row.target - c))), splat(w.row.own_gradient), value);
  }

  void (*write_)(const Waiting&, ptrdiff_t c, ptrdiff_t count, T* to,
                 bool streams) = nullptr;  // null: kept terms
  bool is_in_groups_ = false;
  ptrdiff_t rows_ = 0, written_ = 0, class_ = 0;  // all, those written, and how far the next is
  Waiting row_[lanes<T>];
  SharedLine shared_line_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
