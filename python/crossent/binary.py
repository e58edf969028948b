"""Binary cross-entropy: each element is a problem of its own, with the target as the probability of "yes"."""

from __future__ import annotations  # help() shows them as they are written

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, _core, _explain, _options, _outputs
from ._options import Reduction
from .losses import Losses

#: Elements looked at together when a bad probability is searched for; bounds the memory that takes.
_SEARCH_BLOCK = 65536


@overload
def binary_cross_entropy(
    probabilities: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> float: ...
@overload
def binary_cross_entropy(
    probabilities: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, *, reduction: Literal["none"]
) -> Losses: ...
@overload
def binary_cross_entropy(
    probabilities: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None, *, reduction: Reduction
) -> float | Losses: ...
def binary_cross_entropy(
    probabilities: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    reduction: Reduction = "mean",
) -> float | Losses:
    """Binary cross-entropy of probabilities: ``-(y * log(p) + (1 - y) * log(1 - p))`` for each element.

    Both logarithms are at least -100, as in ``torch.nn.functional.binary_cross_entropy``, so that a wrong certainty
    costs 100 instead of infinity.

    Parameters
    ----------
    probabilities : array_like of float16, bfloat16, float32 or float64, any shape
        From 0 to 1; nan makes a loss of nan.
    target : array_like of any real dtype or bool, broadcast to that shape
        The true probabilities, or 0 and 1. Not checked: values outside [0, 1] extrapolate.
    weight : array_like of any real dtype, broadcast to that shape, optional
        Multiplies the losses.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the number of elements, and is nan if there are none.

    Returns
    -------
    float or ndarray
        A Python float for "mean" and "sum". For "none" the losses, of the shape of ``probabilities`` (a NumPy scalar
        for a single number): float64 for float64, float32 otherwise.

    Raises
    ------
    ValueError
        A probability is outside [0, 1] (the first one is named), a shape doesn't fit, or the reduction is
        unknown.
    TypeError
        A dtype is wrong.

    See Also
    --------
    binary_cross_entropy_with_logits : accurate also for certain predictions.

    Examples
    --------
    >>> import crossent
    >>> round(crossent.binary_cross_entropy([0.5, 0.75], [1, 0]), 4)  # (log 2 + log 4) / 2
    1.0397
    """
    p = _arrays.as_values(probabilities, "probabilities")
    return _evaluate(p, target, weight, None, reduction, from_logits=False)[0]


@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> float: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Literal["none"],
) -> Losses: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Reduction,
) -> float | Losses: ...
def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> float | Losses:
    """Binary cross-entropy of logits, as ``torch.nn.functional.binary_cross_entropy_with_logits`` defines it.

    An element's loss is ``pos_weight * y * softplus(-x) + (1 - y) * softplus(x)`` with
    ``softplus(x) = log(1 + exp(x))``, the logarithms of the sigmoid of ``x`` and of ``-x``.

    Parameters
    ----------
    logits : array_like of float16, bfloat16, float32 or float64, any shape
        The logarithm of the odds.
    target, weight, reduction
        As for ``binary_cross_entropy``.
    pos_weight : array_like of any real dtype, broadcast to the logits' shape, optional
        Multiplies the loss of the positive part, for instance with one number for each label.

    Returns
    -------
    float or ndarray
        As from ``binary_cross_entropy``.

    Raises
    ------
    ValueError, TypeError
        As ``binary_cross_entropy``.

    Examples
    --------
    >>> import crossent
    >>> round(crossent.binary_cross_entropy_with_logits([0.0, 2.0], [1, 1]), 4)
    0.41
    """
    x = _arrays.as_values(logits, "logits")
    return _evaluate(x, target, weight, pos_weight, reduction, from_logits=True)[0]


