// COMPILED ONCE PER INSTRUCTION SET. Rows of ordinary logits reduced to their statistics in a single pass, where
// reduce.h needs one for the maximum and one for the sum. The bits are the same.
//
// exp(x) is summed as it is: a power of two less, exactly, than what reduce.h sums. The sum of every group of classes
// is kept, with its maximum. Once the row's maximum is known, the few lanes of groups that have it are summed again
// without it, and the groups are added up. All that holds while no exp(x) overflows or is denormal, and while none that
// counts here vanishes there or the other way round: see are_ordinary().
#pragma once

#include "reduce.h"

namespace crossent::CROSSENT_ISA {
namespace {

// A sixth (AVX2) to a quarter (AVX-512) faster; where halves take long to convert, their second look is dear.
template <class E>
constexpr bool has_one_pass = sizeof(typename E::Real) == 4 && parts <= (sizeof(typename E::Storage) == 4 ? 2 : 1);

constexpr ptrdiff_t least_classes_of_one_pass = 256;  // fewer are no faster
constexpr float vanishing_logit = -300;               // up to here exp(x) is 0 beside any ordinary maximum
constexpr float least_logit = -87, largest_logit = 80, largest_gap = 125;  // exp(x) · 2^headroom is normal within them

// A group of classes, or a part of one, lane by lane.
struct GroupPart {
  Vec<float> sum, maximum;
  friend CROSSENT_INLINE GroupPart operator+(const GroupPart& a, const GroupPart& b) {
    return {a.sum + b.sum, max(a.maximum, b.maximum)};
  }
};

CROSSENT_INLINE Vec<float> exp_of_ordinary(const Vec<float>& x) {
  const Vec<float> n = binary_order(x);
  return scale_by_power_of_two(exp_of_reduced<ExpConstants<float>>(reduce(x, n)), n);
}

// The largest logit of a row, and the least that doesn't vanish; nan in neither.
struct Extremes {
  Vec<float> largest, least;
};

// The groups of a row, one after another.
template <class E>
CROSSENT_INLINE Extremes row_groups(const typename E::Storage* x, ptrdiff_t classes, GroupPart* groups) {
  const Vec<float> zero = splat(0.0f), vanishing = splat(vanishing_logit);
  constexpr ptrdiff_t elements_ahead = 16384 / sizeof(typename E::Storage);
  Extremes row = {splat(-__builtin_inff()), splat(__builtin_inff())};
  each_group<E>(
      x, classes,
      [&](const Vec<float>& x_lanes, ptrdiff_t c, int v, FirstLanes) __attribute__((always_inline)) {
        prefetch_line<E>(x + c + elements_ahead, v);
        const auto counts = not_less(x_lanes, vanishing);
        row.least = select(counts, min(x_lanes, row.least), row.least);
        return GroupPart{select(counts, exp_of_ordinary(x_lanes), zero), x_lanes};
      },
      [&](const GroupPart& group) __attribute__((always_inline)) {
        row.largest = max(group.maximum, row.largest);
        *groups++ = group;
      });
  return row;
}

// Lanes of groups that hold their row's maximum, up to a vector of them, to be summed again without it.
class MaximumLanes {
 public:
  bool are_full() const { return used_ == lanes<float>; }

  // A lane of a group of `classes` classes from x on, whose sum is to be mended; and how often its row has the maximum.
  template <class E>
  void put(const typename E::Storage* x, ptrdiff_t classes, float maximum, float* sum, double* count) {
    for (int v = 0; v < group_terms; ++v) {
      x_[v][used_] = v * lanes<float> < classes ? load_one<E>(x + v * lanes<float>) : -__builtin_inff();
    }
    maximum_[used_] = maximum;
    sum_[used_] = sum;
    count_[used_++] = count;
  }

  __attribute__((noinline)) void sum_again() {
    const Vec<float> zero = splat(0.0f), one = splat(1.0f), maximum = load(maximum_);
    Vec<float> count = zero;
    const Vec<float> sum = tree_sum<group_terms>(CROSSENT_EACH(v) {
      const Vec<float> x = load(x_[v]);
      const auto is_maximum = equal(x, maximum);
      count = count + select(is_maximum, one, zero);
      const Vec<float> e = select(not_less(x, splat(vanishing_logit)), exp_of_ordinary(x), zero);
      return select(is_maximum, zero, e);
    });
    alignas(64) float sums[lanes<float>], counts[lanes<float>];
    store(sums, sum);
    store(counts, count);
    for (int i = 0; i < used_; ++i) {
      *sum_[i] = sums[i];
      *count_[i] += counts[i];
    }
    used_ = 0;
  }

 private:
  alignas(64) float x_[group_terms][lanes<float>], maximum_[lanes<float>];
  float* sum_[lanes<float>];
  double* count_[lanes<float>];
  int used_ = 0;
};

// Whether the positions whose extremes these are can be summed in one pass.
inline bool are_ordinary(const Vec<float>& largest, const Vec<float>& least) {
  const uint32_t extraordinary = bits_of(less(splat(largest_logit), largest)) |
                                 bits_of(less(least, splat(least_logit))) |
                                 bits_of(less(splat(largest_gap), largest - least)) | bits_of(less(largest, least));
  return extraordinary == 0;
}

// reduce_rows() for ordinary logits without targets by class.
template <class E>
class OnePass {
  static constexpr ptrdiff_t width = lanes<float>, group_classes = width * group_terms, most_groups = 256;

