"""Cross-entropy with its gradient, and the negative log-likelihood of given log-probabilities."""

from __future__ import annotations  # help() shows them as they are written

from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, _core, _explain, _options, _outputs
from ._options import Reduction

#: Positions of nll_loss that are looked at together.
_BLOCK = 65536
#: The object that the literal "mean" is everywhere: a test of identity is enough for a short cut.
_MEAN: Reduction = "mean"
#: Looked up once: a call of half a microsecond notices.
_plain_cross_entropy, _plain_cross_entropy_with_grad = (
    _core.plain_cross_entropy,
    _core.plain_cross_entropy_with_grad,
)

#: One loss for each sample, float32 or float64; a NumPy scalar for a single sample.
Losses: TypeAlias = NDArray[np.floating[Any]]


@overload
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Literal["mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
) -> float: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Literal["none"],
    label_smoothing: float = 0.0,
    axis: int | None = None,
) -> Losses: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Reduction,
    label_smoothing: float = 0.0,
    axis: int | None = None,
) -> float | Losses: ...
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
) -> float | Losses:
    r"""Cross-entropy between logits and target, as ``torch.nn.functional.cross_entropy`` defines it.

    With ``lse = log(sum(exp(x)))`` over the classes of a sample, its loss is

    .. math:: \sum_c t_c \, (\mathrm{lse} - x_c)

    where ``t`` is the target, smoothed and weighted: ``t_c = w_c * ((1 - s) * p_c + s / C)`` with the label
    smoothing ``s``, ``C`` classes, and ``p`` the class probabilities, or 1 for the class that an index names and
    0 for the others.

    Parameters
    ----------
    logits : array_like of float16, bfloat16, float32 or float64, shape (C,), (N, C) or (N, C, d1, d2, …)
        Unnormalised scores. ``axis`` says where the classes are. Any strides; never copied unless the
        array is byte-swapped or not aligned.
    target : array_like, integer, the shape of ``logits`` without the class axis
        Class indices of any integer dtype, from 0 to C - 1, or ``ignore_index``.
        Or class probabilities: array_like of any floating dtype, the shape of ``logits``.
    weight : array_like of any real dtype, shape (C,), optional
        A weight for each class. Taken as they are: a negative one counts, nan and infinity spread.
    ignore_index : int or None
        Samples with this target contribute nothing to the loss and its gradient. It needn't be a class.
        None ignores nothing. Not for class probabilities.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the total weight of the targets that aren't ignored (with class
        probabilities: by the number of samples), and is nan if that is 0.
    label_smoothing : float from 0 to 1
        The share of the target that is spread evenly over all classes [1]_.
    axis : int, optional
        The class axis. By default 1, or 0 for a single sample of shape (C,).

    Returns
    -------
    float or ndarray
        A Python float for "mean" and "sum". For "none" the losses, of the target's shape (a NumPy scalar for a
        single sample): float64 for float64 logits, float32 otherwise.

    Raises
    ------
    IndexError
        A class index is out of range; the first one is named.
    ValueError
        A shape, an axis, the reduction or the label smoothing is wrong.
    TypeError
        A dtype is wrong: integer logits, class indices in floating point, class probabilities in integers.

    See Also
    --------
    cross_entropy_with_grad : the same loss with its gradient.

    Notes
    -----
    An ignored sample, and one whose weighted target is 0 for every class, has a loss of exactly 0 whatever its logits
    are; and ``0 * inf`` is 0, so a class masked with a logit of -inf may have probability or weight 0.

    References
    ----------
    .. [1] C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016.

    Examples
    --------
    >>> import crossent
    >>> logits = [[0.2228, 0.2523, 0.9712, 0.7887, 0.2820],
    ...           [0.7778, 0.4144, 0.8693, 0.1355, 0.3706],
    ...           [0.0823, 0.5392, 0.0542, 0.0153, 0.8475]]
    >>> round(crossent.cross_entropy(logits, [2, 0, 4]), 4)
    1.234
    >>> crossent.cross_entropy(logits, [2, 0, 4], reduction="none").round(4).tolist()
    [1.1926, 1.382, 1.1273]
    """
    if weight is axis is None and reduction is _MEAN and type(label_smoothing) is float and not label_smoothing:
        loss = _plain_cross_entropy(logits, target, ignore_index)
        if loss is not None:
            return loss
    return _evaluate(logits, target, weight, ignore_index, reduction, label_smoothing, axis)[0]


