"""The examples of PyTorch's documentation and tutorials, to the digits they print."""

from typing import Any

import crossent
import numpy as np
import pytest


def close(actual: Any, expected: Any, rtol: float = 1e-14) -> None:
    np.testing.assert_allclose(actual, expected, rtol=rtol)


def test_loss() -> None:
    logits = np.array(
        [
            [0.2228, 0.2523, 0.9712, 0.7887, 0.2820],
            [0.7778, 0.4144, 0.8693, 0.1355, 0.3706],
            [0.0823, 0.5392, 0.0542, 0.0153, 0.8475],
        ],
        np.float32,
    )
    assert f"{crossent.cross_entropy(logits, np.array([2, 0, 4])):.4f}" == "1.2340"


def test_loss_and_gradient() -> None:
    logits = np.array(
        [
            [0.8671, 0.0189, 0.0042, 0.1619, 0.9805],
            [0.1054, 0.1519, 0.6359, 0.6112, 0.9417],
            [0.9968, 0.3285, 0.9185, 0.0315, 0.9592],
        ],
        np.float32,
    )
    loss, grad = crossent.cross_entropy_with_grad(logits, np.array([1, 0, 4]))
    assert f"{loss:.4f}" == "1.8338"
    assert [[f"{value:.4f}" for value in row] for row in grad] == [
        ["0.0962", "-0.2921", "0.0406", "0.0475", "0.1078"],
        ["-0.2901", "0.0453", "0.0735", "0.0717", "0.0997"],
        ["0.0882", "0.0452", "0.0815", "0.0336", "-0.2484"],
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_loss_is_minus_log_softmax_at_the_target(dtype: Any) -> None:
    logits = np.random.default_rng(0).normal(size=(8, 10)).astype(dtype)
    target = np.arange(8)
    gathered = -np.log(crossent.softmax(logits))[np.arange(8), target]
    rtol = 8 * float(np.finfo(dtype).eps)
    close(crossent.cross_entropy(logits, target, reduction="none"), gathered, rtol)
    close(crossent.cross_entropy(logits, target), gathered.mean(), rtol)
    close(crossent.cross_entropy(logits, target, reduction="sum"), gathered.sum(), rtol)


def test_class_weights() -> None:
    """Two of ten classes count double."""
    logits = np.random.default_rng(1).normal(size=(5, 10))
    target = np.array([2, 0, 5, 9, 7])
    weight = np.ones(10)
    weight[[2, 7]] = 2.0
    nll = crossent.cross_entropy(logits, target, reduction="none")
    expected = (2 * nll[0] + nll[1] + nll[2] + nll[3] + 2 * nll[4]) / 7
    close(crossent.CrossEntropyLoss(weight=weight)(logits, target), expected)


def test_label_smoothing() -> None:
    logits = np.random.default_rng(2).normal(size=(5, 10))
    target = np.array([2, 0, 5, 9, 7])
    nll = -crossent.log_softmax(logits)
    expected = (0.9 * nll[np.arange(5), target] + 0.1 * nll.mean(axis=1)).mean()
    close(crossent.CrossEntropyLoss(label_smoothing=0.1)(logits, target), expected)


def test_ignore_index() -> None:
    logits = np.random.default_rng(3).normal(size=(5, 10))
    target = np.array([2, -100, 5, -100, 7])
    kept = target != -100
    assert crossent.CrossEntropyLoss(ignore_index=-100)(logits, target) == pytest.approx(
        crossent.cross_entropy(logits[kept], target[kept]), rel=1e-15
    )


def test_binary_formula() -> None:
    p, y = np.array([0.9, 0.2, 0.6]), np.array([1.0, 0.0, 1.0])
    close(crossent.binary_cross_entropy(p, y), -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
