"""Every public function against every kind of array, operand by operand: the plain copy's bits, or an error that says
what was found, and on error ``out`` as it was.
"""

import itertools
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import crossent
import ml_dtypes
import numpy as np
import pytest
from cases import INTEGERS, Array, bits
from numpy.lib.stride_tricks import as_strided

Operands: TypeAlias = dict[str, Any]

LOGITS = np.random.default_rng(0).normal(size=(4, 3))
LOGITS.flags.writeable = False
TARGET = np.array([0, 2, 1, 2])
POSITIVE = np.abs(LOGITS) / 9


def gradient(**operands: Any) -> Any:
    return crossent.cross_entropy_with_grad(reduction="none", **operands)


def binary_gradient(**operands: Any) -> Any:
    return crossent.binary_cross_entropy_with_logits_with_grad(reduction="none", **operands)


def scores(**operands: Any) -> Any:
    """Return the arrays of a score, one behind the other."""
    found = vars(crossent.score(**operands)).values()
    return np.concatenate([np.ravel(figure).astype(np.float64) for figure in found if isinstance(figure, np.ndarray)])


# Each function with good operands, arrays all of them, so that any of them may be replaced.
CALLS: dict[str, tuple[Callable[..., Any], Operands]] = {
    "cross_entropy": (crossent.cross_entropy, {"logits": LOGITS, "target": TARGET, "weight": POSITIVE[0]}),
    "cross_entropy, probabilities": (crossent.cross_entropy, {"logits": LOGITS, "target": POSITIVE}),
    "cross_entropy_with_grad": (
        gradient, {"logits": LOGITS, "target": TARGET, "weight": POSITIVE[0], "grad_output": POSITIVE.T[0]}
    ),
    "nll_loss": (crossent.nll_loss, {"log_probs": LOGITS, "target": TARGET, "weight": POSITIVE[0]}),
    "score": (scores, {"logits": LOGITS, "target": TARGET}),
    "score, probabilities": (scores, {"logits": LOGITS, "target": POSITIVE}),
    "softmax": (crossent.softmax, {"x": LOGITS}),
    "log_softmax": (crossent.log_softmax, {"x": LOGITS}),
    "logsumexp": (crossent.logsumexp, {"x": LOGITS}),
    "logsumexp over all": (lambda x: crossent.logsumexp(x, None), {"x": LOGITS}),
    "binary_cross_entropy": (
        crossent.binary_cross_entropy, {"probabilities": POSITIVE, "target": POSITIVE, "weight": POSITIVE}
    ),
    "binary_cross_entropy_with_logits": (
        crossent.binary_cross_entropy_with_logits,
        {"logits": LOGITS, "target": POSITIVE, "weight": POSITIVE, "pos_weight": POSITIVE},
    ),
    "binary_cross_entropy_with_logits_with_grad": (
        binary_gradient, {"logits": LOGITS, "target": POSITIVE, "weight": POSITIVE, "grad_output": LOGITS}
    ),
}  # fmt: skip
WITH_OUT = (
    "cross_entropy_with_grad", "softmax", "log_softmax", "binary_cross_entropy_with_logits_with_grad"
)  # fmt: skip
VALUES = ("logits", "log_probs", "probabilities", "x")
EACH_OPERAND = [pytest.param(call, name, id=f"{call}-{name}") for call, (_, all_) in CALLS.items() for name in all_]


class Subclass(np.ndarray[Any, Any]):
    """Adds nothing."""


def windows(values: Array) -> Array:
    """Return the first row again and again, each time one element on: elements that overlap."""
    line = np.concatenate([values.reshape(-1), values.reshape(-1)])
    return as_strided(line, values.shape, [line.itemsize] * values.ndim)


def unaligned(values: Array) -> Array:
    view: Array = np.zeros(values.nbytes + 1, np.uint8)[1:].view(values.dtype).reshape(values.shape)
    view[...] = values
    return view


def field(values: Array) -> Array:
    """Return a view with strides that are no multiples of the item size."""
    records = np.zeros(values.shape, [("flag", np.int8), ("values", values.dtype)])
    records["values"] = values
    view: Array = records["values"]
    return view


