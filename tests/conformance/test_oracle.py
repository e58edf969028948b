"""The oracle agrees with PyTorch in float64 on everything but the deliberate differences."""

import itertools
from typing import Any

import numpy as np
import pytest
import reference

torch = pytest.importorskip("torch")
functional = torch.nn.functional

SHAPES = [(5,), (4, 5), (3, 5, 2), (2, 5, 3, 2), (2, 5, 1, 3, 2), (4, 1)]
RTOL, ATOL = 1e-13, 1e-15


def agree(ours: reference.Array, theirs: Any) -> None:
    np.testing.assert_allclose(ours.astype(np.float64), theirs.detach().numpy(), rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_cross_entropy(shape: tuple[int, ...], kind: str) -> None:
    """Loss and gradient for every reduction × weight × smoothing × ignore_index."""
    random = np.random.default_rng(len(shape))
    axis = reference.class_axis(shape, None)
    positions, classes = shape[:axis] + shape[axis + 1 :], shape[axis]
    logits = random.normal(size=shape) * 3
    target: reference.Array
    if kind == "indices":
        target = random.integers(classes, size=positions)
    else:
        target = np.moveaxis(random.dirichlet(np.ones(classes), size=positions), -1, axis)
    weight = random.uniform(0.5, 2, size=classes)

    reductions: list[reference.Reduction] = ["none", "mean", "sum"]
    ignored = [-100, 0, int(classes + 3)] if kind == "indices" else [-100]
    for reduction, w, smoothing, ignore_index in itertools.product(
        reductions, [None, weight], [0.0, 0.1, 1.0], ignored
    ):
        y = target.copy()
        if kind == "indices" and positions:
            y.reshape(-1)[:2] = ignore_index
        tensor = torch.tensor(logits, requires_grad=True)
        theirs = functional.cross_entropy(
            tensor,
            torch.tensor(y),
            None if w is None else torch.tensor(w),
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=smoothing,
        )
        grad_output = random.normal(size=positions) if reduction == "none" else random.normal()
        theirs.backward(torch.tensor(grad_output, dtype=torch.float64))
        ours = reference.cross_entropy(
            logits,
            y,
            w,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=smoothing,
            grad_output=grad_output,
        )
        agree(ours.loss, theirs)
        if np.isfinite(ours.loss).all():
            agree(ours.grad, tensor.grad)
        if kind == "indices" and smoothing == 0:
            log_p = torch.log_softmax(torch.tensor(logits), axis)
            theirs = functional.nll_loss(
                log_p,
                torch.tensor(y),
                None if w is None else torch.tensor(w),
                ignore_index=ignore_index,
                reduction=reduction,
            )
            agree(reference.nll_loss(log_p.numpy(), y, w, ignore_index=ignore_index, reduction=reduction), theirs)


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 4)], ids=str)
def test_activations(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape) * 10
    for axis in range(-len(shape), len(shape)):
        agree(reference.softmax(x, axis), torch.softmax(torch.tensor(x), axis))
        agree(reference.log_softmax(x, axis), torch.log_softmax(torch.tensor(x), axis))
        for keepdims in (False, True):
            theirs = torch.logsumexp(torch.tensor(x), axis, keepdim=keepdims)
            agree(reference.logsumexp(x, axis, keepdims), theirs)


@pytest.mark.parametrize("rows", [[np.inf, 0, 1], [-np.inf] * 3, [-np.inf, 0, 1], [np.nan, 0, 1], [1e307, -1e307, 0]])
def test_activations_of_special_values(rows: list[float]) -> None:
    x = np.array([rows])
    agree(reference.softmax(x), torch.softmax(torch.tensor(x), -1))
    agree(reference.log_softmax(x), torch.log_softmax(torch.tensor(x), -1))
    agree(reference.logsumexp(x), torch.logsumexp(torch.tensor(x), -1))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_binary_cross_entropy(reduction: reference.Reduction) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 5)) * 20
    probabilities = np.concatenate([random.uniform(size=(4, 5)), np.zeros((1, 5)), np.ones((1, 5))])
    target = random.uniform(size=(6, 5))
    target[:, :2] = [0, 1]
    for weight, pos_weight in itertools.product(
        [None, random.uniform(size=(6, 1)), random.uniform(size=5)], [None, random.uniform(size=5)]
    ):
        w, q = (None if values is None else torch.tensor(values) for values in (weight, pos_weight))
        tensor = torch.tensor(logits, requires_grad=True)
        theirs = functional.binary_cross_entropy_with_logits(
            tensor, torch.tensor(target), w, pos_weight=q, reduction=reduction
        )
        theirs.sum().backward()
        ours = reference.binary_cross_entropy_with_logits(
            logits, target, weight, pos_weight=pos_weight, reduction=reduction
        )
        agree(ours.loss, theirs)
        agree(ours.grad, tensor.grad)
        theirs = functional.binary_cross_entropy(
            torch.tensor(probabilities), torch.tensor(target), w, reduction=reduction
        )
        agree(reference.binary_cross_entropy(probabilities, target, weight, reduction=reduction), theirs)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("logits", "target"),
    [
        ([[np.nan, 1.0, 2.0], [1.0, 2.0, 3.0]], [0, 1]),  # nan stays in its row
        ([[-np.inf, 1.0, 2.0], [1.0, 2.0, 3.0]], [1, 1]),  # a masked class
        ([[-np.inf, 1.0, 2.0], [1.0, 2.0, 3.0]], [0, 1]),  # a masked target
        ([[-np.inf, -np.inf, -np.inf], [1.0, 2.0, 3.0]], [0, 1]),
        ([[np.inf, 1.0, 2.0], [1.0, 2.0, 3.0]], [0, 1]),
        ([[np.inf, 1.0, 2.0], [1.0, 2.0, 3.0]], [1, 1]),
        ([[1e8, 1e8, 1e8], [1.0, 2.0, 3.0]], [1, 1]),
    ],
)
def test_special_values(logits: list[list[float]], target: list[int], smoothing: float) -> None:
    tensor = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    theirs = functional.cross_entropy(tensor, torch.tensor(target), reduction="none", label_smoothing=smoothing)
    theirs.sum().backward()
    ours = reference.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)
    agree(ours.loss, theirs)
    agree(ours.grad, tensor.grad)
