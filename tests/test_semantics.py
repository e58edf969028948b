"""PyTorch's semantics, corner by corner: what a drop-in replacement has to return."""

from typing import Any

import cases
import crossent
import numpy as np
import pytest
import reference
from cases import Array

NAN, INF = float("nan"), float("inf")

LOGITS = np.array([[1.0, 2.0, 3.0], [0.5, -0.5, 0.0], [2.0, 0.0, -1.0], [0.1, 0.2, 0.3]])
TARGET = np.array([0, 2, 1, 2])
WEIGHT = np.array([0.5, 2.0, 3.0])
NLL = -np.log(np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True))
OWN_NLL = NLL[np.arange(4), TARGET]
OWN_WEIGHT = WEIGHT[TARGET]
PROBABILITIES = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.4, 0.4, 0.2]])


def close(actual: Any, expected: Any, rtol: float = 1e-14) -> None:
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-300)


class TestReductions:
    def test_index_targets(self) -> None:
        close(crossent.cross_entropy(LOGITS, TARGET, reduction="none"), OWN_NLL)
        close(crossent.cross_entropy(LOGITS, TARGET, reduction="sum"), OWN_NLL.sum())
        close(crossent.cross_entropy(LOGITS, TARGET), OWN_NLL.mean())

    def test_weighted_mean_divides_by_the_weights_of_the_targets(self) -> None:
        weighted = OWN_WEIGHT * OWN_NLL
        close(crossent.cross_entropy(LOGITS, TARGET, WEIGHT, reduction="none"), weighted)
        close(crossent.cross_entropy(LOGITS, TARGET, WEIGHT, reduction="sum"), weighted.sum())
        close(crossent.cross_entropy(LOGITS, TARGET, WEIGHT), weighted.sum() / OWN_WEIGHT.sum())

    def test_weighted_mean_over_batch_and_space(self) -> None:
        """(N, C, d1, d2): the mean runs over N · d1 · d2 positions."""
        logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
        target = np.random.default_rng(1).integers(3, size=(2, 4, 5))
        rows, flat = np.moveaxis(logits, 1, -1).reshape(-1, 3), target.reshape(-1)
        close(crossent.cross_entropy(logits, target, WEIGHT), crossent.cross_entropy(rows, flat, WEIGHT))

    def test_mean_over_probabilities_divides_by_the_number_of_positions(self) -> None:
        losses = (PROBABILITIES * WEIGHT * NLL).sum(axis=1)
        close(crossent.cross_entropy(LOGITS, PROBABILITIES, WEIGHT, reduction="none"), losses)
        close(crossent.cross_entropy(LOGITS, PROBABILITIES, WEIGHT), losses.sum() / 4)
        spatial = LOGITS.T.reshape(1, 3, 2, 2), PROBABILITIES.T.reshape(1, 3, 2, 2)
        close(crossent.cross_entropy(*spatial, WEIGHT), losses.sum() / 4)

    def test_one_hot_probabilities_with_weight_are_not_the_index_form(self) -> None:
        one_hot = np.eye(3)[TARGET]
        weighted = (OWN_WEIGHT * OWN_NLL).sum()
        close(crossent.cross_entropy(LOGITS, one_hot, WEIGHT), weighted / 4)
        close(crossent.cross_entropy(LOGITS, TARGET, WEIGHT), weighted / OWN_WEIGHT.sum())

    def test_unknown_reduction(self) -> None:
        with pytest.raises(ValueError, match="average"):
            crossent.cross_entropy(LOGITS, TARGET, reduction="average")  # type: ignore[call-overload]


