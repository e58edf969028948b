// A sum that carries its rounding errors along, to about twice the precision of double (Knuth's two-sum).
#pragma once

#include <cmath>
#include <limits>

namespace crossent {

// Which of two nan an operation keeps, and the sign of a new one, differ between CPUs: results have this one.
inline double with_one_nan(double value) {
  return std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value;
}

struct LongSum {
  double sum = 0, error = 0;

  void add(double value, double value_error = 0) {
    const double next = sum + value, part = next - sum;
    error += ((sum - (next - part)) + (value - part)) + value_error;
    sum = next;
  }
  double total() const { return std::isfinite(sum) ? sum + error : sum; }
};

}  // namespace crossent
