// A sum that carries its rounding errors along, to about twice the precision of double (Knuth's two-sum).
#pragma once

#include <cmath>

namespace crossent {

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
