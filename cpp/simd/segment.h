// COMPILED ONCE PER INSTRUCTION SET. A segment of positions, a batch at a time: read the targets, reduce the logits to
// statistics, finish them to losses and coefficients, write the output. The logits of a batch stay in cache in between.
#pragma once

#include "one_pass.h"
#include "score.h"
#include "write.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class E>
class SegmentKernel {
  using T = typename E::Real;
  using Storage = typename E::Storage;
  using Plain = PlainOf<T>;
  using Direct = InPlace<E>;

 public:
  explicit SegmentKernel(const Segment& segment) : segment_(segment), problem_(*segment.problem), in_(segment) {
    coefficients_.most_output = problem_.operation == Operation::softmax ? 1 : __builtin_inf();
  }

  SegmentResult run() {
    if (segment_.shared) return run_shared();
    const ptrdiff_t step = in_.positions_per_batch();
    SegmentResult* of_block = segment_.of_blocks;
    for (ptrdiff_t first = 0, block_end = segment_.block_positions; first < segment_.positions;
         first += in_.positions) {
      if (first == block_end) {
        *of_block++ = result_of_block();
        block_end += segment_.block_positions;
      }
      const ptrdiff_t end = block_end < segment_.positions ? block_end : segment_.positions, left = end - first;
      read_batch(first, left < step ? left : step);
      reduce();
      finish_batch();
      if (segment_.output.data) writer().write(0, problem_.classes);
    }
    waiting_.finish();
    return finished();
  }

 private:
  SegmentWriter<E> writer() { return {in_, references_, coefficients_, kept_, waiting_}; }

  SegmentResult finished() {
    if (segment_.output_streams) finish_streaming();
    return result_of_block();
  }

  // Of the positions since the last.
  SegmentResult result_of_block() {
    const ErrorSum sum = loss_sum_.folded();
    const SegmentResult result = {sum.sum, sum.error, target_changed_};
    loss_sum_ = Accumulator<double>::of_nothing();
    target_changed_ = false;
    return result;
  }

  // One stage of run() for positions whose classes are shared out.
  SegmentResult run_shared() {
    const ptrdiff_t step = in_.positions_per_batch();
    for (ptrdiff_t first = 0; first < segment_.positions; first += step) {
      const ptrdiff_t left = segment_.positions - first;
      read_batch(first, left < step ? left : step);
      switch (segment_.shared->stage) {
        case SharedClasses::Stage::reduce:
          reduce_shared();
          break;
        case SharedClasses::Stage::finish:
          finish_shared();
          break;
        case SharedClasses::Stage::write:
          write_shared();
          break;
      }
    }
    return finished();
  }

  double (&shared_statistics(ptrdiff_t p, ptrdiff_t c))[10] {
    return segment_.shared->chunks[(in_.first + p) * chunks_of_row(problem_.classes) + c / chunk_classes].value;
  }
  RowOutput& shared_output(ptrdiff_t p) { return segment_.shared->output[in_.first + p]; }

  void reduce_shared() {
    for (ptrdiff_t c = segment_.shared->first_class; c < segment_.shared->end_class; c += chunk_classes) {
      reduce_chunk(c, statistics_);
      for (ptrdiff_t p = 0; p < in_.positions; ++p) {
        take_row(statistics_, p, row_statistics, shared_statistics(p, c));
      }
    }
  }

  void finish_shared() {
    for (ptrdiff_t c = 0; c < problem_.classes; c += chunk_classes) {
      for (ptrdiff_t p = 0; p < in_.positions; ++p) {
        put_row(shared_statistics(p, c), row_statistics, c == 0 ? statistics_ : next_, p);
      }
      if (c > 0) merge<T>(statistics_, next_, in_.positions, is_score());
    }
    refer_to_all_maxima();
    finish_batch();
    for (ptrdiff_t p = 0; p < in_.positions; ++p) {
      RowOutput& output = shared_output(p);
      output.maximum = statistics_.maximum[p];
      output.target = in_.targets.index[p];
      take_row(coefficients_, p, row_coefficients, output.value);
    }
  }

  // With the targets that the losses have been computed with.
  void write_shared() {
    coefficients_.most_substitute = 0;
    for (ptrdiff_t p = 0; p < in_.positions; ++p) {
      const RowOutput& output = shared_output(p);
      statistics_.maximum[p] = output.maximum;
      in_.targets.index[p] = output.target;
      put_row(output.value, row_coefficients, coefficients_, p);
      const double substitute = coefficients_.substitute[p];
      if (substitute > coefficients_.most_substitute) coefficients_.most_substitute = substitute;
    }
    refer_to_all_maxima();
    writer().write(segment_.shared->first_class, segment_.shared->end_class);
  }

  void refer_to_all_maxima() {
    for (ptrdiff_t p = 0; p < in_.positions; p += lanes<T>) refer_to_maxima<T>(statistics_, references_, p);
  }

