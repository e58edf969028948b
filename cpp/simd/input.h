// COMPILED ONCE PER INSTRUCTION SET. What a segment is read from, a batch of positions at a time: logits and class
// probabilities where they lie, or brought side by side in scratch memory, and the class indices.
//
// Four paths lead to the same bits; the layout and the number of classes choose:
//   tile     few classes: the batch is turned around in registers first, then treated as columns
//   columns  positions side by side in memory, as in (N, C, H, W) or Fortran order
//   rows     classes side by side in memory
//   gather   any other strides, a temperature, a half precision that has to be converted first or has targets by
//            class: a chunk of classes at a time is brought side by side, then treated as a row
#pragma once

#include "targets.h"
#include "terms.h"
#include "tile.h"

namespace crossent::CROSSENT_ISA {
namespace {

enum class Path { tile, columns, rows, gather };

constexpr ptrdiff_t classes_of_chunk(const Problem& problem, ptrdiff_t c) {
  return problem.classes - c < chunk_classes ? problem.classes - c : chunk_classes;
}

// Whether a row of E is computed on where it lies: a half precision is, for plain class indices, and for scores where
// one pass is enough (one_pass.h).
constexpr bool scores_halves_in_place = parts == 1;
template <class E, class Terms>
constexpr bool rows_are_in_place =
    sizeof(typename E::Storage) >= 4 || Terms::is_plain || (Terms::has_scores && scores_halves_in_place);

// Whether the terms that have been summed may be kept for the output.
constexpr bool may_keep_terms = !CROSSENT_IS_SMALL;

// A target's class, counted from the first of a chunk on, where it may be outside, and its logit.
template <class T>
struct Own {
  ptrdiff_t index;
  T logit;
};

// T is what is computed in. Nothing here is compiled for each element in memory but what is a template of it, E; R is
// that of rows, which is T's own once they are gathered.
template <class T>
class SegmentInput {
  using Plain = PlainOf<T>;

 public:
  const Segment& segment;
  const Problem& problem;
  const Path path;
  ptrdiff_t first = 0, positions = 0;  // of the batch
  Targets targets;
  alignas(64) double scale[batch_positions];
  T* const scratch_logits;
  T* const kept_terms;  // for the terms of rows that are written afterwards; or null

  explicit SegmentInput(const Segment& s)
      : segment(s),
        problem(*s.problem),
        path(choose_path(s)),
        scratch_logits(static_cast<T*>(s.scratch)),
        kept_terms(keeps_terms()
                       ? scratch_logits + (path == Path::rows ? 0 : scratch_elements(problem.classes, sizeof(T)))
                       : nullptr),
        scratch_probabilities_(scratch_logits + scratch_elements(problem.classes, sizeof(T))) {
    const ptrdiff_t used =
        s.positions + lanes_at_most < batch_positions ? s.positions + lanes_at_most : batch_positions;
    targets.set_absent(problem, used);
    for (ptrdiff_t p = 0; p < used; ++p) scale[p] = *s.scale * problem.unit;
  }

  // Columns: fewer where the tile would leave a small L2 cache.
  ptrdiff_t positions_per_batch() const {
    if (path == Path::tile) return batch_positions;
    if (path != Path::columns) {
      const ptrdiff_t rows = rows_per_batch(problem.classes);
      return rows_wait() && rows > lanes<T> ? lanes<T> : rows;
    }
    return has_batches_of_columns(problem.classes, segment.logits.element) ? batch_positions : lanes<T>;
  }

  // The batch of `count` positions from `position` on; false if a class index is neither a class nor ignored.
  bool move_to(ptrdiff_t position, ptrdiff_t count) {
    first = position;
    positions = count;
    for (ptrdiff_t p = 0; p < positions && segment.scale_stride != 0; ++p) {
      scale[p] = segment.scale[(first + p) * segment.scale_stride] * problem.unit;
    }
    return !segment.target || !targets.template read<T>(segment, first, positions);
  }

  // After the logits have been streamed through: asking for one here and one there first would disturb the stream.
  template <class E>
  void read_target_logits() {
    for (ptrdiff_t p = 0; p < positions && segment.target; ++p) {
      const T logit = load_one<E>(logits<E>(p, targets.index[p] < 0 ? 0 : targets.index[p]));
      targets.logit[p] = (double)(is_divided(problem) ? logit / (T)problem.temperature : logit);
    }
  }

