"""nll_loss: the loss with the log-probabilities given."""

import itertools

import cases
import crossent
import numpy as np
import pytest
import reference

NAN, INF = float("nan"), float("inf")
LOG_P = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]])
WEIGHT = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_against_the_oracle(dtype: cases.Tolerance, layout: str) -> None:
    random = np.random.default_rng(0)
    log_p = reference.log_softmax(random.normal(size=(3, 40, 11)) * 4).astype(np.float32).astype(dtype.dtype)
    x, axis = cases.LAYOUTS[layout](log_p)
    target = random.integers(11, size=(3, 40))
    target[0, :5] = -100
    target[1, :5] = 3
    weight = random.uniform(0.5, 2, size=11)
    for kind, w, ignore_index, reduction in itertools.product(
        ["int64", "int16"], [None, weight], [-100, 3], cases.REDUCTIONS
    ):
        y = np.where(target == -100, ignore_index, target).astype(kind)
        expected = reference.nll_loss(x, y, w, ignore_index=ignore_index, reduction=reduction, axis=axis)
        loss = crossent.nll_loss(x, y, w, ignore_index=ignore_index, reduction=reduction, axis=axis)
        case = f"{kind}, weight {w is not None}, ignore {ignore_index}, {reduction}"
        cases.assert_close(loss, expected, dtype.result, 8 if dtype.result == np.float64 else 1, case)


def test_values() -> None:
    losses = crossent.nll_loss(LOG_P, np.array([0, 1, -100]), WEIGHT, reduction="none")
    np.testing.assert_allclose(losses, [np.log(2), -2 * np.log(0.8), 0])
    assert crossent.nll_loss(LOG_P, np.array([0, 1, -100]), WEIGHT) == pytest.approx(losses.sum() / 3)


def test_results(dtype: cases.Tolerance) -> None:
    log_p = LOG_P.astype(dtype.dtype)
    assert type(crossent.nll_loss(log_p, np.array([0, 1, 2]))) is float
    assert crossent.nll_loss(log_p, np.array([0, 1, 2]), reduction="none").dtype == dtype.result
    single = crossent.nll_loss(log_p[0], 0, reduction="none")
    assert isinstance(single, np.generic)
    assert single.dtype == dtype.result


def test_special_values() -> None:
    """−inf at the target is an infinite loss, nan one of nan; elsewhere neither matters."""
    log_p = np.array([[-INF, 0.0], [NAN, 0.0], [0.0, NAN], [NAN, NAN]])
    losses = crossent.nll_loss(log_p, np.array([0, 0, 0, -100]), reduction="none")
    np.testing.assert_array_equal(losses, [INF, NAN, 0, 0])


def test_nothing_to_average() -> None:
    assert np.isnan(crossent.nll_loss(LOG_P, np.full(3, -100)))
    assert np.isnan(crossent.nll_loss(np.zeros((0, 3)), np.zeros(0, int)))
    assert crossent.nll_loss(LOG_P, np.full(3, -100), reduction="sum") == 0
    assert np.isnan(crossent.nll_loss(LOG_P, np.array([0, 0, 0]), np.array([0.0, 1.0, 1.0])))


@pytest.mark.parametrize("value", [-1, 3, 2**40])
def test_out_of_range(value: int) -> None:
    with pytest.raises(IndexError, match=str(value)):
        crossent.nll_loss(LOG_P, np.array([0, value, 1]))


def test_probabilities_are_no_target() -> None:
    with pytest.raises((TypeError, ValueError), match="target"):
        crossent.nll_loss(LOG_P, np.eye(3))
