"""Anything that NumPy can view is taken at its values: the bits are those of a plain contiguous copy."""

import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import crossent
import ml_dtypes
import numpy as np
import pytest
from cases import INTEGERS, bits
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

TARGET = np.array([0, 2, 1, 2])
LOGITS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


class Subclass(np.ndarray[Any, Any]):
    """Adds nothing."""


class Wrapped:
    """Has an array, as data frames and tensors do."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def __array__(self, *_: Any, **__: Any) -> Array:
        return self.values


def unaligned(values: Array) -> Array:
    memory = np.zeros(values.nbytes + 1, np.uint8)
    view: Array = memory[1:].view(values.dtype).reshape(values.shape)
    view[...] = values
    return view


def field(values: Array) -> Array:
    """Return a view whose strides are no multiples of the item size."""
    records = np.zeros(values.shape, [("values", values.dtype), ("flag", np.int8)])
    records["values"] = values
    view: Array = records["values"]
    return view


def read_only(values: Array) -> Array:
    copy: Array = values.copy()
    copy.flags.writeable = False
    return copy


AWKWARD: dict[str, Callable[[Array], Any]] = {
    "list": lambda values: values.tolist(),
    "tuple": lambda values: tuple(values.tolist()),
    "memoryview": lambda values: memoryview(values.copy()),
    "wrapped": Wrapped,
    "subclass": lambda values: values.view(Subclass),
    "read-only": read_only,
    "byte-swapped": lambda values: values.astype(values.dtype.newbyteorder()),
    "unaligned": unaligned,
    "field of records": field,
    "field of one record": lambda values: field(values[None])[0],
    "Fortran order": np.asfortranarray,
    "backwards": lambda values: np.flip(np.flip(values).copy()),
    "every other": lambda values: np.repeat(values, 2, axis=-1)[..., ::2],
}


@pytest.fixture(params=AWKWARD)
def awkward(request: pytest.FixtureRequest) -> Callable[[Array], Any]:
    return AWKWARD[request.param]


def both(logits: Any, target: Any, *args: Any, **options: Any) -> bytes:
    loss, grad = crossent.cross_entropy_with_grad(logits, target, *args, **options)
    return bits(loss) + bits(grad)


def test_logits(awkward: Callable[[Array], Any]) -> None:
    logits = LOGITS.astype(np.float64)  # what lists become
    assert both(awkward(logits), TARGET) == both(logits, TARGET)
    assert bits(crossent.nll_loss(awkward(logits), TARGET)) == bits(crossent.nll_loss(logits, TARGET))
    for function in (crossent.softmax, crossent.log_softmax, crossent.logsumexp):
        assert bits(function(awkward(logits))) == bits(function(logits))
    binary = crossent.binary_cross_entropy_with_logits
    assert binary(awkward(logits), 1) == binary(logits, 1)
    assert crossent.binary_cross_entropy(awkward(abs(logits) / 9), 1) == crossent.binary_cross_entropy(
        abs(logits) / 9, 1
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", ml_dtypes.bfloat16])
@pytest.mark.parametrize(
    "name", ["read-only", "unaligned", "field of records", "Fortran order", "backwards", "every other"]
)
def test_logits_of_other_dtypes(name: str, dtype: Any) -> None:
    logits = LOGITS.astype(dtype)
    assert both(AWKWARD[name](logits), TARGET) == both(logits, TARGET)
    assert bits(crossent.softmax(AWKWARD[name](logits))) == bits(crossent.softmax(logits))
    if np.dtype(dtype).isbuiltin == 1:
        assert both(logits.astype(logits.dtype.newbyteorder()), TARGET) == both(logits, TARGET)


def test_class_indices(awkward: Callable[[Array], Any]) -> None:
    assert both(LOGITS, awkward(TARGET)) == both(LOGITS, TARGET)
    assert crossent.nll_loss(LOGITS, awkward(TARGET)) == crossent.nll_loss(LOGITS, TARGET)


def test_class_probabilities(awkward: Callable[[Array], Any]) -> None:
    probabilities = np.array(crossent.softmax(LOGITS[::-1].astype(np.float64)))
    assert both(LOGITS, awkward(probabilities)) == both(LOGITS, probabilities)


def test_weight_and_grad_output(awkward: Callable[[Array], Any]) -> None:
    weight, grad_output = np.array([0.5, 2.0, 3.0]), np.array([1.0, -1.0, 0.0, 2.0])
    options = {"reduction": "none"}
    expected = both(LOGITS, TARGET, weight, grad_output=grad_output, **options)
    assert both(LOGITS, TARGET, awkward(weight), grad_output=awkward(grad_output), **options) == expected
    matrix = np.arange(12.0).reshape(4, 3)
    binary = crossent.binary_cross_entropy_with_logits
    for name in ("target", "weight", "pos_weight"):
        plain: dict[str, Any] = {"target": 1, name: matrix}
        assert binary(LOGITS, **(plain | {name: awkward(matrix)})) == binary(LOGITS, **plain)


@pytest.mark.parametrize("integer", INTEGERS)
def test_class_indices_of_every_integer_dtype(integer: str) -> None:
    target = TARGET.astype(integer)
    assert both(LOGITS, target) == both(LOGITS, TARGET)
    assert both(LOGITS, target.astype(target.dtype.newbyteorder())) == both(LOGITS, TARGET)
    assert crossent.nll_loss(LOGITS, target) == crossent.nll_loss(LOGITS, TARGET)


def test_class_indices_of_extension_integers() -> None:
    assert both(LOGITS, TARGET.astype(ml_dtypes.int4)) == both(LOGITS, TARGET)
    assert both(LOGITS, TARGET.astype(ml_dtypes.uint4)) == both(LOGITS, TARGET)


@pytest.mark.parametrize(
    ("integer", "ignored"),
    [("int8", -100), ("uint8", 200), ("uint64", 2**64 - 1), ("uint64", 2**63), ("int64", -(2**63))],
)
def test_ignored_index_at_the_edge_of_a_dtype(integer: str, ignored: int) -> None:
    target = TARGET.astype(integer)
    target[1] = ignored
    expected = both(LOGITS[[0, 2, 3]], TARGET[[0, 2, 3]])
    loss, grad = crossent.cross_entropy_with_grad(LOGITS, target, ignore_index=ignored)
    assert bits(loss) + bits(grad[[0, 2, 3]]) == expected
    assert not grad[1].any()
    kept = crossent.nll_loss(LOGITS[[0, 2, 3]], TARGET[[0, 2, 3]])
    assert crossent.nll_loss(LOGITS, target, ignore_index=ignored) == kept
    assert target[1] == ignored


@pytest.mark.parametrize("ignored", [2**63, -(2**63) - 1, 10**30, -(10**30), None])
def test_ignored_index_that_no_target_equals(ignored: int | None) -> None:
    assert both(LOGITS, TARGET, ignore_index=ignored) == both(LOGITS, TARGET)


def test_narrow_dtypes_dont_wrap() -> None:
    """156 is -100 in eight bits, and 2**64 - 100 is -100 in sixty-four."""
    logits = np.zeros((2, 200), np.float32)
    assert crossent.cross_entropy(logits, np.array([0, 156], np.uint8), reduction="none")[1] > 5
    with pytest.raises(IndexError, match=f"position 1 is {2**64 - 100}"):
        crossent.cross_entropy(logits, np.array([0, 2**64 - 100], np.uint64))


@pytest.mark.parametrize(
    "dtype", [*INTEGERS, "bool", "float16", "longdouble", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]
)
def test_weights_of_every_real_dtype(dtype: Any) -> None:
    weight = np.array([1, 0, 1])
    assert both(LOGITS, TARGET, weight.astype(dtype)) == both(LOGITS, TARGET, weight)
    binary = crossent.binary_cross_entropy_with_logits
    expected = binary(LOGITS, weight, weight, pos_weight=weight)
    assert binary(LOGITS, *[weight.astype(dtype)] * 2, pos_weight=weight.astype(dtype)) == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "longdouble", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_probabilities_of_every_floating_dtype(dtype: Any) -> None:
    probabilities = np.eye(3)[TARGET] * 0.5
    assert both(LOGITS, probabilities.astype(dtype)) == both(LOGITS, probabilities)


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool"])
def test_activations_promote_integers(dtype: str) -> None:
    x = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    for function in (crossent.softmax, crossent.log_softmax, crossent.logsumexp):
        assert function(x).dtype == np.float64
        assert bits(function(x)) == bits(function(x.astype(np.float64)))


def test_array_module_and_memory_map(tmp_path: Path) -> None:
    assert both(LOGITS, array.array("q", TARGET.tolist())) == both(LOGITS, TARGET)
    np.save(tmp_path / "logits.npy", LOGITS)
    assert both(np.load(tmp_path / "logits.npy", mmap_mode="r"), TARGET) == both(LOGITS, TARGET)


def test_broadcast_logits() -> None:
    """Strides of 0: one row for all samples, one number for all classes."""
    rows = np.broadcast_to(LOGITS[0], (4, 3))
    assert both(rows, TARGET) == both(rows.copy(), TARGET)
    assert crossent.cross_entropy_with_grad(rows, TARGET)[1].flags.c_contiguous
    assert both(np.broadcast_to(np.float32(1), (4, 3)), TARGET) == both(np.ones((4, 3), np.float32), TARGET)
    assert both(LOGITS, np.broadcast_to(2, 4)) == both(LOGITS, [2] * 4)


def test_field_of_a_single_packed_record() -> None:
    """Its values are aligned, and the next record, if there were one, would not be."""
    records = np.zeros(1, [("logits", "3f4"), ("label", "i1")])
    records["logits"] = LOGITS[0]
    assert both(records["logits"], records["label"]) == both(LOGITS[:1], [0])


@pytest.mark.parametrize("step", [5, 6, 7, 13])
def test_stray_stride_of_an_axis_of_length_1(step: int) -> None:
    """Nobody ever takes that step, so it may have any size."""
    logits = as_strided(LOGITS, (1, 3), (step, 4))
    out = as_strided(np.zeros(3, np.float32), (1, 3), (step, 4))
    assert both(logits, [1]) == both(LOGITS[:1], [1])
    crossent.softmax(logits, out=out)
    assert bits(out) == bits(crossent.softmax(LOGITS[:1]))
    weight = as_strided(np.ones(1), (1,), (step,))
    target = as_strided(np.zeros(1, np.int64), (1,), (step,))
    assert crossent.cross_entropy(LOGITS[:1, :1], target, weight) == 0
    assert crossent.binary_cross_entropy_with_logits(logits, as_strided(np.ones(1), (1, 3), (step, 0))) > 0


@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0), (0, 0), (0, 2**40), (3, 2, 0, 4)])
def test_empty_batches(shape: tuple[int, ...]) -> None:
    logits = np.zeros(shape, np.float32)
    positions = (shape[0], *shape[2:])
    loss, grad = crossent.cross_entropy_with_grad(logits, np.zeros(positions, np.int64), reduction="none")
    assert np.shape(loss) == positions
    assert grad.shape == shape
    assert crossent.cross_entropy(logits, np.zeros(positions, np.uint8), reduction="sum") == 0
    assert np.isnan(crossent.cross_entropy(logits, np.zeros(positions, np.int64)))
    assert np.isnan(crossent.cross_entropy(logits, np.zeros(shape)))
    assert np.isnan(crossent.nll_loss(logits, np.zeros(positions, np.int64)))
    assert np.isnan(crossent.binary_cross_entropy_with_logits(logits, 1))
    assert np.isnan(crossent.binary_cross_entropy(logits, 1))
    assert crossent.softmax(logits).shape == shape


def test_empty_list_of_targets() -> None:
    assert crossent.cross_entropy(np.zeros((0, 3)), [], reduction="sum") == 0


def test_many_axes() -> None:
    ones = (1,) * 30
    logits = LOGITS[:1].reshape(*ones, 3)
    assert crossent.cross_entropy(logits, np.full(ones, 2), axis=-1) == crossent.cross_entropy(LOGITS[:1], [2])
    assert bits(crossent.softmax(logits)) == bits(crossent.softmax(LOGITS[:1]))
    assert crossent.binary_cross_entropy_with_logits(logits, 1) == crossent.binary_cross_entropy_with_logits(
        LOGITS[:1], 1
    )


def test_inputs_stay_as_they_are() -> None:
    logits, target, weight = LOGITS.copy(), TARGET.astype(np.uint64), np.array([1.0, 2.0, 3.0])
    target[0] = 2**64 - 1
    crossent.cross_entropy_with_grad(logits, target, weight, ignore_index=2**64 - 1, label_smoothing=0.1)
    crossent.nll_loss(logits, target, weight, ignore_index=2**64 - 1)
    crossent.softmax(logits, None)
    assert bits(logits) == bits(LOGITS)
    assert target.tolist() == [2**64 - 1, 2, 1, 2]
    assert weight.tolist() == [1, 2, 3]
