"""The gradient is the derivative of the loss, sums to 0, takes grad_output, and goes where ``out=`` says."""

import itertools
from typing import Any

import cases
import crossent
import numpy as np
import pytest
import reference
from cases import Array


@pytest.mark.parametrize("reduction", cases.REDUCTIONS)
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 5, 3), (2, 5, 2, 2)])
def test_central_differences(shape: tuple[int, ...], reduction: reference.Reduction) -> None:
    """The loss itself, in float64, moved up and down at each logit."""
    random = np.random.default_rng(0)
    axis = reference.class_axis(shape, None)
    positions = shape[:axis] + shape[axis + 1 :]
    x = random.normal(size=shape)
    indices = random.integers(5, size=positions)
    if positions:
        indices.flat[0] = -100
    probabilities = np.moveaxis(random.dirichlet(np.ones(5), size=positions), -1, axis)
    grad_output = random.normal(size=positions if reduction == "none" else ())
    step = 1e-5
    for target, weight, smoothing in itertools.product(
        [indices, probabilities], [None, random.uniform(0.5, 2, size=5)], [0.0, 0.2]
    ):
        options: dict[str, Any] = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
        _, grad = crossent.cross_entropy_with_grad(x, target, grad_output=grad_output, **options)
        for position in np.ndindex(shape):
            values = []
            for sign in (1, -1):
                moved = x.copy()
                moved[position] += sign * step
                values.append(np.sum(grad_output * crossent.cross_entropy(moved, target, **options)))
            difference = (values[0] - values[1]) / (2 * step)
            assert grad[position] == pytest.approx(difference, rel=1e-6, abs=1e-9), (position, options)


@pytest.mark.parametrize("classes", [2, 10, 1000, 30_000])
@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
def test_the_gradient_of_a_row_sums_to_0(
    instruction_set: str, dtype: cases.Tolerance, classes: int, spread: float
) -> None:
    """Within 4 eps of the sum of its absolute values."""
    random = np.random.default_rng(0)
    logits = (random.normal(size=(20, classes)) * spread).astype(dtype.dtype)
    out = np.empty(logits.shape, dtype.result)
    crossent.cross_entropy_with_grad(logits, random.integers(classes, size=20), reduction="sum", out=out)
    total = np.abs(out.astype(reference.long_double).sum(axis=1))
    size = np.abs(out).astype(reference.long_double).sum(axis=1)
    assert (total <= 4 * np.finfo(dtype.result).eps * size).all()


@pytest.mark.parametrize("gap", [0, 1, 10, 16, 17, 20, 50, 80])
def test_the_targets_own_element_is_minus_the_others(instruction_set: str, gap: float) -> None:
    """``p − 1`` would be 0 in float32 from a gap of 17 on."""
    logits = np.zeros((1, 100), np.float32)
    logits[0, 3] = gap
    _, grad = crossent.cross_entropy_with_grad(logits, np.array([3]))
    others = np.delete(grad[0], 3).astype(np.float64)
    assert grad[0, 3] < 0
    assert (others > 0).all()
    cases.assert_close(-grad[0, 3], others.sum(), np.float32, 4)


class TestGradOutput:
    """A number for mean and sum, one for each position for none; the gradient is linear in it."""

    SHAPE = (2, 7, 3, 5)
    LOGITS = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    TARGET = np.random.default_rng(1).integers(7, size=(2, 3, 5))

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    @pytest.mark.parametrize("value", [2.0, -0.25, 0.0, np.float32(3), np.array(1.5), 7])
    def test_number(self, reduction: reference.Reduction, value: Any) -> None:
        expected = reference.cross_entropy(self.LOGITS, self.TARGET, reduction=reduction, grad_output=value)
        loss, grad = crossent.cross_entropy_with_grad(self.LOGITS, self.TARGET, reduction=reduction, grad_output=value)
        assert loss == crossent.cross_entropy(self.LOGITS, self.TARGET, reduction=reduction)
        cases.assert_close(grad, expected.grad, np.float32, 4)

    @pytest.mark.parametrize("arrange", [np.ascontiguousarray, np.asfortranarray, lambda a: a[::-1].copy()[::-1]])
    @pytest.mark.parametrize("kind", [np.float32, np.float64])
    def test_one_for_each_position(self, arrange: Any, kind: Any) -> None:
        value = arrange(np.random.default_rng(2).normal(size=self.TARGET.shape).astype(kind))
        expected = reference.cross_entropy(self.LOGITS, self.TARGET, reduction="none", grad_output=value)
        _, grad = crossent.cross_entropy_with_grad(self.LOGITS, self.TARGET, reduction="none", grad_output=value)
        cases.assert_close(grad, expected.grad, np.float32, 4)

    def test_broadcast(self) -> None:
        value = np.broadcast_to(np.float64(0.5), self.TARGET.shape)
        _, grad = crossent.cross_entropy_with_grad(self.LOGITS, self.TARGET, reduction="none", grad_output=value)
        _, half = crossent.cross_entropy_with_grad(self.LOGITS, self.TARGET, reduction="sum", grad_output=0.5)
        assert cases.bits(grad) == cases.bits(half)

    def test_default_is_one(self) -> None:
        for reduction in cases.REDUCTIONS:
            one = np.ones(self.TARGET.shape) if reduction == "none" else 1.0
            _, grad = crossent.cross_entropy_with_grad(self.LOGITS, self.TARGET, reduction=reduction)
            _, same = crossent.cross_entropy_with_grad(self.LOGITS, self.TARGET, reduction=reduction, grad_output=one)
            assert cases.bits(grad) == cases.bits(same)

    def test_ignored_positions_stay_0(self) -> None:
        target = self.TARGET.copy()
        target[0, 0] = -100
        value = np.full(target.shape, np.inf)
        _, grad = crossent.cross_entropy_with_grad(self.LOGITS, target, reduction="none", grad_output=value)
        assert not grad[0, :, 0].any()

    @pytest.mark.parametrize("target", ["indices", "probabilities"])
    def test_infinite_and_nan_grad_output_never_crash(self, target: str) -> None:
        y: Array = self.TARGET if target == "indices" else np.full(self.SHAPE, 1 / 7)
        for value in (np.inf, -np.inf, np.nan):
            loss, _ = crossent.cross_entropy_with_grad(self.LOGITS, y, grad_output=value)
            assert np.isfinite(loss)


