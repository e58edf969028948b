"""A cell's arrays, and what the results should be: a float64 reference, and how near to it each dtype has to come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from cells import Cell
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Float64: TypeAlias = NDArray[np.float64]

IGNORE_INDEX = -100
LABEL_SMOOTHING = 0.1
# The logits repeat after so many elements: no cache gains by it, and the float64 reference is quick.
DISTINCT_ELEMENTS = 2**20
SAMPLED_ROWS = 64
# What a score has of each row, in this order; the rank without regard to ties.
FIGURES = ("loss", "log_sum_exp", "confidence", "entropy", "sum_of_squares", "predicted", "rank")


class Tolerance(NamedTuple):
    """How far a result may lie from the reference: the peers compute half precision in half precision."""

    relative_loss: float
    relative: float  # of each element
    absolute: float  # as part of the largest element, for p - t that cancels
    smallest: float  # least positive number of the dtype, below which a gradient vanishes


TOLERANCES = {
    "float64": Tolerance(1e-11, 1e-9, 1e-14, 0.0),
    "float32": Tolerance(2e-5, 2e-4, 1e-6, 0.0),
    "float16": Tolerance(3e-3, 4e-2, 2e-3, 2.0**-24),
    "bfloat16": Tolerance(2e-2, 1e-1, 1e-2, 0.0),
}


class Disagreement(AssertionError):
    """A result is not what the reference says."""


@dataclass(frozen=True)
class Problem:
    """Arrays of one cell; ``target`` has integer class indices, or probabilities of the logits' shape."""

    cell: Cell
    logits: Array
    target: Array | None
    weight: Array | None
    label_smoothing: float
    loss: float  # the mean loss, from float64
    sample: NDArray[np.intp]  # the rows that are compared
    values: Float64  # their gradient, or for the softmax family their values, or their FIGURES

    @property
    def has_probabilities(self) -> bool:
        """Whether the target has class probabilities."""
        return self.target is not None and self.target.dtype.kind != "i"

    def upcast(self) -> Problem:
        """Return the same numbers in float32."""
        target = self.target
        if target is not None and self.has_probabilities:
            target = target.astype(np.float32)
        return replace(
            self, cell=replace(self.cell, dtype="float32"), logits=self.logits.astype(np.float32), target=target
        )

    def check_loss(self, loss: Array) -> None:
        """Raise Disagreement unless this is the mean loss."""
        found = float(loss)
        allowed = TOLERANCES[self.cell.dtype].relative_loss * abs(self.loss)
        if not abs(found - self.loss) <= allowed:
            raise Disagreement(f"{self.cell.name}: loss {found}, should be {self.loss}")

    def check_values(self, values: Array) -> None:
        """Raise Disagreement unless this gradient, or result of the softmax family, is right in the sampled rows."""
        reduced = values.ndim < len(self.cell.shape)
        self._check_sample(_rows(values, self.sample, reduced=reduced).astype(np.float64))

    def check_figures(self, figures: list[Array]) -> None:
        """Raise Disagreement unless these arrays, one for each of FIGURES, are right in the sampled rows."""
        self._check_sample(np.stack([figure.ravel()[self.sample].astype(np.float64) for figure in figures], axis=1))

    def _check_sample(self, found: Float64) -> None:
        tolerance = TOLERANCES[self.cell.dtype]
        scale = np.abs(self.values).max()
        allowed = tolerance.relative * np.abs(self.values) + tolerance.absolute * scale + tolerance.smallest
        bad = ~(np.abs(found - self.values) <= allowed)  # true for nan as well
        if bad.any():
            first = tuple(np.argwhere(bad)[0])
            raise Disagreement(
                f"{self.cell.name}: {found[first]} in row {self.sample[first[0]]}, should be {self.values[first]} "
                f"({int(bad.sum())} of {bad.size} sampled elements are wrong)"
            )


