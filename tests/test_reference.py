"""The oracle is right itself: against 60 digits, and against the formulas in their plainest form."""

import numpy as np
import pytest
import reference

EPSILON = np.finfo(reference.long_double).eps


@pytest.mark.parametrize("gap", [0, 1, 17, 100, 700])
@pytest.mark.parametrize("target", [0, 3])
def test_rows_against_60_digits(gap: float, target: int) -> None:
    row = np.random.default_rng(int(gap)).normal(size=9)
    row[0] += gap
    loss, grad = reference.exact_row(row, target)
    ours = reference.cross_entropy(row, target)
    exact = reference.from_exact([loss, *grad])
    np.testing.assert_allclose(np.array([ours.loss, *ours.grad]), exact, rtol=8 * EPSILON, atol=0)


@pytest.mark.parametrize("scale", [0.1, 3, 100])
def test_soft_rows_against_60_digits(scale: float) -> None:
    random = np.random.default_rng(0)
    row, target = random.normal(size=9) * scale, random.dirichlet(np.ones(9))
    loss, grad = reference.exact_soft_row(row, target)
    ours = reference.cross_entropy(row, target)
    error = np.abs(np.array([ours.loss, *ours.grad]) - reference.from_exact([loss, *grad]))
    assert (error <= 8 * EPSILON * np.array([ours.loss, *ours.magnitude])).all()


def test_plain_formulas() -> None:
    """Softmax, the logarithm and nothing else, where nothing is extreme."""
    random = np.random.default_rng(0)
    x, y, w = random.normal(size=(6, 4)), random.integers(4, size=6), random.uniform(0.5, 2, size=4)
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    nll = -np.log(p)
    rows = np.arange(6)
    e = 0.1
    expected = ((1 - e) * w[y] * nll[rows, y] + e / 4 * (w * nll).sum(axis=1)).sum() / w[y].sum()
    ours = reference.cross_entropy(x, y, w, label_smoothing=e)
    np.testing.assert_allclose(float(ours.loss), expected, rtol=1e-14)

    t = (1 - e) * w[y][:, None] * np.eye(4)[y] + e / 4 * w
    expected_grad = (p * t.sum(axis=1, keepdims=True) - t) / w[y].sum()
    np.testing.assert_allclose(ours.grad.astype(float), expected_grad, rtol=1e-13, atol=1e-16)


def test_out_of_range() -> None:
    with pytest.raises(IndexError):
        reference.cross_entropy(np.zeros((2, 3)), [0, 3])
