// COMPILED ONCE PER INSTRUCTION SET. A segment of positions, a batch at a time: read the targets, reduce the logits to
// statistics, finish them to losses and coefficients, write the output. The logits of a batch stay in cache in between.
#pragma once

#include "one_pass.h"
#include "output.h"
#include "score.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class E>
class SegmentKernel {
  using T = typename E::Real;
  using Storage = typename E::Storage;
  using Plain = PlainOf<T>;
  using Direct = InPlace<E>;

 public:
  explicit SegmentKernel(const Segment& segment) : segment_(segment), problem_(*segment.problem), in_(segment) {}

  SegmentResult run() {
    if (segment_.shared) return run_shared();
    const ptrdiff_t step = in_.positions_per_batch();
    for (ptrdiff_t first = 0; first < segment_.positions; first += step) {
      const ptrdiff_t left = segment_.positions - first;
      read_batch(first, left < step ? left : step);
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
    if (shared.stage == SharedRow::Stage::write) {
      in_.positions = 1;
      statistics_.maximum[0] = shared.output->maximum;
      in_.targets.index[0] = shared.output->target;
      put_row(shared.output->value, row_coefficients, coefficients_);
      coefficients_.most_substitute = coefficients_.substitute[0];
      refer_to_maxima<T>(statistics_, references_, 0);
      write_output(shared.first_class, shared.end_class);
      return finished();
    }
    read_batch(0, 1);
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
    shared.output->target = in_.targets.index[0];
    take_row(coefficients_, row_coefficients, shared.output->value);
    return finished();
  }

  void finish_batch() {
    in_.template read_target_logits<E>();
    finish<T>(problem_, statistics_, in_.targets, in_.scale, in_.positions, segment_.output.data != nullptr,
              coefficients_);
    if (problem_.operation == Operation::cross_entropy || is_score()) add_losses();
    if (problem_.operation == Operation::logsumexp) write_log_sum_exp();
    if (is_score()) write_scores<E>(in_, statistics_, coefficients_.log_sum);
  }

  void read_batch(ptrdiff_t first, ptrdiff_t positions) { result_.target_changed |= !in_.move_to(first, positions); }

  bool is_score() const { return problem_.operation == Operation::score; }

  void reduce() {
    if (in_.path == Path::tile) in_.template load_tiles<E>();
    reduce_chunk(0, statistics_);
    for (ptrdiff_t c = chunk_classes; c < problem_.classes; c += chunk_classes) {
      reduce_chunk(c, next_);
      merge<T>(statistics_, next_, in_.positions, is_score());
    }
    if (problem_.classes > chunk_classes && segment_.output.data) {
      for (ptrdiff_t p = 0; p < in_.positions; p += lanes<T>) refer_to_maxima<T>(statistics_, references_, p);
    }
  }

  void reduce_chunk(ptrdiff_t c, Statistics& out) {
    const ptrdiff_t classes = classes_of_chunk(problem_, c);
    if (in_.path == Path::rows) {
      reduce_chunk_of_rows<Direct>(c, classes, out);
    } else if (in_.path == Path::gather) {
      in_.gather_logits(c, classes);
      reduce_chunk_of_rows<Plain>(c, classes, out);
    } else {
      reduce_chunk_of_columns(c, classes, out);
    }
    if (problem_.base && !problem_.factor) {
      for (ptrdiff_t p = 0; p < in_.positions; ++p) out.mass[p] = problem_.base_sums[c / chunk_classes];
    }
    use_units_of_maximum<T>(out, in_.positions, is_score());
  }

  // R: the element of the rows, which may have been gathered.
  template <class R>
  void reduce_chunk_of_rows(ptrdiff_t c, ptrdiff_t classes, Statistics& out) {
    const auto reduce = [&]<class Terms>(const Terms& terms) {
      if constexpr (rows_are_in_place<R, Terms>) {
        if constexpr (may_keep_terms<Terms>) {
          if (in_.kept_terms) return reduce_rows_of_chunk<R, true>(terms, c, classes, out);
        }
        reduce_rows_of_chunk<R, false>(terms, c, classes, out);
      }
    };
    is_score() ? reduce(ScoreTerms{}) : in_.with_terms_of_rows(reduce);
  }

  template <class R, bool keeps, class Terms>
  void reduce_rows_of_chunk(const Terms& terms, ptrdiff_t c, ptrdiff_t classes, Statistics& out) {
    for (ptrdiff_t p = 0; p < in_.positions; p += lanes<T>) {
      const bool in_one_pass = reduce_in_one_pass<R, keeps>(terms, c, classes, p, out);
      if (!in_one_pass) reduce_rows<R, keeps>(in_, terms, c, classes, p, references_, out);
      kept_.unit_is_one[p / lanes<T>] = in_one_pass;
    }
  }

  // False where that can't be. Then it isn't tried for a while, since the next rows are likely to be of that kind.
  template <class R, bool keeps, class Terms>
  bool reduce_in_one_pass(const Terms&, ptrdiff_t c, ptrdiff_t classes, ptrdiff_t first, Statistics& out) {
    if constexpr (has_one_pass<R> && Terms::is_plain) {
      if (classes < least_classes_of_one_pass) return false;
      if (two_passes_left_ > 0) {
        --two_passes_left_;
      } else if (OnePass<R, keeps>(in_, c, classes, first).reduce(references_, out)) {
        return true;
      } else {
        two_passes_left_ = 16;
      }
    }
    return false;
  }

  void reduce_chunk_of_columns(ptrdiff_t c, ptrdiff_t classes, Statistics& out) {
    const auto reduce = [&](const auto& terms) {
      const ptrdiff_t stride = segment_.logits.class_stride;
      if (in_.path == Path::tile) {
        return reduce_few_columns<Plain>(in_.scratch_logits, batch_positions, classes, in_.positions, terms,
                                         references_, out);
      }
      if constexpr (is_stored_as_computed<Direct>) {
        if (problem_.classes <= few_classes) {
          return reduce_few_columns<Direct>(in_.template logits<Direct>(0, 0), stride, classes, in_.positions, terms,
                                            references_, out);
        }
      }
      reduce_columns<Direct>(in_.template logits<Direct>(0, c), stride, classes, in_.positions, terms.from_class(c),
                             references_, out);
    };
    is_score() ? reduce(ScoreTerms{}) : in_.with_terms_of_columns(reduce);
  }

  template <class O>
  using OutputInPlace = typename InPlaceOf<O, converts_halves || sizeof(Storage) != 2>::Type;

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
    for (ptrdiff_t p = 0; p < in_.positions; ++p) {
      if (coefficients_.substitute[p] != may_be_nan) continue;
      unite_nans<O>(output<O>(p, first_class_), segment_.output.class_stride, end_class_ - first_class_);
    }
  }