 public:
  OnePass(const SegmentInput<float>& in, ptrdiff_t c, ptrdiff_t classes, ptrdiff_t first)
      : in_(in),
        c_(c),
        classes_(classes),
        groups_((classes + group_classes - 1) / group_classes),
        first_(first),
        positions_(in.positions - first < width ? in.positions - first : width) {}

  // False, and nothing to rely on, if there are other logits.
  bool reduce(References<float>& references, Statistics& out) {
    const ptrdiff_t at_once = groups_ * width <= most_groups ? width : most_groups / groups_;
    for (ptrdiff_t i = 0; i < width; ++i) {
      totals_.put(i, Accumulator<float>::of_nothing());
      out.maximum[first_ + i] = 0;
      out.count[first_ + i] = is_skipped(i) ? 1 : 0;
    }
    for (ptrdiff_t i = 0; i < positions_; i += at_once) {
      if (!reduce_some(i, i + at_once < positions_ ? i + at_once : positions_, out)) return false;
    }
    refer_to_maxima<float>(out, references, first_);
    totals_.take(out.rest + first_);
    return use_units_of_rows(references, out);
  }

 private:
  bool is_skipped(ptrdiff_t i) const { return i >= positions_ || in_.targets.is_live[first_ + i] == 0; }
  const typename E::Storage* row(ptrdiff_t i) const { return in_.template row<E>(first_ + i, c_, classes_); }

  // Positions begin … end - 1 from the first on, whose groups there is room for.
  bool reduce_some(ptrdiff_t begin, ptrdiff_t end, Statistics& out) {
    GroupPart group[most_groups];
    for (ptrdiff_t i = 0; i < width; ++i) {
      const bool is_absent = i < begin || i >= end || is_skipped(i);
      const Extremes extremes = is_absent ? Extremes{splat(0.0f), splat(0.0f)}
                                          : row_groups<E>(row(i), classes_, group + (i - begin) * groups_);
      largest_.put(i, extremes.largest);
      least_.put(i, extremes.least);
    }
    const Vec<float> largest = largest_.folded([](const auto& a, const auto& b) { return max(a, b); });
    const Vec<float> least = least_.folded([](const auto& a, const auto& b) { return min(a, b); });
    if (!are_ordinary(largest, least)) return false;

    alignas(64) float maximum[width];
    store(maximum, largest);
    ptrdiff_t left = most_lanes;
    for (ptrdiff_t i = begin; i < end; ++i) {
      if (is_skipped(i)) continue;
      out.maximum[first_ + i] = maximum[i];
      left = leave_maxima_out(i, maximum[i], group + (i - begin) * groups_, left, out);
      if (left < 0) return false;
    }
    maximum_lanes_.sum_again();
    for (ptrdiff_t i = begin; i < end; ++i) {
      if (is_skipped(i)) continue;
      Accumulator<float> sum = Accumulator<float>::of_nothing();
      for (ptrdiff_t g = 0; g < groups_; ++g) sum.add(group[(i - begin) * groups_ + g].sum);
      totals_.put(i, sum);
    }
    return true;
  }

  ptrdiff_t leave_maxima_out(ptrdiff_t i, float maximum, GroupPart* group, ptrdiff_t left, Statistics& out) {
    const Vec<float> all_maximum = splat(maximum);
    for (ptrdiff_t g = 0; g < groups_; ++g) {
      uint32_t found = bits_of(equal(group[g].maximum, all_maximum));
      for (; found != 0 && --left >= 0; found &= found - 1) {
        const ptrdiff_t lane = __builtin_ctz(found), c = g * group_classes + lane;
        if (maximum_lanes_.are_full()) maximum_lanes_.sum_again();
        maximum_lanes_.put<E>(row(i) + c, classes_ - c, maximum, reinterpret_cast<float*>(&group[g].sum) + lane,
                              out.count + first_ + i);
      }
    }
    return left;
  }

  // From units of 1 to those of reduce_rows(); false if there was nan among the logits.
  bool use_units_of_rows(const References<float>& references, Statistics& out) const {
    Vec<double> exponent[2];
    widen(load(references.exponent + first_), exponent[0], exponent[1]);
    uint32_t numbers = 0;
    for (int half = 0; half < 2; ++half) {
      double* rest = out.rest + first_ + half * lanes<double>;
      const Vec<double> scaled = scale_by_power_of_two(load(rest), exponent[half]);
      numbers |= bits_of(equal(scaled, scaled)) << (half * lanes<double>);
      store(rest, scaled);
    }
    return numbers == (1u << width) - 1;
  }

  static constexpr ptrdiff_t most_lanes =
      4 * width;  // that are summed again; rows of many equal logits take two passes

  const SegmentInput<float>& in_;
  const ptrdiff_t c_, classes_, groups_, first_, positions_;
  RowTotals<float> totals_;
  RowLanes<float> largest_, least_;
  MaximumLanes maximum_lanes_;
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
