"""What the tests run over: dtypes with their one table of tolerances, class counts, layouts; and how they compare."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, get_args

import ml_dtypes
import numpy as np
import reference
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]

REDUCTIONS: tuple[reference.Reduction, ...] = get_args(reference.Reduction)


class Tolerance(NamedTuple):
    """Errors in units in the last place of ``result`` for losses, of ``dtype`` for gradients and activations."""

    dtype: np.dtype[Any]  # of the logits and of their gradient
    result: np.dtype[Any]  # of per-sample losses, and what the loss is computed to
    loss: float  # of class indices without smoothing
    soft_loss: float  # with smoothing or class probabilities: a sum over the classes
    grad: float
    activation: float


# Half logits are computed as float32 and the gradient is rounded once: half a unit, and float32's own error.
DTYPES: dict[str, Tolerance] = {
    "float32": Tolerance(np.dtype(np.float32), np.dtype(np.float32), 2, 4, grad=4, activation=4),
    "float64": Tolerance(np.dtype(np.float64), np.dtype(np.float64), 4, 8, grad=8, activation=8),
    "float16": Tolerance(np.dtype(np.float16), np.dtype(np.float32), 2, 4, grad=0.501, activation=0.501),
    "bfloat16": Tolerance(np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32), 2, 4, grad=0.501, activation=0.501),
}
HALVES = ("float16", "bfloat16")

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

# Around every lane count, unrolling and chunk size there might be.
CLASS_COUNTS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 1000, 8191, 8192, 8193, 20000)


def finfo(dtype: DTypeLike) -> Any:
    """Return NumPy's ``finfo``, for bfloat16 too."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def unit(values: Array, dtype: DTypeLike) -> Array:
    """Return the distance between neighbours of ``dtype`` at these values; for 0 and denormals, the smallest."""
    kind = np.dtype(dtype)
    info = finfo(kind)
    _, exponent = np.frexp(np.abs(np.asarray(values, reference.long_double)))
    smallest_normal_exponent = np.frexp(float(info.smallest_normal))[1]
    exponent = np.maximum(exponent, smallest_normal_exponent)
    result: Array = np.ldexp(reference.long_double(1), exponent - 1 - info.nmant)
    return result


def assert_close(
    actual: Any, expected: Any, dtype: DTypeLike, ulps: float, case: object = "", magnitude: Any = None
) -> None:
    """Check an error of at most ``ulps`` units of ``dtype``, taken at ``magnitude`` (by default, what is expected).

    Where nan or an infinity is expected, exactly that is asked for.
    """
    got = np.asarray(actual).astype(reference.long_double)
    want = np.asarray(expected, reference.long_double)
    assert got.shape == want.shape, f"{case}: shape {got.shape} instead of {want.shape}"
    finite = np.isfinite(want)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    size = np.abs(want) if magnitude is None else np.broadcast_to(np.abs(magnitude), want.shape)
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0, np.abs(got - want) / unit(np.where(finite, size, 0), dtype))
    good = np.where(finite, error <= ulps, same)
    if not np.all(good):
        worst = np.unravel_index(np.argmax(np.where(good, -1, np.nan_to_num(error, nan=np.inf))), good.shape)
        raise AssertionError(
            f"{case}: {np.count_nonzero(~good)} of {good.size} wrong, the worst at {tuple(map(int, worst))}: "
            f"{got[worst]!s} instead of {want[worst]!s}, {float(error[worst]):.3g} ulp of {np.dtype(dtype)} "
            f"where {ulps} are allowed"
        )


def bits(values: Any) -> bytes:
    """Return the bytes of an array, or of a scalar, in C order."""
    return np.ascontiguousarray(values).tobytes()


Layout: TypeAlias = Callable[[Array], tuple[Array, int]]


def _buffer(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array filled with what must not be read: nan."""
    return np.full(shape, np.nan, dtype)


def _sliced_positions(x: Array) -> tuple[Array, int]:
    a, b, c = x.shape
    view = _buffer((a, b + 1, c), x.dtype)[:, :-1]
    view[...] = x
    return view, -1


def _sliced_classes(x: Array) -> tuple[Array, int]:
    a, b, c = x.shape
    view = _buffer((a, b, c + 3), x.dtype)[..., 1:-2]
    view[...] = x
    return view, -1


def _every_second_class(x: Array) -> tuple[Array, int]:
    a, b, c = x.shape
    view = _buffer((a, b, 2 * c), x.dtype)[..., ::2]
    view[...] = x
    return view, -1


def _every_second_position(x: Array) -> tuple[Array, int]:
    a, b, c = x.shape
    view = _buffer((2 * a, b, c), x.dtype)[1::2]
    view[...] = x
    return view, -1


def _reversed_positions(x: Array) -> tuple[Array, int]:
    return np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1], -1


def _reversed_classes(x: Array) -> tuple[Array, int]:
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1], -1


def _class_axis_1(x: Array) -> tuple[Array, int]:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)), 1


def _class_axis_0(x: Array) -> tuple[Array, int]:
    return np.ascontiguousarray(np.moveaxis(x, -1, 0)), 0


def _strided_class_axis_1(x: Array) -> tuple[Array, int]:
    a, b, c = x.shape
    view = _buffer((a, 2 * c, b + 1), x.dtype)[:, ::-2, 1:]
    view[...] = np.moveaxis(x, -1, 1)
    return view, 1


def _unaligned(x: Array) -> tuple[Array, int]:
    view = np.frombuffer(bytearray(x.nbytes + 1), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view, -1


def _read_only(x: Array) -> tuple[Array, int]:
    copy = x.copy()
    copy.flags.writeable = False
    return copy, -1


# Each takes (a, b, classes) in C order and returns an array of the same numbers elsewhere, and its class axis.
LAYOUTS: dict[str, Layout] = {
    "rows": lambda x: (np.ascontiguousarray(x), -1),
    "fortran": lambda x: (np.asfortranarray(x), -1),
    "transposed positions": lambda x: (np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1), -1),
    "sliced positions": _sliced_positions,
    "sliced classes": _sliced_classes,
    "every second class": _every_second_class,
    "every second position": _every_second_position,
    "reversed positions": _reversed_positions,
    "reversed classes": _reversed_classes,
    "(N, C, d)": _class_axis_1,
    "(N, C, d) in channels-last memory": lambda x: (np.moveaxis(np.ascontiguousarray(x), -1, 1), 1),
    "(C, N, d)": _class_axis_0,
    "strided (N, C, d)": _strided_class_axis_1,
    "unaligned": _unaligned,
    "read-only": _read_only,
}


def broadcast_rows(row: Array, positions: tuple[int, ...]) -> Array:
    """Return the same row at every position, in the memory of one."""
    return np.broadcast_to(row, (*positions, row.shape[-1]))
