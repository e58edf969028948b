// COMPILED ONCE PER INSTRUCTION SET. A segment of positions, a batch at a time: read the targets, reduce the logits to
// statistics, finish them to losses and coefficients, write the output. The logits of a batch stay in cache in between.
//
// Four paths lead to the same bits; the layout and the number of classes choose:
//   tile     few classes: the batch is turned around in registers first, then treated as columns
//   columns  positions side by side in memory, as in (N, C, H, W) or Fortran order
//   rows     classes side by side in memory
//   gather   any other strides: a chunk of classes at a time is brought side by side, then treated as a row
#pragma once

#include "output.h"
#include "reduce.h"
#include "score.h"
#include "tile.h"

namespace crossent::CROSSENT_ISA {
namespace {

enum class Path { tile, columns, rows, gather };

template <class E>
class SegmentKernel {
  using T = typename E::Real;
  using Storage = typename E::Storage;
  using Plain = PlainOf<T>;

 public:
  explicit SegmentKernel(const Segment& segment) : segment_(segment), problem_(*segment.problem), path_(choose_path()) {
    scratch_logits_ = static_cast<T*>(segment.scratch);
    const ptrdiff_t most = path_ == Path::tile ? problem_.classes * batch_positions : chunk_classes;
    scratch_probabilities_ = scratch_logits_ + (most < chunk_classes ? most : chunk_classes);
    for (ptrdiff_t p = 0; p < batch_positions && p < segment.positions + lanes_at_most; ++p) {
      scale_[p] = *segment_.scale * problem_.unit;
      targets_.index[p] = -1;
      targets_.is_live[p] = 1;
      targets_.share[p] = problem_.target_share;
      targets_.logit[p] = targets_.base[p] = 0;
    }
  }

  SegmentResult run() {
    if (segment_.shared) return run_shared();
    const ptrdiff_t step = positions_per_batch();
    for (first_ = 0; first_ < segment_.positions; first_ += step) {
      positions_ = segment_.positions - first_ < step ? segment_.positions - first_ : step;
      read_targets();
      reduce();
      finish_batch();
      if (segment_.output.data) write_output(0, problem_.classes);
    }
    return finished();
  }

 private:
  SegmentResult finished() {
    if (segment_.output_streams) finish_streaming();
    const ErrorSum sum = loss_sum_.folded();
    result_.loss_sum = sum.sum;
    result_.loss_sum_error = sum.error;
    return result_;
  }

  // One stage of run() for a single position, or a part of it.
  SegmentResult run_shared() {
    const SharedRow& shared = *segment_.shared;
    positions_ = 1;
    if (shared.stage == SharedRow::Stage::write) {
      statistics_.maximum[0] = shared.output->maximum;
      targets_.index[0] = shared.output->target;
      put_row(shared.output->value, row_coefficients, coefficients_);
      coefficients_.most_substitute = coefficients_.substitute[0];
      refer_to_maxima<T>(statistics_, references_, 0);
      write_output(shared.first_class, shared.end_class);
      return finished();
    }
    read_targets();
    if (shared.stage == SharedRow::Stage::reduce) {
      for (ptrdiff_t c = shared.first_class; c < shared.end_class; c += chunk_classes) {
        reduce_chunk(c, statistics_);
        take_row(statistics_, row_statistics, shared.chunks[c / chunk_classes].value);
      }
      return finished();
    }
    put_row(shared.chunks[0].value, row_statistics, statistics_);
    for (ptrdiff_t c = chunk_classes; c < problem_.classes; c += chunk_classes) {
      put_row(shared.chunks[c / chunk_classes].value, row_statistics, next_);
      merge<T>(statistics_, next_, 1, is_score());
    }
    refer_to_maxima<T>(statistics_, references_, 0);
    finish_batch();
    shared.output->maximum = statistics_.maximum[0];
    shared.output->target = targets_.index[0];
    take_row(coefficients_, row_coefficients, shared.output->value);
    return finished();
  }

  void finish_batch() {
    read_target_logits();
    finish<T>(problem_, statistics_, targets_, scale_, positions_, segment_.output.data != nullptr, coefficients_);
    if (problem_.operation == Operation::cross_entropy || is_score()) add_losses();
    if (problem_.operation == Operation::logsumexp) write_log_sum_exp();
    if (is_score()) write_scores();
  }

  bool is_score() const { return problem_.operation == Operation::score; }
  bool is_divided() const { return problem_.temperature != 1; }