@overload
def cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Literal["mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[float, NDArray[Any]]: ...
@overload
def cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Literal["none"],
    label_smoothing: float = 0.0,
    axis: int | None = None,
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[Losses, NDArray[Any]]: ...
@overload
def cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Reduction,
    label_smoothing: float = 0.0,
    axis: int | None = None,
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[float | Losses, NDArray[Any]]: ...
def cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[float | Losses, NDArray[Any]]:
    """Cross-entropy and its gradient with respect to the logits, in one pass.

    The loss has the bits of ``cross_entropy``, whose parameters have the same meaning here.

    Parameters
    ----------
    logits, target, weight, ignore_index, reduction, label_smoothing, axis
        As for ``cross_entropy``.
    grad_output : float, or array_like of any real dtype with the target's shape (without the classes), optional
        What the gradient is multiplied by: a number for "mean" and "sum", one number for each sample for
        "none", where it is as good as a weight for each sample. By default 1.
    out : ndarray, optional
        Where the gradient is written: the logits themselves (they are overwritten), or an array that shares no
        memory with any argument. It has the shape of the logits and their dtype (float32 is welcome for
        float16 and bfloat16, where a mean over many samples would vanish). Any strides, as long as no
        two elements share memory; writable, aligned, in native byte order.

    Returns
    -------
    loss : float or ndarray
        As from ``cross_entropy``.
    grad : ndarray, the shape of the logits
        ``out`` if it is given, otherwise a new array of the logits' dtype and memory layout.

    Raises
    ------
    IndexError, ValueError, TypeError
        As ``cross_entropy``, and for a wrong ``grad_output`` or ``out``; before anything is written.

    Examples
    --------
    >>> import crossent
    >>> logits = [[0.8671, 0.0189, 0.0042, 0.1619, 0.9805],
    ...           [0.1054, 0.1519, 0.6359, 0.6112, 0.9417],
    ...           [0.9968, 0.3285, 0.9185, 0.0315, 0.9592]]
    >>> loss, grad = crossent.cross_entropy_with_grad(logits, [1, 0, 4])
    >>> round(loss, 4)
    1.8338
    >>> grad.round(4)
    array([[ 0.0962, -0.2921,  0.0406,  0.0475,  0.1078],
           [-0.2901,  0.0453,  0.0735,  0.0717,  0.0997],
           [ 0.0882,  0.0452,  0.0815,  0.0336, -0.2484]])
    """
    if (
        weight is axis is grad_output is None
        and reduction is _MEAN
        and type(label_smoothing) is float
        and not label_smoothing
    ):
        both = _plain_cross_entropy_with_grad(logits, target, ignore_index, out)
        if both is not None:
            return both
    # `out` is returned as it was given, also where it is a subclass such as np.memmap
    loss, grad = _evaluate(
        logits, target, weight, ignore_index, reduction, label_smoothing, axis, True, grad_output, out
    )
    return loss, grad if out is None else out  # type: ignore[return-value]  # there is a gradient


def _evaluate(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    ignore_index: int | None,
    reduction: Reduction,
    label_smoothing: float,
    axis: int | None,
    with_grad: bool = False,
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[float | Losses, NDArray[Any] | None]:
    """Check, convert, call the core once: what both functions above do."""
    x = _arrays.as_values(logits, "logits")
    rows, class_axis = _classes_last(x, axis)
    positions, classes = rows.shape[:-1], rows.shape[-1]
    t, ignored = _arrays.as_target(target, x.shape, class_axis, _options.as_ignore_index(ignore_index))
    w = None if weight is None else _arrays.as_weight(weight, classes)
    reduction = _options.as_reduction(reduction)
    smoothing = _options.as_label_smoothing(label_smoothing)

    scale: float | NDArray[np.float64] = 1.0
    grad = grad_rows = None
    if with_grad:
        if grad_output is not None:
            scale = _arrays.as_grad_output(grad_output, positions if reduction == "none" else ())
        if out is None:
            grad = _outputs.empty_like(x)
        else:
            grad = _outputs.checked_out(out, x, target=target, weight=weight, grad_output=grad_output)
        grad_rows = _arrays.core_view(_arrays.axes_last(grad, class_axis))

    losses = _outputs.empty_losses(x, positions) if reduction == "none" else None
    loss = _core.cross_entropy(
        _arrays.core_view(rows), _arrays.core_view(t), w, ignored, smoothing, reduction, scale, losses, grad_rows
    )
    return loss if losses is None else _outputs.result_or_scalar(losses), grad


def _classes_last(x: NDArray[Any], axis: int | None, name: str = "logits") -> tuple[NDArray[Any], int]:
    """Return a view with the classes last, and where they were."""
    class_axis = _options.as_class_axis(axis, x.shape, name)
    rows = _arrays.axes_last(x, class_axis)
    if rows.shape[-1] == 0 and 0 not in rows.shape[:-1]:
        raise _explain.no_classes(x.shape, class_axis, name)
    return rows, class_axis


@overload
def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Literal["mean", "sum"] = "mean",
    axis: int | None = None,
) -> float: ...
@overload
def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Literal["none"],
    axis: int | None = None,
) -> Losses: ...
@overload
def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Reduction,
    axis: int | None = None,
) -> float | Losses: ...
def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    ignore_index: int | None = -100,
    reduction: Reduction = "mean",
    axis: int | None = None,
) -> float | Losses:
    """Negative log-likelihood, as ``torch.nn.functional.nll_loss`` defines it.

    The loss of a sample is ``-weight[y] * log_probs[y]`` for its target ``y``. From logits ``cross_entropy`` gives the
    same in one pass, and more accurately.

    Parameters
    ----------
    log_probs : array_like of float16, bfloat16, float32 or float64, shape (C,), (N, C) or (N, C, d1, d2, …)
        Log-probabilities, as from ``log_softmax``.
    target, weight, ignore_index, reduction, axis
        As for ``cross_entropy``; the target holds class indices.

    Returns
    -------
    float or ndarray
        As from ``cross_entropy``. Sums are in float64.

    Raises
    ------
    IndexError, ValueError, TypeError
        As ``cross_entropy``.

    Notes
    -----
    A weight of 0 makes a loss of 0, also where the log-probability is -inf.

    Examples
    --------
    >>> import numpy as np, crossent
    >>> log_probs = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    >>> round(crossent.nll_loss(log_probs, [0, 1]), 4)  # (log 2 + log 1.25) / 2
    0.4581
    """
    x = _arrays.as_values(log_probs, "log_probs")
    rows, class_axis = _classes_last(x, axis, "log_probs")
    classes = rows.shape[-1]
    t, ignored = _arrays.as_target(
        target, x.shape, class_axis, _options.as_ignore_index(ignore_index), probabilities=False
    )
    w = None if weight is None else _arrays.as_weight(weight, classes)
    reduction = _options.as_reduction(reduction)
    _arrays.check_class_indices(t, classes, ignored)

    losses = _outputs.empty_losses(x, t.shape) if reduction == "none" else None
    total, denominator = _sum_nll(rows, t, w, ignored, losses)
    if losses is not None:
        return _outputs.result_or_scalar(losses)
    if reduction == "sum":
        return total
    return total / denominator if denominator != 0.0 else float("nan")


def _sum_nll(
    rows: NDArray[Any],
    target: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    ignore_index: int | None,
    losses: NDArray[Any] | None,
) -> tuple[float, float]:
    """Return the sum of the losses and that of their weights; the losses too where there is room for them.

    A block of positions at a time, which bounds the memory taken.
    """
    positions = target.shape or (1,)
    rows, y = rows.reshape(1, -1) if not target.shape else rows, target.reshape(-1)
    total = denominator = 0.0
    for start in range(0, y.size, _BLOCK):
        label = y[start : start + _BLOCK]
        valid = np.ones(label.shape, np.bool_) if ignore_index is None else label != ignore_index
        index = np.where(valid, label, 0)
        weights = valid.astype(np.float64) if weight is None else np.where(valid, weight[index], 0.0)
        place = (*np.unravel_index(np.arange(start, start + label.size), positions), index)
        picked = rows[place].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # 0 * inf, which isn't used; float64 beyond float32's range
            some = np.where(weights == 0.0, 0.0, -weights * picked)
            if losses is not None:
                losses.reshape(-1)[start : start + label.size] = some
            total += float(some.sum())
        denominator += float(weights.sum())
    return total, denominator
