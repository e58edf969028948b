// COMPILED ONCE PER INSTRUCTION SET. From the statistics of a batch of positions to their losses, and to the few
// numbers per position that turn a logit into its gradient, softmax or log-softmax. All in double, a lane for each
// position.
#pragma once

#include "statistics.h"
#include "targets.h"

namespace crossent::CROSSENT_ISA {
namespace {

struct Coefficients {
  alignas(64) double loss[batch_positions];
  alignas(64) double log_sum[batch_positions];  // lse - M
  // softmax · W = term_factor · (a term of the sum); the scale is a factor of it too where nothing is subtracted. 0
  // where the factor is out of range: then it is multiplier · exp(x - offset) · 2^exponent, with the multiplier in
  // [1, 2).
  alignas(64) double term_factor[batch_positions];
  alignas(64) double multiplier[batch_positions];
  alignas(64) double exponent[batch_positions];
  alignas(64) double scale[batch_positions];
  alignas(64) double target_gradient[batch_positions];
  // What is written to every class instead of a computed output: 0 for a position that contributes nothing, nan where
  // there is no softmax. is_computed, or may_be_nan too, where the output is computed.
  alignas(64) double substitute[batch_positions];
  double most_substitute;  // of all positions
  double most_output;      // 1 for a softmax, whose rounding errors make it no more than that; else infinite
};
constexpr double is_computed = 1, may_be_nan = 2;

// Quotients by a row's total. Floats are made of doubles that need be no better than 2^-50, and so one division, the
// slowest of all operations, serves all quotients of a row.
template <class T>
class Divisor {
 public:
  CROSSENT_INLINE explicit Divisor(const Vec<double>& total) : total_(total), inverse_(splat(1.0) / total) {}
  CROSSENT_INLINE Vec<double> quotient(const Vec<double>& a) const {
    return sizeof(T) == 4 ? a * inverse_ : a / total_;
  }

