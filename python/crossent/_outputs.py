"""Arrays that ``_core`` writes into: fresh ones, and the rules for a user's ``out=``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _arrays, _core

#: Bound of the search for a shared element; views made by slicing need a few steps only.
_OVERLAP_WORK_LIMIT = 100_000


def empty_losses(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return room for one result each: float64 for float64 values, float32 otherwise."""
    return np.empty(shape, np.float64 if values.dtype == np.float64 else np.float32)


def empty_like(values: NDArray[Any]) -> NDArray[Any]:
    """Return room for as many values in the same order of axes in memory, so that both are read and written alike.

    A broadcast array, which has strides of 0, has no order of axes; its twin is C-ordered. A large array gets memory
    that the core keeps when the array is gone, for the next one: see ``release_memory``.
    """
    if _core.kept_memory_smallest <= values.nbytes <= _core.kept_memory_limit:
        memory = _core.kept_bytes(values.nbytes)
        kept: NDArray[Any] = np.ndarray(values.shape, values.dtype, memory, strides=_packed_strides(values))
        return kept
    return np.empty(values.shape, values.dtype) if 0 in values.strides else np.empty_like(values)


def _packed_strides(values: NDArray[Any]) -> tuple[int, ...]:
    """Return the strides of an array without gaps whose axes lie in memory in the order of those of ``values``."""
    axes = range(values.ndim)
    order = axes if 0 in values.strides else sorted(axes, key=lambda axis: -abs(values.strides[axis]))
    strides, step = [0] * values.ndim, values.itemsize
    for axis in reversed(order):
        strides[axis] = step
        step *= values.shape[axis]
    return tuple(strides)


def result_or_scalar(result: NDArray[Any]) -> NDArray[Any]:
    """Return the array, or the NumPy scalar in an array without axes, as NumPy's own functions do."""
    scalar: NDArray[Any] = result[()]
    return result if result.ndim else scalar


def checked_out(out: Any, values: NDArray[Any], **inputs: Any) -> NDArray[Any]:
    """Return the user's ``out`` as a plain array if the core may write the result for ``values`` into it.

    It must have the shape of ``values`` and their dtype, or float32 if that is a half precision; be writable,
    aligned and in native byte order; have no element twice; and be ``values`` itself or share no memory with
    it or with the other inputs, as the user passed them: that one was converted makes no difference.
    """
    if not isinstance(out, np.ndarray) or (type(out) is not np.ndarray and isinstance(out, np.ma.MaskedArray)):
        raise TypeError(f"out must be a NumPy array without a mask, not {type(out).__name__}")
    array: NDArray[Any] = np.asarray(out)
    if array.shape != values.shape:
        raise ValueError(f"out must have shape {values.shape}, but its shape is {array.shape}")
    if array.dtype != values.dtype and not (values.itemsize == 2 and array.dtype == np.float32):
        alternative = " or float32" if values.itemsize == 2 else ""
        raise TypeError(f"out must be {values.dtype}{alternative} in native byte order, not {array.dtype}")
    if not array.flags.writeable:
        raise ValueError("out is read-only")
    if not array.flags.aligned:
        raise ValueError("out is not aligned: its address or strides aren't multiples of the item size")
    if _overlaps_itself(array):
        raise ValueError(f"out has elements that share memory: its shape is {array.shape}, its strides {array.strides}")
    if array is not values and _overlap(array, values) and not _same_elements(array, values):
        raise ValueError(
            "out overlaps the input without being the same array: pass the input itself or separate memory"
        )
    for name, other in inputs.items():
        if not isinstance(other, (type(None), float)) and _overlap(array, _arrays.as_array(other, name)):
            raise ValueError(f"out shares memory with {name}")
    return array


def _overlaps_itself(array: NDArray[Any]) -> bool:
    """Whether two elements may share memory.

    None do if each stride steps over everything that the smaller ones span. That holds for all that slicing,
    transposing and ``diagonal`` make of an ordinary array; what fails it may only come from ``broadcast_to`` and
    ``as_strided``.
    """
    if array.flags.c_contiguous or array.size == 0:
        return False
    span = array.itemsize
    for stride, extent in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < span:
            return True
        span += stride * (extent - 1)
    return False


def _overlap(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether the arrays share an element, or it would take too long to find out."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=_OVERLAP_WORK_LIMIT)  # type: ignore[arg-type]  # any int is allowed
    except np.exceptions.TooHardError:
        return True


def _same_elements(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays of one shape have each element in the same place."""
    if a.dtype != b.dtype or a.__array_interface__["data"] != b.__array_interface__["data"]:
        return False
    return all(s == t for s, t, extent in zip(a.strides, b.strides, a.shape, strict=True) if extent > 1)
