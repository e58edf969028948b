"""Everything that is asked of a labelled row at once: its loss, what the model would have said, and how sure of it.

``score`` gives the figures of each row as ``Scores``; ``Totals`` (in ``totals``) has what any number of them add up to.
"""

from __future__ import annotations  # help() shows them as they are written

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, _core, _explain, _options, _outputs

#: Of class probabilities, when their entropy is computed: little enough to stay in cache.
ELEMENTS_AT_ONCE = 2**15


@dataclass(frozen=True, eq=False)
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

    Examples
    --------
    >>> import crossent
    >>> scores = crossent.score([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.5, 0.0, 0.0]], [1, 1, 2])
    >>> scores.worst(2)
    array([2, 0])
    >>> scores.select(scores.rank == 0).confidence.round(4)
    array([0.8438])
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

    def select(self, index: Any) -> Scores:
        """Return the rows that NumPy's indexing with ``index`` (a mask, positions, a slice) gives of each array."""
        arrays: dict[str, Any] = {name: value[index] for name, value in self.to_dict().items()}
        for name, value in arrays.items():
            if isinstance(value, np.generic):  # a single row
                arrays[name] = np.asarray(value)
        return replace(self, **arrays)

    def worst(self, k: int) -> NDArray[np.int64]:
        """Return the positions of the ``k`` valid rows with the greatest loss, the greatest first, in C order.

        Rows with a loss of nan come before all others; equal losses in order of position.
        """
        k = _options.as_count(k)
        positions = np.flatnonzero(self.valid)
        loss = self.loss.ravel()[positions]
        size = np.where(np.isnan(loss), np.inf, loss)
        if 0 < k < size.size:
            candidates = np.flatnonzero(size >= np.partition(size, -k)[-k])
            positions, loss, size = positions[candidates], loss[candidates], size[candidates]
        return positions[np.lexsort((positions, -size, ~np.isnan(loss)))][:k]

    @staticmethod
    def concatenate(scores: Iterable[Scores]) -> Scores:
        """Return the rows of all, one after the other along the first axis.

        A ``ValueError`` says in what they differ, if they have different ``classes``, shapes after the first axis or
        kinds of target.
        """
        if isinstance(scores, Scores) or not isinstance(scores, Iterable):
            raise TypeError(f"concatenate takes a sequence of Scores, not {type(scores).__name__}")
        scores = list(scores)
        if not scores:
            raise ValueError("concatenate needs at least one Scores, but the sequence is empty")
        for i, other in enumerate(scores):
            if not isinstance(other, Scores):
                raise TypeError(f"concatenate takes Scores, but scores[{i}] is {other!r}")
        first, names = scores[0], list(scores[0].to_dict())
        for i, other in enumerate(scores):
            shape, needed = np.shape(other.loss), np.shape(first.loss)
            if not shape:
                raise ValueError(
                    f"scores[{i}] is of a single row without an axis: score logits of shape (1, C) instead"
                )
            if shape[1:] != needed[1:]:
                raise ValueError(f"scores[0] has the shape {needed}, but scores[{i}] {shape}: only axis 0 may differ")
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

    Parameters
    ----------
    logits : array_like of float16, bfloat16, float32 or float64, shape (C,), (N, C) or (N, C, d1, d2, …)
        As for ``cross_entropy``, without a copy; half precisions are computed as float32.
    target : array_like
        Class indices, of any integer dtype and the logits' shape without the classes; or class probabilities, of any
        floating dtype and the logits' shape.
    ignore_index : int or None
        Class index of the rows that don't count. None: all rows do.
    temperature : float
        Positive and finite. The logits are divided by it first, rounded to the precision they are computed in.
    axis : int, optional
        The axis of the classes; by default 1, or 0 if it is the only one.

    Returns
    -------
    Scores
        Arrays of the target's shape without classes; those of a single row have shape ().

    Raises
    ------
    IndexError
        A class index is neither a class nor ``ignore_index``; the message names the first.
    ValueError
        A shape doesn't fit, there are no classes, or the temperature is not positive and finite.
    TypeError
        A wrong dtype, or a temperature that is no number.

    Notes
    -----
    Class probabilities take a second pass, and their entropy a third one over them alone; a row of them should sum to
    1, or ``divergence`` means little. Nothing of the logits' size is allocated.

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
    rows = _arrays.axes_last(x, class_axis)
    positions, classes = rows.shape[:-1], rows.shape[-1]
    if classes == 0 and 0 not in positions:
        raise _explain.no_classes(x.shape, class_axis)
    t, ignored = _arrays.as_target(target, x.shape, class_axis, _options.as_ignore_index(ignore_index))
    divisor = _options.as_temperature(temperature, np.float64 if x.dtype == np.float64 else np.float32)

    has_indices = t.shape == positions
    loss, confidence, log_sum_exp, entropy, sum_of_squares = (_outputs.empty_losses(x, positions) for _ in range(5))
    predicted = np.empty(positions, np.int64)
    rank = np.empty(positions, np.int64) if has_indices else None
    _core.score(
        _arrays.core_view(rows),
        _arrays.core_view(t),
        ignored,
        divisor,
        loss,
        predicted,
        rank,
        confidence,
        log_sum_exp,
        entropy,
        sum_of_squares,
    )
    return Scores(
        loss=loss,
        predicted=predicted,
        confidence=confidence,
        log_sum_exp=log_sum_exp,
        entropy=entropy,
        sum_of_squares=sum_of_squares,
        valid=np.asarray(t != ignored) if has_indices and ignored is not None else np.ones(positions, np.bool_),
        classes=classes,
        target=t.copy() if has_indices else None,
        rank=rank,
        divergence=None if has_indices else np.asarray(loss - _entropies(t), loss.dtype),
    )


def _entropies(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``-sum(q * log(q))`` of each row of (*positions, classes), a few rows at a time."""
    *outer, rows, classes = (1, *probabilities.shape)[-max(2, probabilities.ndim) :]
    lines = probabilities.reshape(rows, classes) if probabilities.ndim < 2 else probabilities
    result = np.empty((*outer, rows))
    step = max(1, ELEMENTS_AT_ONCE // max(1, classes))
    for index in np.ndindex(*outer):
        for start in range(0, rows, step):
            q = lines[index][start : start + step].astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                result[index][start : start + step] = -np.where(q == 0.0, 0.0, q * np.log(q)).sum(axis=-1)
    return result.reshape(probabilities.shape[:-1])