  Path choose_path() const {
    const Plane &x = segment_.logits, &y = segment_.output, &q = segment_.probabilities;
    if (is_divided()) return problem_.classes <= few_classes ? Path::tile : Path::gather;
    const bool probabilities_are_plain = !q.data || q.element == plain_element;
    if (x.position_stride == 1 && x.class_stride != 1 && (!y.data || y.position_stride == 1) &&
        (!q.data || (q.position_stride == 1 && probabilities_are_plain))) {
      return Path::columns;
    }
    if (problem_.classes <= few_classes) return Path::tile;
    return x.class_stride == 1 && (!y.data || y.class_stride == 1) ? Path::rows : Path::gather;
  }

  // Rows: as many as half a small L1 cache holds. Columns: fewer where the tile would leave a small L2 cache.
  ptrdiff_t positions_per_batch() const {
    const ptrdiff_t row_bytes = problem_.classes * ptrdiff_t(sizeof(Storage));
    if (path_ == Path::tile) return batch_positions;
    if (path_ == Path::columns) return row_bytes * batch_positions <= (1 << 19) ? batch_positions : lanes<T>;
    const ptrdiff_t rows = path_ == Path::rows ? (1 << 15) / row_bytes : chunk_classes / problem_.classes;
    return rows < 1 ? 1 : rows > batch_positions ? batch_positions : rows;
  }

  template <class S>
  static S* at(const Plane& plane, ptrdiff_t position, ptrdiff_t c) {
    return static_cast<S*>(plane.data) + position * plane.position_stride + c * plane.class_stride;
  }

  void read_targets() {
    if (segment_.scale_stride != 0) {
      for (ptrdiff_t p = 0; p < positions_; ++p)
        scale_[p] = segment_.scale[(first_ + p) * segment_.scale_stride] * problem_.unit;
    }
    if (!segment_.target) return;
    bool changed = false;
    for (ptrdiff_t p = 0; p < positions_; ++p) {
      const int64_t label = read_once(segment_.target + (first_ + p) * segment_.target_stride);
      const bool is_ignored = problem_.has_ignore_index & (label == problem_.ignore_index);
      const bool is_class = (uint64_t)label < (uint64_t)problem_.classes;
      const bool is_valid = is_class & !is_ignored;
      changed |= !is_class & !is_ignored;
      targets_.index[p] = is_valid ? (ptrdiff_t)label : -1;
      targets_.is_live[p] = is_valid;
    }
    result_.target_changed |= changed;
    for (ptrdiff_t p = 0; p < positions_ && problem_.weight; ++p) {
      targets_.share[p] = targets_.index[p] < 0 ? 0 : problem_.target_share * problem_.weight[targets_.index[p]];
    }
    for (ptrdiff_t p = 0; p < positions_ && problem_.base; ++p) {
      targets_.base[p] = targets_.index[p] < 0 ? 0 : (double)static_cast<const T*>(problem_.base)[targets_.index[p]];
    }
  }

  // After the logits have been streamed through: asking for one here and one there first would disturb the stream.
  void read_target_logits() {
    for (ptrdiff_t p = 0; p < positions_ && segment_.target; ++p) {
      const ptrdiff_t c = targets_.index[p] < 0 ? 0 : targets_.index[p];
      const T logit = load_one<E>(at<const Storage>(segment_.logits, first_ + p, c));
      targets_.logit[p] = (double)(is_divided() ? logit / (T)problem_.temperature : logit);
    }
  }

  // use(terms) with the targets that are known by class; the probabilities of a position begin at `probability`.
  template <class Use>
  CROSSENT_INLINE void with_terms(const T* probability, ptrdiff_t class_stride, const Use& use) {
    const T* base = static_cast<const T*>(problem_.base);
    if (problem_.factor) {
      use(ProbabilityTerms<T>{base, static_cast<const T*>(problem_.factor), probability, class_stride});
    } else if (base && !problem_.base_is_zero) {
      use(BaseTerms<T>{base});
    } else {
      use(NoTerms{});
    }
  }

  template <class Use>
  CROSSENT_INLINE void with_summed_terms(const T* probability, ptrdiff_t class_stride, const Use& use) {
    is_score() ? use(ScoreTerms{}) : with_terms(probability, class_stride, use);
  }

