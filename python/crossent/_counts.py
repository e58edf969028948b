"""How often each of many numbers occurred: class indices, or pairs of them. Only numbers that occurred take memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


def _none() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Counts:
    """``numbers`` that occurred, in ascending order, and how often each of them did; both of int64."""

    numbers: NDArray[np.int64] = field(default_factory=_none)
    counts: NDArray[np.int64] = field(default_factory=_none)

    @staticmethod
    def of(values: NDArray[np.int64], limit: int) -> "Counts":
        """Count the ``values`` of one axis, which are from 0 to ``limit - 1``."""
        if limit <= 4 * values.size:
            return Counts.of_dense(np.bincount(values, minlength=limit))
        ordered = np.sort(values)
        is_first = np.ones(ordered.shape, np.bool_)
        np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
        first = np.flatnonzero(is_first)
        return Counts(ordered[first], np.diff(first, append=ordered.size))

    @staticmethod
    def of_dense(counts: NDArray[np.int64]) -> "Counts":
        """Return how often each number from 0 on occurred, given in an array."""
        numbers = np.flatnonzero(counts)
        return Counts(numbers, counts[numbers])

    @staticmethod
    def total(parts: Sequence["Counts"]) -> "Counts":
        """Return the sum of all parts: of more than two, faster than one addition after the other."""
        parts = [part for part in parts if part.numbers.size]
        limit = max((int(part.numbers[-1]) + 1 for part in parts), default=0)
        if len(parts) < 3 or limit > 4 * sum(part.numbers.size for part in parts):
            return sum(parts, Counts())
        dense = np.zeros(limit, np.int64)
        for part in parts:
            dense[part.numbers] += part.counts
        return Counts.of_dense(dense)

    def __add__(self, other: "Counts") -> "Counts":
        large, small = (self, other) if self.numbers.size >= other.numbers.size else (other, self)
        if not small.numbers.size:
            return large
        if 8 * small.numbers.size > large.numbers.size:
            return _merged(large, small)
        place = np.searchsorted(large.numbers, small.numbers)
        known = large.numbers[np.minimum(place, large.numbers.size - 1)] == small.numbers
        counts = large.counts.copy()
        counts[place[known]] += small.counts[known]
        if known.all():
            return Counts(large.numbers, counts)
        new = ~known
        return Counts(
            np.insert(large.numbers, place[new], small.numbers[new]), np.insert(counts, place[new], small.counts[new])
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts):
            return NotImplemented
        return np.array_equal(self.numbers, other.numbers) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    def dense(self, limit: int) -> NDArray[np.int64]:
        """Return how often each number from 0 to ``limit - 1`` occurred."""
        result = np.zeros(limit, np.int64)
        result[self.numbers] = self.counts
        return result


def _merged(a: Counts, b: Counts) -> Counts:
    """Return the sum, by sorting: what is faster where both have much."""
    numbers, counts = np.concatenate([a.numbers, b.numbers]), np.concatenate([a.counts, b.counts])
    order = np.argsort(numbers, kind="stable")  # two ascending runs are merged
    numbers, counts = numbers[order], counts[order]
    first = np.flatnonzero(np.diff(numbers, prepend=-1))
    return Counts(numbers[first], np.add.reduceat(counts, first))
