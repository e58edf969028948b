// COMPILED ONCE PER INSTRUCTION SET. Binary cross-entropy, elementwise, in double. One exported symbol.
//
// With v = pos_weight and S(x) = softplus(x) = max(x, 0) + log1p(exp(-|x|)):
//   logits         loss = v t S(-x) + (1 - t) S(x)                      gradient = (1 - t) sigmoid(x) - v t sigmoid(-x)
//   probabilities  loss = -t max(log p, -100) - (1 - t) max(log(1 - p), -100)
// Every part is positive for t in [0, 1], so nothing cancels; sigmoid(x) = e / (1 + e) with e = exp(-|x|), or 1 / (1 +
// e).
#include "../kernels.h"
#include "exp.h"
#include "log.h"

namespace crossent::CROSSENT_ISA {
namespace {

// a · b where 0 · inf is 0.
CROSSENT_INLINE Vec<double> share(const Vec<double>& a, const Vec<double>& b) {
  return select(equal(a, splat(0.0)), a, a * b);
}

// max(log(a - b), -100), PyTorch's clamp, for a - b >= 0.
CROSSENT_INLINE Vec<double> clamped_log(const Vec<double>& a, const Vec<double>& b) {
  const Vec<double> difference = a - b, zero = splat(0.0);
  const Vec<double> value = log_of_sum<double>(a, zero - b);
  return select(less(difference, splat(0x1p-1000)), splat(-100.0), max(splat(-100.0), value));
}

CROSSENT_INLINE void from_logits(const Vec<double>& x, const Vec<double>& positive, const Vec<double>& negative,
                                 Vec<double>& loss, Vec<double>& gradient) {
  const Vec<double> zero = splat(0.0), one = splat(1.0), magnitude = absolute(x);
  const Vec<double> e = exp_product(one, zero - magnitude, splat(-800.0), zero);
  const Vec<double> soft = log_of_sum<double>(one, e);
  const Vec<double> greater = one / (one + e), lesser = e / (one + e);
  const auto is_positive = less(zero, x);
  loss = share(positive, max(zero - x, zero) + soft) + share(negative, max(x, zero) + soft);
  gradient =
      share(negative, select(is_positive, greater, lesser)) - share(positive, select(is_positive, lesser, greater));
}

}  // namespace

void binary(const BinarySegment& s) {
  const Vec<double> one = splat(1.0), zero = splat(0.0);
  for (ptrdiff_t i = 0; i < s.count; i += lanes<double>) {  // the arrays are padded to whole vectors
    const Vec<double> x = load(s.x + i), t = load(s.target + i), weight = load(s.weight + i);
    Vec<double> loss, gradient = zero;
    if (s.from_logits) {
      from_logits(x, t * load(s.pos_weight + i), one - t, loss, gradient);
    } else {
      loss = zero - (share(t, clamped_log(x, zero)) + share(one - t, clamped_log(one, x)));
    }
    store(s.losses + i, with_one_nan(share(weight, loss)));
    if (s.gradient) store(s.gradient + i, with_one_nan(share(weight * load(s.scale + i), gradient)));
  }
}

}  // namespace crossent::CROSSENT_ISA
