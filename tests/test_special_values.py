"""nan, infinities, denormals and the largest values, wherever they stand in a row; and arrays of no rows or classes."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import cases
import crossent
import numpy as np
import pytest
import reference
from cases import Array

NAN, INF = float("nan"), float("inf")


def special_rows(dtype: np.dtype[Any], classes: int) -> Array:
    """Return a row for each way to fill its first, middle and last class with special values."""
    info = cases.finfo(dtype)
    values = [NAN, INF, -INF, 0.0, -0.0, float(info.max), float(info.min), float(info.smallest_subnormal)]
    rows = np.full((len(values) ** 3, classes), 0.5, dtype)
    rows[:, [0, classes // 2, classes - 1]] = list(itertools.product(values, repeat=3))
    return rows


@pytest.mark.parametrize("classes", [3, 4, 40, 200])
def test_every_combination(
    each_instruction_set: Callable[[], Iterator[str]], dtype: cases.Tolerance, classes: int
) -> None:
    """512 rows, every target, class weights of 0 among them; exactly what the oracle says where it isn't finite."""
    x = special_rows(dtype.dtype, classes)[np.newaxis]
    layouts = {layout: cases.LAYOUTS[layout](x) for layout in ("rows", "(N, C, d)")}
    positions, rows = x.shape[:2], x.shape[1]
    finite = np.nan_to_num(reference.as_long_double(x), nan=0, posinf=0, neginf=0)
    distance = np.ptp(finite, axis=-1)
    weight = np.ones(classes)
    weight[classes // 2] = 0
    probabilities = np.zeros(x.shape)
    probabilities[..., [0, classes - 1]] = [0.25, 0.75]
    targets = [np.full(positions, y) for y in (0, classes // 2, classes - 1)]
    targets.append(np.where(np.arange(rows) % 3 == 0, -100, 0)[np.newaxis])
    for y, w, smoothing in itertools.product([*targets, probabilities], [None, weight], [0.0, 0.1]):
        options: dict[str, Any] = {"weight": w, "label_smoothing": smoothing, "reduction": "none"}
        expected = reference.cross_entropy(x, y, axis=-1, **options)
        case = f"target {'probabilities' if y.ndim == 3 else y[0, :4]}, weight {w is not None}, smoothing {smoothing}"
        for instruction_set in each_instruction_set():
            for layout, (logits, axis) in layouts.items():
                target = y if y.ndim == 2 else np.moveaxis(y, -1, axis)
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    loss, grad = crossent.cross_entropy_with_grad(logits, target, axis=axis, **options)
                is_soft = y.ndim == 3 or smoothing > 0
                check(loss, np.moveaxis(grad, axis, -1), expected, distance if is_soft else None, dtype,
                      f"{case}, {instruction_set}, {layout}")  # fmt: skip


def check(
    loss: Array, grad: Array, expected: reference.LossAndGrad, distance: Array | None, dtype: cases.Tolerance, case: str
) -> None:
    """Assert what the oracle says. With the row's distance, of sums of distances: one that may overflow may be inf."""
    with np.errstate(over="ignore"):  # the distance of the largest values is no float32
        expected_loss = expected.loss.astype(dtype.result).astype(reference.long_double)
    ulps = dtype.loss
    if distance is not None:
        may_overflow = np.isposinf(loss) & (distance > np.finfo(dtype.result).max)
        expected_loss, ulps = np.where(may_overflow, INF, expected_loss), dtype.soft_loss
    cases.assert_close(loss, expected_loss, dtype.result, ulps + 0.5, f"loss, {case}")
    cases.assert_close(grad, expected.grad, dtype.dtype, dtype.grad, f"gradient, {case}", expected.magnitude)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("value", "expected"), [(NAN, NAN), (-INF, INF)])
def test_one_row_decides_on_the_reduction(
    dtype: cases.Tolerance, reduction: reference.Reduction, value: float, expected: float
) -> None:
    logits = np.zeros((1000, 10), dtype.dtype)
    logits[500, 0] = value
    loss = crossent.cross_entropy(logits, np.zeros(1000, int), reduction=reduction)
    np.testing.assert_equal(loss, expected)


def test_the_largest_values_do_not_overflow_the_reductions() -> None:
    """Sums are in float64, whatever the logits are."""
    largest = float(np.finfo(np.float32).max)
    logits = np.array([[largest, 0.0]] * 8, np.float32)
    assert crossent.cross_entropy(logits, np.ones(8, int), reduction="sum") == pytest.approx(8 * largest)
    assert crossent.cross_entropy(logits, np.ones(8, int)) == pytest.approx(largest)


@pytest.mark.parametrize("classes", [50, 5000, 40_000])
def test_label_smoothing_of_the_largest_values(instruction_set: str, dtype: cases.Tolerance, classes: int) -> None:
    """A mean of gaps that are near the largest number, whose sum would be beyond it."""
    gap = float(cases.finfo(dtype.dtype).max) / 2
    for arrange in (np.ascontiguousarray, np.asfortranarray):
        logits = arrange(np.full((3, classes), -gap / 2).astype(dtype.dtype))
        logits[:, 7] = gap / 2
        loss = crossent.cross_entropy(logits, np.full(3, 7), label_smoothing=0.1)
        assert loss == pytest.approx(0.1 * gap * ((classes - 1) / classes), rel=1e-6)


@pytest.mark.parametrize("classes", [1, 5, 100, 5000])
def test_denormal_logits(instruction_set: str, dtype: cases.Tolerance, classes: int) -> None:
    """They count as what they are, about 0."""
    smallest = float(cases.finfo(dtype.dtype).smallest_subnormal)
    logits = (np.arange(classes) % 3 * smallest).astype(dtype.dtype)
    loss, grad = crossent.cross_entropy_with_grad(logits, 0)
    cases.assert_close(loss, np.log(classes), dtype.result, dtype.loss + 0.5)
    cases.assert_close(grad[1:], np.full(classes - 1, 1 / classes), dtype.dtype, dtype.grad + 0.5)


@pytest.mark.parametrize("value", [0.0, -5.0, 1e4, -1e4])
def test_one_class(instruction_set: str, dtype: cases.Tolerance, value: float) -> None:
    """It has probability 1: loss and gradient are 0, exactly so for a class index."""
    logits = np.full((5, 1), value, dtype.dtype)
    loss, grad = crossent.cross_entropy_with_grad(logits, np.zeros(5, int), reduction="none")
    assert not loss.any()
    assert not grad.any()
    loss, grad = crossent.cross_entropy_with_grad(logits, np.ones((5, 1)), reduction="none")
    cases.assert_close(loss, np.zeros(5), dtype.result, dtype.soft_loss, "", np.ones(5))
    cases.assert_close(grad, np.zeros((5, 1)), dtype.dtype, dtype.grad, "", np.ones((5, 1)))


@pytest.mark.parametrize("row", [[NAN], [INF], [-INF]])
def test_one_class_without_a_distribution(row: list[float]) -> None:
    loss, grad = crossent.cross_entropy_with_grad(np.array([row]), np.array([0]))
    assert np.isnan(loss)
    assert np.isnan(grad).all()


@pytest.mark.parametrize("masked", [1, 7, 16, 99])
def test_masks(instruction_set: str, dtype: cases.Tolerance, masked: int) -> None:
    """Classes at −inf are as good as absent, wherever they stand."""
    random = np.random.default_rng(masked)
    x = random.normal(size=(30, 100)).astype(dtype.dtype)
    target = np.empty(30, int)
    for row in range(30):
        order = random.permutation(100)
        x[row, order[:masked]] = -INF
        target[row] = order[masked]
    expected = reference.cross_entropy(x, target, reduction="none")
    losses, grad = crossent.cross_entropy_with_grad(x, target, reduction="none")
    assert np.isfinite(losses).all()
    assert not grad[np.isneginf(x.astype(np.float32))].any()
    cases.assert_close(losses, expected.loss, dtype.result, dtype.loss)
    cases.assert_close(grad, expected.grad, dtype.dtype, dtype.grad)


@pytest.mark.parametrize("classes", [3, 1000])
def test_nan_has_one_form(instruction_set: str, dtype: cases.Tolerance, classes: int) -> None:
    """Whatever the payload and sign of the nan that came in."""
    logits = np.zeros((4, classes), dtype.dtype)
    logits[0, 1] = NAN
    logits[1, 1] = -NAN
    logits[2] = -INF
    logits[3, 1] = INF
    losses, grad = crossent.cross_entropy_with_grad(logits, np.zeros(4, int), reduction="none")
    assert np.isnan(losses).all()
    assert np.isnan(grad.astype(float)).all()
    assert len({cases.bits(loss) for loss in losses}) == 1
    assert len({cases.bits(element) for element in grad.reshape(-1)}) == 1


@pytest.mark.parametrize("shape", [(0, 5), (0, 0), (3, 5, 0), (0, 5, 4)])
def test_no_rows(instruction_set: str, dtype: cases.Tolerance, shape: tuple[int, ...]) -> None:
    positions = shape[:1] + shape[2:]
    for target in (np.zeros(positions, int), np.zeros(shape)):
        loss, grad = crossent.cross_entropy_with_grad(np.zeros(shape, dtype.dtype), target, reduction="none")
        assert np.shape(loss) == positions
        assert grad.shape == shape


def test_no_axes() -> None:
    with pytest.raises(ValueError, match=r"logits"):
        crossent.cross_entropy(np.float64(1.0), np.array(0))


@pytest.mark.parametrize("row", [[NAN, 1.0, 2.0], [INF, 1.0, 2.0], [-INF, -INF, -INF]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_grad_output_of_0_hides_no_nan(row: list[float], smoothing: float, instruction_set: str) -> None:
    """It is a factor, as in PyTorch; rows that don't count are ignored ones."""
    logits = np.array([row, [0.0, 1.0, 2.0]], np.float32)
    options: dict[str, Any] = {"reduction": "none", "label_smoothing": smoothing}
    _, grad = crossent.cross_entropy_with_grad(logits, [0, 1], grad_output=[0.0, 1.0], **options)
    _, good = crossent.cross_entropy_with_grad(logits[1:], [1], **options)
    assert np.isnan(grad[0]).all()
    np.testing.assert_array_equal(grad[1:], good)
