"""From what the user passed to what ``_core`` reads: the one place that converts arrays.

An array that needs no conversion takes the first lines of each function and no more; a conversion or an error
may take its time. The promises made to ``_core`` are those of ``_core.pyi``: native byte order, aligned (and so
strides that are multiples of the item size), classes last, bfloat16 seen as ``V2``.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _explain

#: Dtypes that the core computes with, apart from bfloat16, which is an extension type and goes by its name.
_VALUES = frozenset(map(np.dtype, (np.float16, np.float32, np.float64)))
#: Integer dtypes that the core reads in the binary losses.
_INTEGERS = frozenset(map(np.dtype, "bBhHiIlLqQ"))
_INT64 = np.dtype(np.int64)
_FLOAT64 = np.dtype(np.float64)
_FLOAT32 = np.dtype(np.float32)
_BOOL = np.dtype(np.bool_)
_INT64_LIMIT = 2**63


def as_array(x: Any, name: str, mask_advice: str = "") -> NDArray[Any]:
    """Return ``x`` as a plain ``ndarray``, without a copy where NumPy can do without.

    Subclasses become their base class. A masked array is refused: its mask would be lost without a word;
    ``mask_advice`` may tell what takes its place.
    """
    if type(x) is np.ndarray:
        return x
    if isinstance(x, np.ndarray) and isinstance(x, np.ma.MaskedArray):
        raise _explain.masked(name, mask_advice)
    try:
        return np.asarray(x)
    except ValueError as error:  # a ragged list
        raise ValueError(f"{name} can't be seen as an array: {error}") from error
    except (TypeError, RuntimeError, BufferError) as error:  # a tensor on another device, or with a gradient
        raise _explain.unconvertible(name, error) from error


def as_values(x: Any, name: str) -> NDArray[Any]:
    """Return float16, bfloat16, float32 or float64 as they are, anything else is a ``TypeError``.

    Only arrays that are byte-swapped or not aligned are copied.
    """
    if type(x) is np.ndarray and x.dtype in _VALUES and x.flags.aligned:
        return x
    array = as_array(x, name)
    if not _is_values(array.dtype):
        raise _explain.not_values(array, name)
    return _native(array)


def as_promoted_values(x: Any) -> NDArray[Any]:
    """Return the values of a softmax: like ``as_values``, but integers and bools become float64 as in NumPy."""
    array = as_array(x, "x", ", such as -np.inf")
    if kind(array.dtype) in "biu":
        array = _converted(array, _FLOAT64)
    elif not _is_values(array.dtype):
        raise _explain.not_values(array, "x", " (integers and bools become float64)")
    return as_values(array, "x")


def as_target(
    target: Any, shape: tuple[int, ...], axis: int, ignore_index: int | None, *, probabilities: bool = True
) -> tuple[NDArray[Any], int | None]:
    """Return the target of logits with this shape and class axis, and ``ignore_index``, both in the core's terms.

    Class indices become C-contiguous int64; class probabilities keep their dtype where the core knows it and
    have their classes moved last. An ``ignore_index`` that no int64 equals becomes None.
    """
    positions = shape[:axis] + shape[axis + 1 :]
    if type(target) is np.ndarray and target.dtype == _INT64 and target.shape == positions:
        array, letter = target, "i"
    else:
        array = as_array(target, "target", ", such as ignore_index for class indices")
        if array.size == 0 and isinstance(target, (list, tuple)):
            array = array.astype(_INT64)  # NumPy has to guess the dtype of []
        letter = kind(array.dtype)
    if letter in "iu" and array.shape == positions:
        return _as_class_indices(array, shape[axis], ignore_index)
    if letter == "f" and array.shape == shape and probabilities:
        if ignore_index is not None and ignore_index >= 0:
            raise _explain.ignored_probabilities(ignore_index)
        array = _native(array) if _is_values(array.dtype) else _converted(array, _FLOAT64)
        return axes_last(array, axis), None
    raise _explain.unfit_target(array, letter, shape, axis, probabilities)


def _as_class_indices(
    target: NDArray[Any], classes: int, ignore_index: int | None
) -> tuple[NDArray[np.int64], int | None]:
    """Return the same indices as C-contiguous int64, where uint64 must not wrap around."""
    if target.dtype == _INT64 and target.flags.c_contiguous and target.flags.aligned:
        indices = target
    else:
        indices = np.require(target, _INT64, ["C", "A"])
        if kind(target.dtype) == "u" and (wrapped := indices < 0).any():
            check_class_indices(target, classes, ignore_index)
            indices[wrapped] = -1  # all of them equal ignore_index, and no other index is negative
            return indices, -1
    if ignore_index is not None and not -_INT64_LIMIT <= ignore_index < _INT64_LIMIT:
        ignore_index = None
    return indices, ignore_index


def check_class_indices(target: NDArray[Any], classes: int, ignore_index: int | None) -> None:
    """Raise the core's own ``IndexError`` for the first index that is neither a class nor ignored."""
    bad = (target < 0) | (target >= classes)
    if ignore_index is not None:
        bad &= target != ignore_index
    if bad.any():
        position = np.unravel_index(bad.argmax(), bad.shape)
        raise _explain.bad_class_index(tuple(map(int, position)), int(target[position]), classes, ignore_index)


