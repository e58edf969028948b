"""``out=``: the input itself, or memory of its own with the right shape and dtype; returned as it was given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import crossent
import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Function: TypeAlias = Callable[..., Array]

TARGET = np.array([0, 2, 1, 2])


def cross_entropy_gradient(x: Array, **out: Any) -> Array:
    grad: Array = crossent.cross_entropy_with_grad(x, TARGET, **out)[1]
    return grad


def binary_gradient(x: Array, **out: Any) -> Array:
    grad: Array = crossent.binary_cross_entropy_with_logits_with_grad(x, 1, **out)[1]
    return grad


FUNCTIONS: dict[str, Function] = {
    "cross_entropy": cross_entropy_gradient,
    "binary": binary_gradient,
    "softmax": crossent.softmax,
    "log_softmax": crossent.log_softmax,
}


@pytest.fixture(params=FUNCTIONS)
def function(request: pytest.FixtureRequest) -> Function:
    return FUNCTIONS[request.param]


def logits(dtype: Any = np.float32) -> Array:
    return np.random.default_rng(0).normal(size=(4, 3)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
def test_is_returned_with_the_result(function: Function, dtype: Any) -> None:
    x = logits(dtype)
    out = np.full_like(x, 7)
    assert function(x, out=out) is out
    np.testing.assert_array_equal(out, function(x))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
def test_may_be_the_input(function: Function, dtype: Any) -> None:
    x = logits(dtype)
    expected = function(x)
    assert function(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


def test_may_be_another_view_of_the_input(function: Function) -> None:
    x = logits()
    expected = function(x)
    function(x, out=x[:])
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_float32_for_halves(function: Function, dtype: Any) -> None:
    """The result before it is rounded to half precision."""
    x = logits(dtype)
    out = np.full(x.shape, 7, np.float32)
    assert function(x, out=out) is out
    np.testing.assert_array_equal(out, function(x.astype(np.float32)))


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda memory: memory[:12].reshape(3, 4).T, id="Fortran order"),
        pytest.param(lambda memory: memory[:36].reshape(4, 9)[:, 1::3], id="every third class"),
        pytest.param(lambda memory: memory[:12].reshape(4, 3)[::-1, ::-1], id="negative strides"),
        pytest.param(lambda memory: memory[:28].reshape(4, 7)[:, :3], id="padded rows"),
        pytest.param(lambda memory: as_strided(memory, (4, 3), (8, 36)), id="interlaced"),
    ],
)
def test_any_strides(function: Function, view: Callable[[Array], Array]) -> None:
    """Written where they lead, and nowhere else."""
    x = logits()
    expected = np.full(36, 7, np.float32)
    expected[view(np.arange(36, dtype=np.int32))] = function(x)
    memory = np.full(36, 7, np.float32)
    function(x, out=view(memory))
    np.testing.assert_array_equal(memory, expected)


def test_may_be_a_subclass(function: Function, tmp_path: Path) -> None:
    x = logits()
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=x.shape)
    assert function(x, out=out) is out
    np.testing.assert_array_equal(out, function(x))


def test_may_interleave_with_the_input(function: Function) -> None:
    """Neighbouring columns lie within each other's bounds and share nothing."""
    both = np.zeros((4, 6), np.float32)
    x, out = both[:, ::2], both[:, 1::2]
    x[...] = logits()
    function(x, out=out)
    np.testing.assert_array_equal(x, logits())
    np.testing.assert_array_equal(out, function(logits()))


def read_only() -> Array:
    out = np.zeros((4, 3), np.float32)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize(
    ("out", "error", "words"),
    [
        pytest.param([[0.0] * 3] * 4, TypeError, "list", id="a list"),
        pytest.param(np.ma.zeros((4, 3), np.float32), TypeError, "mask", id="masked"),
        pytest.param(np.zeros((4, 3)), TypeError, "must be float32 in native byte order, not float64", id="wider"),
        pytest.param(np.zeros((4, 3), np.float16), TypeError, "not float16", id="narrower"),
        pytest.param(np.zeros((4, 3), np.int32), TypeError, "not int32", id="integers"),
        pytest.param(np.zeros((4, 3), ">f4"), TypeError, "native byte order, not >f4", id="byte-swapped"),
        pytest.param(np.zeros((3, 4), np.float32), ValueError, r"\(4, 3\).*\(3, 4\)", id="transposed"),
        pytest.param(np.zeros((1, 4, 3), np.float32), ValueError, r"\(1, 4, 3\)", id="one more axis"),
        pytest.param(read_only(), ValueError, "read-only", id="read-only"),
        pytest.param(
            np.zeros(49, np.uint8)[1:].view(np.float32).reshape(4, 3), ValueError, "aligned", id="not aligned"
        ),
        pytest.param(np.zeros(4, [("a", "i1"), ("b", "3f4")])["b"], ValueError, "aligned", id="strides between items"),
        pytest.param(as_strided(np.zeros(3, np.float32), (4, 3), (0, 4)), ValueError, "share memory", id="broadcast"),
        pytest.param(as_strided(np.zeros(8, np.float32), (4, 3), (4, 4)), ValueError, "share memory", id="windows"),
        pytest.param(
            as_strided(np.zeros(11, np.float32)[2:], (4, 3), (8, -4)), ValueError, "share memory", id="backwards"
        ),
    ],
)
def test_wrong(function: Function, out: Any, error: type[Exception], words: str) -> None:
    before = np.array(out)
    with pytest.raises(error, match=words):
        function(logits(), out=out)
    np.testing.assert_array_equal(np.array(out), before)


