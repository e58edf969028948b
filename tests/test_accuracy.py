"""Errors in units in the last place, on rows chosen to lose digits: confident, shifted, wide, spread out.

float32 without smoothing: loss ≤ 2 ulp, each element of the gradient ≤ 4 ulp. float64: 4 and 8. With smoothing or
class probabilities the gradient, which cancels by nature, has these errors in units of max(p · W, t), and the loss
twice those above.
"""

import itertools
from typing import Any

import cases
import crossent
import numpy as np
import pytest
import reference
from cases import Array

SINGLE, DOUBLE = cases.DTYPES["float32"], cases.DTYPES["float64"]


def check(x: Array, target: Array, dtype: cases.Tolerance, case: object, **options: Any) -> None:
    """Compare loss and gradient of rows with the oracle's, row by row."""
    x = x.astype(dtype.dtype)
    expected = reference.cross_entropy(x, target, axis=-1, reduction="none", **options)
    losses, grad = crossent.cross_entropy_with_grad(x, target, axis=-1, reduction="none", **options)
    soft = target.ndim == 2 or options.get("label_smoothing", 0) > 0
    cases.assert_close(losses, expected.loss, dtype.result, dtype.soft_loss if soft else dtype.loss, f"loss, {case}")
    cases.assert_close(grad, expected.grad, dtype.dtype, dtype.grad, f"gradient, {case}", expected.magnitude)


def confident_rows(classes: int, gaps: Array) -> Array:
    """Return random rows in which class 0 is ahead by each of the gaps."""
    x = np.random.default_rng(classes).normal(size=(len(gaps), classes))
    x[:, 0] = x[:, 1:].max(axis=1) + gaps
    return x


@pytest.mark.parametrize("classes", [2, 3, 10, 65, 1000])
@pytest.mark.parametrize("target", [0, 1])
def test_confident_rows(instruction_set: str, classes: int, target: int) -> None:
    """Gaps to 100 in float32, denormal losses and gradients included; with target 1 the row is confidently wrong."""
    gaps = np.linspace(0, 100, 401)
    check(confident_rows(classes, gaps), np.full(401, target), SINGLE, f"{classes} classes")


