"""The rows whose errors are measured: families of them, each hard in its own way, as problems of the bench."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from cells import Cell, Variant
from numpy.typing import NDArray
from problems import LABEL_SMOOTHING, Array, Problem, make_problem, numpy_dtype

Float64: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]

# Classes: rows.
SHAPES = {2: 2048, 10: 2048, 1000: 512, 20_000: 8, 262_144: 6}
LARGEST_OFFSET = 1e8
# Beyond these gaps the loss is 0, or the last of the denormals.
CONFIDENT_GAPS = {"float32": 100.0, "float64": 700.0}


def _close(random: np.random.Generator, target: Indices, classes: int, dtype: str) -> Float64:
    """Return normal logits that are almost equal, or not far apart."""
    return random.normal(size=(len(target), classes)) * np.geomspace(0.1, 1, len(target))[:, None]


def _spread(random: np.random.Generator, target: Indices, classes: int, dtype: str) -> Float64:
    """Return normal logits that are far apart."""
    return random.normal(size=(len(target), classes)) * np.geomspace(1, 100, len(target))[:, None]


def _offset(random: np.random.Generator, target: Indices, classes: int, dtype: str) -> Float64:
    """Add a large number to all the logits of a row, of either sign; what is left of them is exact."""
    offset = np.geomspace(1, LARGEST_OFFSET, len(target)) * random.choice([-1, 1], len(target))
    x: Float64 = random.normal(size=(len(target), classes)) * 3 + offset[:, None]
    return x


def _one_large(random: np.random.Generator, target: Indices, classes: int, dtype: str) -> Float64:
    """Put one logit ahead of the rest, which are equal; in every other row it is the target's."""
    x = np.repeat(random.normal(size=(len(target), 1)), classes, axis=1)
    rows = np.arange(len(target))
    large = np.where(rows % 2, target, random.integers(classes, size=len(target)))
    x[rows, large] += random.uniform(0.5, 60, size=len(target))
    return x


def _confident(random: np.random.Generator, target: Indices, classes: int, dtype: str) -> Float64:
    """Put the target's logit ahead of all others: the loss is exp(−gap) or a few of it."""
    x = random.normal(size=(len(target), classes))
    rows = np.arange(len(target))
    x[rows, target] = -np.inf
    x[rows, target] = x.max(axis=1) + np.linspace(0, CONFIDENT_GAPS[dtype], len(target))
    return x


class Family(NamedTuple):
    """Rows of one kind, with a target of one kind."""

    name: str
    logits: Callable[[np.random.Generator, Indices, int, str], Float64]
    variant: Variant = ""

    def problems(self, dtype: str) -> Iterator[Problem]:
        """Yield its problems, from few classes to many; the same numbers each time."""
        for classes, rows in SHAPES.items():
            random = np.random.default_rng([classes, *self.name.encode()])
            target: Array = random.integers(classes, size=rows)
            x = self.logits(random, target, classes, dtype).astype(numpy_dtype(dtype))
            if self.variant == "probabilities":
                # Those of other rows, and every other time the very softmax of this one, where everything cancels.
                other = random.normal(size=x.shape) * 2
                other[::2] = x[::2]
                target = np.exp(other - other.max(axis=1, keepdims=True))
                target = (target / target.sum(axis=1, keepdims=True)).astype(x.dtype)
            yield _problem(x, target, self.variant)


FAMILIES = (
    Family("scales 0.1 to 1", _close),
    Family("scales 1 to 100", _spread),
    Family("offsets to 1e8", _offset),
    Family("one large, the rest equal", _one_large),
    Family("confident", _confident),
    Family("label smoothing", _spread, "smoothing"),
    Family("probabilities", _spread, "probabilities"),
)


def families_of(dtype: str) -> Iterator[Family]:
    """Yield those that a dtype is tried on: half precision is computed as float32, whose families are all of them."""
    for family in FAMILIES:
        if dtype in CONFIDENT_GAPS or family.logits in (_close, _spread):
            yield family


class Batch(NamedTuple):
    """Rows whose mean is taken: its true value and, unless it doesn't matter here, its gradient."""

    name: str
    problem: Problem
    loss: float
    gradient: Float64 | None


def batches() -> Iterator[Batch]:
    """Yield more rows than float32 counts one by one, and more rows, classes and loss than float16 can hold."""
    many = make_problem(Cell((10_000_000, 2)))
    yield Batch("float32 10,000,000 rows", many, many.loss, None)
    for dtype in ("float16", "bfloat16"):
        logits = np.zeros((70_000, 2), numpy_dtype(dtype))
        logits[:, 1] = 20
        row = np.array([-1.0, 1.0]) / 70_000
        unlikely = _problem(logits, np.zeros(70_000, np.int64))
        yield Batch(f"{dtype} 70,000 rows, losses of 20", unlikely, 20 + float(np.log1p(np.exp(-20))), row)

        logits, target = np.zeros((4, 100_000), numpy_dtype(dtype)), np.arange(4)
        gradient = np.full(logits.shape, 1e-5 / 4)
        gradient[np.arange(4), target] -= 1 / 4
        yield Batch(f"{dtype} 100,000 equal classes", _problem(logits, target), float(np.log(100_000)), gradient)


def _problem(logits: Array, target: Array, variant: Variant = "") -> Problem:
    """Return rows as a problem that has no reference yet."""
    cell = Cell(logits.shape, logits.dtype.name, variant)
    nothing = np.zeros(0)
    smoothing = LABEL_SMOOTHING if variant == "smoothing" else 0.0
    return Problem(cell, logits, target, None, smoothing, np.nan, nothing.astype(np.intp), nothing)
