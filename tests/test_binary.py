"""The binary losses: against the oracle, gradient and weights, the clamp at −100, confident and extreme values."""

import itertools
from typing import Any

import cases
import crossent
import numpy as np
import pytest
import reference
from cases import Array

NAN, INF = float("nan"), float("inf")
SHAPE = (5, 4, 33)
WEIGHTS: list[tuple[int, ...] | None] = [None, (), (33,), (5, 1, 1), (4, 33), SHAPE]


def some(dtype: cases.Tolerance) -> tuple[Array, Array]:
    """Return logits, and targets among which are 0 and 1."""
    random = np.random.default_rng(0)
    logits = (random.normal(size=SHAPE) * 6).astype(dtype.dtype)
    target = random.uniform(size=SHAPE)
    target[0], target[1] = 0, 1
    return logits, target


def uniform(shape: tuple[int, ...] | None) -> Array | None:
    return None if shape is None else np.random.default_rng(1).uniform(0.1, 3, size=shape)


@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_with_logits(instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
    x, target = some(dtype)
    logits, axis = cases.LAYOUTS[layout](x)
    y = np.moveaxis(target, -1, axis)
    random = np.random.default_rng(2)
    for reduction, w, q in itertools.product(cases.REDUCTIONS, [None, np.float64(0.7)], [None, np.float64(2.5)]):
        scale = random.normal(size=logits.shape if reduction == "none" else ())
        options: dict[str, Any] = {"weight": w, "pos_weight": q, "reduction": reduction}
        expected = reference.binary_cross_entropy_with_logits(logits, y, grad_output=scale, **options)
        loss, grad = crossent.binary_cross_entropy_with_logits_with_grad(logits, y, grad_output=scale, **options)
        case = f"{reduction}, weight {w}, pos_weight {q}"
        ulps = dtype.soft_loss if reduction == "none" else 2 * dtype.soft_loss
        cases.assert_close(loss, expected.loss, dtype.result, ulps, case)
        cases.assert_close(grad, expected.grad, dtype.dtype, dtype.grad, case, expected.magnitude)
        alone = crossent.binary_cross_entropy_with_logits(logits, y, **options)
        assert cases.bits(alone) == cases.bits(loss)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("pos_weight", WEIGHTS)
def test_weights_broadcast(weight: tuple[int, ...] | None, pos_weight: tuple[int, ...] | None) -> None:
    dtype = cases.DTYPES["float64"]
    x, y = some(dtype)
    options: dict[str, Any] = {"weight": uniform(weight), "pos_weight": uniform(pos_weight), "reduction": "none"}
    expected = reference.binary_cross_entropy_with_logits(x, y, **options)
    losses, grad = crossent.binary_cross_entropy_with_logits_with_grad(x, y, **options)
    cases.assert_close(losses, expected.loss, np.float64, dtype.soft_loss)
    cases.assert_close(grad, expected.grad, np.float64, dtype.grad, "", expected.magnitude)


@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_on_probabilities(instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
    x, target = some(dtype)
    p, axis = cases.LAYOUTS[layout](reference.sigmoid(reference.as_long_double(x)).astype(np.float32).astype(x.dtype))
    y = np.moveaxis(target, -1, axis)
    for reduction, w in itertools.product(cases.REDUCTIONS, [None, np.float64(0.7)]):
        expected = reference.binary_cross_entropy(p, y, w, reduction=reduction)
        loss = crossent.binary_cross_entropy(p, y, w, reduction=reduction)
        ulps = dtype.soft_loss if reduction == "none" else 2 * dtype.soft_loss
        cases.assert_close(loss, expected, dtype.result, ulps, f"{reduction}, weight {w}")


def test_the_logarithm_is_clamped_at_minus_100(instruction_set: str, dtype: cases.Tolerance) -> None:
    p = np.array([0.0, 1.0, 0.0, 1.0]).astype(dtype.dtype)
    y = np.array([0.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(crossent.binary_cross_entropy(p, y, reduction="none"), [0, 0, 100, 100])
    half = np.full(4, 0.5)
    np.testing.assert_allclose(crossent.binary_cross_entropy(p, half, reduction="none"), 50)
    smallest = np.array([float(cases.finfo(dtype.dtype).smallest_subnormal)]).astype(dtype.dtype)
    expected = min(100.0, float(-np.log(smallest.astype(np.float64))[0]))
    assert crossent.binary_cross_entropy(smallest, [1.0]) == pytest.approx(expected)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_probabilities_near_0_and_1(instruction_set: str, kind: Any) -> None:
    """log1p keeps what 1 − p would round away."""
    tiny = np.array([1e-30, 1e-12, 1e-8, 1e-3], kind)
    expected = -np.log1p(-tiny.astype(reference.long_double))
    cases.assert_close(crossent.binary_cross_entropy(tiny, np.zeros(4), reduction="none"), expected, kind, 4)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_confident_logits(instruction_set: str, kind: Any) -> None:
    """Loss and gradient keep their digits down to the denormals."""
    magnitude = np.linspace(0, 100 if kind is np.float32 else 740, 371).astype(kind)
    tolerance = cases.DTYPES[np.dtype(kind).name]
    for sign, y in itertools.product([1, -1], [0, 1]):
        logits, target = sign * magnitude, np.full(371, y)
        expected = reference.binary_cross_entropy_with_logits(logits, target, reduction="none")
        losses, grad = crossent.binary_cross_entropy_with_logits_with_grad(logits, target, reduction="none")
        cases.assert_close(losses, expected.loss, kind, tolerance.loss, f"loss, sign {sign}, target {y}")
        cases.assert_close(grad, expected.grad, kind, tolerance.grad, f"gradient, sign {sign}, target {y}")


def test_extreme_logits(instruction_set: str, dtype: cases.Tolerance) -> None:
    info = cases.finfo(dtype.dtype)
    values = [NAN, INF, -INF, float(info.max), float(info.min), float(info.smallest_subnormal), 0.0, -0.0]
    logits = np.repeat(np.array(values).astype(dtype.dtype), 3)
    target = np.tile([0.0, 0.5, 1.0], len(values))
    expected = reference.binary_cross_entropy_with_logits(logits, target, reduction="none")
    losses, grad = crossent.binary_cross_entropy_with_logits_with_grad(logits, target, reduction="none")
    cases.assert_close(losses, expected.loss, dtype.result, dtype.soft_loss + 0.5)
    cases.assert_close(grad, expected.grad, dtype.dtype, dtype.grad, "", expected.magnitude)


def test_a_weight_of_0_counts_for_nothing() -> None:
    """Whatever the logit holds; and a pos_weight of 0 takes the positive part."""
    logits = np.array([NAN, INF, -INF, 3.0])
    losses, grad = crossent.binary_cross_entropy_with_logits_with_grad(
        logits, np.array([1.0, 0.0, 1.0, 1.0]), np.zeros(4), reduction="none"
    )
    assert not losses.any()
    assert not grad.any()
    only_negative = crossent.binary_cross_entropy_with_logits([-INF, 0.0], [1, 1], pos_weight=0.0, reduction="none")
    np.testing.assert_array_equal(only_negative, [0, 0])


@pytest.mark.parametrize("reduction", cases.REDUCTIONS)
def test_central_differences(reduction: reference.Reduction) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(3, 4)), random.uniform(size=(3, 4))
    grad_output = random.normal(size=x.shape if reduction == "none" else ())
    options: dict[str, Any] = {"weight": random.uniform(size=4), "pos_weight": random.uniform(size=(3, 1))}
    options["reduction"] = reduction
    _, grad = crossent.binary_cross_entropy_with_logits_with_grad(x, y, grad_output=grad_output, **options)
    step = 1e-5
    for position in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[position] += step
        down[position] -= step
        values = [np.sum(grad_output * crossent.binary_cross_entropy_with_logits(v, y, **options)) for v in (up, down)]
        assert grad[position] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6, abs=1e-9)


def test_empty() -> None:
    for loss in (crossent.binary_cross_entropy, crossent.binary_cross_entropy_with_logits):
        assert np.isnan(loss(np.zeros((0, 3)), np.zeros((0, 3))))
        assert loss(np.zeros((0, 3)), np.zeros((0, 3)), reduction="sum") == 0
        assert loss(np.zeros((0, 3)), np.zeros((0, 3)), reduction="none").shape == (0, 3)


def test_results(dtype: cases.Tolerance) -> None:
    x = np.array([[0.25, 0.5]]).astype(dtype.dtype)
    y = np.array([[0, 1]])
    for loss in (crossent.binary_cross_entropy, crossent.binary_cross_entropy_with_logits):
        assert type(loss(x, y)) is float
        assert type(loss(x, y, np.ones(2), reduction="sum")) is float
        assert loss(x, y, reduction="none").dtype == dtype.result
        assert loss(x[0, 0], 0, reduction="none").dtype == dtype.result


@pytest.mark.parametrize("layout", [name for name in cases.LAYOUTS if name not in ("unaligned", "read-only")])
def test_in_place_equals_fresh_to_the_bit(dtype: cases.Tolerance, layout: str) -> None:
    x, target = some(dtype)
    logits, axis = cases.LAYOUTS[layout](x)
    y = np.moveaxis(target, -1, axis)
    loss, grad = crossent.binary_cross_entropy_with_logits_with_grad(logits, y)
    again, same = crossent.binary_cross_entropy_with_logits_with_grad(logits, y, out=logits)
    assert same is logits
    assert again == loss
    assert cases.bits(same) == cases.bits(grad)


@pytest.mark.parametrize("name", cases.HALVES)
def test_halves_are_computed_as_float32(name: str) -> None:
    x, y = some(cases.DTYPES[name])
    for reduction in cases.REDUCTIONS:
        loss, grad = crossent.binary_cross_entropy_with_logits_with_grad(x, y, reduction=reduction)
        expected, expected_grad = crossent.binary_cross_entropy_with_logits_with_grad(
            x.astype(np.float32), y, reduction=reduction
        )
        assert cases.bits(loss) == cases.bits(expected)
        assert cases.bits(grad) == cases.bits(expected_grad.astype(x.dtype))
