#include "totals.h"

#include <algorithm>
#include <cmath>

namespace crossent {

namespace {

// Another thread may be writing to an array: what is checked and then used is read once.
template <class T>
T taken(T value) {
  const volatile T copy = value;
  return copy;
}

using Pair [[gnu::vector_size(16)]] = double;
using Bits [[gnu::vector_size(16)]] = int64_t;

// exp(-loss) with an absolute error below 4e-16, in additions and multiplications alone, which every machine rounds
// alike. Beyond 700 it is nothing next to 1.
Pair exp_of_minus(Pair loss) {
  const Pair limit = {700, 700};
  Pair x = loss < limit ? -loss : -limit;  // nan too
  x = x < limit ? x : limit;
  const Pair rounded = x * (1 / 0x1.62e42fefa39efp-1) + 0x1.8p52, power = rounded - 0x1.8p52;
  x -= power * 0x1.62e42fefa0000p-1;  // 36 bits of log(2), so that a product with any power is exact
  x -= power * 0x1.cf79abc9e3b3ap-40;
  static constexpr double coefficients[] = {
      1 / 6227020800., 1 / 479001600., 1 / 39916800., 1 / 3628800., 1 / 362880., 1 / 40320., 1 / 5040.,
      1 / 720.,        1 / 120.,       1 / 24.,       1 / 6.,       1 / 2.,      1,          1};
  Pair series = coefficients[0] - Pair{};
#pragma GCC unroll 13
  for (int i = 1; i < 14; ++i) series = series * x + coefficients[i];
  // The last bits of `rounded` are the power.
  return series * reinterpret_cast<Pair>((reinterpret_cast<Bits>(rounded) + 1023) << 52);
}

// Some rows: what is added of each, 0 for what isn't or was added apart.
struct Block {
  static constexpr ptrdiff_t most_rows = 256;
  double loss[most_rows], loss_squares[most_rows], entropy[most_rows], further[most_rows];
};

class Adder {
 public:
  Adder(const ScoredRows& rows, const RowTotals& totals)
      : rows_(rows),
        totals_(totals),
        bin_weights_(totals.sums + sum_hits + rows.guess_numbers),
        bin_tallies_(totals.tallies + rows.guess_numbers) {}

  // Adds up to Block::most_rows from `start` on; returns the first whose class is out of range, or -1.
  ptrdiff_t add(ptrdiff_t start, ptrdiff_t count) {
    const ptrdiff_t padded = (count + 3) / 4 * 4;
    rows_.loss.copy(start, count, block_.loss);
    rows_.further.copy(start, count, block_.further);
    if (rows_.target) add_hit_probability(padded);
    for (ptrdiff_t i = count; i < padded; ++i) clear(i);
    for (ptrdiff_t i = 0; i < count; ++i) {
      weight_ = rows_.weight ? rows_.weight[start + i] : 1;
      if (!rows_.valid[start + i] || !(weight_ > 0)) {
        clear(i);
      } else if (!add_row(i, start + i)) {
        return start + i;
      }
    }
    totals_.sums[sum_loss].add_all(block_.loss, padded);
    totals_.sums[sum_loss_squares].add_all(block_.loss_squares, padded);
    totals_.sums[sum_entropy].add_all(block_.entropy, padded);
    totals_.sums[sum_further].add_all(block_.further, padded);
    return -1;
  }

  void finish() {
    for (ptrdiff_t bin = 0; bin < rows_.bins; ++bin) {
      ExactSum& sum = bin_weights_[rows_.bins + bin];
      sum.add(static_cast<double>(bin_confidence_[bin] >> 32) * (0x1p32 / confidence_unit));
      sum.add(static_cast<double>(bin_confidence_[bin] & 0xffffffff) * (1 / confidence_unit));
    }
    const ptrdiff_t sums = sum_hits + rows_.guess_numbers + 3 * rows_.bins;
    for (ptrdiff_t i = 0; i < sums; ++i) totals_.sums[i].carry();
  }

 private:
  void clear(ptrdiff_t i) { block_.loss[i] = block_.loss_squares[i] = block_.entropy[i] = block_.further[i] = 0; }

  // Brier's score, but for the sum of squares, which is there already.
  void add_hit_probability(ptrdiff_t padded) {
    for (ptrdiff_t i = 0; i < padded; i += 2) {
      const Pair loss = {block_.loss[i], block_.loss[i + 1]}, brier = -2 * exp_of_minus(loss) + 1;
      block_.further[i] += brier[0], block_.further[i + 1] += brier[1];
    }
  }

  bool add_row(ptrdiff_t i, ptrdiff_t row) {
    ++*totals_.scored;
    const double confidence = taken(rows_.confidence[row]);
    const bool is_known = std::isfinite(confidence), is_hit = rows_.target && rows_.rank[row] == 0;
    if (!count_classes(row, is_known, is_hit)) return false;
    add_loss(i, block_.loss[i]);
    block_.entropy[i] = weighted(sum_entropy, rows_.entropy[row]);
    block_.further[i] = weighted(sum_further, block_.further[i]);
    if (rows_.target) add_hits(rows_.rank[row]);
    if (rows_.target && is_known) {
      add_to_bin(confidence, is_hit);
    } else {
      add_apart(totals_.sums + sum_confidence, sum_confidence, weight_ * confidence);
    }
    return true;
  }

