"""The worst rows: those with the greatest loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossent.scores import Scores


@dataclass(frozen=True)
class WorstRow:
    """A row with a great loss, and what the model said about it."""

    row: tuple[int, ...]
    """Its position, counted from 0: an index into the targets."""
    target: int | None
    """None with class probabilities as targets."""
    predicted: int | None
    """None for a row without probabilities."""
    loss: float
    confidence: float

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key: losses of nan first, then the greatest; equals in order of position."""
        return (not math.isnan(self.loss), 0.0 if math.isnan(self.loss) else -self.loss, self.row)


def worst_rows(scores: Scores, first_row: int, positions: tuple[int, ...], count: int, bound: float) -> list[WorstRow]:
    """Return the ``count`` worst of consecutive rows, the worst first, leaving out losses below ``bound``.

    ``positions`` is the shape of all rows, of which these are some from ``first_row`` on, in C order.
    """
    candidates = np.flatnonzero(scores.valid & ~(scores.loss < bound))
    losses: NDArray[Any] = scores.loss[candidates]
    if candidates.size > 4 * count:
        keys = np.where(np.isnan(losses), np.inf, losses)
        kept = keys >= np.partition(keys, -count)[-count]
        candidates, losses = candidates[kept], losses[kept]
    order = np.lexsort((candidates, np.where(np.isnan(losses), 0, -losses), ~np.isnan(losses)))[:count]
    return [
        WorstRow(
            row=tuple(map(int, np.unravel_index(first_row + place, positions))) if positions else (),
            target=None if scores.target is None else int(scores.target[place]),
            predicted=int(scores.predicted[place]) if np.isfinite(scores.confidence[place]) else None,
            loss=float(scores.loss[place]),
            confidence=float(scores.confidence[place]),
        )
        for place in candidates[order].tolist()
    ]


def merge_worst(a: Sequence[WorstRow], b: Sequence[WorstRow], count: int) -> tuple[WorstRow, ...]:
    """Return the ``count`` worst rows of both."""
    return tuple(sorted((*a, *b), key=lambda row: row.order)[:count])


def cutoff(worst: Sequence[WorstRow], count: int) -> float:
    """Return the loss below which no other row belongs to them."""
    if len(worst) < count or math.isnan(worst[-1].loss):
        return -math.inf if len(worst) < count else math.inf
    return worst[-1].loss
