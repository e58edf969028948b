// COMPILED ONCE PER INSTRUCTION SET. What has no targets, from what a batch's rows are reduced to (few_reduction.h,
// row_reduction.h), all positions one step at a time: with s = sum of the terms e_c of a row,
//     softmax_c = e_c / s        log_softmax_c = (x_c - M) - log s        lse = M + log s
// with s in units of exp(M) for the last two. Rows that have no such number are for the general way.
#pragma once

#include "batch_sums.h"
#include "finish.h"

namespace crossent::CROSSENT_ISA {
namespace {

template <class T>
class BatchSoftmax {
  using Sums = BatchSums<T>;
  static constexpr ptrdiff_t width = lanes<T>;

 public:
  // Of a batch, a column for each position: what a term is multiplied by, or what is taken off x_c - M.
  alignas(64) T number[batch_positions];

  explicit BatchSoftmax(const Segment& segment) : segment_(segment), operation_(segment.problem->operation) {}

  // Once `count` positions are reduced. Says with a bit for each which have no such number.
  __attribute__((noinline)) uint64_t prepare(ptrdiff_t count, const Sums& sums) {
    const bool is_softmax = operation_ == Operation::softmax;
    if (!is_softmax) take_logarithms(count, sums);
    if (operation_ == Operation::logsumexp) return 0;
    uint64_t unusual = 0;
    for (ptrdiff_t p = 0; p < count; p += width) {
      unusual |= (uint64_t)(is_softmax ? prepare_factor(p, sums) : prepare_log_sum(p)) << p;
    }
    return unusual & ~uint64_t{0} >> (batch_positions - count);
  }

  // An infinite M is the answer itself, unless there is nan.
  __attribute__((noinline)) void write_log_sum_exp(ptrdiff_t first, ptrdiff_t count, const Sums& sums) const {
    for (ptrdiff_t p = 0; p < count; ++p) {
      const double maximum = sums.references.maximum[p];
      const double value = maximum + (__builtin_isfinite(maximum) ? log_sum_[p] : sums.rest[p]);
      store_figure(segment_, segment_.losses, first + p, value == value ? value : __builtin_nan(""));
    }
  }

 private:
  void take_logarithms(ptrdiff_t count, const Sums& sums) {
    for (ptrdiff_t p = 0; p < count; p += width) {
      const BatchTotals<T> totals = sums.totals(p);
      repeat<double_vectors<T>>(CROSSENT_EACH(i) {
        store(log_sum_ + p + i * lanes<double>,
              log_of_count_and_rest<T>(totals.maximum.part[i], totals.count.part[i], totals.rest.part[i]));
      });
    }
  }

  // The number that turns a term into softmax. Says with a bit for each position which have none.
  CROSSENT_INLINE uint32_t prepare_factor(ptrdiff_t p, const Sums& sums) {
    const BatchTotals<T> totals = sums.totals(p);
    const Vec<T> maximum = load(sums.references.maximum + p);
    Doubles<T> factor;
    repeat<double_vectors<T>>(CROSSENT_EACH(i) {
      factor.part[i] = Divisor<T>(totals.count.part[i] + totals.rest.part[i]).quotient(totals.unit.part[i]);
    });
    const Vec<T> factors = as_lanes(factor) + (maximum - maximum);  // nan for an infinite maximum
    store(number + p, factors);
    return unusual_factors(factors);
  }
  // And x_c - M into log-softmax.
  CROSSENT_INLINE uint32_t prepare_log_sum(ptrdiff_t p) {
    const Vec<T> log_sum = load_as<T>(log_sum_ + p);
    store(number + p, log_sum);
    return bits_of(differ(log_sum, log_sum));
  }

  const Segment& segment_;
  const Operation operation_;
  alignas(64) double log_sum_[batch_positions];
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
