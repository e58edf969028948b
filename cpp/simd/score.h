// COMPILED ONCE PER INSTRUCTION SET. What a score has beside the loss, from the statistics of a row: figures of the
// probabilities, and places.
#pragma once

#include "finish.h"
#include "input.h"

namespace crossent::CROSSENT_ISA {
namespace {

// The figures of a batch, a column for each position.
struct Figures {
  alignas(64) double confidence[batch_positions];
  alignas(64) double log_sum_exp[batch_positions];
  alignas(64) double entropy[batch_positions];
  alignas(64) double sum_of_squares[batch_positions];
};

// With s = count + rest, p_c = exp(x_c - M) / s:
//     max p = 1 / s     -sum p log p = log s + gaps / s     sum p^2 = (count + squares) / s^2,
// sums of what is not negative. nan where there are no probabilities. The last, in which every rounding of s counts
// twice, is divided again into what its first value leaves of count + squares.
template <class T>
void finish_figures(const Statistics& s, const double* log_sum, ptrdiff_t positions, Figures& out) {
  for (ptrdiff_t p = 0; p < positions; p += lanes<double>) {
    const Vec<double> count = load(s.count + p), rest = load(s.rest + p), log_s = load(log_sum + p);
    const ExactSum sum = two_sum(count, rest), square_sum = two_sum(count, load(s.squares + p));
    const Vec<double> inverse = splat(1.0) / sum.sum, square = square_sum.sum * inverse * inverse;
    const Vec<double> root = square * sum.sum, minus_root = splat(0.0) - root;
    const Vec<double> left = fma(minus_root, sum.sum, square_sum.sum) - fma(square, sum.sum, minus_root) * sum.sum;
    const Vec<double> all_left = left + (square_sum.error + (minus_root + minus_root) * sum.error);
    const auto is_valid = equal(log_s, log_s);
    const auto valid = [&](const Vec<double>& a) { return select(is_valid, a, splat(__builtin_nan(""))); };
    store(out.confidence + p, valid(inverse));
    store(out.log_sum_exp + p, log_sum_exp<T>(load(s.maximum + p), count, rest));
    store(out.entropy + p, valid(fma(load(s.gaps + p), inverse, log_s)));
    store(out.sum_of_squares + p, valid(fma(all_left, inverse * inverse, square)));
  }
}

// The scores of a batch, to where the caller wants them; the losses have been written already.
template <class T>
void write_scores(const SegmentInput<T>& in, const Statistics& s, const double* log_sum) {
  Figures figures;
  finish_figures<T>(s, log_sum, in.positions, figures);
  const ScoreColumns& out = in.segment.scores;
  for (ptrdiff_t p = 0; p < in.positions; ++p) {
    const bool is_live = in.targets.is_live[p] != 0, has_rank = figures.confidence[p] == figures.confidence[p];
    const ptrdiff_t position = in.first + p, offset = position * in.segment.losses_stride;
    const auto write = [&](void* column, double value) {
      store_figure(in.segment, column, position, is_live ? value : __builtin_nan(""));
    };
    out.predicted[offset] = is_live ? (int64_t)s.place[p] : -1;
    if (out.rank) out.rank[offset] = !is_live ? -1 : has_rank ? (int64_t)s.ahead[p] : in.problem.classes;
    write(out.confidence, figures.confidence[p]);
    write(out.log_sum_exp, figures.log_sum_exp[p]);
    write(out.entropy, figures.entropy[p]);
    write(out.sum_of_squares, figures.sum_of_squares[p]);
  }
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
