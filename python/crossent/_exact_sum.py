"""Sums of floating-point numbers without any rounding: the same for every order, every split and every machine.

A sum of floats is a fraction whose denominator is a power of two, and is kept as one. A million numbers take a few
milliseconds: most of the adding is done by NumPy in float64, on parts of the numbers that are chosen such that no
rounding happens.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_BITS = 15
_BLOCK = 2**_BLOCK_BITS  # values at a time: what fits into a core's own cache, twice
_UNIT_BITS = 1074  # every float64 is a multiple of 2**-1074
_LARGE = 2.0**1000  # beyond this, adding a block's worth of them could overflow
_SPLIT = 2.0**27 + 1
_EXPONENTS = 256  # so close to each other lie the exponents of products that are summed together


@dataclass(frozen=True)
class ExactSum:
    """A sum of floats, those that aren't finite counted apart."""

    finite: Fraction = Fraction(0)
    infinite: int = 0
    negative_infinite: int = 0
    nan: int = 0

    @staticmethod
    def of(values: NDArray[Any]) -> "ExactSum":
        """Return the sum of one axis of float32 or float64."""
        finite = np.isfinite(values)
        if finite.all():
            return ExactSum(sum_by_group(values)[0])
        return ExactSum(
            sum_by_group(values[finite])[0],
            int(np.count_nonzero(values == np.inf)),
            int(np.count_nonzero(values == -np.inf)),
            int(np.count_nonzero(np.isnan(values))),
        )

    @property
    def is_finite(self) -> bool:
        """Whether every number in the sum is finite."""
        return not (self.infinite or self.negative_infinite or self.nan)

    def __add__(self, other: "ExactSum") -> "ExactSum":
        return ExactSum(
            self.finite + other.finite,
            self.infinite + other.infinite,
            self.negative_infinite + other.negative_infinite,
            self.nan + other.nan,
        )

    def over(self, divisor: Fraction) -> float:
        """Return the quotient, rounded once; nan for a divisor of 0, and infinities and nan as in NumPy's sums."""
        if self.nan or (self.infinite and self.negative_infinite) or divisor == 0:
            return math.nan
        if self.infinite or self.negative_infinite:
            return math.inf if self.infinite else -math.inf
        return nearest_float(self.finite / divisor)


def sum_by_group(values: NDArray[Any], group: NDArray[np.int64] | None = None, groups: int = 1) -> tuple[Fraction, ...]:
    """Return the exact sum of the finite ``values`` (one axis of float32 or float64) in each group.

    With n values below 2**e in magnitude, adding and subtracting 1.5 * 2**k, where 2**k >= 2 * n * 2**e, splits each
    value without error into a multiple of 2**(k - 52) and a rest of at most 2**(k - 53). The multiples add up to less
    than 2**k: any sum of them is a float64, so that adding them in any order rounds nothing. The rests are treated in
    the same way, until nothing is left: after one or two rounds for what losses look like.
    """
    if values.dtype == np.float64 and (large := np.abs(values) >= _LARGE).any():
        scaled = sum_by_group(values[large].astype(np.float64) / 2**64, None if group is None else group[large], groups)
        small = sum_by_group(np.where(large, 0, values), group, groups)
        return tuple(part * 2**64 + rest for part, rest in zip(scaled, small, strict=True))
    units = [0] * groups
    for start in range(0, values.size, _BLOCK):
        rest = values[start : start + _BLOCK].astype(np.float64)
        rest_group = None if group is None else group[start : start + _BLOCK]
        multiple = np.empty_like(rest)
        while largest := max(float(rest.max()), -float(rest.min())):
            shift = math.ldexp(1.5, math.frexp(largest)[1] + _BLOCK_BITS + 1)
            np.add(rest, shift, out=multiple)
            multiple -= shift
            rest -= multiple
            sums = [float(multiple.sum())] if rest_group is None else np.bincount(rest_group, multiple, groups).tolist()
            for i, numerator, denominator in ((i, *value.as_integer_ratio()) for i, value in enumerate(sums) if value):
                units[i] += numerator << (_UNIT_BITS + 1 - denominator.bit_length())
    return tuple(Fraction(count, 2**_UNIT_BITS) for count in units)


def sum_of_products(a: NDArray[Any], b: NDArray[Any]) -> Fraction:
    """Return the exact sum of the exact products of finite ``a`` and ``b`` (one axis of float32 or float64)."""
    total = Fraction(0)
    for start in range(0, a.size, _BLOCK):
        own = slice(start, start + _BLOCK)
        total += _sum_of_products(a[own], b[own])
    return total


def _sum_of_products(a: NDArray[Any], b: NDArray[Any]) -> Fraction:
    if a.dtype == b.dtype == np.float32:
        return sum_by_group(np.multiply(a, b, dtype=np.float64))[0]  # 24 + 24 bits: nothing is rounded
    a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    if _is_moderate(a) and _is_moderate(b):
        return sum((sum_by_group(part)[0] for part in _product(a, b)), Fraction(0))
    # Exponents are taken apart and the products summed in groups of like exponents.
    (a, a_exponent), (b, b_exponent) = np.frexp(a), np.frexp(b)
    exponent = a_exponent + b_exponent
    group = exponent // _EXPONENTS
    total = Fraction(0)
    for index in np.unique(group).tolist():
        own = group == index
        parts = [np.ldexp(part, exponent[own] - _EXPONENTS * index) for part in _product(a[own], b[own])]
        total += sum(sum_by_group(part)[0] for part in parts) * Fraction(2) ** (_EXPONENTS * index)
    return total


def _is_moderate(values: NDArray[np.float64]) -> bool:
    """Whether neither products of these values overflow nor the errors of products become denormal."""
    size = np.abs(values)
    return bool(size.max() < 2.0**400 and size.min(initial=np.inf, where=size > 0) > 2.0**-400)


def _product(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rounded products and what was rounded off them (Dekker, 1971)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _split(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two halves of 26 bits at most."""
    shifted = _SPLIT * values
    high = shifted - (shifted - values)
    return high, values - high


def nearest_float(value: Fraction) -> float:
    """Return the float nearest to ``value``; an infinity where that is beyond them all."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def square_root(value: Fraction) -> float:
    """Return the root of a fraction that is not negative, which needn't be a float itself; right to the last bit."""
    if value == 0:
        return 0.0
    # The root of value * 4**shift has 64 bits or more before the binary point; a last bit set where some were cut off
    # keeps the rounding to 53 bits right.
    shift = max(0, 64 - (value.numerator.bit_length() - value.denominator.bit_length()) // 2)
    scaled = (value.numerator << 2 * shift) // value.denominator
    root = math.isqrt(scaled)
    exact = root * root * value.denominator == value.numerator << 2 * shift
    return nearest_float(Fraction(2 * root + (not exact), 2 ** (shift + 1)))
