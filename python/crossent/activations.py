"""softmax, log_softmax and logsumexp over one axis, several, or all."""

from __future__ import annotations  # help() shows them as they are written

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, _core, _options, _outputs


def softmax(x: ArrayLike, axis: int | Sequence[int] | None = -1, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Softmax: ``exp(x) / sum(exp(x))``, without overflow.

    Parameters
    ----------
    x : array_like
        float16, bfloat16, float32 or float64 of any shape and strides. Integers and bools are converted to float64.
    axis : int, tuple of int, or None
        The axes whose elements sum to 1; None means all. Several axes are computed in a copy where no view has them as
        one.
    out : ndarray, optional
        Where the result is written: ``x`` itself, or an array that shares no memory with it, of the
        shape and dtype of ``x`` (or float32 if that is float16 or bfloat16). Writable, aligned, in
        native byte order, without two elements that share memory.

    Returns
    -------
    ndarray
        ``out`` if it is given, otherwise a new array of the shape and dtype of ``x`` (a NumPy scalar if
        that has no axes). A half precision is computed as float32 and rounded once.

    Raises
    ------
    ValueError
        An axis is out of range or named twice, or ``out`` doesn't fit.
    TypeError
        The dtype of ``x`` or ``out`` is another one.

    Examples
    --------
    >>> import crossent
    >>> crossent.softmax([[0.0, 0.0], [0.0, float("-inf")]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    return _normalise(x, axis, out, False)


def log_softmax(
    x: ArrayLike, axis: int | Sequence[int] | None = -1, *, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Logarithm of the softmax: ``x - logsumexp(x)``, without overflow and where the softmax underflows.

    Parameters
    ----------
    x, axis, out
        As for ``softmax``.

    Returns
    -------
    ndarray
        As from ``softmax``.

    Raises
    ------
    ValueError, TypeError
        As ``softmax``.

    Examples
    --------
    >>> import crossent
    >>> crossent.log_softmax([0.0, -1000.0])
    array([    0., -1000.])
    """
    return _normalise(x, axis, out, True)


def logsumexp(x: ArrayLike, axis: int | Sequence[int] | None = -1, *, keepdims: bool = False) -> NDArray[Any]:
    """``log(sum(exp(x)))``, without overflow and with all its digits where one element outweighs the others [1]_.

    Parameters
    ----------
    x, axis
        As for ``softmax``.
    keepdims : bool
        Keep the reduced axes, with length 1.

    Returns
    -------
    ndarray
        The dtype of ``x``, without the reduced axes (a NumPy scalar if none is left). The sum of nothing is 0,
        and so its logarithm -inf.

    Raises
    ------
    ValueError, TypeError
        As ``softmax``.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax
       functions", IMA Journal of Numerical Analysis 41, 2021.

    Examples
    --------
    >>> import crossent
    >>> crossent.logsumexp([[0.0, 0.0], [1000.0, 1000.0]]) - [0.0, 1000.0]  # log 2, twice
    array([0.69314718, 0.69314718])
    """
    values = _arrays.as_promoted_values(x)
    axes, keeps = _options.as_axes(axis, values.shape), _options.as_keepdims(keepdims)
    rows = _merged(values, axes)
    result = _outputs.empty_losses(values, rows.shape[:-1])
    if rows.shape[-1]:
        _core.logsumexp(_arrays.core_view(rows), result)
    else:
        result.fill(-np.inf)
    with np.errstate(over="ignore"):
        result = result.astype(values.dtype, copy=False)  # a half precision is rounded here, once
    if keeps:
        result = result.reshape([1 if number in axes else extent for number, extent in enumerate(values.shape)])
    return _outputs.result_or_scalar(result)


def _normalise(
    x: ArrayLike, axis: int | Sequence[int] | None, out: NDArray[Any] | None, logarithm: bool
) -> NDArray[Any]:
    """Compute softmax or log_softmax: they differ in the core alone."""
    values = _arrays.as_promoted_values(x)
    axes = _options.as_axes(axis, values.shape)
    result = _outputs.empty_like(values) if out is None else _outputs.checked_out(out, values)
    rows, result_rows = _merged(values, axes), _merged(result, axes)
    _core.softmax(_arrays.core_view(rows), _arrays.core_view(result_rows), logarithm)
    if len(axes) > 1 and not np.may_share_memory(result_rows, result):  # no view has these axes as one
        moved = _arrays.axes_last(result, *axes)
        moved[...] = result_rows.reshape(moved.shape)
    return _outputs.result_or_scalar(result) if out is None else out


def _merged(array: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """Return the array with these axes moved last and merged into one: a view where the strides allow it."""
    moved = _arrays.axes_last(array, *axes)
    if len(axes) == 1:
        return moved
    kept = moved.shape[: array.ndim - len(axes)]
    return moved.reshape(*kept, math.prod(moved.shape[len(kept) :]))
