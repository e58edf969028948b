"""Sums of floating-point numbers without any rounding: the same for every order, every split and every machine.

A sum of floats is a fraction whose denominator is a power of two, and is kept as one. The adding is done by the core
(``cpp/exact_sum.h``): a million numbers take a few milliseconds.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core

ROWS_AT_ONCE = 2**20  # some 10 ms, after which Python sees to signals
_UNIT_BITS = 2148  # the sums of the core are multiples of 2**-2148, as every product of two float64 is


@dataclass(frozen=True)
class ExactSum:
    """A sum of floats, those that aren't finite counted apart."""

    finite: Fraction = Fraction(0)
    infinite: int = 0
    negative_infinite: int = 0
    nan: int = 0

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
    """Return the exact sum of the finite ``values`` (one axis of float32 or float64) in each group."""
    digits = empty_sums(groups)
    for start in range(0, values.size, ROWS_AT_ONCE):
        own = slice(start, start + ROWS_AT_ONCE)
        bad = _core.add_by_group(values[own], None if group is None else group[own], digits)
        assert bad < 0, "groups are made by crossent"
    return fractions(digits)


def empty_sums(count: int) -> NDArray[np.int64]:
    """Return sums of nothing, which the core adds to."""
    return np.zeros((count, _core.exact_sum_digits), np.int64)


def fractions(digits: NDArray[np.int64]) -> tuple[Fraction, ...]:
    """Return the sums of the core."""
    width = 4 * digits.shape[1]
    text = digits.astype("<u4").tobytes()
    return tuple(_fraction(text[start : start + width]) for start in range(0, len(text), width))


def _fraction(digits: bytes) -> Fraction:
    units = int.from_bytes(digits, "little", signed=True)
    zeros = min((units & -units).bit_length() - 1, _UNIT_BITS)  # cancelled here, which is faster
    return Fraction(units >> zeros, 1 << (_UNIT_BITS - zeros)) if units else Fraction(0)


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
