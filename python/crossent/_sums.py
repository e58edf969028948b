"""The sums behind ``Totals``: of the rows of some ``Scores``, and of two sums. What they mean is told in ``totals``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _arrays, _core
from ._counts import Counts
from ._exact_sum import ROWS_AT_ONCE, ExactSum, empty_sums, fractions
from .scores import Scores

CONFUSION_CLASSES = 1000
"""Beyond this number of classes, pairs of target and prediction aren't counted."""

Weights: TypeAlias = NDArray[np.float64] | None
_ZERO, _NONE = Fraction(0), ExactSum()
_DENSE = 4  # int64 of counts a row: fewer than its figures take
#: The sums of the core, in its order (``Sum`` in ``cpp/totals.h``).
_SUMS = ["loss", "entropy", "confidence", "further", "loss_squares", "weight", "weight_squares", "weight_losses"]


@dataclass(frozen=True)
class Sums:
    """Every field adds up. ``w`` is a row's weight, or 1; ``w * x`` is rounded to float64, and then summed exactly."""

    rows: int = 0
    ignored: int = 0
    non_finite: int = 0
    weight: Fraction = _ZERO  # w
    weight_squares: Fraction = _ZERO  # w * w
    loss: ExactSum = _NONE  # w * loss
    weight_losses: Fraction = _ZERO  # w * (w * loss), where finite
    loss_squares: Fraction = _ZERO  # (w * loss)**2, where finite
    entropy: ExactSum = _NONE  # w * entropy
    confidence: ExactSum = _NONE  # w * confidence
    brier: ExactSum = _NONE  # w * Brier score
    divergence: ExactSum = _NONE  # w * divergence
    hits: tuple[Fraction, ...] = ()  # w of rows with rank < k, for each k
    bin_weight: tuple[Fraction, ...] = ()  # w of rows that have a confidence, in each bin
    bin_confidence: tuple[Fraction, ...] = ()  # w * confidence
    bin_hits: tuple[Fraction, ...] = ()  # w of rows with rank 0
    targets: Counts = field(default_factory=Counts)
    predicted: Counts = field(default_factory=Counts)
    correct: Counts = field(default_factory=Counts)
    pairs: Counts = field(default_factory=Counts)  # target * classes + predicted

    @staticmethod
    def empty(top_k: tuple[int, ...], bins: int) -> "Sums":
        """Return the sums of no rows."""
        no_bins = (_ZERO,) * bins
        return Sums(hits=(_ZERO,) * len(top_k), bin_weight=no_bins, bin_confidence=no_bins, bin_hits=no_bins)

    @staticmethod
    def of(scores: Scores, weight: Weights, top_k: tuple[int, ...], bins: int) -> "Sums":
        """Return the sums of these rows."""
        if weight is not None:
            _check_weight(weight, scores.valid)
        return _Adding(scores, weight, top_k, bins).sums()

    @staticmethod
    def total(parts: Sequence["Sums"]) -> "Sums":
        """Return the sums of all parts, of which there is one at least."""
        return Sums(*(_total([getattr(part, field.name) for part in parts]) for field in fields(Sums)))