class TestLabelSmoothing:
    E = 0.1

    def test_indices(self) -> None:
        losses = (1 - self.E) * OWN_NLL + self.E / 3 * NLL.sum(axis=1)
        close(crossent.cross_entropy(LOGITS, TARGET, label_smoothing=self.E, reduction="none"), losses)
        close(crossent.cross_entropy(LOGITS, TARGET, label_smoothing=self.E), losses.mean())

    def test_indices_and_weights(self) -> None:
        """The smooth part is weighted class by class, and both parts are divided by the targets' weights."""
        losses = (1 - self.E) * OWN_WEIGHT * OWN_NLL + self.E / 3 * (WEIGHT * NLL).sum(axis=1)
        close(crossent.cross_entropy(LOGITS, TARGET, WEIGHT, label_smoothing=self.E, reduction="none"), losses)
        close(crossent.cross_entropy(LOGITS, TARGET, WEIGHT, label_smoothing=self.E), losses.sum() / OWN_WEIGHT.sum())

    def test_probabilities(self) -> None:
        smoothed = PROBABILITIES * (1 - self.E) + self.E / 3
        close(
            crossent.cross_entropy(LOGITS, PROBABILITIES, WEIGHT, label_smoothing=self.E),
            crossent.cross_entropy(LOGITS, smoothed, WEIGHT),
        )

    def test_ignored_positions_are_masked_and_not_counted(self) -> None:
        target = np.array([0, -100, 1, -100])
        kept = [0, 2]
        losses = crossent.cross_entropy(LOGITS, target, WEIGHT, label_smoothing=self.E, reduction="none")
        assert losses[1] == losses[3] == 0
        close(
            crossent.cross_entropy(LOGITS, target, WEIGHT, label_smoothing=self.E),
            crossent.cross_entropy(LOGITS[kept], target[kept], WEIGHT, label_smoothing=self.E),
        )

    @pytest.mark.parametrize("smoothing", [0.0, 1.0])
    def test_limits(self, smoothing: float) -> None:
        expected = NLL.mean(axis=1) if smoothing else OWN_NLL
        close(crossent.cross_entropy(LOGITS, TARGET, label_smoothing=smoothing, reduction="none"), expected)

    def test_more_than_1_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="label_smoothing"):
            crossent.cross_entropy(LOGITS, TARGET, label_smoothing=1.5)


class TestIgnoreIndex:
    @pytest.mark.parametrize("ignore_index", [-100, -1, 2, 3, 255, -(2**40)])
    def test_any_integer_may_be_ignored(self, ignore_index: int) -> None:
        """Beyond the classes, negative or a valid class, which stays in the softmax of the others."""
        target = np.array([0, ignore_index, 1, ignore_index])
        losses, grad = crossent.cross_entropy_with_grad(LOGITS, target, ignore_index=ignore_index, reduction="none")
        close(losses, [NLL[0, 0], 0, NLL[2, 1], 0])
        assert not grad[[1, 3]].any()
        close(crossent.cross_entropy(LOGITS, target, ignore_index=ignore_index), (NLL[0, 0] + NLL[2, 1]) / 2)

    def test_default_is_minus_100(self) -> None:
        close(crossent.cross_entropy(LOGITS, np.array([0, -100, -100, -100])), NLL[0, 0])

    def test_none_ignores_nothing(self) -> None:
        with pytest.raises(IndexError):
            crossent.cross_entropy(LOGITS, np.array([0, -100, 1, 1]), ignore_index=None)

    @pytest.mark.parametrize("weight", [None, WEIGHT])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_all_ignored(self, weight: Array | None, smoothing: float) -> None:
        """The mean is nan, the sum 0, and the gradient 0 all the same."""
        target = np.full(4, -100)
        expected: dict[reference.Reduction, Any] = {"mean": NAN, "sum": 0.0, "none": np.zeros(4)}
        for reduction in cases.REDUCTIONS:
            loss, grad = crossent.cross_entropy_with_grad(
                LOGITS,
                target,
                weight,
                reduction=reduction,
                label_smoothing=smoothing,
            )
            np.testing.assert_array_equal(loss, expected[reduction])
            np.testing.assert_array_equal(grad, np.zeros((4, 3)))

    def test_negative_ones_have_no_effect_on_probabilities(self) -> None:
        expected = crossent.cross_entropy(LOGITS, PROBABILITIES)
        assert crossent.cross_entropy(LOGITS, PROBABILITIES, ignore_index=-1) == expected

    def test_with_probabilities_a_class_cannot_be_ignored(self) -> None:
        with pytest.raises(ValueError, match="ignore_index"):
            crossent.cross_entropy(LOGITS, PROBABILITIES, ignore_index=1)


class TestEmpty:
    @pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2), (2, 3, 0), (0, 0)])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("probabilities", [False, True])
    def test_empty_batch(self, shape: tuple[int, ...], smoothing: float, probabilities: bool) -> None:
        logits = np.zeros(shape, np.float32)
        positions = shape[:1] + shape[2:]
        target: Array = np.zeros(shape, np.float32) if probabilities else np.zeros(positions, np.int64)
        expected: dict[reference.Reduction, Any] = {"mean": NAN, "sum": 0.0, "none": np.zeros(positions)}
        for reduction in cases.REDUCTIONS:
            loss, grad = crossent.cross_entropy_with_grad(
                logits,
                target,
                reduction=reduction,
                label_smoothing=smoothing,
            )
            np.testing.assert_array_equal(loss, expected[reduction])
            assert np.shape(loss) == np.shape(expected[reduction])
            assert grad.shape == shape

    def test_empty_weighted_batch(self) -> None:
        assert np.isnan(crossent.cross_entropy(np.zeros((0, 3)), np.zeros(0, np.int64), WEIGHT))


