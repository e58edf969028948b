// COMPILED ONCE PER INSTRUCTION SET. The output of a batch, wherever it goes: from the logits and the batch's
// coefficients, or from the terms that have been kept. Which element it has and which way it goes is decided here.
#pragma once

#include "column_stream.h"
#include "waiting_rows.h"

namespace crossent::CROSSENT_ISA {
namespace {

// E: the element of the logits.
template <class E>
class SegmentWriter {
  using T = typename E::Real;
  using Plain = PlainOf<T>;
  using Direct = InPlace<E>;
  static constexpr bool is_half = sizeof(typename E::Storage) == 2;
  template <class O>
  using OutputInPlace = typename InPlaceOf<O, converts_halves || !is_half>::Type;

 public:
  SegmentWriter(SegmentInput<T>& in, const References<T>& references, const Coefficients& coefficients,
                KeptTerms<T>& kept, WaitingRows<T>& waiting)
      : segment_(in.segment),
        problem_(in.problem),
        in_(in),
        references_(references),
        coefficients_(coefficients),
        kept_(kept),
        waiting_(waiting) {}

  // Classes first … end - 1; all of them unless they are shared out.
  void write(ptrdiff_t first, ptrdiff_t end) {
    first_class_ = first;
    end_class_ = end;
    if constexpr (is_half) {  // the output of half precision may be float
      if (segment_.output.element == Element::f32) return write_output_as<F32>();
    }
    write_output_as<E>();
  }

 private:
  template <class O>
  void write_output_as() {
    if (problem_.operation == Operation::log_softmax) {
      write_output_as<O, true>();
    } else {
      write_output_as<O, false>();
    }
    if (coefficients_.most_substitute == may_be_nan && !streams_columns<O>()) unite_nans_as<O>();
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
    if (problem_.operation == Operation::softmax && problem_.classes == 1) return write_ones<O>();
    if (in_.path == Path::tile || in_.path == Path::columns) return write_columns_as<O, logarithm>();
    if (in_.kept_terms) kept_.set_factors(coefficients_, references_, in_.positions);
    waiting_.write_all();
    for (ptrdiff_t c = first_class_; c < end_class_; c += chunk_classes) {
      const ptrdiff_t classes = classes_of_chunk(problem_, c);
      if (in_.path == Path::gather && problem_.classes > chunk_classes) in_.gather_logits(c, classes);
      for (ptrdiff_t p = 0; p < in_.positions; ++p) {
        if (CROSSENT_IS_SMALL || !waits(p)) {
          write_chunk_of_row<O, logarithm>(p, c, classes);
        } else if (c == first_class_) {
          add_waiting_row<O, logarithm>(p);
        }
      }
    }
    for (ptrdiff_t p = 0; p < in_.positions; ++p) {
      const ptrdiff_t c = in_.targets.index[p];
      if (is_written_here(c) && coefficients_.substitute[p] >= is_computed && !is_kept(p) && !waits(p)) {
        store_one<O>(output<O>(p, c), (T)coefficients_.target_gradient[p]);
      }
    }
  }

  // The softmax of a single class, nan where that is infinite.
  template <class O>
  void write_ones() {
    for (ptrdiff_t p = 0; p < in_.positions; ++p) {
      const T difference = references_.maximum[p] - references_.maximum[p];
      store_one<O>(output<O>(p, 0), coefficients_.substitute[p] >= is_computed ? difference + 1 : (T)__builtin_nan(""));
    }
  }

  template <class O, bool logarithm>
  void write_chunk_of_row(ptrdiff_t p, ptrdiff_t c, ptrdiff_t classes) {
    const auto write = [&]<class Terms>(const Terms& terms) {
      if (in_.path == Path::rows) {
        using Y = OutputInPlace<O>;
        write_row<Direct, Y, logarithm>(in_.template row<Direct>(p, c, classes), output<Y>(p, c), classes, terms, p,
                                        segment_.output.position_stride, can_stream<Y> && segment_.output_streams);
      } else {
        T* x = in_.scratch_logits + p * classes;
        write_row<Plain, Plain, logarithm>(x, x, classes, terms, p, 0, false);
        scatter_line<O>(x, classes, output<O>(p, c), segment_.output.class_stride);
      }
    };
    if constexpr (logarithm) {
      write(NoTerms{});
    } else {
      in_.with_terms_of_rows([&](const auto& terms) { write(in_.terms_of_row(terms, p, c, classes)); });
    }
  }

