"""Everything that is asked of a labelled row at once: its loss, what the model would have said, and how sure of it.

``score`` gives the figures of each row as ``Scores``; ``Totals`` (in ``totals``) has what any number of them add up to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, _options
from .losses import cross_entropy


@dataclass(frozen=True)
class Scores:
    """The figures of each row, in arrays of the shape of the target (without the classes); in nats where logarithms.

    An ignored row has a loss of 0, a prediction and a rank of -1, and nan for the rest. With class probabilities as
    targets, ``target`` and ``rank`` are None; with class indices, ``divergence`` is.

    Attributes
    ----------
    loss : array of float32, or float64 for float64 logits
        ``-log p[target]``, or ``-sum(target * log p)``; with the bits of ``cross_entropy(..., reduction="none")``.
    predicted : array of int64
        The class of the largest logit; the first of equals, as from ``numpy.argmax``.
    confidence : array like ``loss``
        Probability of the predicted class.
    log_sum_exp : array like ``loss``
        Logarithm of the sum of the exponentials of the row.
    entropy : array like ``loss``
        ``-sum(p * log p)``.
    sum_of_squares : array like ``loss``
        ``sum(p * p)``, which Brier's score needs.
    valid : array of bool
        Whether the row counts, that is, is not ignored.
    classes : int
    target : array of int64, or None
        The class indices that were given.
    rank : array of int64, or None
        How many classes come before the target's: those with a greater logit, and those with an equal one and a lower
        index. Rank 0 means that the target is predicted. A row without probabilities (one that has nan or +inf, or
        nothing but -inf) is no hit however many guesses are allowed: its rank is ``classes``.
    divergence : array like ``loss``, or None
        Kullback-Leibler divergence of the prediction from the target probabilities, ``loss`` minus their entropy.
    """

    loss: NDArray[Any]
    predicted: NDArray[np.int64]
    confidence: NDArray[Any]
    log_sum_exp: NDArray[Any]
    entropy: NDArray[Any]
    sum_of_squares: NDArray[Any]
    valid: NDArray[np.bool_]
    classes: int
    target: NDArray[np.int64] | None = None
    rank: NDArray[np.int64] | None = None
    divergence: NDArray[Any] | None = None

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that there are, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if name != "classes" and value is not None}

    def select(self, index: Any) -> "Scores":
        """Return the rows that NumPy's indexing with ``index`` (a mask, positions, a slice) gives of each array."""
        arrays: dict[str, Any] = {name: value[index] for name, value in self.to_dict().items()}
        return replace(self, **arrays)

    def worst(self, k: int) -> NDArray[np.int64]:
        """Return the positions of the ``k`` valid rows with the greatest loss, the greatest first, in C order.

        Rows with a loss of nan come before all others; equal losses in order of position.
        """
        if k < 0:
            raise ValueError(f"k must be 0 or more, not {k}")
        positions = np.flatnonzero(self.valid)
        loss = self.loss.ravel()[positions]
        size = np.where(np.isnan(loss), np.inf, loss)
        if 0 < k < size.size:
            candidates = np.flatnonzero(size >= np.partition(size, -k)[-k])
            positions, loss, size = positions[candidates], loss[candidates], size[candidates]
        return positions[np.lexsort((positions, -size, ~np.isnan(loss)))][:k]

    @staticmethod
    def concatenate(scores: Sequence["Scores"]) -> "Scores":
        """Return the rows of all, one after the other along the first axis.

        A ``ValueError`` says in what they differ, if they have different ``classes`` or kinds of target.
        """
        if not scores:
            raise ValueError("concatenate needs at least one Scores, but the sequence is empty")
        first, names = scores[0], list(scores[0].to_dict())
        for i, other in enumerate(scores):
            if other.classes != first.classes:
                raise ValueError(f"scores[0] has {first.classes} classes, but scores[{i}] has {other.classes}")
            if (other.target is None) != (first.target is None):
                kinds = ["class probabilities" if one.target is None else "class indices" for one in (first, other)]
                raise ValueError(f"the targets of scores[0] are {kinds[0]}, but those of scores[{i}] are {kinds[1]}")
        arrays: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in scores]) for name in names}
        return replace(first, **arrays)


def score(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    ignore_index: int | None = -100,
    temperature: float = 1.0,
    axis: int | None = None,
) -> Scores:
    """Score each row: loss, predicted class, rank of the target, confidence, entropy and more, in one pass.

    Examples
    --------
    >>> import crossent
    >>> scores = crossent.score([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], [1, 1])
    >>> scores.predicted, scores.rank
    (array([0, 1]), array([1, 0]))
    >>> scores.loss.round(4)
    array([1.4076, 0.1698])
    """
    x = _arrays.as_values(logits, "logits")
    class_axis = _options.as_class_axis(axis, x.shape)
    classes = x.shape[class_axis]
    t, ignored = _arrays.as_target(target, x.shape, class_axis, _options.as_ignore_index(ignore_index))
    if temperature != 1.0:
        x = (x / np.asarray(temperature, x.dtype)).astype(x.dtype)
    loss = np.atleast_1d(cross_entropy(x, target, ignore_index=ignore_index, reduction="none", axis=axis))
    rows = np.moveaxis(x, class_axis, -1).astype(np.float64)
    if x.ndim == 1:
        rows = rows[None]
    with np.errstate(all="ignore"):
        largest = rows.max(axis=-1, keepdims=True)
        exponentials = np.exp(rows - largest)
        total = exponentials.sum(axis=-1, keepdims=True)
        p = exponentials / total
        lse = (largest + np.log(total))[..., 0]
        entropy = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=-1)
    t = t.reshape(loss.shape if t.ndim <= loss.ndim else t.shape)
    has_index = t.shape == loss.shape
    valid = t != ignored if has_index and ignored is not None else np.ones(loss.shape, np.bool_)

    def column(values: NDArray[Any]) -> NDArray[Any]:
        return np.where(valid, values, np.nan).astype(loss.dtype)

    rank = None
    if has_index:
        own = np.take_along_axis(rows, np.where(valid, t, 0)[..., None], -1)
        index = np.arange(classes)
        rank = ((rows > own) | ((rows == own) & (index < t[..., None]))).sum(-1)
        rank = np.where(valid, np.where(np.isfinite(lse), rank, classes), -1)
    divergence = None
    if not has_index:
        q = t.astype(np.float64)
        with np.errstate(all="ignore"):
            divergence = (loss + np.where(q > 0, q * np.log(q), 0.0).sum(-1)).astype(loss.dtype)
    return Scores(
        loss=loss,
        predicted=np.where(valid, rows.argmax(-1), -1),
        confidence=column(p.max(-1)),
        log_sum_exp=column(lse),
        entropy=column(entropy),
        sum_of_squares=column((p * p).sum(-1)),
        valid=valid,
        classes=classes,
        target=t if has_index else None,
        rank=rank,
        divergence=divergence,
    )