class TestUnbatched:
    ROW = LOGITS[0]

    def test_index(self) -> None:
        for reduction in cases.REDUCTIONS:
            loss = crossent.cross_entropy(self.ROW, np.array(0), reduction=reduction)
            assert np.shape(loss) == ()
            close(loss, NLL[0, 0])

    def test_weighted_mean_is_the_unweighted_value(self) -> None:
        close(crossent.cross_entropy(self.ROW, 0, WEIGHT), NLL[0, 0])
        close(crossent.cross_entropy(self.ROW, 0, WEIGHT, reduction="none"), WEIGHT[0] * NLL[0, 0])

    def test_ignored(self) -> None:
        assert np.isnan(crossent.cross_entropy(self.ROW, -100))
        assert crossent.cross_entropy(self.ROW, -100, reduction="none") == 0

    def test_probabilities(self) -> None:
        """The mean divides by one position."""
        for reduction in cases.REDUCTIONS:
            loss = crossent.cross_entropy(self.ROW, PROBABILITIES[0], reduction=reduction)
            close(loss, (PROBABILITIES[0] * NLL[0]).sum())

    def test_gradient(self) -> None:
        _, grad = crossent.cross_entropy_with_grad(self.ROW, 0)
        _, batch = crossent.cross_entropy_with_grad(self.ROW[np.newaxis], np.array([0]))
        np.testing.assert_array_equal(grad, batch[0])


class TestTargets:
    @pytest.mark.parametrize("reduction", cases.REDUCTIONS)
    @pytest.mark.parametrize("target", [-1, 3, 2**40, -(2**63)])
    def test_out_of_range(self, target: int, reduction: reference.Reduction) -> None:
        y = np.array([0, 1, target, 1])
        with pytest.raises(IndexError, match=str(target)):
            crossent.cross_entropy(LOGITS, y, reduction=reduction)
        with pytest.raises(IndexError, match=str(target)):
            crossent.cross_entropy_with_grad(LOGITS.T.reshape(1, 3, 2, 2), y.reshape(1, 2, 2), reduction=reduction)

    @pytest.mark.parametrize("shape", [(1,), (2, 1), (4, 3), ()])
    def test_integers_in_the_shape_of_the_logits(self, shape: tuple[int, ...]) -> None:
        """They would be class probabilities, and those are floats."""
        with pytest.raises((TypeError, ValueError)):
            crossent.cross_entropy(np.zeros(shape), np.zeros(shape, np.int64))

    @pytest.mark.parametrize(
        ("logits", "target"),
        [((4, 3), (3,)), ((4, 3), (4, 2)), ((2, 3, 4), (2, 5)), ((2, 3, 4), (2, 4, 1)), ((4, 3), ())],
    )
    def test_shapes_that_do_not_match(self, logits: tuple[int, ...], target: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="shape"):
            crossent.cross_entropy(np.zeros(logits), np.zeros(target, np.int64))

    def test_probabilities_need_not_be_distributions(self) -> None:
        """Neither their sum nor their sign is checked."""
        target = np.array([[2.0, -1.0, 0.5]])
        close(crossent.cross_entropy(LOGITS[:1], target), (target * NLL[:1]).sum())

    @pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
    def test_probabilities_of_any_float_dtype(self, kind: str) -> None:
        target = PROBABILITIES.astype(cases.DTYPES[kind].dtype)
        expected = (target.astype(float) * NLL).sum(axis=1)
        close(crossent.cross_entropy(LOGITS, target, reduction="none"), expected)

    @pytest.mark.parametrize("logits", [np.ones((4, 3), int), np.ones((4, 3), bool), np.ones((4, 3), np.uint8)])
    def test_integer_logits(self, logits: Array) -> None:
        with pytest.raises(TypeError):
            crossent.cross_entropy(logits, TARGET)


class TestWeight:
    @pytest.mark.parametrize("weight", [np.ones(2), np.ones(4), np.ones((1, 3)), np.array(1.0)])
    def test_must_have_one_value_for_each_class(self, weight: Array) -> None:
        with pytest.raises(ValueError, match="weight"):
            crossent.cross_entropy(LOGITS, TARGET, weight)

    def test_may_be_negative(self) -> None:
        weight = np.array([-1.0, 2.0, -3.0])
        close(crossent.cross_entropy(LOGITS, TARGET, weight), (weight[TARGET] * OWN_NLL).sum() / weight[TARGET].sum())