  void reduce() {
    if (path_ == Path::tile) {
      load_tile<E>(at<const Storage>(segment_.logits, first_, 0), segment_.logits.position_stride,
                   segment_.logits.class_stride, problem_.classes, positions_, scratch_logits_);
      if (is_divided()) divide_scratch(problem_.classes * batch_positions);
      if (segment_.probabilities.data) load_probability_tile();
    }
    reduce_chunk(0, statistics_);
    for (ptrdiff_t c = chunk_classes; c < problem_.classes; c += chunk_classes) {
      reduce_chunk(c, next_);
      merge<T>(statistics_, next_, positions_, is_score());
    }
    if (problem_.classes > chunk_classes && segment_.output.data) {
      for (ptrdiff_t p = 0; p < positions_; p += lanes<T>) refer_to_maxima<T>(statistics_, references_, p);
    }
  }

  ptrdiff_t classes_of_chunk(ptrdiff_t c) const {
    return problem_.classes - c < chunk_classes ? problem_.classes - c : chunk_classes;
  }

  void reduce_chunk(ptrdiff_t c, Statistics& out) {
    const ptrdiff_t classes = classes_of_chunk(c);
    if (path_ == Path::rows) {
      reduce_chunk_of_rows<E>(c, classes, out);
    } else if (path_ == Path::gather) {
      gather_logits(c, classes);
      reduce_chunk_of_rows<Plain>(c, classes, out);
    } else {
      reduce_chunk_of_columns(c, classes, out);
    }
    if (problem_.base && !problem_.factor) {
      for (ptrdiff_t p = 0; p < positions_; ++p) out.mass[p] = problem_.base_sums[c / chunk_classes];
    }
    use_units_of_maximum<T>(out, positions_, is_score());
  }

  // R: the element of the rows, which may have been gathered.
  template <class R>
  void reduce_chunk_of_rows(ptrdiff_t c, ptrdiff_t classes, Statistics& out) {
    const auto row_of = [&](ptrdiff_t p) { return row<R>(p, c, classes); };
    const auto is_skipped = [&](ptrdiff_t p) { return targets_.is_live[p] == 0; };
    with_summed_terms(nullptr, 1, [&]<class Terms>(const Terms& terms) {
      for (ptrdiff_t p = 0; p < positions_; p += lanes<T>) {
        const ptrdiff_t count = positions_ - p < lanes<T> ? positions_ - p : lanes<T>;
        const auto row_terms = [&](ptrdiff_t i) { return terms_of_row(terms, i, c, classes); };
        const auto next_row = [&](ptrdiff_t i) { return ahead<R>(i, count, c, classes); };
        reduce_rows<R, Terms>(classes, p, count, row_of, row_terms, next_row, is_skipped, references_, out);
      }
    });
    for (ptrdiff_t p = 0; p < positions_; ++p) {
      if (is_skipped(p)) out.count[p] = 1;
    }
  }

  void reduce_chunk_of_columns(ptrdiff_t c, ptrdiff_t classes, Statistics& out) {
    const ptrdiff_t sum_lanes = problem_.classes <= few_classes ? 1 : lanes<T>;
    const auto reduce = [&](const auto& terms) {
      if (path_ == Path::tile) {
        reduce_columns<Plain>(scratch_logits_, batch_positions, classes, sum_lanes, positions_, terms, references_,
                              out);
      } else {
        reduce_columns<E>(at<const Storage>(segment_.logits, first_, c), segment_.logits.class_stride, classes,
                          sum_lanes, positions_, terms.from_class(c), references_, out);
      }
    };
    is_score() ? reduce(ScoreTerms{}) : with_columns(reduce);
  }

  // Classes first … end - 1; all of them but for a row that is shared out.
  void write_output(ptrdiff_t first, ptrdiff_t end) {
    first_class_ = first;
    end_class_ = end;
    if constexpr (sizeof(Storage) == 2) {  // the output of half precision may be float
      if (segment_.output.element == Element::f32) return write_output_as<F32>();
    }
    write_output_as<E>();
  }

  template <class O>
  void write_output_as() {
    if (problem_.operation == Operation::log_softmax) {
      write_output_as<O, true>();
    } else {
      write_output_as<O, false>();
    }
    if (coefficients_.most_substitute == may_be_nan) unite_nans_as<O>();
  }

  template <class O>
  void unite_nans_as() {
    for (ptrdiff_t p = 0; p < positions_; ++p) {
      if (coefficients_.substitute[p] != may_be_nan) continue;
      unite_nans<O>(at<typename O::Storage>(segment_.output, first_ + p, first_class_), segment_.output.class_stride,
                    end_class_ - first_class_);
    }
  }

