"""Scoring labelled rows: the loss of each, whether its largest value is right, and what any number of rows add up to.

Pure functions on arrays; files and messages are the business of ``cli.py``. Large arrays are cut into slabs, each
slab gives its :class:`Totals`, and totals merge.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .losses import cross_entropy, nll_loss

InputKind: TypeAlias = Literal["logits", "log-probabilities", "probabilities"]

SLAB_BYTES = 32 * 2**20
"""Values read at a time: enough to keep every core busy, little enough to forget."""


@dataclass(frozen=True)
class Totals:
    """What rows add up to. ``a + b`` are the totals of the rows of both, ``Totals()`` those of none."""

    rows: int = 0
    """All rows, the ignored ones too."""
    ignored: int = 0
    correct: int = 0
    """Rows whose largest value, the first of equals, stands at the target. A row with nan is never correct."""
    loss_sum: float = 0.0
    loss_squared_deviations: float = 0.0
    """Sum of the squared differences from the mean loss of these rows."""

    @property
    def scored(self) -> int:
        """Rows that count: those not ignored."""
        return self.rows - self.ignored

    @property
    def mean_loss(self) -> float:
        """Mean loss of the scored rows in nats; nan if there are none."""
        return self.loss_sum / self.scored if self.scored else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of ``mean_loss``, taking rows as independent; nan for fewer than two rows."""
        if self.scored < 2:
            return math.nan
        return math.sqrt(self.loss_squared_deviations / (self.scored - 1) / self.scored)

    @property
    def perplexity(self) -> float:
        """``exp(mean_loss)``; inf where that is beyond float64."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.mean_loss))

    @property
    def accuracy(self) -> float:
        """Fraction of the scored rows that are correct; nan if there are none."""
        return self.correct / self.scored if self.scored else math.nan

    def __add__(self, other: "Totals") -> "Totals":
        deviations = self.loss_squared_deviations + other.loss_squared_deviations
        if self.scored and other.scored:
            # The pairwise update of Chan, Golub and LeVeque (1983): nothing large is subtracted from anything large.
            difference = other.mean_loss - self.mean_loss
            scored = self.scored + other.scored
            deviations += difference * difference * (self.scored * other.scored / scored)
        return Totals(
            self.rows + other.rows,
            self.ignored + other.ignored,
            self.correct + other.correct,
            self.loss_sum + other.loss_sum,
            deviations,
        )


def slabs(
    shape: tuple[int, ...], axis: int, itemsize: int, slab_bytes: int = SLAB_BYTES
) -> Iterator[tuple[slice, ...]]:
    """Cut the positions of an array into slabs of at most `slab_bytes`, or of one row where a row is larger.

    Parameters
    ----------
    shape : tuple of int
        Of the whole array, the classes included.
    axis : int
        The class axis, not negative. A slab always has all classes.
    itemsize : int
        Bytes of one value.
    slab_bytes : int, optional
        The size to stay under.

    Yields
    ------
    tuple of slice
        One slice for each axis but the class axis, so that it indexes the targets as it stands; in C order.

    Examples
    --------
    >>> [rows for (rows,) in slabs((5, 1000), axis=1, itemsize=4, slab_bytes=8000)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    positions = shape[:axis] + shape[axis + 1 :]
    if not positions:
        yield ()
        return
    # Slices are taken along the outermost axis that a slab can hold one index of, one at a time of those before it.
    split = len(positions) - 1
    while split > 0 and math.prod(positions[split:]) * shape[axis] * itemsize <= slab_bytes:
        split -= 1
    bytes_an_index = math.prod(positions[split + 1 :]) * shape[axis] * itemsize
    step = max(1, slab_bytes // max(1, bytes_an_index))
    inner = tuple(slice(0, extent) for extent in positions[split + 1 :])
    for outer in np.ndindex(*positions[:split]):
        for start in range(0, positions[split], step):
            stop = min(start + step, positions[split])
            yield (*(slice(i, i + 1) for i in outer), slice(start, stop), *inner)


def losses(
    values: NDArray[Any], target: NDArray[Any], *, kind: InputKind, ignore_index: int | None, axis: int
) -> NDArray[Any]:
    """Loss of each row, 0 for ignored ones.

    Parameters
    ----------
    values : (..., classes, ...) array of floats
        Logits, or what `kind` says.
    target : (...) array of integers
        Class indices.
    kind : {"logits", "log-probabilities", "probabilities"}
        What `values` are. Probabilities are taken as they are: 0 at the target is a loss of inf, nothing is clipped.
    ignore_index : int or None
        Target of the rows to leave out.
    axis : int
        The class axis.

    Returns
    -------
    (...) array of float32 or float64
        With a single row, an array of shape ``(1,)``.

    Raises
    ------
    IndexError
        If a target is out of range.
    """
    if kind == "logits":
        loss = cross_entropy(values, target, ignore_index=ignore_index, reduction="none", axis=axis)
        return np.atleast_1d(loss)
    # nll_loss is minus the target's own value, whatever that is.
    loss = np.atleast_1d(nll_loss(values, target, ignore_index=ignore_index, reduction="none", axis=axis))
    if kind == "log-probabilities":
        return loss
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts(target, ignore_index), -np.log(-loss.astype(np.float64)), 0.0)


def counts(target: NDArray[Any], ignore_index: int | None) -> NDArray[np.bool_]:
    """Whether each row counts, that is, is not ignored; ``(1,)`` for a single row."""
    target = np.atleast_1d(target)
    return np.ones(target.shape, np.bool_) if ignore_index is None else np.asarray(target != ignore_index)


def total(
    values: NDArray[Any], target: NDArray[Any], loss: NDArray[Any], ignore_index: int | None, axis: int
) -> Totals:
    """Totals of rows whose losses are known; arguments as in and from :func:`losses`."""
    counted = counts(target, ignore_index)
    scored = int(np.count_nonzero(counted))
    correct = counted & (np.argmax(values, axis=axis) == target) & ~np.isnan(loss)
    counted_loss = loss[counted].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # a loss of inf has no finite deviation: nan
        loss_sum = float(counted_loss.sum())
        deviations = float(np.square(counted_loss - loss_sum / scored).sum()) if scored else 0.0
    return Totals(counted.size, counted.size - scored, int(np.count_nonzero(correct)), loss_sum, deviations)


def sums_to_one(values: NDArray[Any], axis: int) -> bool:
    """Whether all rows are non-negative and sum to 1, as probabilities do, within the rounding of their dtype."""
    tolerance = 0.02 if values.dtype.itemsize == 2 else 1e-3
    with np.errstate(invalid="ignore", over="ignore"):
        sums = values.sum(axis=axis, dtype=np.float64)
    return bool(values.size and np.all(values >= 0) and np.all(np.abs(sums - 1) <= tolerance))