# What is taken at its values.
GOOD: dict[str, Callable[[Array], Any]] = {
    "Fortran order": np.asfortranarray,
    "negative strides": lambda values: np.flip(np.flip(values).copy()),
    "every third": lambda values: np.repeat(values, 3, axis=0)[::3],
    "strides of 0": lambda values: np.broadcast_to(values[:1], values.shape),
    "all the same": lambda values: np.broadcast_to(values.flat[0], values.shape),
    "overlapping windows": windows,
    "unaligned": unaligned,
    "unaligned strides": field,
    "byte-swapped": lambda values: values.astype(values.dtype.newbyteorder()),
    "native order by name": lambda values: values.view(values.dtype.newbyteorder(sys.byteorder)),
    "byte-swapped, strides of 0": lambda values: np.broadcast_to(
        values[:1].astype(values.dtype.newbyteorder()), values.shape
    ),
    "subclass": lambda values: values.view(Subclass),
    "nested sequences": lambda values: tuple(values.tolist()),
}

# What is refused, and the words for it.
BAD: dict[str, tuple[Callable[[Array], Any], str]] = {
    "masked": (np.ma.masked_array, "masked array"),
    "records": (lambda values: np.zeros(values.shape, "i4,f4"), "'f0'"),
    "bytes without a meaning": (lambda values: np.zeros(values.shape, "V8"), r"\|V8"),
    "objects": (lambda values: values.astype(object), "objects of shape .*first of them (int|float)"),
    "complex": (lambda values: values.astype(complex), "complex128"),
    "dates": (lambda values: values.astype("datetime64[s]"), r"datetime64\[s\]"),
    "times": (lambda values: values.astype("timedelta64[s]"), r"timedelta64\[s\]"),
    "text": (lambda values: values.astype(str), "<U"),
    "bytes": (lambda values: values.astype(bytes), r"\|S"),
    "nothing": (lambda values: [None] * values.size, "objects of shape .*first of them NoneType"),
    "a function": (lambda values: len, "builtin_function_or_method"),
    "a set": (lambda values: {1.0}, "set"),
    "a generator": (lambda values: (value for value in values), "generator"),
}


def call_with(call: str, name: str, value: Any, **more: Any) -> Any:
    function, operands = CALLS[call]
    return function(**(operands | {name: value} | more))


def flat(result: Any) -> bytes:
    return b"".join(map(bits, result if isinstance(result, tuple) else (result,)))


@pytest.mark.parametrize(("call", "name"), EACH_OPERAND)
def test_taken_at_their_values(call: str, name: str) -> None:
    for kind, make in GOOD.items():
        value = make(CALLS[call][1][name])
        plain = np.array(value).astype(CALLS[call][1][name].dtype)
        assert flat(call_with(call, name, value)) == flat(call_with(call, name, plain)), kind


@pytest.mark.parametrize(("call", "name"), EACH_OPERAND)
def test_refused_by_name(call: str, name: str) -> None:
    for kind, (make, words) in BAD.items():
        value = make(CALLS[call][1][name])
        outs = [{}, {"out": np.full(LOGITS.shape, 7.0)}] if call in WITH_OUT else [{}]
        for out in outs:
            with pytest.raises(TypeError, match=words) as caught:
                call_with(call, name, value, **out)
            assert name in str(caught.value), kind
            assert all((array == 7).all() for array in out.values()), kind


@pytest.mark.parametrize("call", CALLS)
def test_precisions_that_nothing_is_computed_in(call: str) -> None:
    name = next(iter(CALLS[call][1]))
    for dtype in (np.longdouble, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn):
        with pytest.raises(TypeError, match=rf"{name} must be float16, bfloat16, .* not {np.dtype(dtype)} of shape"):
            call_with(call, name, LOGITS.astype(dtype))


@pytest.mark.parametrize(("call", "name"), EACH_OPERAND)
def test_shapes_without_elements_or_axes(call: str, name: str) -> None:
    """Right only where a number is as good as an array; never more than a ValueError or a TypeError."""
    value = CALLS[call][1][name]
    for shape in [(0,), (0, 3), (4, 0), (4, 3, 0), (1,) * 30, ()]:
        try:
            call_with(call, name, np.zeros(shape, value.dtype))
        except (ValueError, TypeError) as error:
            assert str(shape) in str(error) or "single number" in str(error)  # noqa: PT017


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("shape", [(0, 3), (0, 0), (0, 2**40), (2, 3, 0), (0,)])
def test_no_elements_at_all(call: str, shape: tuple[int, ...]) -> None:
    function, operands = CALLS[call]
    empty: Operands = {}
    for name, value in operands.items():
        if name in VALUES or value.shape == LOGITS.shape:
            empty[name] = np.zeros(shape)
        elif name == "weight":
            empty[name] = np.zeros(shape[1 if len(shape) > 1 else 0]) if shape[-1] < 2**30 else None
        else:
            empty[name] = np.zeros((shape[0], *shape[2:]) if len(shape) > 1 else (), value.dtype)
    if shape == (0,) and call.startswith(("cross_entropy", "nll_loss", "score")):
        with pytest.raises(ValueError, match="no classes"):  # one sample
            function(**empty)
    else:
        result = function(**empty)
        if call in WITH_OUT:
            assert (result[1] if isinstance(result, tuple) else result).shape == shape