def _total(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(_total(terms) for terms in zip(*parts, strict=True))
    return Counts.total(parts) if isinstance(parts[0], Counts) else sum(parts[1:], parts[0])


def _check_weight(weight: NDArray[np.float64], valid: NDArray[np.bool_]) -> None:
    bad = valid & ~((weight >= 0) & (weight < np.inf))
    if bad.any():
        position = tuple(map(int, np.unravel_index(int(bad.argmax()), bad.shape)))
        raise ValueError(
            f"sample_weight must be finite and not negative, but the one at position {position} is {weight[position]}"
        )


class _Adding:
    """Rows and the room for what they add up to, in the terms of the core (``cpp/totals.h``)."""

    def __init__(self, scores: Scores, weight: Weights, top_k: tuple[int, ...], bins: int) -> None:
        self.classes, self.bins, self.is_of_class = scores.classes, bins, scores.rank is not None
        self.rows, self.is_weighted = scores.loss.size, weight is not None
        self.columns: tuple[Any, ...] = _arrays.score_columns(scores, weight)
        self.guesses = np.array([min(k, scores.classes) for k in top_k], np.int64)
        numbers = len(top_k) + 2 * bins
        self.digits = empty_sums(len(_SUMS) + numbers + bins)
        self.not_finite = np.zeros((4, 3), np.int64)
        self.tallies = np.zeros(2 + numbers, np.int64)
        self.limits = {
            "targets": self.classes,
            "predicted": self.classes,
            "correct": self.classes,
            "pairs": self.classes**2,
        }
        if not self.is_of_class:
            self.limits = {"predicted": self.classes}
        elif self.classes > CONFUSION_CLASSES:
            del self.limits["pairs"]
        # Counted by the core where room for all that may occur is less than the rows take.
        self.counts = {
            name: np.zeros(limit, np.int64) if limit <= _DENSE * self.rows else None
            for name, limit in self.limits.items()
        }

    def sums(self) -> Sums:
        """Add all rows up."""
        dense = [self.counts.get(name) for name in ("targets", "predicted", "correct", "pairs")]
        results = (self.digits, self.not_finite, self.tallies, *dense)
        for start in range(0, self.rows, ROWS_AT_ONCE):
            own = tuple(None if column is None else column[start : start + ROWS_AT_ONCE] for column in self.columns)
            bad = _core.add_rows(own, results, self.classes, self.guesses, self.bins)
            if bad >= 0:
                predicted, target = self.columns[6], self.columns[7]
                found = f"prediction {predicted[start + bad]}"
                if target is not None:
                    found += f", target {target[start + bad]}"
                raise ValueError(f"row {start + bad} of the scores has {found}, but there are {self.classes} classes")
        return self._found()

    def _found(self) -> Sums:
        scored, non_finite, *tallies = self.tallies.tolist()
        total = fractions(self.digits)
        by_name = dict(zip(_SUMS, total, strict=False))
        # A weight for each number of guesses, then weight, confidence and weight of hits of each bin.
        split = np.cumsum([len(_SUMS), self.guesses.size, self.bins, self.bins])
        hits, bin_weight, bin_confidence, bin_hits = (total[a:b] for a, b in pairwise([*split.tolist(), len(total)]))
        if not self.is_weighted:
            weights = tuple(map(Fraction, tallies))
            split = np.cumsum([0, self.guesses.size, self.bins])
            hits, bin_weight, bin_hits = (weights[a:b] for a, b in pairwise([*split.tolist(), len(weights)]))
            by_name |= {
                "weight": Fraction(scored),
                "weight_squares": Fraction(scored),
                "weight_losses": by_name["loss"],
            }
        terms = zip(("loss", "entropy", "confidence", "further"), self.not_finite.tolist(), strict=True)
        exact = {name: ExactSum(by_name[name], *specials) for name, specials in terms}
        if self.is_of_class:
            confidence = exact["confidence"] + ExactSum(sum(bin_confidence, _ZERO))
            brier, divergence = exact["further"], ExactSum()
        else:
            confidence, brier, divergence = exact["confidence"], ExactSum(), exact["further"]
        return Sums(
            rows=self.rows,
            ignored=self.rows - scored,
            non_finite=non_finite,
            weight=by_name["weight"],
            weight_squares=by_name["weight_squares"],
            loss=exact["loss"],
            weight_losses=by_name["weight_losses"],
            loss_squares=by_name["loss_squares"],
            entropy=exact["entropy"],
            confidence=confidence,
            brier=brier,
            divergence=divergence,
            hits=hits,
            bin_weight=bin_weight,
            bin_confidence=bin_confidence,
            bin_hits=bin_hits,
            **self._counts(),
        )

    def _counts(self) -> dict[str, Counts]:
        found = {name: Counts.of_dense(dense) for name, dense in self.counts.items() if dense is not None}
        missing = [name for name in self.counts if name not in found]
        if missing:
            valid, weight, _, _, confidence, _, predicted, target, rank = self.columns
            counted = valid if weight is None else valid & (weight > 0)
            known = counted & np.isfinite(confidence)
            values: dict[str, Callable[[], NDArray[np.int64]]] = {
                "predicted": lambda: predicted[known],
                "targets": lambda: target[counted],
                "correct": lambda: target[counted & (rank == 0)],
                "pairs": lambda: target[known] * self.classes + predicted[known],
            }
            found |= {name: Counts.of(values[name](), self.limits[name]) for name in missing}
        return found