  template <class O, bool logarithm>
  void write_output_as() {
    if (path_ == Path::tile || path_ == Path::columns) return write_columns_as<O, logarithm>();
    for (ptrdiff_t c = first_class_; c < end_class_; c += chunk_classes) {
      const ptrdiff_t classes = classes_of_chunk(c);
      if (path_ == Path::gather && problem_.classes > chunk_classes) gather_logits(c, classes);
      for (ptrdiff_t p = 0; p < positions_; ++p) write_chunk_of_row<O, logarithm>(p, c, classes);
    }
    for (ptrdiff_t p = 0; p < positions_; ++p) {
      const ptrdiff_t y = targets_.index[p];
      if (y >= first_class_ && y < end_class_ && coefficients_.substitute[p] >= is_computed) {
        store_one<O>(at<typename O::Storage>(segment_.output, first_ + p, targets_.index[p]),
                     (T)coefficients_.target_gradient[p]);
      }
    }
  }

  template <class O, bool logarithm>
  void write_chunk_of_row(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) {
    auto* y = at<typename O::Storage>(segment_.output, first_ + p, c);
    const auto write = [&](const auto& terms) {
      if (path_ == Path::rows) {
        write_row<E, O, logarithm>(row<E>(p, c, classes), y, classes, terms, references_, coefficients_, p,
                                   segment_.output.position_stride, can_stream<O> && segment_.output_streams);
      } else {
        T* x = scratch_logits_ + p * classes;
        write_row<Plain, Plain, logarithm>(x, x, classes, terms, references_, coefficients_, p, 0, false);
        scatter_line<O>(x, classes, y, segment_.output.class_stride);
      }
    };
    if constexpr (logarithm) {
      write(NoTerms{});
    } else {
      with_terms(nullptr, 1, [&](const auto& terms) { write(terms_of_row(terms, p, c, classes)); });
    }
  }

  template <class O, bool logarithm>
  void write_columns_as() {
    auto* y = at<typename O::Storage>(segment_.output, first_, 0);
    const auto write = [&](const auto& terms) {
      if (path_ == Path::columns) {
        write_columns<E, O, logarithm>(at<const Storage>(segment_.logits, first_, 0), segment_.logits.class_stride, y,
                                       segment_.output.class_stride, problem_.classes, positions_, terms, references_,
                                       coefficients_);
        store_target_gradients<O>(y, 1, segment_.output.class_stride);
      } else {
        write_columns<Plain, Plain, logarithm>(scratch_logits_, batch_positions, scratch_logits_, batch_positions,
                                               problem_.classes, positions_, terms, references_, coefficients_);
        store_target_gradients<Plain>(scratch_logits_, 1, batch_positions);
        store_tile<O>(scratch_logits_, y, segment_.output.position_stride, segment_.output.class_stride,
                      problem_.classes, positions_);
      }
    };
    if constexpr (logarithm) {
      write(NoTerms{});
    } else {
      with_columns(write);
    }
  }

  template <class O>
  void store_target_gradients(typename O::Storage* y, ptrdiff_t position_stride, ptrdiff_t class_stride) {
    for (ptrdiff_t p = 0; p < positions_; ++p) {
      if (targets_.index[p] < 0 || !(coefficients_.substitute[p] >= is_computed)) continue;
      store_one<O>(y + p * position_stride + targets_.index[p] * class_stride, (T)coefficients_.target_gradient[p]);
    }
  }

  void add_losses() {
    for (ptrdiff_t p = positions_; p % lanes<double> != 0; ++p) coefficients_.loss[p] = 0;
    for (ptrdiff_t p = 0; p < positions_; p += lanes<double>) loss_sum_.add(load(coefficients_.loss + p));
    for (ptrdiff_t p = 0; p < positions_ && segment_.losses; ++p) store_loss(p, coefficients_.loss[p]);
  }

  void write_log_sum_exp() {
    alignas(64) double value[lanes<double>];
    for (ptrdiff_t p = 0; p < positions_; p += lanes<double>) {
      store(value,
            log_sum_exp<T>(load(statistics_.maximum + p), load(statistics_.count + p), load(statistics_.rest + p)));
      for (ptrdiff_t i = 0; i < lanes<double> && p + i < positions_; ++i) store_loss(p + i, value[i]);
    }
  }

  void store_loss(ptrdiff_t p, double value) { store_figure(segment_.losses, p, value); }