  // The target of a position, seen from a chunk of its row: read there if that is the whole row, else read before.
  template <class R>
  Own<T> own(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) const {
    const ptrdiff_t index = targets.index[p];
    const bool is_whole = classes == problem.classes;
    return {index - c, is_whole ? load_one<R>(row<R>(p, 0, classes) + index) : (T)targets.logit[p]};
  }

  template <class E>
  const typename E::Storage* logits(ptrdiff_t p, ptrdiff_t c) const {
    const Plane& x = segment.logits;
    return static_cast<const typename E::Storage*>(x.data) + (first + p) * x.position_stride + c * x.class_stride;
  }

  // All logits and probabilities of the batch, turned around.
  template <class E>
  void load_tiles() {
    load_tile<E>(logits<E>(0, 0), segment.logits.position_stride, segment.logits.class_stride, problem.classes,
                 positions, segment.positions - first, true, scratch_logits);
    if (is_divided(problem)) divide_scratch(problem.classes * batch_positions);
    if (segment.probabilities.data) load_probability_tile();
  }

  // Classes c, c + 1, … of every position of the batch, position by position.
  void gather_logits(ptrdiff_t c, ptrdiff_t classes) {
    const Plane& x = segment.logits;
    for (ptrdiff_t p = 0; p < positions; ++p) {
      gather_line(byte_address(x, p, c), x.element, x.class_stride, classes, scratch_logits + p * classes);
    }
    if (is_divided(problem)) divide_scratch(positions * classes);
  }

  // Classes c, c + 1, … of a position, side by side: in place, or where gather_logits has put them.
  template <class R>
  const typename R::Storage* row(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) const {
    if (path == Path::rows) return logits<R>(p, c);
    return static_cast<const typename R::Storage*>(static_cast<const void*>(scratch_logits + p * classes));
  }

  // Whether the rows of a batch are written while those of the next are read (waiting_rows.h).
  bool rows_wait() const {
    const bool has_row_of_targets = !segment.probabilities.data || (problem.factor_is_one && probabilities_are_rows());
    return !CROSSENT_IS_SMALL && path == Path::rows && segment.output_streams && has_row_of_targets && !segment.shared;
  }

  // Where the terms of a row are kept, and where those of the batch before may still wait; or null.
  T* kept_row(ptrdiff_t p, ptrdiff_t c) const {
    return kept_terms ? kept_terms + p * padded_classes(problem.classes) + c : nullptr;
  }

  // What will be read after classes c, c + 1, … of the `count` positions that go with position p: the same classes of
  // the position after them, or the next chunk of a long row.
  template <class R>
  const typename R::Storage* ahead(ptrdiff_t p, ptrdiff_t count, ptrdiff_t c, ptrdiff_t classes) const {
    const bool is_long = problem.classes > chunk_classes && c + classes < problem.classes;
    const ptrdiff_t next = is_long ? p : p + count, next_class = is_long ? c + classes : 0;
    if (path == Path::rows) return row<R>(next, next_class, classes);
    if (segment.logits.class_stride != 1) return row<R>(p, c, classes);
    return static_cast<const typename R::Storage*>(byte_address(segment.logits, next, next_class));  // to be gathered
  }

  // use(terms) with the targets that are known by class; the probabilities of a position begin at `probability`.
  template <class Use>
  CROSSENT_INLINE void with_terms(const T* probability, ptrdiff_t class_stride, const Use& use) const {
    const T* base = static_cast<const T*>(problem.base);
    if (problem.factor) {
      use(ProbabilityTerms<T>{base, static_cast<const T*>(problem.factor), probability, class_stride});
    } else if (base && !problem.base_is_zero) {
      use(BaseTerms<T>{base, static_cast<const T*>(problem.base_units), problem.base_units_are_one});
    } else {
      use(NoTerms{});
    }
  }
  template <class Use>
  CROSSENT_INLINE void with_terms_of_rows(const Use& use) const {
    with_terms(nullptr, 1, use);
  }
  template <class Use>
  CROSSENT_INLINE void with_terms_of_columns(const Use& use) const {
    const Plane& q = segment.probabilities;
    if (path == Path::tile) return with_terms(scratch_probabilities_, batch_positions, use);
    with_terms(q.data ? static_cast<const T*>(byte_address(q, 0, 0)) : nullptr, q.class_stride, use);
  }