 private:
  const Vec<double> total_, inverse_;
};

// value = mantissa · 2^exponent, 1 <= |mantissa| < 2, for normal numbers; the others keep exponent 0.
CROSSENT_INLINE void split_power_of_two(const Vec<double>& value, Vec<double>& mantissa, Vec<double>& exponent) {
  const Vec<double> magnitude = absolute(value);
  const auto is_too_small = less(magnitude, splat(0x1p-1022));
  const auto is_finite = less(magnitude, splat(__builtin_inf()));
  const Vec<double> biased = map_bits(
      magnitude, [](NativeI64 b) { return (NativeI64)(((NativeOf<uint64_t>)b >> 52) | 0x4330000000000000ull); });
  const Vec<double> unit =
      map_bits(value, [](NativeI64 b) { return (b & (int64_t)0x800fffffffffffffull) | 0x3ff0000000000000; });
  const auto keep = [&](const Vec<double>& normal, const Vec<double>& other) {
    return select(is_too_small, other, select(is_finite, normal, other));
  };
  mantissa = keep(unit, value);
  exponent = keep(biased - splat(0x1p52 + 1023), splat(0.0));
}

// log(count + rest), nan for an infinite maximum (PyTorch's answer to +inf and to rows of -inf alone).
template <class T>
CROSSENT_INLINE Vec<double> log_of_count_and_rest(const Vec<double>& maximum, const Vec<double>& count,
                                                  const Vec<double>& rest) {
  return log_of_sum<T>(count, rest) + (maximum - maximum);
}

// is_computed, or may_be_nan for a position some class of which has inf - inf or 0 · inf, or nan in a single class.
template <class T>
CROSSENT_INLINE Vec<double> kind_of_output(const Vec<double>& multiplier, const Vec<double>& scale, bool has_terms) {
  const Vec<double> ordinary = splat(is_computed), unusual = splat(may_be_nan), magnitude = absolute(scale);
  const Vec<double> by_multiplier = select(less(absolute(multiplier), splat(__builtin_inf())), ordinary, unusual);
  if (!has_terms) return by_multiplier;  // the scale is a factor of the multiplier
  const Vec<double> of_finite = select(equal(magnitude, splat(0.0)), unusual, by_multiplier);
  return select(less(magnitude, splat((double)ExpConstants<T>::largest)), of_finite, unusual);
}

// What a term, which has been multiplied by 2^headroom, is to be multiplied by; 0 if that is out of range.
template <class T>
CROSSENT_INLINE Vec<double> factor_of_terms(const Vec<double>& product) {
  using C = ExpConstants<T>;
  const Vec<double> zero = splat(0.0), factor = product * splat(__builtin_ldexp(1.0, -(int)C::headroom));
  const Vec<double> magnitude = absolute(factor);
  return select(less(magnitude, splat(C::least_factor)), zero,
                select(less(magnitude, splat(C::greatest_factor)), factor, zero));
}

// The losses, and with `with_output` the coefficients too. T is the type the logits are computed in. With a class index
// y, q_y = 1 - softmax_y is the share of the other classes, summed without y; its gradient is scale · (softmax_y · W -
// t_y) = scale · ((W - t_y) - W · q_y).
template <class T>
void finish(const Problem& problem, const Statistics& s, const Targets& targets, const double* scale,
            ptrdiff_t positions, bool with_output, Coefficients& out) {
  const bool is_loss = problem.operation == Operation::cross_entropy || problem.operation == Operation::score;
  const bool has_index = is_loss && !problem.factor;
  const bool has_base = problem.base && !problem.base_is_zero;
  const bool has_terms = problem.factor || has_base;
  const Vec<double> zero = splat(0.0), one = splat(1.0), invalid = splat(__builtin_nan(""));
  const bool has_gradient = !is_loss || problem.classes > 1;  // a single class has none at all
  Vec<double> most_substitute = zero;
  for (ptrdiff_t p = 0; p < positions; p += lanes<double>) {
    const Vec<double> maximum = load(s.maximum + p), rest = load(s.rest + p), count = load(s.count + p);
    const Vec<double> log_sum = log_of_count_and_rest<T>(maximum, count, rest), total = count + rest;
    const Divisor<T> divisor(total);
    store(out.log_sum + p, log_sum);

    Vec<double> mass = one, factor = one, live = one;
    if (is_loss) {
      factor = load(scale + p);
      Vec<double> linear = zero;
      if (problem.factor) {
        mass = load(s.mass + p);
        linear = load(s.linear + p) * splat(linear_unit);
        live = load(s.is_used + p);
      }
      if (has_index) {
        const Vec<double> logit = load(targets.logit + p), share = load(targets.share + p);
        if (has_base) linear = load(s.linear + p) * splat(linear_unit * problem.base_unit);
        mass = share + splat(problem.base_sum);
        const ExactSum gap = two_sum(logit, zero - maximum);  // x_y - M, to twice the precision
        linear = linear + select(equal(share, zero), zero, share * (zero - gap.sum));
        live = load(targets.is_live + p);
        if (!has_base) live = select(equal(share, zero), zero, live);

        if (with_output) {
          const Vec<double> own = exp_of_sum<T>(gap.sum, gap.error), target = share + load(targets.base + p);
          const Vec<double> others = select(equal(logit, maximum), rest + (count - one), total - own);
          const Vec<double> by_others = (mass - target) - mass * divisor.quotient(others);
          const Vec<double> by_own = mass * divisor.quotient(own) - target;
          const auto is_likely = less(others, own);
          const Vec<double> unscaled = has_base ? select(is_likely, by_others, by_own) : by_others;
          store(out.target_gradient + p, with_one_nan(factor * unscaled));
        }
      }
      const Vec<double> loss = fma(mass, log_sum, linear) * splat(problem.unit);
      store(out.loss + p, select(equal(live, zero), zero, with_one_nan(loss)));
      if (problem.gradient_is_zero) live = zero;
    }

    if (!with_output) continue;
    Vec<double> mantissa, exponent;
    const Vec<double> product = divisor.quotient((has_terms ? mass : factor * mass) * load(s.inverse_unit + p));
    store(out.term_factor + p, factor_of_terms<T>(product));
    split_power_of_two(product, mantissa, exponent);
    store(out.multiplier + p, mantissa);
    store(out.exponent + p, exponent - shift_of<T>(maximum).exponent);
    store(out.scale + p, factor);
    const Vec<double> computed = has_gradient ? kind_of_output<T>(mantissa, factor, has_terms) : zero;
    const Vec<double> valid = select(equal(log_sum, log_sum), computed, invalid);
    const Vec<double> substitute = select(equal(live, zero), zero, valid);
    store(out.substitute + p, substitute);
    most_substitute = max(substitute, most_substitute);
  }
  if (with_output) {
    alignas(64) double lane[lanes<double>];
    store(lane, most_substitute);
    out.most_substitute = fold<lanes<double>>(lane, [](double a, double b) { return a < b ? b : a; });
  }
}

// M + log(count + rest); M itself where it is infinite and no logit is nan.
template <class T>
CROSSENT_INLINE Vec<double> log_sum_exp(const Vec<double>& maximum, const Vec<double>& count, const Vec<double>& rest) {
  const auto is_finite = less(absolute(maximum), splat(__builtin_inf()));
  const Vec<double> value = select(is_finite, maximum + log_of_sum<T>(count, rest), maximum + rest);
  return with_one_nan(value);
}

// One result for each position, as double or float.
inline void store_figure(const Segment& segment, void* figures, ptrdiff_t position, double value) {
  const ptrdiff_t offset = position * segment.losses_stride;
  if (segment.problem->losses_are_f64) {
    static_cast<double*>(figures)[offset] = value;
  } else {
    static_cast<float*>(figures)[offset] = (float)value;
  }
}

// What of a position is on its way from one thread to others as RowStatistics and RowOutput.
constexpr Column<Statistics> row_statistics[] = {
    &Statistics::maximum, &Statistics::rest, &Statistics::count,   &Statistics::linear, &Statistics::mass,
    &Statistics::is_used, &Statistics::gaps, &Statistics::squares, &Statistics::place,  &Statistics::ahead};
constexpr Column<Coefficients> row_coefficients[] = {
    &Coefficients::log_sum, &Coefficients::term_factor,     &Coefficients::multiplier, &Coefficients::exponent,
    &Coefficients::scale,   &Coefficients::target_gradient, &Coefficients::substitute};

template <class Columns, int n>
void take_row(const Columns& columns, ptrdiff_t p, const Column<Columns> (&list)[n], double (&row)[n]) {
  for (int i = 0; i < n; ++i) row[i] = (columns.*list[i])[p];
}
template <class Columns, int n>
void put_row(const double (&row)[n], const Column<Columns> (&list)[n], Columns& columns, ptrdiff_t p) {
  for (int i = 0; i < n; ++i) (columns.*list[i])[p] = row[i];
}

}  // namespace
}  // namespace crossent::CROSSENT_ISA