  void store_figure(void* figures, ptrdiff_t p, double value) {
    const ptrdiff_t offset = (first_ + p) * segment_.losses_stride;
    if (problem_.losses_are_f64) {
      static_cast<double*>(figures)[offset] = value;
    } else {
      static_cast<float*>(figures)[offset] = (float)value;
    }
  }

  void write_scores() {
    Scores scores;
    finish_scores<T>(statistics_, coefficients_.log_sum, positions_, scores);
    if (path_ == Path::rows || path_ == Path::gather) {
      rank_rows(scores);
    } else {
      rank_batch_of_columns(scores);
    }
    const ScoreColumns& out = segment_.scores;
    for (ptrdiff_t p = 0; p < positions_; ++p) {
      const bool is_live = targets_.is_live[p] != 0, has_rank = scores.confidence[p] == scores.confidence[p];
      const ptrdiff_t offset = (first_ + p) * segment_.losses_stride;
      const auto figure = [&](double value) { return is_live ? value : __builtin_nan(""); };
      out.predicted[offset] = is_live ? scores.predicted[p] : -1;
      if (out.rank) out.rank[offset] = !is_live ? -1 : has_rank ? scores.rank[p] : problem_.classes;
      store_figure(out.confidence, p, figure(scores.confidence[p]));
      store_figure(out.log_sum_exp, p, figure(scores.log_sum_exp[p]));
      store_figure(out.entropy, p, figure(scores.entropy[p]));
      store_figure(out.sum_of_squares, p, figure(scores.sum_of_squares[p]));
    }
  }

  bool has_nan(ptrdiff_t p) const { return statistics_.rest[p] != statistics_.rest[p]; }

  void rank_rows(Scores& scores) {
    for (ptrdiff_t c = 0; c < problem_.classes; c += chunk_classes) {
      const ptrdiff_t classes = classes_of_chunk(c);
      if (path_ == Path::gather && problem_.classes > chunk_classes) gather_logits(c, classes);
      for (ptrdiff_t p = 0; p < positions_; ++p) {
        if (targets_.is_live[p] == 0) continue;
        if (path_ == Path::rows) {
          rank_row_of<E>(p, c, classes, scores);
        } else {
          rank_row_of<Plain>(p, c, classes, scores);
        }
      }
    }
  }

  template <class R>
  void rank_row_of(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes, Scores& scores) {
    rank_row<R>(row<R>(p, c, classes), c, classes, has_nan(p), statistics_.maximum[p], targets_.index[p],
                targets_.logit[p], p, scores);
  }

  void rank_batch_of_columns(Scores& scores) {
    for (ptrdiff_t p = 0; p < positions_; p += lanes<T>) {
      const ptrdiff_t present = positions_ - p;
      for (ptrdiff_t c = 0; c < problem_.classes; c += chunk_classes) {
        if (path_ == Path::tile) {
          rank_columns<Plain>(scratch_logits_ + p, batch_positions, c, classes_of_chunk(c), present,
                              statistics_.maximum, targets_, p, scores);
        } else {
          rank_columns<E>(at<const Storage>(segment_.logits, first_ + p, c), segment_.logits.class_stride, c,
                          classes_of_chunk(c), present, statistics_.maximum, targets_, p, scores);
        }
      }
    }
    for (ptrdiff_t p = 0; p < positions_; ++p) {
      if (!has_nan(p)) continue;
      for (ptrdiff_t c = problem_.classes - 1; c >= 0; --c) {
        const T x = load_one<E>(at<const Storage>(segment_.logits, first_ + p, c));
        if (x != x) scores.predicted[p] = c;
      }
    }
  }

  // Classes c, c + 1, … of every position of the batch, position by position.
  void gather_logits(ptrdiff_t c, ptrdiff_t classes) {
    for (ptrdiff_t p = 0; p < positions_; ++p) {
      gather_line(at<const Storage>(segment_.logits, first_ + p, c), segment_.logits.element,
                  segment_.logits.class_stride, classes, scratch_logits_ + p * classes);
    }
    if (is_divided()) divide_scratch(positions_ * classes);
  }

  void divide_scratch(ptrdiff_t elements) {
    const Vec<T> temperature = splat((T)problem_.temperature);
    for (ptrdiff_t i = 0; i < elements; i += lanes<T>) {
      store_partial<Plain>(scratch_logits_ + i, load_partial<Plain>(scratch_logits_ + i, elements - i, 0) / temperature,
                           elements - i);
    }
  }