  // The terms of classes c, c + 1, … of a position.
  template <class Terms>
  Terms terms_of_row(const Terms& terms, ptrdiff_t, ptrdiff_t c, ptrdiff_t) const {
    return terms.from_class(c);
  }
  ProbabilityTerms<T> terms_of_row(const ProbabilityTerms<T>& terms, ptrdiff_t p, ptrdiff_t c,
                                   ptrdiff_t classes) const {
    const T* row = row_of_probabilities(p, c, classes);
    const ptrdiff_t ahead = row == scratch_probabilities_ ? 0 : bytes_ahead / (ptrdiff_t)sizeof(T);
    return {terms.base + c, terms.factor + c, row, 1, ahead};
  }

 private:
  static constexpr Element plain_element = sizeof(T) == 4 ? Element::f32 : Element::f64;

  static bool is_divided(const Problem& problem) { return problem.temperature != 1; }

  static Path choose_path(const Segment& s) {
    const Plane &x = s.logits, &y = s.output, &q = s.probabilities;
    const bool is_half = size_of(x.element) == 2, is_few = s.problem->classes <= few_classes;
    if ((is_half && (is_few || !converts_halves)) || is_divided(*s.problem)) return is_few ? Path::tile : Path::gather;
    const bool probabilities_are_plain = !q.data || q.element == plain_element;
    if (x.position_stride == 1 && x.class_stride != 1 && (!y.data || y.position_stride == 1) &&
        (!q.data || (q.position_stride == 1 && probabilities_are_plain))) {
      return Path::columns;
    }
    if (is_few) return Path::tile;
    const bool is_row = x.class_stride == 1 && (!y.data || y.class_stride == 1);
    const bool has_base = s.problem->base && !s.problem->base_is_zero;
    const bool is_score = s.problem->operation == Operation::score;
    const bool is_converted = is_half && (q.data || has_base || (is_score && !scores_halves_in_place));
    return is_row && !is_converted ? Path::rows : Path::gather;
  }

  // Whether the gradient or the softmax is made of what has been summed: where there is memory for it, which isn't that
  // of probabilities brought side by side.
  bool keeps_terms() const {
    const bool is_made_of_terms =
        problem.operation == Operation::cross_entropy || problem.operation == Operation::softmax;
    return may_keep_terms && (path == Path::rows || path == Path::gather) && segment.output.data &&
           (!segment.probabilities.data || probabilities_are_rows()) && is_made_of_terms && !segment.shared &&
           may_keep_exponentials(problem.classes, segment.logits.element, rows_wait());
  }

  void divide_scratch(ptrdiff_t elements) {
    const Vec<T> temperature = splat((T)problem.temperature);
    for (ptrdiff_t i = 0; i < elements; i += lanes<T>) {
      T* x = scratch_logits + i;
      store_partial<Plain>(x, load_partial<Plain>(x, elements - i, 0) / temperature, elements - i);
    }
  }

  bool probabilities_are_rows() const {
    return segment.probabilities.element == plain_element && segment.probabilities.class_stride == 1;
  }

  // The probabilities of classes c … of a position, side by side; in scratch where memory has them otherwise.
  const T* row_of_probabilities(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) const {
    const Plane& q = segment.probabilities;
    if (probabilities_are_rows()) return static_cast<const T*>(byte_address(q, p, c));
    gather_line(byte_address(q, p, c), q.element, q.class_stride, classes, scratch_probabilities_);
    return scratch_probabilities_;
  }

  void load_probability_tile() {
    const Plane& q = segment.probabilities;
    if (q.element == plain_element) {
      return load_tile<Plain>(static_cast<const T*>(byte_address(q, 0, 0)), q.position_stride, q.class_stride,
                              problem.classes, positions, segment.positions - first, true, scratch_probabilities_);
    }
    for (ptrdiff_t i = 0; i < problem.classes * batch_positions; ++i) scratch_probabilities_[i] = 0;
    alignas(64) T line[few_classes];
    for (ptrdiff_t p = 0; p < positions; ++p) {
      gather_line(byte_address(q, p, 0), q.element, q.class_stride, problem.classes, line);
      for (ptrdiff_t c = 0; c < problem.classes; ++c) scratch_probabilities_[c * batch_positions + p] = line[c];
    }
  }

  const void* byte_address(const Plane& plane, ptrdiff_t p, ptrdiff_t c) const {
    return static_cast<const char*>(plane.data) +
           ((first + p) * plane.position_stride + c * plane.class_stride) * size_of(plane.element);
  }

  T* const scratch_probabilities_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