  template <class O, bool logarithm>
  void write_output_as() {
    if (in_.path == Path::tile || in_.path == Path::columns) return write_columns_as<O, logarithm>();
    if (in_.kept_terms) kept_.set_factors(coefficients_, references_, in_.positions);
    for (ptrdiff_t c = first_class_; c < end_class_; c += chunk_classes) {
      const ptrdiff_t classes = classes_of_chunk(problem_, c);
      if (in_.path == Path::gather && problem_.classes > chunk_classes) in_.gather_logits(c, classes);
      for (ptrdiff_t p = 0; p < in_.positions; ++p) write_chunk_of_row<O, logarithm>(p, c, classes);
    }
    for (ptrdiff_t p = 0; p < in_.positions; ++p) {
      const ptrdiff_t y = in_.targets.index[p];
      if (y < first_class_ || y >= end_class_ || !(coefficients_.substitute[p] >= is_computed)) continue;
      if (!is_kept(p)) store_one<O>(output<O>(p, y), (T)coefficients_.target_gradient[p]);
    }
  }

  template <class O, bool logarithm>
  void write_chunk_of_row(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) {
    const auto write = [&]<class Terms>(const Terms& terms) {
      if (in_.path == Path::rows) {
        using Y = OutputInPlace<O>;
        const bool streams = can_stream<Y> && segment_.output_streams;
        if constexpr (may_keep_terms<Terms> && !logarithm) {
          if (is_kept(p)) {
            return write_kept_row<Y>(in_.kept_row(p), output<Y>(p, c), classes, terms, kept_, coefficients_, p,
                                     in_.targets.index[p], segment_.output.position_stride, streams);
          }
        }
        if constexpr (rows_are_in_place<Direct, Terms>) {
          write_row<Direct, Y, logarithm>(in_.template row<Direct>(p, c, classes), output<Y>(p, c), classes, terms,
                                          references_, coefficients_, p, segment_.output.position_stride, streams);
        }
      } else {
        T* x = in_.scratch_logits + p * classes;
        write_gathered_row<logarithm>(x, classes, terms, p);
        scatter_line<O>(x, classes, output<O>(p, c), segment_.output.class_stride);
      }
    };
    if constexpr (logarithm) {
      write(NoTerms{});
    } else {
      in_.with_terms_of_rows([&](const auto& terms) { write(in_.terms_of_row(terms, p, c, classes)); });
    }
  }