  template <class R, class Y, bool logarithm, class Terms>
  void write_row(const typename R::Storage* x, typename Y::Storage* y, ptrdiff_t classes, const Terms& terms,
                 ptrdiff_t p, ptrdiff_t y_stride, bool streams) {
    if constexpr (may_keep_terms && !logarithm) {
      if (is_kept(p)) return write_kept_row<Y>(row_of(p), in_.kept_row(p, 0), y, classes, terms, y_stride, streams);
    }
    if constexpr (rows_are_in_place<R, Terms>) {
      if (has_substitute(p)) {
        write_substitute<Y>(y, classes, coefficients_.substitute[p]);
      } else if (!logarithm && coefficients_.term_factor[p] == 0) {
        write_unusual_row<R, Y>(x, y, classes, terms, references_, coefficients_, p);
      } else {
        write_computed_row<R, Y, logarithm>(row_of(p), x, y, classes, terms, y_stride, streams);
      }
    }
  }

  // The whole of it.
  template <class O, bool logarithm>
  void add_waiting_row(ptrdiff_t p) {
    using Y = OutputInPlace<O>;
    if constexpr (can_stream<Y>) {
      if (has_substitute(p)) {
        return waiting_.add_substitute(p, (T)coefficients_.substitute[p], output<Plain>(p, 0), problem_.classes);
      }
    }
    const auto add = [&]<class Terms>(const Terms& terms) {
      if constexpr (can_stream<Y>) {
        if constexpr (may_keep_terms && !logarithm) {
          if (is_kept(p)) {
            return waiting_.add_kept(p, row_of(p), in_.kept_row(p, 0), output<Plain>(p, 0), problem_.classes,
                                     in_.terms_of_row(terms, p, 0, problem_.classes));
          }
        }
        if constexpr (!is_half && !Terms::has_mass) {
          waiting_.template add_computed<Direct, logarithm>(p, row_of(p), in_.template logits<Direct>(p, 0),
                                                            output<Plain>(p, 0), problem_.classes, terms);
        }
      }
    };
    if constexpr (logarithm) {
      add(NoTerms{});
    } else {
      in_.with_terms_of_rows(add);
    }
  }

  bool is_written_here(ptrdiff_t c) const { return first_class_ <= c && c < end_class_; }

  // Class probabilities wait as they are, and beside terms of a negative factor -0 would not do for 0.
  bool is_kept(ptrdiff_t p) const {
    if (!in_.kept_terms) return false;
    return problem_.factor && in_.rows_wait() ? kept_.factor[p] > 0 : kept_.factor[p] != 0;
  }
  bool has_substitute(ptrdiff_t p) const { return !(coefficients_.substitute[p] >= is_computed); }
  // Rows that wait are of one kind, unless there is but one of them, or have a substitute. Half precision doesn't
  // stream.
  bool waits(ptrdiff_t p) const {
    if (!in_.rows_wait() || coefficients_.most_substitute == may_be_nan) return false;
    if (has_substitute(p)) return true;
    if (problem_.factor) return is_kept(p);
    if (is_kept(p) || (in_.kept_terms && problem_.classes <= chunk_classes)) return is_kept(p);
    return !is_half && (problem_.operation == Operation::log_softmax || coefficients_.term_factor[p] != 0);
  }
  __attribute__((noinline)) OutputRow<T> row_of(ptrdiff_t p) const {
    const Coefficients& k = coefficients_;
    return {references_.maximum[p],
            references_.offset[p],
            references_.lower[p],
            references_.shifter[p],
            is_kept(p) ? kept_.factor[p] : (T)k.term_factor[p],
            (T)k.scale[p],
            (T)k.log_sum[p],
            (T)k.most_output,
            (T)k.target_gradient[p],
            in_.targets.index[p]};
  }

