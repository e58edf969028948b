"""What holds for any logits whatever, tried on arrays that hypothesis makes up."""

from typing import Any

import cases
import crossent
import hypothesis.extra.numpy as arrays
import numpy as np
from cases import Array
from hypothesis import given
from hypothesis import strategies as st

FLOATS = st.sampled_from([np.float32, np.float64])
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 40))


@st.composite
def batches(draw: st.DrawFn, kind: Any = None, whole: bool = False) -> tuple[Array, Array]:
    """Return logits (positions, classes), of whole numbers if asked for, and class indices, some of them ignored."""
    dtype = np.dtype(kind or draw(FLOATS))
    shape = draw(SHAPES)
    elements: st.SearchStrategy[Any] = st.floats(-1000, 1000, width=32)
    if whole:
        elements = st.integers(-1000, 1000)
    logits = draw(arrays.arrays(dtype, shape, elements=elements))
    indices = st.one_of(st.integers(0, shape[1] - 1), st.just(-100))
    return logits, draw(arrays.arrays(np.int64, shape[:1], elements=indices))


def close(actual: Any, expected: Any, ulps: float, dtype: np.dtype[Any]) -> None:
    cases.assert_close(actual, np.asarray(expected), dtype, ulps)


@given(batches(whole=True), st.integers(-(2**12), 2**12))
def test_shift_invariance(batch: tuple[Array, Array], shift: int) -> None:
    """A number added to each logit of a row changes nothing but the last places; here the sum is exact."""
    logits, target = batch
    losses, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none")
    moved, moved_grad = crossent.cross_entropy_with_grad(logits + logits.dtype.type(shift), target, reduction="none")
    tolerance = cases.DTYPES[logits.dtype.name]
    close(moved, losses, 2 * tolerance.loss, logits.dtype)
    close(moved_grad, grad, 2 * tolerance.grad, logits.dtype)


@given(batches(), st.randoms(use_true_random=False))
def test_permutation_of_classes(batch: tuple[Array, Array], random: Any) -> None:
    """The classes' names don't matter: loss and gradient move with them."""
    logits, target = batch
    order = np.array(random.sample(range(logits.shape[1]), logits.shape[1]), int)
    renamed = np.where(target == -100, -100, np.argsort(order)[np.maximum(target, 0)])
    losses, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none")
    moved, moved_grad = crossent.cross_entropy_with_grad(logits[:, order], renamed, reduction="none")
    tolerance = cases.DTYPES[logits.dtype.name]
    close(moved, losses, 2 * tolerance.loss, logits.dtype)
    close(moved_grad, grad[:, order], 2 * tolerance.grad, logits.dtype)


@given(batches(), st.integers(2, 5))
def test_duplication(batch: tuple[Array, Array], count: int) -> None:
    """A batch several times over has the same mean and as many times the sum; each copy has the same bits."""
    logits, target = batch
    many, many_target = np.tile(logits, (count, 1)), np.tile(target, count)
    losses = crossent.cross_entropy(logits, target, reduction="none")
    assert cases.bits(crossent.cross_entropy(many, many_target, reduction="none")) == cases.bits(np.tile(losses, count))
    total = crossent.cross_entropy(logits, target, reduction="sum")
    np.testing.assert_allclose(crossent.cross_entropy(many, many_target, reduction="sum"), count * total, rtol=1e-14)
    np.testing.assert_allclose(
        crossent.cross_entropy(many, many_target), crossent.cross_entropy(logits, target), rtol=1e-14
    )


@given(batches(), st.data())
def test_concatenated_batches(batch: tuple[Array, Array], data: st.DataObject) -> None:
    """Parts, added up, are the whole; row by row they are so to the bit."""
    logits, target = batch
    cut = data.draw(st.integers(0, len(target)))
    parts = [(logits[:cut], target[:cut]), (logits[cut:], target[cut:])]
    losses, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none")
    pieces = [crossent.cross_entropy_with_grad(*part, reduction="none") for part in parts]
    assert cases.bits(np.concatenate([piece[0] for piece in pieces])) == cases.bits(losses)
    assert cases.bits(np.concatenate([piece[1] for piece in pieces])) == cases.bits(grad)
    sums = [crossent.cross_entropy(*part, reduction="sum") for part in parts]
    np.testing.assert_allclose(sum(sums), crossent.cross_entropy(logits, target, reduction="sum"), rtol=1e-14)


@given(batches(), st.sampled_from(sorted(cases.LAYOUTS)), st.sampled_from(cases.INTEGERS))
def test_strides_and_target_dtype(batch: tuple[Array, Array], layout: str, integer: str) -> None:
    logits, target = batch
    target = np.abs(target) % logits.shape[1]
    expected = crossent.cross_entropy_with_grad(logits, target)
    arranged, axis = cases.LAYOUTS[layout](logits[np.newaxis])
    loss, grad = crossent.cross_entropy_with_grad(arranged, target[np.newaxis].astype(integer), axis=axis)
    assert loss == expected[0]
    assert cases.bits(np.moveaxis(grad, axis, -1)) == cases.bits(expected[1])


@given(batches(kind=np.float32))
def test_float32_is_float64_rounded(batch: tuple[Array, Array]) -> None:
    logits, target = batch
    losses, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none")
    exact, exact_grad = crossent.cross_entropy_with_grad(logits.astype(np.float64), target, reduction="none")
    close(losses, exact, cases.DTYPES["float32"].loss, np.dtype(np.float32))
    close(grad, exact_grad, cases.DTYPES["float32"].grad, np.dtype(np.float32))


@given(batches())
def test_signs(batch: tuple[Array, Array]) -> None:
    """A loss is never negative; the gradient is positive or 0 but at the target, and there it is negative or 0."""
    logits, target = batch
    losses, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none")
    is_target = target[:, np.newaxis] == np.arange(logits.shape[1])
    assert (losses >= 0).all()
    assert (grad[is_target] <= 0).all()
    assert (grad[~is_target] >= 0).all()


@given(arrays.arrays(np.float64, SHAPES, elements=st.floats(-700, 700)))
def test_the_activations_agree_with_each_other(x: Array) -> None:
    p, log_p = crossent.softmax(x), crossent.log_softmax(x)
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-12)
    np.testing.assert_allclose(x - crossent.logsumexp(x, keepdims=True), log_p, rtol=1e-12, atol=1e-12)
    uniform = np.full(len(x), 0)
    np.testing.assert_allclose(crossent.nll_loss(log_p, uniform), crossent.cross_entropy(x, uniform), rtol=1e-12)


@given(arrays.arrays(np.float64, st.integers(1, 50), elements=st.floats(-700, 700)), st.data())
def test_the_binary_loss_is_that_of_two_classes(x: Array, data: st.DataObject) -> None:
    """One of the two has logit 0."""
    y = data.draw(arrays.arrays(np.int64, x.shape, elements=st.integers(0, 1)))
    losses, grad = crossent.binary_cross_entropy_with_logits_with_grad(x, y, reduction="none")
    two = np.stack([np.zeros_like(x), x], axis=1)
    expected, expected_grad = crossent.cross_entropy_with_grad(two, y, reduction="none")
    close(losses, expected, 8, np.dtype(np.float64))
    close(grad, expected_grad[:, 1], 16, np.dtype(np.float64))
