// COMPILED ONCE PER INSTRUCTION SET. The sums over the classes of a row, in an order that depends on the number of
// classes alone.
//
// Classes are cut into chunks of chunk_classes. Inside one, class c belongs to lane c mod L and to group c / (8 L),
// where L is the number of lanes of a vector. The (up to) eight terms of a lane in a group are added as a balanced tree
// in the logits' precision; groups are added one after another in double (for doubles with the rounding errors carried
// along); lanes are added as a balanced tree. Absent classes add 0, which changes no bit. Few classes, whose errors
// don't average out, are added one after another in double: one lane, groups of one term.
#pragma once

#include "log.h"
#include "transpose.h"

namespace crossent::CROSSENT_ISA {
namespace {

constexpr int group_terms = 8;

// A running sum of groups in double: of floats as they are, of doubles with the errors of addition kept.
template <class T>
struct Accumulator;

template <>
struct Accumulator<float> {
  Vec<double> low, high;

  static CROSSENT_INLINE Accumulator of_nothing() { return {splat(0.0), splat(0.0)}; }
  CROSSENT_INLINE void add(const Vec<float>& group) {
    Vec<double> group_low, group_high;
    widen(group, group_low, group_high);
    low = low + group_low;
    high = high + group_high;
  }
  // Of a group in memory, the lanes that are meant.
  CROSSENT_INLINE void add(const float* group, const Mask<float>& meant) {
    const auto half = [&](int i) __attribute__((always_inline)) -> NativeF64& {
      return i < parts ? low.part[i] : high.part[i - parts];
    };
    repeat<parts>(CROSSENT_EACH(i) {
      add_widened(group + i * Vec<float>::lanes_per_part, meant.part[i], half(2 * i), half(2 * i + 1));
    });
  }
  friend CROSSENT_INLINE Accumulator operator+(const Accumulator& a, const Accumulator& b) {
    return {a.low + b.low, a.high + b.high};
  }
  CROSSENT_INLINE Doubles<float> totals() const { return {{low, high}}; }
};

// A sum with its error, lane by lane what Accumulator<double> has.
struct ErrorSum {
  double sum, error;
  friend CROSSENT_INLINE ErrorSum operator+(const ErrorSum& a, const ErrorSum& b) {
    const double both = a.sum + b.sum, b_part = both - a.sum;
    return {both, (a.error + b.error) + ((a.sum - (both - b_part)) + (b.sum - b_part))};
  }
};

template <>
struct Accumulator<double> {
  Vec<double> sum, error;

  static CROSSENT_INLINE Accumulator of_nothing() { return {splat(0.0), splat(0.0)}; }
  CROSSENT_INLINE void add(const Vec<double>& group) {
    const ExactSum next = two_sum(sum, group);
    sum = next.sum;
    error = error + next.error;
  }
  CROSSENT_INLINE void add(const double* group, const Mask<double>& meant) {
    add(select(meant, load(group), splat(0.0)));
  }
  friend CROSSENT_INLINE Accumulator operator+(const Accumulator& a, const Accumulator& b) {
    const ExactSum both = two_sum(a.sum, b.sum);
    return {both.sum, (a.error + b.error) + both.error};
  }
  CROSSENT_INLINE Doubles<double> totals() const {  // an overflow leaves nan in the error
    return {{select(less(absolute(sum), splat(__builtin_inf())), sum + error, sum)}};
  }
  CROSSENT_INLINE ErrorSum folded() const {
    double s[lanes<double>], e[lanes<double>];
    store(s, sum);
    store(e, error);
    ErrorSum lane[lanes<double>];
    for (int i = 0; i < lanes<double>; ++i) lane[i] = {s[i], e[i]};
    return fold<lanes<double>>(lane, [](const ErrorSum& a, const ErrorSum& b) { return a + b; });
  }
};

// Accumulators<float> or <double> of a row for each lane: put in row by row, taken out as totals with the rows as
// lanes.
template <class T>
class RowTotals {
 public:
  CROSSENT_INLINE void put(ptrdiff_t row, const Accumulator<T>& a) {
    if constexpr (sizeof(T) == 4) {
      store(sum_[row], a.low + a.high);
    } else {
      store(sum_[row], a.sum);
      store(error_[row], a.error);
    }
  }
  __attribute__((noinline)) void take(double* totals) const {
    constexpr int square = lanes<double>;
    for (int first = 0; first < lanes<T>; first += square) {
      Vec<double> sum[square];
      turn(sum_ + first, sum);
      if constexpr (sizeof(T) == 4) {
        store(totals + first, fold<square>(sum, [](const auto& a, const auto& b) { return a + b; }));
      } else {
        Vec<double> error[square];
        turn(error_ + first, error);
        Accumulator<double> lane[square];
        repeat<square>(CROSSENT_EACH(i) { lane[i] = {sum[i], error[i]}; });
        store_doubles(totals + first, fold<square>(lane, [](const auto& a, const auto& b) { return a + b; }).totals());
      }
    }
  }

 private:
  static CROSSENT_INLINE void turn(const double (*rows)[lanes<double>], Vec<double> (&columns)[lanes<double>]) {
    repeat<lanes<double>>(CROSSENT_EACH(i) { columns[i] = load(rows[i]); });
    transpose(columns);
  }

  alignas(64) double sum_[lanes<T>][lanes<double>];
  alignas(64) double error_[sizeof(T) == 4 ? 1 : lanes<T>][lanes<double>];
};

// A vector for each of as many rows as it has lanes, and what each row's lanes have together.
template <class T>
class RowLanes {
 public:
  CROSSENT_INLINE void put(ptrdiff_t row, const Vec<T>& a) { store(lane_[row], a); }
  __attribute__((noinline)) Vec<T> largest() const {
    return folded([](const auto& a, const auto& b) { return max(a, b); });
  }
  __attribute__((noinline)) Vec<T> sum() const {
    return folded([](const auto& a, const auto& b) { return a + b; });
  }

 private:
  template <class Combine>
  CROSSENT_INLINE Vec<T> folded(const Combine& combine) const {
    Vec<T> rows[lanes<T>];
    repeat<lanes<T>>(CROSSENT_EACH(i) { rows[i] = load(lane_[i]); });
    transpose(rows);
    return fold<lanes<T>>(rows, combine);
  }

  alignas(64) T lane_[lanes<T>][lanes<T>];
};

// The sums of a group, side by side.
template <class T, int count>
struct Sums {
  Vec<T> sum[count];
  friend CROSSENT_INLINE Sums operator+(const Sums& a, const Sums& b) {
    Sums both;
    repeat<count>(CROSSENT_EACH(i) { both.sum[i] = a.sum[i] + b.sum[i]; });
    return both;
  }
};

}  // namespace
}  // namespace crossent::CROSSENT_ISA