@overload
def binary_cross_entropy_with_logits_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[float, NDArray[Any]]: ...
@overload
def binary_cross_entropy_with_logits_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Literal["none"],
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[Losses, NDArray[Any]]: ...
@overload
def binary_cross_entropy_with_logits_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Reduction,
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[float | Losses, NDArray[Any]]: ...
def binary_cross_entropy_with_logits_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[float | Losses, NDArray[Any]]:
    """Binary cross-entropy of logits and its gradient with respect to them, in one pass.

    Parameters
    ----------
    logits, target, weight, pos_weight, reduction
        As for ``binary_cross_entropy_with_logits``.
    grad_output : float, or array_like of any real dtype with the logits' shape, optional
        What the gradient is multiplied by: a number for "mean" and "sum", one number for each element for "none".
        By default 1.
    out : ndarray, optional
        As for ``cross_entropy_with_grad``.

    Returns
    -------
    loss : float or ndarray
        As from ``binary_cross_entropy_with_logits``.
    grad : ndarray, the shape of the logits
        ``out`` if it is given, otherwise a new array of the logits' dtype and memory layout.

    Raises
    ------
    ValueError, TypeError
        As ``binary_cross_entropy``, and for a wrong ``grad_output`` or ``out``; before anything is written.

    Examples
    --------
    >>> import crossent
    >>> loss, grad = crossent.binary_cross_entropy_with_logits_with_grad([0.0, 2.0], [1, 1])
    >>> grad.round(4)  # (sigmoid(x) - y) / 2
    array([-0.25  , -0.0596])
    """
    x = _arrays.as_values(logits, "logits")
    loss, grad = _evaluate(
        x, target, weight, pos_weight, reduction, from_logits=True, with_grad=True, grad_output=grad_output, out=out
    )
    return loss, grad if out is None else out  # type: ignore[return-value]  # there is a gradient


def _evaluate(
    x: NDArray[Any],
    target: ArrayLike,
    weight: ArrayLike | None,
    pos_weight: ArrayLike | None,
    reduction: Reduction,
    *,
    from_logits: bool,
    with_grad: bool = False,
    grad_output: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[float | Losses, NDArray[Any] | None]:
    """Check, convert, call the core once: what the functions above have in common."""
    t = _arrays.as_elementwise(target, x.shape, "target")
    w = None if weight is None else _arrays.as_elementwise(weight, x.shape, "weight")
    pos = None if pos_weight is None else _arrays.as_elementwise(pos_weight, x.shape, "pos_weight")
    reduction = _options.as_reduction(reduction)
    if not from_logits:  # a pass over all of them: after what is seen at once
        _check_probabilities(x)

    scale: float | NDArray[np.float64] = 1.0
    grad = None
    if with_grad:
        if grad_output is not None:
            scale = _arrays.as_grad_output(grad_output, x.shape if reduction == "none" else ())
        if out is None:
            grad = _outputs.empty_like(x)
        else:
            inputs = {"target": target, "weight": weight, "pos_weight": pos_weight, "grad_output": grad_output}
            grad = _outputs.checked_out(out, x, **inputs)

    losses = _outputs.empty_losses(x, x.shape) if reduction == "none" else None
    loss = _core.binary_cross_entropy(
        _arrays.core_view(x),
        _arrays.core_view(t),
        w,
        pos,
        from_logits,
        reduction == "mean",
        scale,
        losses,
        None if grad is None else _arrays.core_view(grad),
    )
    return loss if losses is None else _outputs.result_or_scalar(losses), grad


def _check_probabilities(p: NDArray[Any]) -> None:
    """Raise for the first element outside [0, 1]. nan passes, and makes a loss of nan."""
    with np.errstate(invalid="ignore"):  # comparisons with nan; as a decorator it would be all threads' one, in NumPy 1
        if np.fmin.reduce(p, axis=None, initial=0) >= 0 and np.fmax.reduce(p, axis=None, initial=1) <= 1:
            return
        for start in range(0, p.size, _SEARCH_BLOCK):
            block = p.flat[start : start + _SEARCH_BLOCK]
            bad = (block < 0) | (block > 1)
            if bad.any():
                first = int(bad.argmax())
                position = tuple(map(int, np.unravel_index(start + first, p.shape)))
                raise _explain.not_probability(position, float(block[first]))
