"""The oracle is right itself: against 60 digits, and against the formulas in their plainest form."""

import mpmath
import numpy as np
import pytest
import reference


@pytest.mark.parametrize("gap", [0, 1, 17, 100, 700])
@pytest.mark.parametrize("target", [0, 3])
def test_rows_against_60_digits(gap: float, target: int) -> None:
    row = np.random.default_rng(int(gap)).normal(size=9)
    row[0] += gap
    loss, grad = reference.exact_row(row, target)
    ours = reference.cross_entropy(row, target)
    exact = np.array([mpmath.nstr(value, 30) for value in [loss, *grad]], reference.long_double)
    rtol = 800 * np.finfo(reference.long_double).eps  # exp's condition is its argument
    np.testing.assert_allclose(np.array([ours.loss, *ours.grad]), exact, rtol=rtol, atol=0)


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
