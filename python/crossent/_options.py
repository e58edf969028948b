"""Options that are not arrays: reduction, label_smoothing, ignore_index and axis.

Each function returns what it was given in the one form that the rest of the package knows, or raises.
"""

import operator
from typing import Any, Literal, TypeAlias

import numpy as np

from . import _core

Reduction: TypeAlias = Literal["none", "mean", "sum"]


def as_reduction(reduction: Any) -> Reduction:
    """Return one of the three names; an unknown one is a ``ValueError``."""
    if isinstance(reduction, str) and reduction in ("mean", "sum", "none"):
        return reduction  # type: ignore[return-value]  # mypy doesn't narrow a str by membership
    raise ValueError(f"reduction must be 'none', 'mean' or 'sum', not {reduction!r}")


def as_label_smoothing(label_smoothing: Any) -> float:
    """Return a number from 0 to 1; anything outside, nan too, is a ``ValueError``."""
    if type(label_smoothing) is float and 0.0 <= label_smoothing <= 1.0:
        return label_smoothing
    if isinstance(label_smoothing, bool) or not isinstance(label_smoothing, (float, int, np.floating, np.integer)):
        raise TypeError(f"label_smoothing must be a number from 0 to 1, not {label_smoothing!r}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be from 0 to 1, not {label_smoothing!r}")
    return float(label_smoothing)


def as_temperature(temperature: Any, dtype: type[np.floating[Any]]) -> float:
    """Return a positive number, not denormal, as close to what was given as this dtype has one."""
    if isinstance(temperature, bool) or not isinstance(temperature, (float, int, np.floating, np.integer)):
        raise TypeError(f"temperature must be a positive number, not {temperature!r}")
    with np.errstate(over="ignore", under="ignore"):
        try:
            rounded = float(dtype(temperature))
        except OverflowError:  # an int beyond every float
            rounded = float("inf")
    if not float(np.finfo(dtype).tiny) <= rounded < float("inf"):  # the inverse of a smaller one may be inf
        raise ValueError(
            f"temperature must be positive and finite, as {dtype.__name__} from {np.finfo(dtype).tiny:.3g} on, "
            f"not {temperature!r}"
        )
    return rounded


def as_ignore_index(ignore_index: Any) -> int | None:
    """Return an ``int`` of any size, or None for "ignore nothing"."""
    if ignore_index is None or type(ignore_index) is int:
        return ignore_index
    return _as_int(ignore_index, "ignore_index", " or None")


def as_class_axis(axis: Any, shape: tuple[int, ...], logits: str = "logits") -> int:
    """Return the class axis of logits of this shape, counted from 0. None is PyTorch's: 1, or 0 for a single sample."""
    if not shape:
        raise ValueError(f"{logits} need a class axis, but they are a single number: their shape is ()")
    if axis is None:
        return 1 if len(shape) > 1 else 0
    return as_axis(axis, shape)


def as_axis(axis: Any, shape: tuple[int, ...]) -> int:
    """Return an axis of this shape, counted from 0."""
    index = as_axis_number(axis)
    if not -len(shape) <= index < len(shape):
        raise ValueError(f"axis {index} is out of range for shape {shape}, which has {len(shape)} axes")
    return index % len(shape)


def as_axes(axis: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return axes of this shape in ascending order, counted from 0; None means all of them.

    A single number has one element along any axis, so -1 and 0 are accepted and there is nothing to move.
    """
    if axis is None:
        return tuple(range(len(shape)))
    if not isinstance(axis, (tuple, list)):
        return () if not shape and as_axis_number(axis) in (0, -1) else (as_axis(axis, shape),)
    axes = sorted(as_axis(one, shape) for one in axis)
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis {tuple(axis)} names an axis twice")
    return tuple(axes)


def as_axis_number(axis: Any) -> int:
    """Return an ``int`` that some array may have as its axis."""
    return _as_int(axis, "axis", "")


def _as_int(value: Any, name: str, alternative: str) -> int:
    """Return an ``int``. A bool is one for Python, but never what a caller meant here."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be an integer{alternative}, not {value!r}")


def as_top_k(top_k: Any) -> tuple[int, ...]:
    """Return numbers of guesses in ascending order, 1 among them."""
    is_number = isinstance(top_k, np.ndarray) and top_k.ndim == 0
    if is_number or isinstance(top_k, (str, bytes, bytearray, memoryview)) or not hasattr(top_k, "__iter__"):
        raise TypeError(f"top_k must be a sequence of integers, not {top_k!r}")
    guesses = {1, *(_as_int(k, "an element of top_k", "") for k in top_k)}
    if min(guesses) < 1:
        raise ValueError(f"top_k must hold numbers from 1 on, not {min(guesses)}")
    return tuple(sorted(guesses))


def as_count(k: Any) -> int:
    """Return a number of rows, 0 or more."""
    return _as_int_from(0, k, "k")


def as_number_of_classes(classes: Any) -> int:
    """Return a number of classes, 0 or more."""
    return _as_int_from(0, classes, "classes")


def as_number_of_threads(n: Any) -> int:
    """Return a number of threads, 1 or more."""
    return _as_int_from(1, n, "the number of threads")


def _as_int_from(least: int, value: Any, name: str) -> int:
    count = _as_int(value, name, "")
    if count < least:
        raise ValueError(f"{name} must be {least} or more, not {count}")
    return count


def as_keepdims(keepdims: Any) -> bool:
    """Return a bool, for which NumPy takes 0 and 1 as well."""
    if isinstance(keepdims, (bool, np.bool_, int)):
        return bool(keepdims)
    raise TypeError(f"keepdims must be True or False, not {keepdims!r}")


def as_bins(bins: Any) -> int:
    """Return a number of bins, from 1 to 1000."""
    count = _as_int(bins, "bins", "")
    if not 1 <= count <= _core.most_bins:
        raise ValueError(f"bins must be 1 to {_core.most_bins}, not {count}")
    return count
