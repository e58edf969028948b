"""The oracle: each loss and activation as its formula, in long double, written for reading and not for speed.

An array is seen with its classes last: logits ``x`` and weighted target ``t`` are (*positions, classes). Class
indices and class probabilities, class weights ``w``, smoothing ``e`` and ``ignore_index`` all end in ``t``, and after
it there is one formula for the loss and one for the gradient of a row, with ``p = softmax(x)`` and ``W = Σ t_c``:

    loss = −Σ t_c log p_c          gradient_c = p_c W − t_c

A class with ``t_c = 0`` adds exactly 0 even where ``log p_c`` is infinite, and a row whose ``t`` is all 0 (an ignored
one, or one of weight 0) adds exactly 0 to loss and gradient whatever its logits hold. Everything else is PyTorch's.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import mpmath
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
Reduction: TypeAlias = Literal["none", "mean", "sum"]
Axis: TypeAlias = int | Sequence[int] | None

long_double = np.longdouble


class LossAndGrad(NamedTuple):
    """A loss, reduced as asked, its gradient, and what the gradient's error is measured by, both in the logits' shape.

    ``magnitude`` is the gradient itself where one of its parts is 0, as for a class index without smoothing, and
    otherwise the greater part, max(p · W, t): what is left of two such parts has the error of the parts.
    """

    loss: Array
    grad: Array
    magnitude: Array


class Distribution(NamedTuple):
    """The softmax of rows in the three forms the losses need, (*positions, classes) each."""

    log_probability: Array
    probability: Array
    complement: Array  # 1 − p


def as_long_double(values: ArrayLike) -> Array:
    """Return a copy in long double, which holds every value of every dtype supported."""
    return np.array(values).astype(long_double)


def distribution(x: Array) -> Distribution:
    """Return log p, p and 1 − p of rows without forming any of them by cancellation.

    With k the largest class and ``rest = Σ exp(x_j − x_k)`` over the others:

        log p_c = (x_c − x_k) − log1p(rest)     p_c = exp(x_c − x_k) / (1 + rest)     1 − p_k = rest / (1 + rest)

    and the other classes have p ≤ 1/2, so that ``1 − p`` is safe. A row that holds nan or +inf, or −inf alone, has no
    distribution: all of it is nan.
    """
    if x.shape[-1] == 0:
        return Distribution(x, x, x)
    k = np.argmax(x, axis=-1, keepdims=True)
    largest = np.take_along_axis(x, k, axis=-1)
    shifted = np.where(np.isfinite(largest), x, np.nan) - np.where(np.isfinite(largest), largest, 0)
    ratio = np.exp(shifted)
    is_largest = np.arange(x.shape[-1]) == k
    rest = np.sum(np.where(is_largest, 0, ratio), axis=-1, keepdims=True)
    probability = ratio / (1 + rest)
    return Distribution(
        shifted - np.log1p(rest), probability, np.where(is_largest, probability * rest, 1 - probability)
    )


def times(factor: Array, value: Array) -> Array:
    """Return the product in which a factor of 0 gives 0, be the value infinite or nan."""
    return np.where(factor == 0, 0, factor * value)


def weighted_target(
    target: Array, weight: Array, ignore_index: int | None, label_smoothing: float
) -> tuple[Array, Array]:
    """Return ``t`` (*positions, classes), and what each position adds to the mean's denominator (*positions).

    indices        t_c = (1 − e) · w_y · [c = y] + (e / C) · w_c      adds w_y; an ignored position t = 0 and adds 0
    probabilities  t_c = ((1 − e) · p_c + e / C) · w_c                adds 1
    """
    classes = weight.shape[0]
    e = long_double(label_smoothing)
    if target.dtype.kind not in "iu":
        return ((1 - e) * as_long_double(target) + e / classes) * weight, np.ones(target.shape[:-1], long_double)
    # Through Python's integers: −100 is no uint8, and 2^63 is no int64.
    valid = np.array([value != ignore_index for value in target.ravel().tolist()], bool).reshape(target.shape)
    is_target = target[..., np.newaxis] == np.arange(classes)
    if not np.all(is_target.any(axis=-1) | ~valid):
        raise IndexError("target out of range")
    own_weight = np.sum(np.where(is_target, weight, 0), axis=-1)
    t = np.where(is_target, (1 - e) * own_weight[..., np.newaxis], 0) + e / classes * weight
    return np.where(valid[..., np.newaxis], t, 0), np.where(valid, own_weight, 0)


def reduce(losses: Array, denominator: Array, reduction: Reduction, grad_output: ArrayLike) -> tuple[Array, Array]:
    """Reduce the losses of positions, and return the factor of each position's gradient with the result.

    A denominator of 0 makes the mean nan and its gradient 0.
    """
    scale = as_long_double(grad_output)
    loss: Array = losses
    if reduction == "sum":
        loss = losses.sum()
    elif reduction == "mean":
        total = denominator.sum()
        loss = losses.sum() / total if total != 0 else np.array(np.nan, long_double)
        scale = scale / total if total != 0 else np.zeros((), long_double)
    return loss, np.broadcast_to(scale, losses.shape)


def class_axis(shape: tuple[int, ...], axis: int | None) -> int:
    """Return PyTorch's class axis, 1, or 0 for a single unbatched sample, unless another is named."""
    return axis if axis is not None else min(1, len(shape) - 1)