  // What will be read after classes c, c + 1, … of the `count` positions that go with position p: the same classes of
  // the position after them, or the next chunk of a long row.
  template <class R>
  const typename R::Storage* ahead(ptrdiff_t p, ptrdiff_t count, ptrdiff_t c, ptrdiff_t classes) const {
    if (path_ != Path::rows) return row<R>(p, c, classes);  // gathered, and so in cache already
    const bool is_long = problem_.classes > chunk_classes && c + classes < problem_.classes;
    return is_long ? row<R>(p, c + classes, classes) : row<R>(p + count, 0, classes);
  }

  // Classes c, c + 1, … of a position, side by side: in place, or where gather_logits has put them.
  template <class R>
  const typename R::Storage* row(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) const {
    if (path_ == Path::rows) return at<const typename R::Storage>(segment_.logits, first_ + p, c);
    return static_cast<const typename R::Storage*>(static_cast<const void*>(scratch_logits_ + p * classes));
  }

  // The probabilities of classes c … of a position, side by side; in scratch where memory has them otherwise.
  const T* row_of_probabilities(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) {
    const Plane& q = segment_.probabilities;
    if (!q.data) return nullptr;
    if (q.element == plain_element && q.class_stride == 1) return at<const T>(q, first_ + p, c);
    gather_line(byte_address(q, first_ + p, c), q.element, q.class_stride, classes, scratch_probabilities_);
    return scratch_probabilities_;
  }

  void load_probability_tile() {
    const Plane& q = segment_.probabilities;
    for (ptrdiff_t i = 0; i < problem_.classes * batch_positions; ++i) scratch_probabilities_[i] = 0;
    alignas(64) T line[few_classes];
    for (ptrdiff_t p = 0; p < positions_; ++p) {
      gather_line(byte_address(q, first_ + p, 0), q.element, q.class_stride, problem_.classes, line);
      for (ptrdiff_t c = 0; c < problem_.classes; ++c) scratch_probabilities_[c * batch_positions + p] = line[c];
    }
  }

  static const void* byte_address(const Plane& plane, ptrdiff_t position, ptrdiff_t c) {
    return static_cast<const char*>(plane.data) +
           (position * plane.position_stride + c * plane.class_stride) * size_of(plane.element);
  }

  template <class Use>
  void with_columns(const Use& use) {
    const bool is_tile = path_ == Path::tile;
    const T* probability = !segment_.probabilities.data ? nullptr
                           : is_tile                    ? scratch_probabilities_
                                                        : at<const T>(segment_.probabilities, first_, 0);
    with_terms(probability, is_tile ? batch_positions : segment_.probabilities.class_stride, use);
  }

  // The terms of classes c, c + 1, … of a position.
  NoTerms terms_of_row(const NoTerms& terms, ptrdiff_t, ptrdiff_t, ptrdiff_t) { return terms; }
  ScoreTerms terms_of_row(const ScoreTerms& terms, ptrdiff_t, ptrdiff_t, ptrdiff_t) { return terms; }
  BaseTerms<T> terms_of_row(const BaseTerms<T>& terms, ptrdiff_t, ptrdiff_t c, ptrdiff_t) {
    return terms.from_class(c);
  }
  ProbabilityTerms<T> terms_of_row(const ProbabilityTerms<T>& terms, ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) {
    const T* row = row_of_probabilities(p, c, classes);
    const bool is_in_place = row != scratch_probabilities_;
    const ptrdiff_t rows_at_once = positions_ < lanes<T> ? positions_ : lanes<T>;
    return {terms.base + c, terms.factor + c, row, 1,
            is_in_place ? rows_at_once * segment_.probabilities.position_stride : 0};
  }

  static constexpr Element plain_element = sizeof(T) == 4 ? Element::f32 : Element::f64;

  const Segment& segment_;
  const Problem& problem_;
  const Path path_;
  T *scratch_logits_, *scratch_probabilities_;
  ptrdiff_t first_ = 0, positions_ = 0;
  ptrdiff_t first_class_ = 0, end_class_ = 0;
  SegmentResult result_ = {0, 0, false};
  Accumulator<double> loss_sum_ = Accumulator<double>::of_nothing();
  alignas(64) double scale_[batch_positions];
  Targets targets_;
  Statistics statistics_, next_;
  References<T> references_;  // to the maxima of all classes, or of the last chunk
  Coefficients coefficients_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
