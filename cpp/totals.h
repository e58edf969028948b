// What scored rows add up to: exact sums and counts, in one pass over their figures. No Python.
#pragma once

#include "exact_sum.h"

namespace crossent {

constexpr ptrdiff_t most_bins = 1000, most_rows = ptrdiff_t{1} << 22;

struct Figures {
  const void* data;  // float or double
  bool is_f64;
  double operator[](ptrdiff_t i) const {
    return is_f64 ? static_cast<const double*>(data)[i] : static_cast<const float*>(data)[i];
  }
  void copy(ptrdiff_t start, ptrdiff_t count, double* out) const;
};

struct ScoredRows {
  ptrdiff_t rows, classes;
  const uint8_t* valid;                        // 0: the row doesn't count
  const double* weight;                        // or null: each is 1
  Figures loss, confidence, entropy, further;  // further: the sum of squares with class indices, else the divergence
  const int64_t *predicted, *target, *rank;    // the last two null with class probabilities
  const int64_t* guesses;                      // numbers of guesses to count hits for, each at most `classes`
  ptrdiff_t guess_numbers, bins;
};

// Names of the sums; the four whose terms may be inf or nan come first.
enum Sum {
  sum_loss,
  sum_entropy,
  sum_confidence,
  sum_further,
  sum_loss_squares,
  sum_weight,
  sum_weight_squares,
  sum_weight_losses,
  sum_hits
};

struct RowTotals {
  // By Sum; behind them a weight for each number of guesses, and weight, confidence, weight of hits of each bin.
  ExactSum* sums;
  int64_t (*not_finite)[3];                        // of the first four: how often inf, -inf, nan
  int64_t *scored, *non_finite;                    // rows that count; those of them whose loss is inf or nan
  int64_t* tallies;                                // without weights: hits, rows and hits of each bin
  int64_t *targets, *predicted, *correct, *pairs;  // by class, or null; pairs are target * classes + predicted
};

// Adds the rows, at most `most_rows`. Returns the first row whose class is out of range, after which the sums are of no
// use, or -1.
ptrdiff_t add_rows(const ScoredRows& rows, const RowTotals& totals);

// Adds each finite value, at most ExactSum::most_terms, to the sum of its group; all to the first without groups.
// Returns as add_rows.
ptrdiff_t add_by_group(Figures values, ptrdiff_t count, const int64_t* group, ptrdiff_t groups, ExactSum* sums);

}  // namespace crossent
