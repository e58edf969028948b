"""Where crossent differs from PyTorch on purpose: one test or more for each difference, and there are no others."""

from typing import Any

import cases
import crossent
import numpy as np
import pytest
import reference
from cases import Array

NAN, INF = float("nan"), float("inf")
FLOATS = [np.float32, np.float64]
BAD_ROWS = [[NAN, 1.0, 2.0], [-INF, -INF, -INF], [INF, 0.0, 1.0], [INF, INF, NAN]]


class TestRowsThatDoNotCount:
    """An ignored row, or one whose weighted target is 0 for every class, adds exactly 0 whatever its logits hold."""

    GOOD = np.array([1.0, 2.0, 3.0])

    def check(self, bad: list[float], target: Array, dtype: cases.Tolerance, **options: Any) -> None:
        logits = np.array([bad, self.GOOD, bad]).astype(dtype.dtype)
        for reduction in cases.REDUCTIONS:
            loss, grad = crossent.cross_entropy_with_grad(logits, target, reduction=reduction, **options)
            if reduction == "none":
                assert not np.asarray(loss)[[0, 2]].any()
            assert np.isfinite(loss).all()
            grad = grad.astype(np.float64)
            np.testing.assert_array_equal(grad[[0, 2]], np.zeros((2, 3)))
            assert np.isfinite(grad).all()
            assert grad[1].any()

    @pytest.mark.parametrize("bad", BAD_ROWS)
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_ignored(self, bad: list[float], smoothing: float, dtype: cases.Tolerance) -> None:
        self.check(bad, np.array([-100, 1, -100]), dtype, label_smoothing=smoothing)

    @pytest.mark.parametrize("bad", BAD_ROWS)
    def test_weight_0(self, bad: list[float], dtype: cases.Tolerance) -> None:
        self.check(bad, np.array([0, 1, 0]), dtype, weight=np.array([0.0, 1.0, 1.0]))

    @pytest.mark.parametrize("bad", BAD_ROWS)
    def test_probabilities_0(self, bad: list[float], dtype: cases.Tolerance) -> None:
        self.check(bad, np.array([[0.0] * 3, [0.2, 0.3, 0.5], [0.0] * 3]), dtype)

    @pytest.mark.parametrize("bad", BAD_ROWS)
    def test_probabilities_times_weights_0(self, bad: list[float], dtype: cases.Tolerance) -> None:
        target = np.array([[0.4, 0.6, 0.0], [0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
        self.check(bad, target, dtype, weight=np.array([0.0, 0.0, 2.0]))

    def test_class_axis_1_of_an_image(self, dtype: cases.Tolerance) -> None:
        """The classes of a position lie apart there, and its neighbours are good."""
        logits = np.ones((1, 3, 2, 2), dtype.dtype)
        logits[0, :, 0, 1] = NAN
        target = np.array([[[0, -100], [1, 2]]])
        loss, grad = crossent.cross_entropy_with_grad(logits, target)
        assert loss == pytest.approx(np.log(3))
        assert np.isfinite(grad.astype(float)).all()
        assert not grad[0, :, 0, 1].any()


class TestDenominator0:
    """The mean is nan then, and the gradient 0."""

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_weights_0(self, smoothing: float) -> None:
        logits, target, weight = np.eye(3), np.array([0, 1, 0]), np.array([0.0, 0.0, 1.0])
        loss, grad = crossent.cross_entropy_with_grad(logits, target, weight, label_smoothing=smoothing)
        assert np.isnan(loss)
        np.testing.assert_array_equal(grad, np.zeros((3, 3)))

    def test_weights_that_cancel(self) -> None:
        loss, grad = crossent.cross_entropy_with_grad(np.eye(2), np.array([0, 1]), np.array([1.0, -1.0]))
        assert np.isnan(loss)
        np.testing.assert_array_equal(grad, np.zeros((2, 2)))

    def test_nan_logits(self) -> None:
        loss, grad = crossent.cross_entropy_with_grad(np.full((1, 2), NAN), np.array([0]), np.array([0.0, 1.0]))
        assert np.isnan(loss)
        np.testing.assert_array_equal(grad, np.zeros((1, 2)))


class TestZeroTimesInfinity:
    """It is 0: a class masked with −inf may have target probability or weight 0."""

    ROW = np.array([[1.0, -INF, 2.0]])
    LOSS = np.log1p(np.e)  # of class 0

    def test_probability_0(self, dtype: cases.Tolerance) -> None:
        loss, grad = crossent.cross_entropy_with_grad(self.ROW.astype(dtype.dtype), np.array([[1.0, 0.0, 0.0]]))
        assert loss == pytest.approx(self.LOSS)
        assert grad[0, 1] == 0
        assert np.isfinite(grad.astype(float)).all()

    @pytest.mark.parametrize("smoothing", [0.0, 0.3])
    def test_weight_0(self, smoothing: float, dtype: cases.Tolerance) -> None:
        """With smoothing, every class has a share but for its weight."""
        options: dict[str, Any] = {"weight": np.array([1.0, 0.0, 1.0]), "label_smoothing": smoothing}
        for target in (np.array([0]), np.array([[0.6, 0.4, 0.0]])):
            expected = reference.cross_entropy(self.ROW, target, **options)
            loss, grad = crossent.cross_entropy_with_grad(self.ROW.astype(dtype.dtype), target, **options)
            assert loss == pytest.approx(float(expected.loss))
            cases.assert_close(grad, expected.grad, dtype.dtype, dtype.grad, magnitude=expected.magnitude)

    def test_target_itself_masked_with_weight_0(self) -> None:
        loss, grad = crossent.cross_entropy_with_grad(
            self.ROW, np.array([1]), np.array([1.0, 0.0, 1.0]), reduction="sum"
        )
        assert loss == 0
        assert not grad.any()

    def test_nll_loss(self) -> None:
        log_probs = np.array([[-INF, 0.0], [NAN, -1.0]])
        losses = crossent.nll_loss(log_probs, np.array([0, 0]), np.array([0.0, 1.0]), reduction="none")
        np.testing.assert_array_equal(losses, [0, 0])


class TestConfidentRows:
    """The loss is its true small value and not 0; so is the gradient."""

    @pytest.mark.parametrize("gap", [17, 30, 50, 80])
    @pytest.mark.parametrize("dtype", FLOATS)
    def test_loss_and_gradient(self, gap: float, dtype: Any) -> None:
        loss, grad = crossent.cross_entropy_with_grad(np.array([[gap, 0.0]], dtype), np.array([0]))
        rtol = 4 * float(np.finfo(dtype).eps)
        assert loss == pytest.approx(np.log1p(np.exp(-gap)), rel=rtol)
        np.testing.assert_allclose(grad[0], np.array([-1, 1]) * np.exp(-gap) / (1 + np.exp(-gap)), rtol=rtol)


class TestHalfPrecision:
    """float16 and bfloat16 are computed as float32 and the gradient is rounded once, to nearest even."""

    @pytest.mark.parametrize("name", cases.HALVES)
    @pytest.mark.parametrize("reduction", cases.REDUCTIONS)
    def test_the_result_is_that_of_float32(self, name: str, reduction: reference.Reduction) -> None:
        logits = np.random.default_rng(0).normal(size=(50, 11)).astype(cases.DTYPES[name].dtype)
        target = np.arange(50) % 11
        loss, grad = crossent.cross_entropy_with_grad(logits, target, reduction=reduction)
        expected, expected_grad = crossent.cross_entropy_with_grad(
            logits.astype(np.float32), target, reduction=reduction
        )
        assert cases.bits(loss) == cases.bits(expected)
        assert cases.bits(grad) == cases.bits(expected_grad.astype(logits.dtype))

    @pytest.mark.parametrize("name", cases.HALVES)
    def test_a_mean_over_70000_rows(self, name: str) -> None:
        logits = np.zeros((70_000, 2), cases.DTYPES[name].dtype)
        assert crossent.cross_entropy(logits, np.zeros(70_000, np.int64)) == pytest.approx(np.log(2), rel=1e-7)

    @pytest.mark.parametrize("name", cases.HALVES)
    def test_100000_classes(self, name: str) -> None:
        logits = np.zeros((1, 100_000), cases.DTYPES[name].dtype)
        assert crossent.cross_entropy(logits, np.array([7])) == pytest.approx(np.log(100_000), rel=1e-7)

    @pytest.mark.parametrize("name", cases.HALVES)
    def test_the_gradient_may_go_to_float32(self, name: str) -> None:
        """A mean over 70,000 rows vanishes in float16."""
        logits = np.zeros((70_000, 2), cases.DTYPES[name].dtype)
        out = np.empty((70_000, 2), np.float32)
        _, grad = crossent.cross_entropy_with_grad(logits, np.zeros(70_000, np.int64), out=out)
        assert grad is out
        cases.assert_close(grad, np.tile(np.array([-0.5, 0.5]) / 70_000, (70_000, 1)), np.float32, 4)


class TestLargeGradOutput:
    """It is a float64: beyond float32, only an element that is itself too large is inf, and none is nan."""

    LOGITS = np.array([[0.0, 1.0, 2.0], [50.0, 0.0, 1.0]], np.float32)

    @pytest.mark.parametrize("factor", [3e38, 3.5e38, 1e39, 1e300, INF])
    def test_elements(self, factor: float, instruction_set: str) -> None:
        unscaled = reference.cross_entropy(self.LOGITS, np.zeros(2, int), reduction="sum").grad.astype(np.float64)
        with np.errstate(over="ignore"):
            expected = (unscaled * factor).astype(np.float32)
        for reduction, grad_output in {"sum": factor, "none": [factor, factor]}.items():
            options: dict[str, Any] = {"reduction": reduction, "grad_output": grad_output}
            _, grad = crossent.cross_entropy_with_grad(self.LOGITS, [0, 0], **options)
            np.testing.assert_allclose(grad, expected, rtol=1e-6)


class TestDtypes:
    @pytest.mark.parametrize("name", cases.INTEGERS)
    @pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2), (2, 3, 2, 2)])
    def test_targets_of_any_integer_dtype(self, name: str, shape: tuple[int, ...]) -> None:
        logits = np.random.default_rng(0).normal(size=shape)
        target = np.random.default_rng(1).integers(3, size=shape[:1] + shape[2:])
        options: dict[str, Any] = {"weight": np.array([1.0, 2.0, 3.0]), "label_smoothing": 0.1}
        expected = crossent.cross_entropy(logits, target, **options)
        assert crossent.cross_entropy(logits, target.astype(name), **options) == expected

    def test_ignore_index_outside_the_target_dtype_matches_nothing(self) -> None:
        """−100 is 156 in uint8 only to a cast, and 2^64 − 100 in uint64."""
        logits = np.zeros((1, 200))
        assert crossent.cross_entropy(logits, np.array([156], np.uint8)) == pytest.approx(np.log(200))
        with pytest.raises(IndexError, match=str(2**64 - 100)):
            crossent.cross_entropy(logits, np.array([2**64 - 100], np.uint64))

    @pytest.mark.parametrize("name", ["int8", "int64", "uint64", "float16", "bfloat16", "float32", "float64"])
    def test_weights_of_any_real_dtype(self, name: str, dtype: cases.Tolerance) -> None:
        logits, target = np.eye(3, dtype=dtype.dtype), np.array([0, 2, 1])
        kind = cases.DTYPES[name].dtype if name in cases.DTYPES else np.dtype(name)
        expected = crossent.cross_entropy(logits, target, np.array([1.0, 2.0, 5.0]))
        loss, grad = crossent.cross_entropy_with_grad(logits, target, np.array([1, 2, 5]).astype(kind))
        assert loss == expected
        assert grad.dtype == dtype.dtype

    def test_probabilities_do_not_change_the_dtype(self) -> None:
        losses, grad = crossent.cross_entropy_with_grad(
            np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float64), reduction="none"
        )
        assert losses.dtype == grad.dtype == np.float32


