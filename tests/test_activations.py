"""softmax, log_softmax and logsumexp against the oracle and SciPy's conventions: any axis or axes, keepdims, out."""

import itertools
from collections.abc import Callable
from typing import Any

import cases
import crossent
import numpy as np
import pytest
import reference
import scipy.special
from cases import Array

NAN, INF = float("nan"), float("inf")
FUNCTIONS = ["softmax", "log_softmax", "logsumexp"]
AXES = [0, 1, 2, -1, -2, -3, None, (0, 1), (1, 2), (0, 2), (2, 0), (-1, 0), (0, 1, 2), ()]


def pair(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return getattr(crossent, name), getattr(reference, name)


def values(shape: tuple[int, ...], dtype: cases.Tolerance, scale: float = 5) -> Array:
    return (np.random.default_rng(0).normal(size=shape) * scale).astype(dtype.dtype)


def check(name: str, actual: Any, expected: Any, dtype: cases.Tolerance, case: object = "") -> None:
    """The result has the dtype of the values. Logarithms cancel by nature: their errors are those of their parts."""
    assert actual.dtype == dtype.dtype
    magnitude = None if name == "softmax" else np.maximum(np.abs(expected), 1)
    cases.assert_close(actual, expected, dtype.dtype, dtype.activation, f"{name}, {case}", magnitude)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_axes(instruction_set: str, dtype: cases.Tolerance, name: str) -> None:
    ours, oracle = pair(name)
    x = values((4, 5, 6), dtype)
    for axis in AXES:
        if axis == () and name != "logsumexp":
            continue
        check(name, ours(x, axis=axis), oracle(x, axis), dtype, axis)
        if name == "logsumexp":
            check(name, ours(x, axis=axis, keepdims=True), oracle(x, axis, True), dtype, f"{axis}, keepdims")


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_layouts(instruction_set: str, dtype: cases.Tolerance, name: str, layout: str) -> None:
    ours, oracle = pair(name)
    x, axis = cases.LAYOUTS[layout](values((3, 20, 33), dtype))
    check(name, ours(x, axis=axis), oracle(x, axis), dtype)
    check(name, ours(x, axis=None), oracle(x, None), dtype, "all axes")
    check(name, ours(x, axis=(0, 2)), oracle(x, (0, 2)), dtype, "two axes")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_class_counts(instruction_set: str, dtype: cases.Tolerance, name: str) -> None:
    ours, oracle = pair(name)
    for classes, scale in itertools.product(cases.CLASS_COUNTS, [1, 30]):
        x = values((3, classes), dtype, scale)
        check(name, ours(x), oracle(x), dtype, f"{classes} classes × {scale}")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_defaults_and_conventions_are_scipys(name: str) -> None:
    """But for the default axis, which is the last one, here as there where an axis is named."""
    ours, scipys = getattr(crossent, name), getattr(scipy.special, name)
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    for axis in AXES[:-1]:
        np.testing.assert_allclose(ours(x, axis=axis), scipys(x, axis=axis), rtol=1e-13)
        assert np.shape(ours(x, axis=axis)) == np.shape(scipys(x, axis=axis))
    np.testing.assert_array_equal(ours(x), ours(x, axis=-1))
    for numbers in ([1, 2, 3], [[True, False]], np.arange(6, dtype=np.int8).reshape(2, 3), [0.5, 1.5]):
        result = ours(numbers, axis=None)
        np.testing.assert_allclose(result, scipys(np.asarray(numbers, float), axis=None), rtol=1e-13)
        assert result.dtype == np.float64


@pytest.mark.parametrize("row", [[NAN, 0, 1], [INF, 0, 1], [INF, INF, 1], [INF, -INF, 1], [-INF] * 3, [-INF, 0, 1],
                                 [0, 0, NAN], [1e4, -1e4, 0], [-6e4] * 3])  # fmt: skip
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(instruction_set: str, dtype: cases.Tolerance, name: str, row: list[float]) -> None:
    """No distribution: nan. Of −inf alone the logarithm of the sum is −inf, of any +inf it is +inf, of any nan, nan."""
    ours, oracle = pair(name)
    for padding in (0, 30):
        x = np.array([row + [-INF] * padding]).astype(dtype.dtype)
        check(name, ours(x), oracle(x), dtype, row)
        check(name, ours(x.T, axis=0), oracle(x.T, 0), dtype, row)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing(name: str) -> None:
    """Of no rows there are no results; the sum of no classes is 0."""
    ours = getattr(crossent, name)
    assert ours(np.zeros((0, 4))).shape == ((0,) if name == "logsumexp" else (0, 4))
    empty = ours(np.zeros((3, 0)))
    if name == "logsumexp":
        np.testing.assert_array_equal(empty, [-INF] * 3)
        assert crossent.logsumexp([]) == -INF
    else:
        assert empty.shape == (3, 0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_number(name: str) -> None:
    """A single element, all of whose axes (none) are taken."""
    result = getattr(crossent, name)(np.float32(3), axis=None)
    assert isinstance(result, np.float32)
    assert result == {"softmax": 1, "log_softmax": 0, "logsumexp": 3}[name]


def test_logsumexp_keeps_the_digits_of_the_smaller_terms() -> None:
    """Where one element outweighs the others and is itself about 0."""
    for gap in (20.0, 40.0, 300.0):
        assert crossent.logsumexp([0.0, -gap]) == pytest.approx(np.log1p(np.exp(-gap)), rel=1e-15)


@pytest.mark.parametrize("gap", [17, 40, 80])
def test_log_softmax_of_confident_rows(instruction_set: str, gap: float) -> None:
    for kind in (np.float32, np.float64):
        x = np.array([[gap, 0.0, -3.0]], kind)
        cases.assert_close(crossent.log_softmax(x), reference.log_softmax(x), kind, 4)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
class TestOut:
    @pytest.mark.parametrize("axis", [-1, 0, 1, None, (0, 2), (0, 1)])
    def test_same_bits_anywhere(self, dtype: cases.Tolerance, name: str, axis: Any) -> None:
        """In place, in an array of its own, in one of other strides."""
        ours, _ = pair(name)
        x = values((4, 5, 6), dtype)
        expected = ours(x, axis=axis)
        for out in (np.empty_like(x), np.asfortranarray(x), np.zeros((8, 5, 12), x.dtype)[::2, :, ::-2], x):
            assert ours(x, axis=axis, out=out) is out
            assert cases.bits(out) == cases.bits(expected)

    @pytest.mark.parametrize("half", cases.HALVES)
    def test_float32_for_halves(self, name: str, half: str) -> None:
        ours, _ = pair(name)
        x = values((4, 50), cases.DTYPES[half])
        out = np.empty(x.shape, np.float32)
        assert ours(x, out=out) is out
        assert cases.bits(out) == cases.bits(ours(x.astype(np.float32)))
        assert cases.bits(ours(x)) == cases.bits(out.astype(x.dtype))

    def test_errors(self, name: str) -> None:
        ours, _ = pair(name)
        x = np.zeros((4, 5))
        for out, error in [
            (np.zeros((5, 4)), ValueError),
            (np.zeros((4, 5), np.float32), TypeError),
            (np.broadcast_to(np.zeros(5), (4, 5)), ValueError),
            (np.zeros((4, 5)).tolist(), TypeError),
        ]:
            with pytest.raises(error, match="out"):
                ours(x, out=out)


@pytest.mark.parametrize("classes", [2, 3, 65, 1000])
def test_a_softmax_is_no_more_than_1(instruction_set: str, dtype: cases.Tolerance, classes: int) -> None:
    """So that what takes probabilities takes it."""
    logits = (np.random.default_rng(0).normal(size=(3000, classes)) * 40).astype(dtype.dtype)
    for x in (logits, np.asfortranarray(logits)):
        assert crossent.softmax(x).max() == 1


def test_the_softmax_of_a_single_class(instruction_set: str, dtype: cases.Tolerance) -> None:
    logits = np.array([1.7, 300.5, -1e4, np.nan, np.inf, -np.inf], dtype.dtype)[:, None]
    for x in (logits, np.repeat(logits, 3, axis=1)[:, None]):
        softmax = crossent.softmax(x, axis=1).astype(float)
        assert (softmax[:3] == 1).all()
        assert np.isnan(softmax[3:]).all()