@np.errstate(all="ignore")
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    grad_output: ArrayLike = 1.0,
) -> LossAndGrad:
    """Return the cross-entropy and its gradient. Integer targets are class indices, others class probabilities."""
    axis = class_axis(np.shape(logits), axis)
    x = np.moveaxis(as_long_double(logits), axis, -1)
    y = np.asarray(target)
    if y.dtype.kind not in "iu":
        y = np.moveaxis(y, axis, -1)
    w = np.ones(x.shape[-1], long_double) if weight is None else as_long_double(weight)
    t, denominator = weighted_target(y, w, ignore_index, label_smoothing)

    log_p, p, complement = distribution(x)
    losses = times(t, -log_p).sum(axis=-1)
    # p_c W − t_c with both parts rid of what they share: a class index leaves one of them 0, so nothing cancels.
    others = t.sum(axis=-1, keepdims=True) - t
    grad = p * others - t * complement
    cancels = y.dtype.kind not in "iu" or label_smoothing != 0
    magnitude = np.maximum(p * np.abs(t).sum(axis=-1, keepdims=True), np.abs(t)) if cancels else np.abs(grad)

    loss, scale = reduce(losses, denominator, reduction, grad_output)
    scale = np.where(np.any(t != 0, axis=-1), scale, 0)[..., np.newaxis]
    return LossAndGrad(
        loss, np.moveaxis(times(scale, grad), -1, axis), np.moveaxis(times(np.abs(scale), magnitude), -1, axis)
    )


@np.errstate(all="ignore")
def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Reduction = "mean",
    axis: int | None = None,
) -> Array:
    """Return ``−w_y · log p_y`` with log p given."""
    x = np.moveaxis(as_long_double(log_probs), class_axis(np.shape(log_probs), axis), -1)
    w = np.ones(x.shape[-1], long_double) if weight is None else as_long_double(weight)
    t, denominator = weighted_target(np.asarray(target), w, ignore_index, 0.0)
    losses = times(t, -x).sum(axis=-1)
    return reduce(losses, denominator, reduction, 1.0)[0]


@np.errstate(all="ignore")
def log_softmax(x: ArrayLike, axis: Axis = -1) -> Array:
    """Return log p over one axis, several, or all (None)."""
    return _over_axes(lambda rows: distribution(rows).log_probability, as_long_double(x), axis)


@np.errstate(all="ignore")
def softmax(x: ArrayLike, axis: Axis = -1) -> Array:
    """Return p over one axis, several, or all (None)."""
    return _over_axes(lambda rows: distribution(rows).probability, as_long_double(x), axis)


@np.errstate(all="ignore")
def logsumexp(x: ArrayLike, axis: Axis = -1, keepdims: bool = False) -> Array:
    """Return ``log Σ exp x_c = x_k − log p_k``: −inf for no element or −inf alone, +inf for any +inf."""
    values = as_long_double(x)
    axes = _axes(values.ndim, axis)
    rows = np.moveaxis(values, axes, range(-len(axes), 0))
    rows = rows.reshape(*rows.shape[: rows.ndim - len(axes)], int(np.prod([values.shape[a] for a in axes], dtype=int)))
    if rows.shape[-1] == 0:
        result = np.full(rows.shape[:-1], -np.inf, long_double)
    else:
        largest = rows.max(axis=-1)
        result = np.where(np.isfinite(largest), largest - distribution(rows).log_probability.max(axis=-1), largest)
    return np.expand_dims(result, axes) if keepdims else result


def _axes(ndim: int, axis: Axis) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return tuple(sorted(a % ndim for a in ([axis] if isinstance(axis, int) else axis)))


