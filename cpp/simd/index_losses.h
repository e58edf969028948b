// COMPILED ONCE PER INSTRUCTION SET. Class indices, the plainest of losses: no label smoothing, no class probabilities.
// A batch goes from what its rows are reduced to (few_reduction.h, row_reduction.h) to its losses, and to the numbers
// that its gradients are made of, all positions one step at a time.
//
// The terms of a row, e_c = exp(x_c - M) in units of 2^-headroom and of the inverse unit, are kept, and with s = sum of
// e_c they become the gradient by one product each:
//     gradient_c = e_c · (W · scale / s),      gradient_y = -W · scale · ((s - e_y) / s),  summed without y.
// Where the factor or a product could leave the range of T's normal numbers, the general way computes the gradient of
// the whole batch, with the same bits. A factor of +0 is as good as any.
#pragma once

#include "batch_sums.h"
#include "class_numbers.h"
#include "finish.h"

namespace crossent::CROSSENT_ISA {
namespace {

// What becomes of the positions of a segment, a batch at a time. Each step is taken for all of the batch before the
// next: from the logits of a position to its loss is a long way of steps that wait for each other.
template <class T>
class IndexLosses {
  using Sums = BatchSums<T>;
  static constexpr ptrdiff_t width = lanes<T>;

 public:
  // Of a batch, a column for each position.
  alignas(64) T factor[batch_positions], own_gradient[batch_positions];  // of the terms; of the own class
  alignas(64) double loss[batch_positions];

  explicit IndexLosses(const Segment& segment) : segment_(segment), problem_(*segment.problem) {}

  // The own classes of positions first, first + 1, …, before these are reduced.
  void read(ptrdiff_t first, ptrdiff_t count, Sums& sums) {
    first_ = first;
    count_ = count;
    for (ptrdiff_t p = 0; p < count; p += width) read_classes(p, sums);
    if (problem_.weight) weigh(sums);
  }

  // Their losses, and after that what is to be added and written of them.
  void finish(const Sums& sums) {
    for (ptrdiff_t p = 0; p < count_; p += width) finish(p, sums);
  }
  void add_up() {  // in registers
    Accumulator<double> loss_sum = loss_sum_;
    Vec<double> least_number = least_number_;
    for (ptrdiff_t p = 0; p < count_; p += lanes<double>) {
      loss_sum.add(load(loss + p));
      least_number = min(load(number_ + p), least_number);
    }
    loss_sum_ = loss_sum;
    least_number_ = least_number;
  }

  __attribute__((noinline)) void write() const {
    for (ptrdiff_t p = 0; p < count_; ++p) {
      store_figure(segment_, segment_.losses, first_ + p, loss[p]);
    }
  }

  // The factors and the own gradients. Says with a bit for each position which are for the general way.
  uint64_t prepare_gradient(const Sums& sums) {
    set_scales();
    uint64_t unusual = 0;
    for (ptrdiff_t p = 0; p < count_; p += width) unusual |= (uint64_t)prepare_gradient(p, sums) << p;
    return unusual;
  }

  // Of all positions since the last time.
  SegmentResult take_result() {
    alignas(64) double least[lanes<double>];
    store(least, least_number_);
    const double lowest = fold<lanes<double>>(least, [](double a, double b) { return a < b ? a : b; });
    const ErrorSum sum = loss_sum_.folded();
    loss_sum_ = Accumulator<double>::of_nothing();
    least_number_ = splat(0.0);
    return {sum.sum, sum.error, lowest == bad_class};
  }

 private:
  CROSSENT_INLINE void read_classes(ptrdiff_t p, Sums& sums) {
    const Doubles<T> numbers = read_class_numbers<T>(segment_, first_ + p, count_ - p);
    store_doubles<T>(number_ + p, numbers);
    store(sums.own_class + p, as_lanes(numbers));
  }

  // The shares of the positions' weights; a position of weight 0 counts as one without a class.
  void weigh(Sums& sums) {
    for (ptrdiff_t p = 0; p < count_; ++p) {
      share_[p] = number_[p] < 0 ? 0 : problem_.target_share * problem_.weight[(ptrdiff_t)number_[p]];
      if (share_[p] == 0 && number_[p] >= 0) sums.own_class[p] = (T)(number_[p] = no_class);
    }
  }