def as_elementwise(x: Any, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Return real numbers broadcast to the shape of a binary loss's logits, in their own dtype if the core reads it."""
    array = _as_real(x, name)
    _broadcast(array, shape, name)
    if array.dtype.newbyteorder("=") in _INTEGERS or array.dtype == np.bool_ or _is_values(array.dtype):
        array = _native(array)
    else:
        array = _converted(array, _FLOAT64)
    return _broadcast(array, shape, name)


def as_weight(weight: Any, classes: int | None = None) -> NDArray[np.float64]:
    """Return one float64 weight for each class, contiguous. Without ``classes``, any number of them."""
    array = _as_real(weight, "weight")
    if array.ndim != 1 or (classes is not None and array.shape[0] != classes):
        raise _explain.unfit_weight(array, classes)
    return _as_float64(array, "C", "A")


def as_sample_weight(weight: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return one float64 weight for each sample, contiguous."""
    array = _as_real(weight, "sample_weight")
    if array.shape != shape:
        raise ValueError(f"sample_weight must have the losses' shape {shape}, but its shape is {array.shape}")
    return _as_float64(array, "C", "A")


def score_columns(scores: Any, weight: NDArray[np.float64] | None) -> tuple[NDArray[Any] | None, ...]:
    """Return the figures of ``Scores`` as the core adds them up: of one axis, contiguous, None where there are none."""
    size = scores.loss.size

    def column(name: str, array: NDArray[Any], *dtypes: np.dtype[Any]) -> NDArray[Any]:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} of these scores must be a NumPy array, not {type(array).__name__}")
        if array.size != size:
            raise ValueError(f"these scores have {size} losses, but {array.size} elements of {name}")
        return np.require(array, None if array.dtype in dtypes else dtypes[0], ["C", "A"]).ravel()

    def figure(name: str) -> NDArray[Any]:
        return column(name, getattr(scores, name), _FLOAT64, _FLOAT32)

    def number(name: str) -> NDArray[Any] | None:
        array = getattr(scores, name)
        return None if array is None else column(name, array, _INT64)

    further = "divergence" if scores.rank is None else "sum_of_squares"
    return (
        column("valid", scores.valid, _BOOL),
        None if weight is None else weight.ravel(),
        *map(figure, ("loss", "entropy", "confidence", further)),
        *map(number, ("predicted", "target", "rank")),
    )


def as_grad_output(grad_output: Any, shape: tuple[int, ...]) -> float | NDArray[np.float64]:
    """Return a number, or one number for each position if the loss has this shape."""
    if type(grad_output) is float:
        return grad_output
    array = _as_real(grad_output, "grad_output")
    if array.ndim and array.shape != shape:
        raise _explain.unfit_grad_output(array, shape)
    return _as_float64(array, "A") if array.ndim else float(array)


def _as_real(x: Any, name: str) -> NDArray[Any]:
    """Return real numbers of any dtype. Their shape is checked before a conversion, which takes memory."""
    array = as_array(x, name)
    if kind(array.dtype) not in "biuf":
        raise _explain.not_real(array, name)
    return array


def _as_float64(array: NDArray[Any], *requirements: Literal["A", "C"]) -> NDArray[np.float64]:
    """Return the array as float64 that is aligned (A) and, if required, C-contiguous (C)."""
    if array.dtype == _FLOAT64 and array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array, _FLOAT64, requirements)


def _broadcast(array: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Return a view of this shape."""
    if array.shape == shape:
        return array
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{name} of shape {array.shape} doesn't broadcast to the shape {shape}") from None


def axes_last(array: NDArray[Any], *axes: int) -> NDArray[Any]:
    """Return a view with these axes, counted from 0, moved behind the others."""
    if axes == (array.ndim - 1,):
        return array  # the common case, without the price of a view
    moved: NDArray[Any] = array.transpose(*[axis for axis in range(array.ndim) if axis not in axes], *axes)
    return moved


def core_view(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array as the core takes it: bfloat16 as two opaque bytes."""
    return array.view("V2") if array.dtype.kind == "V" else array


def kind(dtype: np.dtype[Any]) -> str:
    """Return NumPy's letter for the kind: b(ool), i(nteger), u(nsigned), f(loat), and others.

    Extension types such as bfloat16 are void ("V") to NumPy and go by their name.
    """
    if dtype.kind != "V" or dtype.type is np.void:
        return dtype.kind
    families = {"bfloat": "f", "float": "f", "int": "i", "uint": "u"}
    return next((letter for family, letter in families.items() if dtype.name.startswith(family)), "V")


def _is_values(dtype: np.dtype[Any]) -> bool:
    """Whether the core computes with this dtype, once it is native."""
    return (dtype.kind == "f" and dtype.newbyteorder("=") in _VALUES) or dtype.name == "bfloat16"


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in native byte order and aligned, copied if need be with its memory layout kept."""
    if array.dtype.isnative and array.flags.aligned:
        return array
    return _converted(array, array.dtype.newbyteorder("="))


def _converted(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a copy with this dtype. What is the same along an axis, in the memory of one, stays so."""
    if 0 not in array.strides or array.size == 0:
        return array.astype(dtype)
    one = tuple(slice(None) if stride else slice(1) for stride in array.strides)
    return np.broadcast_to(array[one].astype(dtype), array.shape)