EXTREMES = [
    -(2**63),
    -(2**31),
    -129,
    -101,
    -1,
    3,
    127,
    128,
    255,
    2**15,
    2**16,
    2**31,
    2**32,
    2**63 - 1,
    2**63,
    2**64 - 1,
]


@pytest.mark.parametrize("integer", INTEGERS)
@pytest.mark.parametrize("positions", [(), (5,), (20_000,), (2, 3, 4)])
def test_labels_out_of_range(integer: str, positions: tuple[int, ...]) -> None:
    """The first is named with its position, and nothing is written; as ``ignore_index`` each of them is welcome."""
    limits = np.iinfo(integer)
    shape = (*positions[:1], 3, *positions[1:])
    logits = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    out = np.full(shape, 7, np.float32)
    calls: list[Callable[..., Any]] = [
        crossent.cross_entropy,
        crossent.nll_loss,
        lambda x, y, **options: crossent.cross_entropy_with_grad(x, y, **options, out=out),
        lambda x, y, **options: crossent.cross_entropy_with_grad(x, y, np.ones(3), **options, out=out),
    ]
    place = tuple(extent - 1 for extent in positions)
    words = f"{place[0] if len(place) == 1 else place}"
    for label in (value for value in EXTREMES if limits.min <= value <= limits.max):
        target = np.ones(positions, integer)
        target[place] = label
        for call, ignored in itertools.product(calls, (-100, None, 1)):
            if ignored == 1 and label == 1:
                continue
            with pytest.raises(IndexError) as caught:
                call(logits, target, ignore_index=ignored)
            assert f"target at position {words} is {label}, but there are 3 classes" in str(caught.value)
        assert (out == 7).all()
        for call in calls:
            call(logits, target, ignore_index=label, reduction="none")
        index: Any = (*place[:1], slice(None), *place[1:])
        assert not out[index].any()
        out[...] = 7


HUGE = 2**20  # along each of two axes


@pytest.mark.parametrize("code", ["<f4", ">f4", "f2"])
def test_views_too_large_for_memory_are_not_made_real(code: str) -> None:
    """Four or two TiB of the same number: refused for what is wrong with them, or for the memory a result takes."""
    huge = np.broadcast_to(np.ones((), code), (HUGE, HUGE))
    target = np.broadcast_to(np.int8(1), HUGE)
    for function, operands in CALLS.values():
        name = next(iter(operands))
        if len(operands) > 1:
            with pytest.raises(ValueError, match=str(HUGE)):
                function(**(operands | {name: huge}))
    for call in WITH_OUT:
        function, operands = CALLS[call]
        kept = {key: value for key, value in {"logits": huge, "x": huge, "target": target}.items() if key in operands}
        with pytest.raises(TypeError, match="out must be float"):
            function(**kept, out=np.broadcast_to(np.int8(0), huge.shape))
    for activation in (crossent.softmax, crossent.log_softmax):
        with pytest.raises(MemoryError, match="allocate"):
            activation(huge)
    with pytest.raises(MemoryError, match="allocate"):
        crossent.cross_entropy_with_grad(huge, target)
    with pytest.raises(MemoryError, match="allocate"):
        crossent.binary_cross_entropy_with_logits_with_grad(huge, 1)
    with pytest.raises(MemoryError, match="allocate"):
        crossent.logsumexp(np.broadcast_to(np.ones((), code), (2**40, 1)))


def test_more_elements_than_can_be_counted_are_no_array() -> None:
    """What the core relies on: the bytes of an array, had each element its own, fit 63 bits."""
    for shape in [(2**62, 2), (2**32, 2**31), (3, 2**61)]:
        with pytest.raises(ValueError, match=r"too big|too large|maximum"):
            np.broadcast_to(np.float32(0), shape)
        with pytest.raises(ValueError, match=r"too big|too large|maximum"):
            as_strided(np.zeros(1, np.float32), shape, (0, 0))
