"""The sums behind ``Totals``: of the rows of some ``Scores``, and of two sums. What they mean is told in ``totals``."""

import math
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._counts import Counts
from ._exact_sum import ExactSum, sum_by_group, sum_of_products
from .scores import Scores

CONFUSION_CLASSES = 1000
"""Beyond this number of classes, pairs of target and prediction aren't counted."""

Weights: TypeAlias = NDArray[np.float64] | None
_ZERO, _NONE = Fraction(0), ExactSum()
_BLOCK = 2**16  # rows at a time: intermediate results stay in the cache


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
        counted = scores.valid
        if weight is not None:
            _check_weight(weight, counted)
            counted = counted & (weight > 0)
        rows, w = _flat(scores, counted), None if weight is None else weight[counted]
        sums = replace(
            Sums.empty(top_k, bins), rows=counted.size, ignored=counted.size - rows.loss.size, **_counts_of(rows)
        )
        for start in range(0, rows.loss.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            own, own_w = rows.select(block), None if w is None else w[block]
            values = _of_losses(own, own_w)
            values |= _of_probabilities(own, own_w) if rows.rank is None else _of_ranks(own, own_w, top_k, bins)
            sums += replace(Sums.empty(top_k, bins), **values)
        return sums

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(_add(getattr(self, field.name), getattr(other, field.name)) for field in fields(Sums)))


def _add(a: Any, b: Any) -> Any:
    return tuple(x + y for x, y in zip(a, b, strict=True)) if isinstance(a, tuple) else a + b


def _check_weight(weight: NDArray[np.float64], valid: NDArray[np.bool_]) -> None:
    bad = valid & ~((weight >= 0) & (weight < np.inf))
    if bad.any():
        position = tuple(map(int, np.unravel_index(int(bad.argmax()), bad.shape)))
        raise ValueError(
            f"sample_weight must be finite and not negative, but the one at position {position} is {weight[position]}"
        )


def _flat(scores: Scores, counted: NDArray[np.bool_]) -> Scores:
    arrays: dict[str, Any] = {name: array.ravel() for name, array in scores.to_dict().items()}
    flat = replace(scores, **arrays)
    return flat if counted.all() else flat.select(np.flatnonzero(counted))  # faster than by a mask


def _weighted(values: NDArray[Any], w: Weights) -> NDArray[Any]:
    if w is None:
        return values
    with np.errstate(over="ignore"):
        product: NDArray[np.float64] = np.multiply(values, w, dtype=np.float64)
    return product


def _weight_where(mask: NDArray[np.bool_], w: Weights) -> Fraction:
    return Fraction(int(np.count_nonzero(mask))) if w is None else sum_by_group(w[mask])[0]


def _of_losses(rows: Scores, w: Weights) -> dict[str, Any]:
    weighted, size = _weighted(rows.loss, w), rows.loss.size
    total = ExactSum.of(weighted)
    finite = weighted if total.is_finite else weighted[np.isfinite(weighted)]
    if w is None:
        weight = weight_squares = Fraction(size)
        weight_losses = total.finite
    else:
        weight, weight_squares = sum_by_group(w)[0], sum_of_products(w, w)
        weight_losses = sum_of_products(w if total.is_finite else w[np.isfinite(weighted)], finite)
    return {
        "non_finite": size - int(np.count_nonzero(np.isfinite(rows.loss))),
        "weight": weight,
        "weight_squares": weight_squares,
        "loss": total,
        "weight_losses": weight_losses,
        "loss_squares": sum_of_products(finite, finite),
        "entropy": ExactSum.of(_weighted(rows.entropy, w)),
    }


def _of_probabilities(rows: Scores, w: Weights) -> dict[str, Any]:
    """Return what there is besides when targets are class probabilities."""
    return {
        "confidence": ExactSum.of(_weighted(rows.confidence, w)),
        "divergence": ExactSum() if rows.divergence is None else ExactSum.of(_weighted(rows.divergence, w)),
    }


def _of_ranks(rows: Scores, w: Weights, top_k: tuple[int, ...], bins: int) -> dict[str, Any]:
    """Return what there is besides when targets are class indices."""
    assert rows.rank is not None
    brier = _exp_of_minus(rows.loss)
    brier *= -2
    brier += 1
    brier += rows.sum_of_squares
    hits_of_top_k = tuple(_weight_where(rows.rank < min(k, rows.classes), w) for k in top_k)
    confidence, is_hit, not_finite = rows.confidence, rows.rank == 0, ExactSum()
    known = np.isfinite(confidence)
    if not known.all():
        not_finite = ExactSum.of(confidence[~known])
        confidence, is_hit, w = confidence[known], is_hit[known], None if w is None else w[known]
    hits = np.flatnonzero(is_hit)
    in_bin = np.ceil(np.multiply(confidence, bins, dtype=np.float64)).astype(np.int64)
    in_bin -= 1
    in_bin = np.clip(in_bin, 0, bins - 1, out=in_bin)
    bin_confidence = sum_by_group(_weighted(confidence, w), in_bin, bins)
    return {
        "brier": ExactSum.of(_weighted(brier, w)),
        "hits": hits_of_top_k,
        "confidence": not_finite + ExactSum(sum(bin_confidence, _ZERO)),
        "bin_weight": _weight_by_group(w, in_bin, bins),
        "bin_confidence": bin_confidence,
        "bin_hits": _weight_by_group(None if w is None else w[hits], in_bin[hits], bins),
    }


def _weight_by_group(w: Weights, group: NDArray[np.int64], groups: int) -> tuple[Fraction, ...]:
    if w is None:
        return tuple(map(Fraction, np.bincount(group, minlength=groups).tolist()))
    return sum_by_group(w, group, groups)


def _counts_of(rows: Scores) -> dict[str, Any]:
    known = np.isfinite(rows.confidence)
    every = known.all()
    predicted = rows.predicted if every else rows.predicted[known]
    counts = {"predicted": Counts.of(predicted, rows.classes)}
    if rows.target is None:
        return counts
    counts["targets"] = Counts.of(rows.target, rows.classes)
    counts["correct"] = Counts.of(rows.target[np.flatnonzero(rows.rank == 0)], rows.classes)
    if rows.classes <= CONFUSION_CLASSES:
        pairs = (rows.target if every else rows.target[known]) * rows.classes
        pairs += predicted
        counts["pairs"] = Counts.of(pairs, rows.classes**2)
    return counts


def _exp_of_minus(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``exp(-values)`` for values of 0 and more, with an absolute error below 4e-16.

    In additions and multiplications alone, which every machine rounds alike; NumPy's own differs between CPUs.
    """
    x: NDArray[np.float64] = -np.fmin(values, _EXP_LARGEST).astype(np.float64)
    power = np.rint(x * (1 / math.log(2)))
    x -= power * _LN2_HIGH
    x -= power * _LN2_LOW
    series = np.full(x.shape, _EXP_SERIES[0])
    for coefficient in _EXP_SERIES[1:]:
        series *= x
        series += coefficient
    np.ldexp(series, power.astype(np.int32), out=series)
    return series


_EXP_LARGEST = 700.0  # beyond, exp(-x) is nothing next to 1
_EXP_SERIES = [1 / math.factorial(n) for n in range(13, -1, -1)]
_LN2_HIGH = float.fromhex("0x1.62e42fefa0000p-1")  # 36 bits, so that a product with any power is exact
_LN2_LOW = float.fromhex("0x1.cf79abc9e3b3ap-40")  # the rest of log(2)