  template <class O, bool logarithm>
  void write_columns_as() {
    const auto write = [&](const auto& terms) {
      if (in_.path == Path::columns) {
        using Y = OutputInPlace<O>;
        if constexpr (can_stream<Y>) {
          if (streams_columns<O>()) return stream_columns_as<logarithm>(terms);
        }
        write_columns<Direct, Y, logarithm>(in_.template logits<Direct>(0, first_class_), segment_.logits.class_stride,
                                            output<Y>(0, first_class_), segment_.output.class_stride,
                                            end_class_ - first_class_, in_.positions, terms.from_class(first_class_),
                                            references_, coefficients_);
        store_target_gradients<Y>(output<Y>(0, first_class_), 1, segment_.output.class_stride, first_class_,
                                  end_class_);
      } else if constexpr (!logarithm || CROSSENT_IS_SMALL) {  // otherwise few_softmax.h has these
        write_columns<Plain, Plain, logarithm>(in_.scratch_logits, batch_positions, in_.scratch_logits, batch_positions,
                                               problem_.classes, in_.positions, terms, references_, coefficients_);
        store_target_gradients<Plain>(in_.scratch_logits, 1, batch_positions, 0, problem_.classes);
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
  bool streams_columns() const {
    return can_stream<O> && in_.path == Path::columns && segment_.output_streams && !segment_.shared;
  }

  // All classes, some at a time in a tile that the first cache has room for.
  template <bool logarithm, class Terms>
  void stream_columns_as(const Terms& terms) {
    constexpr ptrdiff_t tile_classes = 64;
    alignas(64) T room[lanes<T> + tile_classes * batch_positions];
    T* const tile = room + lanes<T>;
    store(room, splat<T>(0));
    const ColumnStream<T> stream(segment_.output, segment_.positions, in_.scratch_logits);
    for (ptrdiff_t first = 0; first < problem_.classes; first += tile_classes) {
      const ptrdiff_t left = problem_.classes - first, classes = left < tile_classes ? left : tile_classes;
      write_columns<Direct, Plain, logarithm>(in_.template logits<Direct>(0, first), segment_.logits.class_stride, tile,
                                              batch_positions, classes, in_.positions, terms.from_class(first),
                                              references_, coefficients_);
      store_target_gradients<Plain>(tile, 1, batch_positions, first, first + classes);
      for (ptrdiff_t p = 0; p < in_.positions; ++p) {
        if (coefficients_.substitute[p] == may_be_nan) unite_nans<Plain>(tile + p, batch_positions, classes);
      }
      stream.write(tile, in_.first, in_.positions, first, classes);
    }
  }

  // Into classes first … end - 1 from y on.
  template <class O>
  void store_target_gradients(typename O::Storage* y, ptrdiff_t position_stride, ptrdiff_t class_stride,
                              ptrdiff_t first, ptrdiff_t end) {
    for (ptrdiff_t p = 0; p < in_.positions; ++p) {
      const ptrdiff_t c = in_.targets.index[p];
      if (first <= c && c < end && coefficients_.substitute[p] >= is_computed) {
        store_one<O>(y + p * position_stride + (c - first) * class_stride, (T)coefficients_.target_gradient[p]);
      }
    }
  }

  template <class O>
  typename O::Storage* output(ptrdiff_t p, ptrdiff_t c) const {
    const Plane& y = segment_.output;
    return static_cast<typename O::Storage*>(y.data) + (in_.first + p) * y.position_stride + c * y.class_stride;
  }

  const Segment& segment_;
  const Problem& problem_;
  SegmentInput<T>& in_;
  const References<T>& references_;
  const Coefficients& coefficients_;
  KeptTerms<T>& kept_;
  WaitingRows<T>& waiting_;
  ptrdiff_t first_class_ = 0, end_class_ = 0;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