  void finish_batch() {
    in_.template read_target_logits<E>();
    finish<T>(problem_, statistics_, in_.targets, in_.scale, in_.positions, segment_.output.data != nullptr,
              coefficients_);
    if (in_.kept_terms && problem_.classes > chunk_classes) {  // a row, written from its terms as a whole or not at all
      kept_.are_usable =
          coefficients_.most_substitute == is_computed && (T)statistics_.maximum[0] - least_kept_ <= Ordinary<T>::gap;
    }
    if (problem_.operation == Operation::cross_entropy || is_score()) add_losses();
    if (problem_.operation == Operation::logsumexp) write_log_sum_exp();
    if (is_score()) write_scores<T>(in_, statistics_, coefficients_.log_sum);
  }

  void read_batch(ptrdiff_t first, ptrdiff_t positions) { target_changed_ |= !in_.move_to(first, positions); }

  bool is_score() const { return problem_.operation == Operation::score; }

  void reduce() {
    if (in_.path == Path::tile) in_.template load_tiles<E>();
    least_kept_ = 0;
    reduce_chunk(0, statistics_);
    for (ptrdiff_t c = chunk_classes; c < problem_.classes; c += chunk_classes) {
      reduce_chunk(c, next_);
      merge<T>(statistics_, next_, in_.positions, is_score());
    }
    if (problem_.classes > chunk_classes && segment_.output.data) refer_to_all_maxima();
  }

  void reduce_chunk(ptrdiff_t c, Statistics& out) {
    const ptrdiff_t classes = classes_of_chunk(problem_, c);
    if (is_score() && classes < problem_.classes) in_.template read_target_logits<E>();
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
    if (is_score()) {
      if constexpr (rows_are_in_place<R, ScoreTerms>) reduce_rows_of_chunk<R, false, ScoreTerms>(c, classes, out);
    } else if (in_.kept_terms) {
      if constexpr (may_keep_terms) reduce_rows_of_chunk<R, true, NoTerms>(c, classes, out);
    } else {
      reduce_rows_of_chunk<R, false, NoTerms>(c, classes, out);
    }
  }

  template <class R, bool keeps, class Terms>
  void reduce_rows_of_chunk(ptrdiff_t c, ptrdiff_t classes, Statistics& out) {
    for (ptrdiff_t p = 0; p < in_.positions; p += lanes<T>) {
      const bool in_one_pass = reduce_in_one_pass<R, keeps, Terms>(c, classes, p, out);
      if (!in_one_pass) {
        least_kept_ = -(T)__builtin_inf();
        reduce_rows_and_targets<R, keeps, Terms>(in_, c, classes, p, waiting_, references_, out);
        if constexpr (Terms::has_scores) rank_rows<R>(in_, c, classes, p, next_rows(p), out);
      }
      kept_.unit_is_one[p / lanes<T>] = in_one_pass;
    }
  }

  ptrdiff_t next_rows(ptrdiff_t p) const { return in_.positions - p < lanes<T> ? in_.positions : p + lanes<T>; }

  // False where that can't be. Then it isn't tried for a while, since the next rows are likely to be of that kind.
  template <class R, bool keeps, class Terms>
  bool reduce_in_one_pass(ptrdiff_t c, ptrdiff_t classes, ptrdiff_t first, Statistics& out) {
    if constexpr (has_one_pass<R, Terms>) {
      if (classes < least_classes_of_one_pass<T>) return false;
      if (two_passes_left_ > 0) {
        --two_passes_left_;
        return false;
      }
      OnePass<R, keeps, Terms> pass(in_, waiting_, c, classes, first);
      if (pass.reduce(references_, out)) {
        if (pass.least() < least_kept_) least_kept_ = pass.least();
        return true;
      }
      two_passes_left_ = 16;
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
      const auto* logits = in_.template logits<Direct>(0, c);
      const ptrdiff_t step = in_.positions_per_batch();
      const ColumnsAhead<Direct> ahead(logits, stride, classes, in_.first / step, step);
      reduce_columns<Direct>(logits, stride, classes, in_.positions, terms.from_class(c), ahead, references_, out);
    };
    if (!is_score()) return in_.with_terms_of_columns(reduce);
    reduce(ScoreTerms{});
    if (classes == problem_.classes) in_.template read_target_logits<E>();
    rank_batch_of_columns<E>(in_, c, classes, out);
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

  const Segment& segment_;
  const Problem& problem_;
  SegmentInput<T> in_;
  int two_passes_left_ = 0;
  KeptTerms<T> kept_;
  T least_kept_ = 0;  // logit of a row whose term isn't kept as 0; -inf with a chunk that took two passes
  WaitingRows<T> waiting_;
  bool target_changed_ = false;
  Accumulator<double> loss_sum_ = Accumulator<double>::of_nothing();
  Statistics statistics_, next_;
  References<T> references_;  // to the maxima of all classes, or of the last chunk
  Coefficients coefficients_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