  bool count_classes(ptrdiff_t row, bool is_known, bool is_hit) const {
    const auto is_class = [&](int64_t c) { return c >= 0 && c < rows_.classes; };
    const int64_t predicted = taken(rows_.predicted[row]);
    if (is_known) {
      if (!is_class(predicted)) return false;
      if (totals_.predicted) ++totals_.predicted[predicted];
    }
    if (!rows_.target) return true;
    const int64_t target = taken(rows_.target[row]);
    if (!is_class(target)) return false;
    if (totals_.targets) ++totals_.targets[target];
    if (totals_.correct) totals_.correct[target] += is_hit;
    if (totals_.pairs && is_known) ++totals_.pairs[target * rows_.classes + predicted];
    return true;
  }

  // What the block has to add of this value.
  double weighted(Sum sum, double value) const {
    value *= weight_;
    if (std::fabs(value) < 0x1p16) return value;
    add_apart(totals_.sums + sum, sum, value);
    return 0;
  }

  void add_apart(ExactSum* finite, Sum sum, double value) const {
    if (std::isfinite(value)) return finite->add(value);
    ++totals_.not_finite[sum][std::isnan(value) ? 2 : value < 0];
  }

  void add_loss(ptrdiff_t i, double loss) {
    *totals_.non_finite += !std::isfinite(loss);
    if (rows_.weight) {
      totals_.sums[sum_weight].add(weight_);
      totals_.sums[sum_weight_squares].add_product(weight_, weight_);
    }
    const double own = block_.loss[i] = weighted(sum_loss, loss), whole = weight_ * loss;
    block_.loss_squares[i] = 0;
    if (!rows_.weight && !rows_.loss.is_f64 && std::fabs(own) < 0x1p8 && own == whole) {
      block_.loss_squares[i] = own * own;  // of two floats: exact
    } else if (std::isfinite(whole)) {
      totals_.sums[sum_loss_squares].add_product(whole, whole);
      if (rows_.weight) totals_.sums[sum_weight_losses].add_product(weight_, whole);
    }
  }

  void add_hits(int64_t rank) const {
    for (ptrdiff_t k = 0; k < rows_.guess_numbers; ++k) {
      add_weight_if(rank < rows_.guesses[k], totals_.sums + sum_hits + k, totals_.tallies + k);
    }
  }

  void add_weight_if(bool is_counted, ExactSum* weight, int64_t* tally) const {
    if (!rows_.weight) {
      *tally += is_counted;
    } else if (is_counted) {
      weight->add(weight_);
    }
  }

  // Bin ceil(confidence * bins) - 1, or the nearest there is.
  void add_to_bin(double confidence, bool is_hit) {
    const auto bins = static_cast<double>(rows_.bins);
    const double place = confidence * bins, whole_place = place < bins ? place : bins;
    ptrdiff_t bin = whole_place > 0 ? static_cast<ptrdiff_t>(whole_place) : 0;
    bin -= static_cast<double>(bin) == place || bin == rows_.bins;
    bin = bin < 0 ? 0 : bin;
    add_weight_if(true, bin_weights_ + bin, bin_tallies_ + bin);
    add_weight_if(is_hit, bin_weights_ + 2 * rows_.bins + bin, bin_tallies_ + rows_.bins + bin);
    const double units = weight_ * confidence * confidence_unit;
    const auto whole_units = std::fabs(units) <= confidence_unit ? static_cast<int64_t>(units) : 0;
    if (static_cast<double>(whole_units) == units) {
      bin_confidence_[bin] += whole_units;
    } else {
      add_apart(bin_weights_ + rows_.bins + bin, sum_confidence, weight_ * confidence);
    }
  }

  // Most float32 confidences are multiples of the inverse; most_rows of them don't overflow.
  static constexpr double confidence_unit = 0x1p40;

  const ScoredRows rows_;
  const RowTotals totals_;
  ExactSum* const bin_weights_;
  int64_t* const bin_tallies_;
  Block block_ = {};
  int64_t bin_confidence_[most_bins] = {};
  double weight_ = 1;
};

}  // namespace

void Figures::copy(ptrdiff_t start, ptrdiff_t count, double* out) const {
  for (ptrdiff_t i = 0; i < count; ++i) out[i] = (*this)[start + i];
}

ptrdiff_t add_rows(const ScoredRows& rows, const RowTotals& totals) {
  Adder adder(rows, totals);
  for (ptrdiff_t start = 0; start < rows.rows; start += Block::most_rows) {
    const ptrdiff_t bad = adder.add(start, std::min(Block::most_rows, rows.rows - start));
    if (bad >= 0) return bad;
  }
  adder.finish();
  return -1;
}

ptrdiff_t add_by_group(Figures values, ptrdiff_t count, const int64_t* group, ptrdiff_t groups, ExactSum* sums) {
  for (ptrdiff_t i = 0; i < count; ++i) {
    const int64_t own = group ? taken(group[i]) : 0;
    if (own < 0 || own >= groups) return i;
    if (std::isfinite(values[i])) sums[own].add(values[i]);
  }
  for (ptrdiff_t i = 0; i < groups; ++i) sums[i].carry();
  return -1;
}

}  // namespace crossent