@pytest.mark.parametrize("target", [0, 1])
def test_confident_rows_in_float64(instruction_set: str, target: int) -> None:
    """Gaps to 700, against 60 digits: exp takes more of them than a long double has."""
    x = confident_rows(5, np.linspace(0, 700, 141))
    losses, grad = crossent.cross_entropy_with_grad(x, np.full(141, target), reduction="none")
    for row, loss, row_grad in zip(x, losses, grad, strict=True):
        exact_loss, exact_grad = reference.exact_row(row, target)
        exact = reference.from_exact([exact_loss, *exact_grad])
        gap = row[0] - row[1]
        cases.assert_close(loss, exact[0], np.float64, DOUBLE.loss, f"loss, gap {gap}")
        cases.assert_close(row_grad, exact[1:], np.float64, DOUBLE.grad, f"gradient, gap {gap}")


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=["float32", "float64"])
@pytest.mark.parametrize("layout", ["rows", "(N, C, d)"])
class TestEveryInstructionSet:
    def test_offsets(self, instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
        """A common offset changes nothing but the rounding of the logits themselves."""
        x = np.random.default_rng(0).normal(size=(50, 20)) * 5
        target = np.arange(50) % 20
        for offset in [0, 1, 100, 1e3, 1e4, 65_000, 66_000, 1e5, 131_072, 1e6, 1e7, 1e8]:
            for sign in (1, -1):
                self.check(x + sign * offset, target, dtype, layout, f"offset {sign * offset}")

    def test_equal_logits(self, instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
        for value, classes in itertools.product([0, 1e-40, 1, -1, 88, -88, 90, 1e8, -1e8, 1e30], [2, 3, 100, 1000]):
            x = np.full((4, classes), value)
            self.check(x, np.zeros(4, int), dtype, layout, f"{classes} classes of {value}")

    def test_one_large_and_the_rest_equal(self, instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
        for classes, gap in itertools.product([2, 17, 1000, 20_000], [0.5, 5, 12, 20, 60]):
            x = np.zeros((3, classes))
            x[np.arange(3), [0, classes // 2, classes - 1]] = gap
            for target in (0, classes - 1):
                self.check(x, np.full(3, target), dtype, layout, f"{classes} classes, gap {gap}")

    def test_scales(self, instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
        random = np.random.default_rng(0)
        for scale, classes in itertools.product([0.1, 1, 3, 10, 30, 100], [2, 10, 100, 1000]):
            x = random.normal(size=(20, classes)) * scale
            self.check(x, random.integers(classes, size=20), dtype, layout, f"{classes} classes × {scale}")

    def test_smoothing_and_probabilities(self, instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
        random = np.random.default_rng(0)
        for scale, classes in itertools.product([0.1, 3, 30], [2, 10, 100, 1000]):
            x = random.normal(size=(20, classes)) * scale
            x[0, 0] += 50
            indices = random.integers(classes, size=20)
            indices[0] = 0
            weight = random.uniform(0.1, 3, size=classes)
            for target, smoothing in [
                (indices, 0.1),
                (indices, 0.9),
                (indices, 1.0),
                (random.dirichlet(np.ones(classes), size=20), 0.0),
                (reference.softmax(x).astype(float), 0.0),  # where everything cancels
                (np.eye(classes)[indices], 0.05),
            ]:
                for w in (None, weight):
                    case = f"{classes} classes × {scale}, smoothing {smoothing}, weight {w is not None}"
                    self.check(x, target, dtype, layout, case, label_smoothing=smoothing, weight=w)

    @staticmethod
    def check(x: Array, target: Array, dtype: cases.Tolerance, layout: str, case: str, **options: Any) -> None:
        if layout == "(N, C, d)":  # neighbours in memory are positions
            x = np.ascontiguousarray(x.T).T
        check(x, target, dtype, f"{layout}, {case}", **options)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=["float32", "float64"])
@pytest.mark.parametrize("classes", [8191, 8192, 8193, 16_385, 50_257, 131_072, 262_144])
def test_many_classes(instruction_set: str, dtype: cases.Tolerance, classes: int) -> None:
    """Sums of a quarter of a million terms; sorted either way, small ones drown if they can."""
    random = np.random.default_rng(classes)
    row = random.normal(size=classes) * 3
    x = np.stack([row, np.sort(row), np.zeros(classes)])
    check(x, np.array([0, classes // 2, classes - 1]), dtype, f"{classes} classes")


class TestHalfPrecision:
    """The float32 result of the upcast logits, bit for bit, with the gradient rounded once to nearest even."""

    @staticmethod
    def check(logits: Array, target: Array, **options: Any) -> None:
        losses, grad = crossent.cross_entropy_with_grad(logits, target, **options)
        expected, expected_grad = crossent.cross_entropy_with_grad(logits.astype(np.float32), target, **options)
        np.testing.assert_array_equal(losses, expected)
        assert grad.dtype == logits.dtype
        with np.errstate(over="ignore"):
            rounded = expected_grad.astype(logits.dtype)
        np.testing.assert_array_equal(grad.astype(np.float32), rounded.astype(np.float32))

    @pytest.mark.parametrize("name", cases.HALVES)
    def test_every_value(self, instruction_set: str, name: str) -> None:
        """All 65,536 of them as logits, denormals, infinities and nan included."""
        logits = np.zeros((2**16, 3), cases.DTYPES[name].dtype)
        logits[:, 1] = np.arange(2**16, dtype=np.uint16).view(logits.dtype)
        logits[:, 2] = 1
        for target in (0, 1):
            self.check(logits, np.full(2**16, target), reduction="none")
        self.check(logits.T[np.newaxis], np.zeros((1, 2**16), int), reduction="none")

    @pytest.mark.parametrize("name", cases.HALVES)
    @pytest.mark.parametrize("classes", [1, 2, 9, 17, 100, 1000, 20_000])
    def test_random_rows(self, instruction_set: str, name: str, classes: int) -> None:
        random = np.random.default_rng(classes)
        logits = (random.normal(size=(16, classes)) * 5).astype(cases.DTYPES[name].dtype)
        target = random.integers(classes, size=16)
        probabilities = random.dirichlet(np.ones(classes), size=16)
        for y, reduction, smoothing in itertools.product([target, probabilities], cases.REDUCTIONS, [0.0, 0.1]):
            self.check(logits, y, reduction=reduction, label_smoothing=smoothing)

    @pytest.mark.parametrize("name", cases.HALVES)
    def test_denormal_gradients_and_ties(self, instruction_set: str, name: str) -> None:
        """Powers of two down to nothing, and values halfway between two halves, through grad_output."""
        logits = np.zeros((2**12, 2), cases.DTYPES[name].dtype)
        target = np.zeros(2**12, int)
        exponents = np.linspace(-140 if name == "bfloat16" else -30, 14, 64)
        for exponent in exponents.astype(int):
            scale = (1 + np.arange(2**12) / 2**12) * 2.0**exponent
            self.check(logits, target, reduction="none", grad_output=scale)

    @pytest.mark.parametrize("name", cases.HALVES)
    def test_nothing_overflows(self, name: str) -> None:
        """70,000 rows, 100,000 classes: more than float16 counts."""
        kind = cases.DTYPES[name].dtype
        assert crossent.cross_entropy(np.zeros((70_000, 2), kind), np.zeros(70_000, int), reduction="sum") == (
            pytest.approx(70_000 * np.log(2), rel=1e-6)
        )
        losses, grad = crossent.cross_entropy_with_grad(np.zeros((2, 100_000), kind), np.array([0, 99_999]))
        assert losses == pytest.approx(np.log(100_000), rel=1e-6)
        assert (grad != 0).all()

    @pytest.mark.parametrize("name", cases.HALVES)
    def test_large_losses_of_many_rows(self, name: str) -> None:
        """70,000 losses of 20: their sum is no float16, and neither is 1 / 70,000 times anything much below 1."""
        logits = np.zeros((70_000, 2), cases.DTYPES[name].dtype)
        logits[:, 1] = 20
        target = np.zeros(70_000, int)
        loss_of_a_row = 20 + np.log1p(np.exp(-20))
        sizes: dict[reference.Reduction, int] = {"mean": 1, "sum": 70_000}
        for reduction, size in sizes.items():
            loss, grad = crossent.cross_entropy_with_grad(logits, target, reduction=reduction)
            assert loss == pytest.approx(size * loss_of_a_row, rel=1e-7)
            assert np.isfinite(grad.astype(float)).all()
            assert (grad != 0).all()
        self.check(logits, target)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=["float32", "float64"])
def test_the_sum_of_very_many_rows(instruction_set: str, dtype: cases.Tolerance) -> None:
    """As right as float64 can be: four rows over and over, without their memory."""
    x: Array = np.array([[1.5, -2.25], [0.3, 0.7], [-5, 1.1], [9, 0]], dtype.dtype)
    target = np.array([0, 1, 0, 0], np.int8)
    times = 2**20
    many, many_target = np.broadcast_to(x, (times, 4, 2)), np.broadcast_to(target, (times, 4))
    mean = crossent.cross_entropy(many, many_target, axis=-1)
    assert mean == pytest.approx(crossent.cross_entropy(x, target), rel=2e-16)
    total = crossent.cross_entropy(many, many_target, axis=-1, reduction="sum")
    assert total == pytest.approx(times * crossent.cross_entropy(x, target, reduction="sum"), rel=2e-16)
