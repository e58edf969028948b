"""A weighted mean doesn't know how large the weights are, only how they compare."""

from typing import Any

import crossent
import numpy as np
import pytest
from cases import Array

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(6, 5)) * 3
INDICES = RANDOM.integers(5, size=6)
PROBABILITIES = RANDOM.dirichlet(np.ones(5), size=6)
WEIGHT = RANDOM.uniform(0.5, 2, size=5)


@pytest.mark.parametrize("size", [1e-300, 1e-40, 1e40, 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_size_cancels_in_the_mean(instruction_set: str, dtype: Any, smoothing: float, size: float) -> None:
    """Also where the weights lie outside float32, in which float32 logits are computed."""
    logits = LOGITS.astype(dtype)
    loss, grad = crossent.cross_entropy_with_grad(logits, INDICES, WEIGHT, label_smoothing=smoothing)
    same, same_grad = crossent.cross_entropy_with_grad(logits, INDICES, WEIGHT * size, label_smoothing=smoothing)
    assert same == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(same_grad, grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [1e-300, 1e40, 1e300])
@pytest.mark.parametrize("target", [INDICES, PROBABILITIES], ids=["indices", "probabilities"])
def test_size_is_a_factor_of_the_sum(instruction_set: str, target: Array, size: float) -> None:
    logits = LOGITS.astype(np.float32)
    expected = crossent.cross_entropy(logits, target, WEIGHT, label_smoothing=0.1, reduction="sum")
    scaled = crossent.cross_entropy(logits, target, WEIGHT * size, label_smoothing=0.1, reduction="sum")
    assert scaled == pytest.approx(expected * size, rel=1e-6)