  CROSSENT_INLINE Doubles<T> shares(ptrdiff_t p) const {
    if (problem_.weight) return load_doubles<T>(share_ + p);
    Doubles<T> equal_shares;
    repeat<double_vectors<T>>(CROSSENT_EACH(i) { equal_shares.part[i] = splat(problem_.target_share); });
    return equal_shares;
  }

  CROSSENT_INLINE void finish(ptrdiff_t p, const Sums& sums) {
    const BatchTotals<T> totals = sums.totals(p);
    const Doubles<T> share = shares(p), own_class = load_doubles<T>(number_ + p);
    const Doubles<T> own_logit = load_as_doubles(sums.own_logit + p);
    Doubles<T> losses;
    repeat<double_vectors<T>>(CROSSENT_EACH(i) {
      const Vec<double> none = splat(0.0), maximum = totals.maximum.part[i];
      const Vec<double> log_sum = log_of_count_and_rest<T>(maximum, totals.count.part[i], totals.rest.part[i]);
      const Vec<double> linear = none + share.part[i] * (maximum - own_logit.part[i]);  // 0 is no -0
      const Vec<double> value = fma(share.part[i], log_sum, linear) * splat(problem_.unit);
      losses.part[i] = select(less(own_class.part[i], none), none, with_one_nan(value));
    });
    store_doubles<T>(loss + p, losses);
  }

  void set_scales() {
    if (segment_.scale_stride == 0) {
      const Vec<double> scale = splat(*segment_.scale * problem_.unit);
      for (ptrdiff_t p = 0; p < count_; p += lanes<double>) store(scale_ + p, scale);
      return;
    }
    for (ptrdiff_t p = 0; p < count_; ++p) {
      scale_[p] = segment_.scale[(first_ + p) * segment_.scale_stride] * problem_.unit;
      const bool is_zero = scale_[p] == 0 && !__builtin_signbit(scale_[p]);
      instead_of_zero_[p] = is_zero ? ExpConstants<T>::greatest_factor / 2 : 0;
    }
  }

  // As finish() does. Says with a bit for each position which are for the general way.
  CROSSENT_INLINE uint32_t prepare_gradient(ptrdiff_t p, const Sums& sums) {
    const BatchTotals<T> totals = sums.totals(p);
    const Doubles<T> share = shares(p), scale = load_doubles<T>(scale_ + p);
    const Doubles<T> logits = load_as_doubles(sums.own_logit + p);
    const Vec<T> maximum = load(sums.references.maximum + p);
    const bool has_scales = segment_.scale_stride != 0;
    Doubles<T> factors, gradients, tested;
    repeat<double_vectors<T>>(CROSSENT_EACH(i) {
      const Vec<double> zero = splat(0.0), count = totals.count.part[i], rest = totals.rest.part[i];
      const Vec<double> total = count + rest, logit = logits.part[i];
      const Divisor<T> divisor(total);
      factors.part[i] = divisor.quotient(scale.part[i] * share.part[i] * totals.unit.part[i]);
      tested.part[i] = factors.part[i];
      if (has_scales) {  // a factor of 0 is as good as any
        const Vec<double> instead = load(instead_of_zero_ + p + i * lanes<double>);
        tested.part[i] = tested.part[i] + select(less(zero, share.part[i]), instead, zero);
      }
      const ExactSum gap = two_sum(logit, zero - totals.maximum.part[i]);
      const Vec<double> own = exp_of_sum<T>(gap.sum, gap.error);
      const Vec<double> others = select(equal(logit, totals.maximum.part[i]), rest + (count - splat(1.0)), total - own);
      gradients.part[i] = scale.part[i] * (zero - share.part[i] * divisor.quotient(others));
    });
    store(factor + p, as_lanes(factors));
    store(own_gradient + p, as_lanes(gradients));
    const Vec<T> finite = as_lanes(tested) + (maximum - maximum);  // nan for an infinite maximum
    return bits_of(less(splat<T>(-1), load(sums.own_class + p))) & unusual_factors(finite);
  }

  const Segment& segment_;
  const Problem& problem_;
  ptrdiff_t first_ = 0, count_ = 0;
  Accumulator<double> loss_sum_ = Accumulator<double>::of_nothing();
  Vec<double> least_number_ = splat(0.0);
  alignas(64) double number_[batch_positions];                          // of the own class
  alignas(64) double share_[batch_positions], scale_[batch_positions];  // share: only with weights
  alignas(64) double instead_of_zero_[batch_positions];  // a usual factor where the scale is +0, as it is for padding
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
