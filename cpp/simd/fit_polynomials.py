"""Fits the polynomials of exp.h and log.h and prints them, with their error, as C++ constants.

``python cpp/simd/fit_polynomials.py`` (needs mpmath and NumPy). Each fit minimises the largest weighted error by
Lawson's iteration (least squares whose weights grow where the error is large), in 60 digits, and is then rounded
coefficient by coefficient to the working precision.
"""

from collections.abc import Callable

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Function = Callable[[mp.mpf], mp.mpf]


def least_squares(points: list[mp.mpf], values: list[mp.mpf], weights: list[mp.mpf], degree: int) -> list[mp.mpf]:
    """Return the coefficients, lowest first, that minimise the weighted sum of squared errors."""
    powers = [[x**k for k in range(degree + 1)] for x in points]
    normal = mp.matrix(degree + 1, degree + 1)
    right = mp.matrix(degree + 1, 1)
    for row, value, weight in zip(powers, values, weights, strict=True):
        for i, left in enumerate(row):
            right[i] += weight * left * value
            for j, other in enumerate(row):
                normal[i, j] += weight * left * other
    return list(mp.lu_solve(normal, right))


def fit(
    name: str, function: Function, weight: Function, interval: tuple[mp.mpf, mp.mpf], degree: int, dtype: type
) -> None:
    """Fit a polynomial to ``function``, its error times ``weight`` being as small as can be, and print it."""
    low, high = interval
    nodes = [mp.cos(mp.pi * (2 * i + 1) / 200) for i in range(100)]
    points = [(low + high) / 2 + (high - low) / 2 * node for node in nodes]
    values = [function(x) for x in points]
    importance = [weight(x) for x in points]
    lawson = [mp.mpf(1)] * len(points)
    for _ in range(40):
        coefficients = least_squares(
            points, values, [w * k**2 for w, k in zip(lawson, importance, strict=True)], degree
        )
        errors = [
            abs(mp.polyval(coefficients[::-1], x) - value) * k
            for x, value, k in zip(points, values, importance, strict=True)
        ]
        lawson = [w * error for w, error in zip(lawson, errors, strict=True)]
        total = mp.fsum(lawson)
        lawson = [w / total for w in lawson]
    bits = float(mp.log(max(errors), 2))
    suffix = "f" if dtype is np.float32 else ""
    print(f"{name}: weighted error <= 2^{bits:.1f}")
    print("    " + ", ".join(float(dtype(float(c))).hex() + suffix for c in coefficients))


def factor_of_powers() -> np.float32:
    """Return the float k near 1 for which the eight k 2^(j/8) lie nearest to floats."""
    below, above = np.arange(int(0.975 * 2**24), 2**24) / 2**24, np.arange(2**23, int(1.025 * 2**23)) / 2**23
    factors = np.concatenate([below, above]).astype(np.float32)
    worst = np.zeros(len(factors))
    for j in range(1, 8):
        power = np.longdouble(factors) * np.exp2(np.longdouble(j) / 8)
        worst = np.maximum(worst, np.abs(power.astype(np.float32) - power).astype(np.float64) * 2**23)
    best = int(np.argmin(worst))
    print(f"float exp:  k = {float(factors[best]).hex()}, whose powers are within {worst[best]:.3f} ulp")
    return np.float32(factors[best])


def main() -> None:
    """Print every constant in use."""

    def exp_rest(r: mp.mpf) -> mp.mpf:
        return mp.fsum(r**k / mp.factorial(k + 2) for k in range(40))

    def square(r: mp.mpf) -> mp.mpf:
        return r * r

    # floats: an eighth of a binary order, and a little more: 8 log2 e is rounded, by which steps are off by a hundredth
    # of one at 2^16.
    ln2 = mp.log(2)
    half_step = ln2 / 16 * (1 + mp.mpf("0.021"))
    factor = factor_of_powers()
    powers = (np.longdouble(factor) * np.exp2(np.arange(8, dtype=np.longdouble) / 8)).astype(np.float32)

    def exp_over_factor(r: mp.mpf) -> mp.mpf:
        return mp.exp(r) / mp.mpf(float(factor)) - 1

    # The error in ulp, of which the powers are factors: largest just below 1 (j = 0, r < 0) and 2 (j = 7, r > 0).
    def weight(r: mp.mpf) -> mp.mpf:
        return mp.mpf(1) if r < 0 else mp.mpf(2) ** (-mp.mpf(1) / 8)

    fit("float exp:  exp(r) / k - 1, weight about 1", exp_over_factor, weight, (-half_step, half_step), 3, np.float32)
    print("    " + ", ".join(hex(int(power.view(np.uint32)) - (j << 20)) for j, power in enumerate(powers)))

    # doubles: exp(r) in [3/4, 3/2], since r and exp(r) - 1 then lie below the powers of two at which their rounding
    # errors double. The 1 of (exp(r) - 1) / r is left to itself.
    interval = (mp.log(0.75) - mp.mpf(2) ** -16, mp.log(1.5) + mp.mpf(2) ** -16)
    fit("double exp: (exp(r) - 1 - r) / r^2, weight r^2", exp_rest, square, interval, 9, np.float64)
    fit("double exp for floats", exp_rest, square, interval, 6, np.float64)

    # log((1 + s) / (1 - s)) = 2 s + s z R(z), z = s^2; s = f / (2 + f) for a mantissa 1 + f in [1/sqrt 2, sqrt 2].
    largest = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * (1 + mp.mpf(2) ** -16)

    def log_rest(z: mp.mpf) -> mp.mpf:
        return mp.fsum(2 * z**k / (2 * k + 3) for k in range(60))

    fit("double log: R(z), weight z / 2", log_rest, lambda z: z / 2, (mp.mpf(0), largest), 6, np.float64)
    fit("double log for floats", log_rest, lambda z: z / 2, (mp.mpf(0), largest), 3, np.float64)

    print(f"middle of log2([3/4, 3/2]): {float(mp.log(mp.mpf(9) / 8) / ln2 / 2).hex()}")
    float_high = float(np.float32(float(ln2 / 8)))
    double_high = float(mp.floor(ln2 * 2**32) / 2**32)  # 32 bits, so that a product with 21 bits is exact
    print(f"ln 2 / 8, float: {float_high.hex()}f + {float(np.float32(float(ln2 / 8 - float_high))).hex()}f")
    print(f"ln 2, double: {double_high.hex()} + {float(ln2 - double_high).hex()}")
    print(f"8 log2 e, float: {float(np.float32(float(8 / ln2))).hex()}f; log2 e, double: {float(1 / ln2).hex()}")


if __name__ == "__main__":
    main()