class TestErrors:
    @pytest.mark.parametrize("smoothing", [-0.1, -1e-300, 1.0000001, NAN, INF, -INF])
    def test_label_smoothing_outside_0_to_1(self, smoothing: float) -> None:
        with pytest.raises(ValueError, match="label_smoothing"):
            crossent.cross_entropy(np.eye(3), np.array([0, 1, 2]), label_smoothing=smoothing)

    @pytest.mark.parametrize("reduction", cases.REDUCTIONS)
    def test_zero_classes_with_rows_present(self, reduction: reference.Reduction) -> None:
        for target in (np.zeros(2, np.int64), np.zeros((2, 0))):
            with pytest.raises(ValueError, match="class"):
                crossent.cross_entropy(np.zeros((2, 0)), target, reduction=reduction)

    def test_a_single_sample_with_a_target_of_one_element(self) -> None:
        with pytest.raises(ValueError, match=r"\(1,\)"):
            crossent.cross_entropy(np.zeros(3), np.array([0]))


class TestBinary:
    @pytest.mark.parametrize("value", [-0.1, 1.1, INF, -INF])
    def test_probabilities_outside_0_to_1(self, value: float) -> None:
        with pytest.raises(ValueError, match="probabilit"):
            crossent.binary_cross_entropy(np.array([0.5, value]), np.array([0.0, 1.0]))

    @pytest.mark.parametrize("name", ["bool", *cases.INTEGERS])
    def test_bool_and_integer_targets(self, name: str) -> None:
        x, y = np.array([0.3, 0.6]), np.array([0.0, 1.0])
        target = y.astype(name)
        assert crossent.binary_cross_entropy(x, target) == crossent.binary_cross_entropy(x, y)
        expected = crossent.binary_cross_entropy_with_logits(x, y)
        assert crossent.binary_cross_entropy_with_logits(x, target) == expected

    def test_the_mean_divides_by_the_number_of_elements(self) -> None:
        x, y, w = np.array([[0.3, 0.6]]), np.array([[0.0, 1.0]]), np.array([[3.0, 5.0]])
        for loss in (crossent.binary_cross_entropy, crossent.binary_cross_entropy_with_logits):
            assert loss(x, y, w) == pytest.approx(loss(x, y, w, reduction="none").sum() / 2, rel=1e-15)

    def test_zero_times_infinity(self) -> None:
        logits, target = np.array([-INF, INF, -INF, INF]), np.array([0.0, 1.0, 1.0, 0.0])
        np.testing.assert_array_equal(
            crossent.binary_cross_entropy_with_logits(logits, target, reduction="none"), [0, 0, INF, INF]
        )