  template <bool logarithm, class Terms>
  void write_gathered_row(T* x, ptrdiff_t classes, const Terms& terms, ptrdiff_t p) {
    if constexpr (may_keep_terms<Terms> && !logarithm) {
      if (is_kept(p)) {
        return write_kept_row<Plain>(in_.kept_row(p), x, classes, terms, kept_, coefficients_, p, in_.targets.index[p],
                                     0, false);
      }
    }
    write_row<Plain, Plain, logarithm>(x, x, classes, terms, references_, coefficients_, p, 0, false);
  }

  bool is_kept(ptrdiff_t p) const { return in_.kept_terms && kept_.factor[p] != 0; }

  template <class O, bool logarithm>
  void write_columns_as() {
    const auto write = [&](const auto& terms) {
      if (in_.path == Path::columns) {
        using Y = OutputInPlace<O>;
        auto* y = output<Y>(0, 0);
        write_columns<Direct, Y, logarithm>(in_.template logits<Direct>(0, 0), segment_.logits.class_stride, y,
                                            segment_.output.class_stride, problem_.classes, in_.positions, terms,
                                            references_, coefficients_);
        store_target_gradients<Y>(y, 1, segment_.output.class_stride);
      } else {
        write_columns<Plain, Plain, logarithm>(in_.scratch_logits, batch_positions, in_.scratch_logits, batch_positions,
                                               problem_.classes, in_.positions, terms, references_, coefficients_);
        store_target_gradients<Plain>(in_.scratch_logits, 1, batch_positions);
        store_tile<O>(in_.scratch_logits, output<O>(0, 0), segment_.output.position_stride,
                      segment_.output.class_stride, problem_.classes, in_.positions);
      }
    };
    if constexpr (logarithm) {
      write(NoTerms{});
    } else {
      in_.with_terms_of_columns(write);
    }
  }

  template <class O>
  void store_target_gradients(typename O::Storage* y, ptrdiff_t position_stride, ptrdiff_t class_stride) {
    for (ptrdiff_t p = 0; p < in_.positions; ++p) {
      if (in_.targets.index[p] < 0 || !(coefficients_.substitute[p] >= is_computed)) continue;
      store_one<O>(y + p * position_stride + in_.targets.index[p] * class_stride, (T)coefficients_.target_gradient[p]);
    }
  }

  void add_losses() {
    for (ptrdiff_t p = in_.positions; p % lanes<double> != 0; ++p) coefficients_.loss[p] = 0;
    for (ptrdiff_t p = 0; p < in_.positions; p += lanes<double>) loss_sum_.add(load(coefficients_.loss + p));
    for (ptrdiff_t p = 0; p < in_.positions && segment_.losses; ++p) store_result(p, coefficients_.loss[p]);
  }

  void write_log_sum_exp() {
    alignas(64) double value[lanes<double>];
    for (ptrdiff_t p = 0; p < in_.positions; p += lanes<double>) {
      store(value,
            log_sum_exp<T>(load(statistics_.maximum + p), load(statistics_.count + p), load(statistics_.rest + p)));
      for (ptrdiff_t i = 0; i < lanes<double> && p + i < in_.positions; ++i) store_result(p + i, value[i]);
    }
  }

  void store_result(ptrdiff_t p, double value) { store_figure(segment_, segment_.losses, in_.first + p, value); }

  template <class O>
  typename O::Storage* output(ptrdiff_t p, ptrdiff_t c) const {
    const Plane& y = segment_.output;
    return static_cast<typename O::Storage*>(y.data) + (in_.first + p) * y.position_stride + c * y.class_stride;
  }

  const Segment& segment_;
  const Problem& problem_;
  SegmentInput<T> in_;
  ptrdiff_t first_class_ = 0, end_class_ = 0;
  int two_passes_left_ = 0;
  KeptTerms<T> kept_;
  SegmentResult result_ = {0, 0, false};
  Accumulator<double> loss_sum_ = Accumulator<double>::of_nothing();
  Statistics statistics_, next_;
  References<T> references_;  // to the maxima of all classes, or of the last chunk
  Coefficients coefficients_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