def make_problem(cell: Cell, seed: int = 0) -> Problem:
    """Fill a cell's arrays with normal logits and random targets, and compute the reference."""
    random = np.random.default_rng(seed)
    dtype = numpy_dtype(cell.dtype)
    distinct = min(cell.rows, max(1, DISTINCT_ELEMENTS // cell.classes))
    block = _normal(random, (distinct, cell.classes)).astype(dtype)
    row_in_block = np.arange(cell.rows) % distinct
    logits = _lay_out(block[row_in_block], cell)
    sample = np.unique(np.linspace(0, cell.rows - 1, SAMPLED_ROWS).astype(np.intp))
    if cell.function == "score":
        target = random.integers(cell.classes, size=cell.rows)
        values = _figures(block[row_in_block[sample]].astype(np.float64), target[sample])
        target = target.reshape(cell.shape[0], *cell.shape[2:])
        return Problem(cell, logits, target, None, 0.0, np.nan, sample, values)
    if cell.function != "cross_entropy":
        values = _activation(block[row_in_block[sample]].astype(np.float64), cell.function)
        return Problem(cell, logits, None, None, 0.0, np.nan, sample, values)

    smoothing = LABEL_SMOOTHING if cell.variant == "smoothing" else 0.0
    weight = random.uniform(0.5, 2.0, cell.classes).astype(dtype) if cell.variant == "weights" else None
    if cell.variant == "probabilities":
        probabilities = _activation(_normal(random, block.shape).astype(np.float64), "softmax").astype(dtype)
        loss, values = _reference_probabilities(block, probabilities, row_in_block, sample)
        target = _lay_out(probabilities[row_in_block], cell)
    else:
        target = random.integers(cell.classes, size=cell.rows)
        if cell.variant == "ignored":
            target[random.random(cell.rows) < 0.3] = IGNORE_INDEX
        loss, values = _reference_indices(block, target, weight, smoothing, row_in_block, sample)
        target = target.reshape(cell.shape[0], *cell.shape[2:])
    return Problem(cell, logits, target, weight, smoothing, loss, sample, values)


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of that name; bfloat16 needs ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes  # noqa: PLC0415

        dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return dtype
    return np.dtype(name)


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return 2 * random.standard_normal(shape, dtype=np.float32)


def _lay_out(rows: Array, cell: Cell) -> Array:
    """Bring (rows, classes) into the cell's shape and layout, the positions in the same order."""
    if cell.layout == "fortran":
        return np.asfortranarray(rows)
    if len(cell.shape) == 2:
        return rows
    positions_last = rows.reshape(cell.shape[0], *cell.shape[2:], cell.classes)
    return np.ascontiguousarray(np.moveaxis(positions_last, -1, 1))


def _rows(values: Array, sample: NDArray[np.intp], *, reduced: bool) -> Array:
    """Pick rows, in the order of ``_lay_out``; ``reduced`` values have no class axis."""
    positions_first = values if reduced else np.moveaxis(values, 1, -1)
    shape = values.shape if reduced else positions_first.shape[:-1]
    picked: Array = positions_first[np.unravel_index(sample, shape)]
    return picked[:, None] if reduced else picked


def _logsumexp(x: Float64) -> Float64:
    largest = x.max(axis=1, keepdims=True)
    result: Float64 = np.log(np.exp(x - largest).sum(axis=1, keepdims=True)) + largest
    return result


def _activation(x: Float64, function: str) -> Float64:
    lse = _logsumexp(x)
    return lse if function == "logsumexp" else x - lse if function == "log_softmax" else np.exp(x - lse)


def _figures(x: Float64, target: NDArray[np.int64]) -> Float64:
    lse = _logsumexp(x)
    p = np.exp(x - lse)
    own = np.take_along_axis(x, target[:, None], axis=1)
    entropy = -(p * (x - lse)).sum(axis=1)
    figures = (lse - own)[:, 0], lse[:, 0], p.max(axis=1), entropy, (p * p).sum(axis=1), x.argmax(axis=1)
    return np.stack([*figures, (x > own).sum(axis=1)], axis=1)


def _reference_indices(
    block: Array,
    target: NDArray[np.int64],
    weight: Array | None,
    smoothing: float,
    row_in_block: NDArray[np.intp],
    sample: NDArray[np.intp],
) -> tuple[float, Float64]:
    """Mean loss of all rows and gradient of the sampled ones: ``l = W lse - sum(t x)``, ``g = p W - t``."""
    x = block.astype(np.float64)
    lse = _logsumexp(x)[:, 0]
    classes = x.shape[1]
    w = np.ones(classes) if weight is None else weight.astype(np.float64)
    valid = target != IGNORE_INDEX
    y = np.where(valid, target, 0)
    row_weight = w[y] * valid
    total_weight = row_weight.sum()
    at_target = lse[row_in_block] - x[row_in_block, y]
    over_classes = (lse * w.sum() - x @ w) / classes
    losses = (1 - smoothing) * row_weight * at_target + smoothing * valid * over_classes[row_in_block]

    t = np.tile(smoothing / classes * w, (len(sample), 1))
    t[np.arange(len(sample)), y[sample]] += (1 - smoothing) * w[y[sample]]
    p = _activation(x[row_in_block[sample]], "softmax")
    gradient = (p * t.sum(axis=1, keepdims=True) - t) * valid[sample, None] / total_weight
    return float(losses.sum() / total_weight), gradient


def _reference_probabilities(
    block: Array, probabilities: Array, row_in_block: NDArray[np.intp], sample: NDArray[np.intp]
) -> tuple[float, Float64]:
    """Mean loss of all rows and gradient of the sampled ones, for class-probability targets."""
    x, t = block.astype(np.float64), probabilities.astype(np.float64)
    losses = _logsumexp(x)[:, 0] * t.sum(axis=1) - (t * x).sum(axis=1)
    sampled = row_in_block[sample]
    gradient = _activation(x[sampled], "softmax") * t[sampled].sum(axis=1, keepdims=True) - t[sampled]
    return float(losses[row_in_block].mean()), gradient / len(row_in_block)