def _over_axes(function: Any, values: Array, axis: Axis) -> Array:
    """Apply a function of rows to the chosen axes seen as one."""
    axes = _axes(values.ndim, axis)
    last = tuple(range(-len(axes), 0))
    moved = np.moveaxis(values, axes, last)
    split = moved.ndim - len(axes)
    rows = moved.reshape(*moved.shape[:split], int(np.prod(moved.shape[split:], dtype=int)))
    return np.moveaxis(function(rows).reshape(moved.shape), last, axes)


def softplus(x: Array) -> Array:
    """Return ``log(1 + exp(x))``."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(−x))``, with its relative accuracy kept where it is small."""
    result: Array = np.where(x >= 0, 1, np.exp(np.minimum(x, 0))) / (1 + np.exp(-np.abs(x)))
    return result


@np.errstate(all="ignore")
def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    grad_output: ArrayLike = 1.0,
) -> LossAndGrad:
    """Return ``−w (q · y · log σ(x) + (1 − y) · log σ(−x))``, ``q`` being pos_weight, and its gradient."""
    x = as_long_double(logits)
    positive, negative = _binary_target(x.shape, target, weight, pos_weight)
    losses = times(positive, softplus(-x)) + times(negative, softplus(x))
    parts = times(negative, sigmoid(x)), times(positive, sigmoid(-x))
    loss, scale = reduce(losses, np.ones(x.shape), reduction, grad_output)
    magnitude = np.maximum(np.abs(parts[0]), np.abs(parts[1]))
    return LossAndGrad(loss, times(scale, parts[0] - parts[1]), times(np.abs(scale), magnitude))


@np.errstate(all="ignore")
def binary_cross_entropy(
    probabilities: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, *, reduction: Reduction = "mean"
) -> Array:
    """Return ``−w (y · log p + (1 − y) · log(1 − p))`` with either logarithm no less than −100."""
    p = as_long_double(probabilities)
    positive, negative = _binary_target(p.shape, target, weight, None)
    losses = times(positive, -np.maximum(np.log(p), -100)) + times(negative, -np.maximum(np.log1p(-p), -100))
    return reduce(losses, np.ones(p.shape), reduction, 1.0)[0]


def _binary_target(
    shape: tuple[int, ...], target: ArrayLike, weight: ArrayLike | None, pos_weight: ArrayLike | None
) -> tuple[Array, Array]:
    """Return the weights of the positive and of the negative part of each element."""
    y, w, q = (
        np.broadcast_to(as_long_double(1.0 if values is None else values), shape)
        for values in (target, weight, pos_weight)
    )
    return w * q * y, w * (1 - y)


class RowScores(NamedTuple):
    """What ``crossent.score`` has of each row beside the loss, (*positions) each."""

    predicted: Array
    rank: Array
    confidence: Array
    log_sum_exp: Array
    entropy: Array
    sum_of_squares: Array


@np.errstate(all="ignore")
def scores(x: Array, target: Array, ignore_index: int = -100) -> RowScores:
    """Score rows (*positions, classes) with class indices.

    predicted       the first largest logit, and nan is the largest
    rank            classes with a greater logit, and equal ones before the target; the number of classes in a row
                    without probabilities
    confidence      max p        entropy  -sum p log p        sum of squares  sum p^2

    An ignored row has -1 for the first two and nan for the others.
    """
    valid = target != ignore_index
    log_p, p, _ = distribution(as_long_double(x))
    lse = logsumexp(x, axis=-1)
    own = np.take_along_axis(x, np.where(valid, target, 0)[..., np.newaxis], axis=-1)
    is_before = (x > own) | ((x == own) & (np.arange(x.shape[-1]) < target[..., np.newaxis]))
    rank = np.where(np.isfinite(lse), is_before.sum(axis=-1), x.shape[-1])
    figures = (p.max(axis=-1), lse, -times(p, log_p).sum(axis=-1), (p * p).sum(axis=-1))
    return RowScores(
        np.where(valid, np.argmax(x.astype(np.float64), axis=-1), -1),
        np.where(valid, rank, -1),
        *(np.where(valid, figure, np.nan) for figure in figures),
    )


def exact_row(row: Array, target: int) -> tuple[mpmath.mpf, list[mpmath.mpf]]:
    """Return loss and gradient of one row and class index to 60 digits: what judges the oracle itself."""
    with mpmath.workdps(60):
        x = [mpmath.mpf(float(value)) for value in row]
        exponentials = [mpmath.exp(value - x[target]) for value in x]
        exponentials[target] = mpmath.mpf(0)
        rest = mpmath.fsum(exponentials)
        grad = [value / (1 + rest) for value in exponentials]
        grad[target] = -rest / (1 + rest)
        return mpmath.log1p(rest), grad