class TestNonFiniteLogits:
    def test_nan_stays_in_its_row(self) -> None:
        logits = LOGITS.copy()
        logits[1, 0] = NAN
        losses, grad = crossent.cross_entropy_with_grad(logits, TARGET, reduction="none")
        close(losses, np.where(np.arange(4) == 1, NAN, OWN_NLL))
        assert np.isnan(grad[1]).all()
        assert np.isfinite(grad[[0, 2, 3]]).all()
        assert np.isnan(crossent.cross_entropy(logits, TARGET))

    def test_masked_class(self) -> None:
        row = np.array([[1.0, -INF, 2.0]])
        loss, grad = crossent.cross_entropy_with_grad(row, np.array([0]))
        close(loss, np.log1p(np.e))
        assert grad[0, 1] == 0
        close(grad[0, [0, 2]], [-np.e / (1 + np.e), np.e / (1 + np.e)])

    def test_masked_target(self) -> None:
        loss, grad = crossent.cross_entropy_with_grad(np.array([[1.0, -INF, 2.0]]), np.array([1]))
        assert loss == INF
        assert grad[0, 1] == -1
        close(grad[0, [0, 2]], [1 / (1 + np.e), np.e / (1 + np.e)])

    def test_masked_class_with_smoothing(self) -> None:
        loss, grad = crossent.cross_entropy_with_grad(np.array([[1.0, -INF, 2.0]]), np.array([0]), label_smoothing=0.3)
        assert loss == INF
        close(grad[0], [1 / (1 + np.e) - 0.8, -0.1, np.e / (1 + np.e) - 0.1])

    @pytest.mark.parametrize("row", [[-INF] * 3, [INF, 0.0, 1.0], [INF, INF, 0.0], [INF, -INF, 0.0]])
    @pytest.mark.parametrize("target", [0, 1, 2])
    def test_rows_without_a_distribution(self, row: list[float], target: int) -> None:
        loss, grad = crossent.cross_entropy_with_grad(np.array([row]), np.array([target]))
        assert np.isnan(loss)
        assert np.isnan(grad).all()

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("value", [1e8, -1e8, 1e30])
    def test_huge_equal_logits(self, value: float, dtype: Any) -> None:
        loss, grad = crossent.cross_entropy_with_grad(np.full((1, 2), value, dtype), np.array([1]))
        assert loss == pytest.approx(np.log(2), rel=float(np.finfo(dtype).eps))
        np.testing.assert_array_equal(grad, [[0.5, -0.5]])


class TestShapes:
    @pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (2, 3, 4, 2), (2, 3, 1, 4, 2), (2, 3, 1, 1, 4, 2)])
    def test_class_axis_is_1_or_0_for_a_single_sample(self, shape: tuple[int, ...]) -> None:
        random = np.random.default_rng(0)
        logits = random.normal(size=shape)
        positions = shape[:1] + shape[2:] if len(shape) > 1 else ()
        target = random.integers(3, size=positions)
        expected = reference.cross_entropy(logits, target, reduction="none")
        losses, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none")
        assert np.shape(losses) == positions
        cases.assert_close(losses, expected.loss, np.float64, 4)
        cases.assert_close(grad, expected.grad, np.float64, 8)

    def test_any_axis(self) -> None:
        logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
        for axis in range(-4, 4):
            positions = np.delete(logits.shape, axis)
            target = np.random.default_rng(1).integers(2, size=positions)
            expected = reference.cross_entropy(logits, target, axis=axis, reduction="none")
            losses, grad = crossent.cross_entropy_with_grad(logits, target, axis=axis, reduction="none")
            cases.assert_close(losses, expected.loss, np.float64, 4, axis)
            cases.assert_close(grad, expected.grad, np.float64, 8, axis)


class TestResults:
    """The dtype of a result follows the logits alone."""

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    def test_reductions_are_python_floats(self, reduction: reference.Reduction, dtype: cases.Tolerance) -> None:
        for target in (TARGET, PROBABILITIES):
            for w in (None, WEIGHT):
                loss, grad = crossent.cross_entropy_with_grad(
                    LOGITS.astype(dtype.dtype), target, w, reduction=reduction
                )
                assert type(loss) is float
                assert grad.dtype == dtype.dtype

    def test_per_sample_losses(self, dtype: cases.Tolerance) -> None:
        for target in (TARGET, PROBABILITIES, PROBABILITIES.astype(np.float32)):
            losses = crossent.cross_entropy(LOGITS.astype(dtype.dtype), target, WEIGHT, reduction="none")
            assert isinstance(losses, np.ndarray)
            assert losses.dtype == dtype.result
        single = crossent.cross_entropy(LOGITS[0].astype(dtype.dtype), 1, reduction="none")
        assert isinstance(single, np.generic)
        assert single.dtype == dtype.result