def test_wrong_for_halves(function: Function) -> None:
    with pytest.raises(TypeError, match="must be float16 or float32 in native byte order, not float64"):
        function(logits(np.float16), out=np.zeros((4, 3)))
    with pytest.raises(TypeError, match="must be bfloat16 or float32 in native byte order, not float16"):
        function(logits(ml_dtypes.bfloat16), out=np.zeros((4, 3), np.float16))


@pytest.mark.parametrize(
    ("x", "out"),
    [
        pytest.param(np.s_[0:4, 0:3], np.s_[1:5, 0:3], id="one row on"),
        pytest.param(np.s_[0:4, 0:3], np.s_[0:4, 1:4], id="one class on"),
        pytest.param(np.s_[0:4, 0:3], np.s_[3::-1, 0:3], id="backwards"),
        pytest.param(np.s_[0:4, 0:3], np.s_[3:7, 2:5], id="one element"),
    ],
)
def test_overlaps_the_input(function: Function, x: Any, out: Any) -> None:
    base = np.arange(64, dtype=np.float32).reshape(8, 8)
    before = base.copy()
    with pytest.raises(ValueError, match="overlaps the input without being the same array"):
        function(base[x], out=base[out])
    np.testing.assert_array_equal(base, before)


def test_float32_may_not_be_the_halves_own_memory(function: Function) -> None:
    memory = np.zeros((4, 3), np.float32)
    x = memory.view(np.float16)[:, :3]
    with pytest.raises(ValueError, match="overlaps the input"):
        function(x, out=memory)


def test_shares_memory_with_another_argument() -> None:
    x = logits(np.float64)
    base = np.zeros(16)
    out = base[:12].reshape(4, 3)
    losses = crossent.cross_entropy_with_grad
    with pytest.raises(ValueError, match="out shares memory with target"):
        losses(x, out, out=out)
    with pytest.raises(ValueError, match="out shares memory with target"):
        losses(x, base.view(np.int64)[8:12], out=out)
    with pytest.raises(ValueError, match="out shares memory with weight"):
        losses(x, TARGET, base[10:13], out=out)
    with pytest.raises(ValueError, match="out shares memory with grad_output"):
        losses(x, TARGET, reduction="none", grad_output=base[11:15], out=out)
    binary = crossent.binary_cross_entropy_with_logits_with_grad
    with pytest.raises(ValueError, match="out shares memory with target"):
        binary(x, out, out=out)
    with pytest.raises(ValueError, match="out shares memory with weight"):
        binary(x, 1, base[:3], out=out)
    with pytest.raises(ValueError, match="out shares memory with pos_weight"):
        binary(x, 1, pos_weight=base[5:8], out=out)
    assert not base.any()


class Tensor:
    """Shares its memory as PyTorch's do."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.array


@pytest.mark.parametrize("as_passed", [np.asarray, Tensor])
@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("target", lambda memory: memory.view(np.int32)[:4]),
        ("weight", lambda memory: memory[3:6]),
        ("grad_output", lambda memory: memory[8:]),
        ("pos_weight", lambda memory: memory.view(">f4")[:3]),
    ],
)
def test_shares_memory_with_an_argument_that_is_converted(
    name: str, view: Callable[[Array], Array], as_passed: Callable[[Array], Any]
) -> None:
    """The core reads a copy, but the memory is the caller's."""
    memory = np.zeros(12, np.float32)
    function: Any = crossent.cross_entropy_with_grad
    if name == "pos_weight":
        function = crossent.binary_cross_entropy_with_logits_with_grad
    arguments = {"target": TARGET if name != "pos_weight" else 1, "reduction": "none", name: as_passed(view(memory))}
    with pytest.raises(ValueError, match=f"out shares memory with {name}"):
        function(logits(), out=memory.reshape(4, 3), **arguments)
    assert not memory.any()


def test_overlap_that_takes_too_long_to_decide_counts() -> None:
    memory = np.zeros(10**6, np.float32)
    shape = (11, 13, 17, 19, 7)
    x = as_strided(memory, shape, [4 * n for n in (1009, 1013, 1019, 1021, 1031)])
    out = as_strided(memory[1:], shape, [4 * n for n in (1033, 1039, 1049, 1051, 1061)])
    with pytest.raises(ValueError, match="share"):
        crossent.softmax(x, out=out)


@pytest.mark.parametrize("axis", [None, (0, 2), (1, 2), (2, 0)])
@pytest.mark.parametrize("function", [crossent.softmax, crossent.log_softmax])
def test_several_axes(function: Function, axis: Any) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4)).transpose(2, 0, 1)
    expected = function(x.copy(), axis)
    out = np.empty((4, 2, 3))[:, ::-1]
    assert function(x, axis, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert function(x, axis, out=x) is x
    np.testing.assert_array_equal(x, expected)