class TestOut:
    SHAPE = (6, 5, 33)

    def logits(self, dtype: cases.Tolerance) -> Array:
        return np.random.default_rng(0).normal(size=self.SHAPE).astype(dtype.dtype)

    TARGETS = (
        np.random.default_rng(1).integers(33, size=(6, 5)),
        np.random.default_rng(1).dirichlet(np.ones(33), size=(6, 5)),
    )

    @pytest.mark.parametrize("layout", [name for name in cases.LAYOUTS if name not in ("unaligned", "read-only")])
    def test_in_place_equals_fresh_to_the_bit(self, instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
        for target, smoothing in itertools.product(self.TARGETS, [0.0, 0.1]):
            logits, axis = cases.LAYOUTS[layout](self.logits(dtype))
            y = target if target.ndim == 2 else np.moveaxis(target, -1, axis)
            loss, grad = crossent.cross_entropy_with_grad(logits, y, axis=axis, label_smoothing=smoothing)
            again, same = crossent.cross_entropy_with_grad(logits, y, axis=axis, label_smoothing=smoothing, out=logits)
            assert same is logits
            assert again == loss
            assert cases.bits(same) == cases.bits(grad)

    @pytest.mark.parametrize("layout", [name for name in cases.LAYOUTS if name not in ("unaligned", "read-only")])
    def test_any_strides(self, instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
        """The result lies in another layout than the logits; around it, nothing is touched."""
        logits = self.logits(dtype)
        _, expected = crossent.cross_entropy_with_grad(logits, self.TARGETS[0], axis=-1)
        out, axis = cases.LAYOUTS[layout](np.zeros_like(logits))
        view = np.moveaxis(out, axis, -1)
        _, grad = crossent.cross_entropy_with_grad(logits, self.TARGETS[0], axis=-1, out=view)
        assert grad is view
        assert cases.bits(view) == cases.bits(expected)
        if view.base is not None and view.base.size > view.size:
            surroundings = np.isnan(view.base.astype(np.float64)).sum()
            assert surroundings == view.base.size - view.size

    @pytest.mark.parametrize("name", cases.HALVES)
    def test_float32_for_half_logits(self, instruction_set: str, name: str) -> None:
        logits = self.logits(cases.DTYPES[name])
        _, expected = crossent.cross_entropy_with_grad(logits.astype(np.float32), self.TARGETS[0], axis=-1)
        out = np.empty(self.SHAPE, np.float32)
        _, grad = crossent.cross_entropy_with_grad(logits, self.TARGETS[0], axis=-1, out=out)
        assert grad is out
        assert cases.bits(out) == cases.bits(expected)

    def test_logits_are_left_alone_without_it(self, dtype: cases.Tolerance) -> None:
        logits = self.logits(dtype)
        before = cases.bits(logits)
        crossent.cross_entropy_with_grad(logits, self.TARGETS[0], axis=-1)
        assert cases.bits(logits) == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_single_class_has_none(dtype: type) -> None:
    random = np.random.default_rng(0)
    logits: Array = random.normal(size=(50, 1)).astype(dtype)
    for target in (np.zeros(50, int), random.random((50, 1)), random.random((50, 1), np.float32)):
        _, grad = crossent.cross_entropy_with_grad(logits, target, [0.3], label_smoothing=0.1)
        assert (grad == 0).all()
    logits[3] = np.nan
    assert np.isnan(crossent.cross_entropy_with_grad(logits, random.random((50, 1)))[1][3]).all()


#: Products of a softmax's smallest elements with these lie on both sides of where numbers get denormal or vanish.
FACTORS = {"float32": (1e-44, 1e-38, 1e-30, 1e10, 1e15, 1e30, 3e38), "float64": (1e-320, 1e-300, 1e130, 1e140, 1e300)}


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("classes", [10, 100, 1000, 20_000])
@pytest.mark.parametrize("name", FACTORS)
def test_gaps_and_factors_of_any_size(
    instruction_set: str, name: str, classes: int, smoothing: float, layout: Any
) -> None:
    """Logits so far below the maximum that their term counts only beside a vast factor are not forgotten."""
    eps = float(np.finfo(name).eps)
    widest = 230 if name == "float32" else 1600
    tiny = float(np.finfo(name).smallest_subnormal)
    for factor in FACTORS[name]:
        logits = np.linspace(3, 3 - widest, classes, dtype=name)[None].repeat(3, axis=0)
        target = np.array([0, classes // 2, classes - 1])
        options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": "none", "grad_output": [factor] * 3}
        _, grad = crossent.cross_entropy_with_grad(np.array(logits, order=layout), target, **options)
        _, expected, magnitude = reference.cross_entropy(logits, target, **options)
        assert (np.abs(grad - expected) <= 4 * eps * magnitude + tiny).all(), factor
