"""Instruction set × dtype × layout × reduction × target × weight × smoothing × ignore_index against the oracle.

The options are looped over inside a test; what failed is in the message.
"""

import itertools
from collections.abc import Iterator
from typing import Any, TypeAlias

import cases
import crossent
import numpy as np
import pytest
import reference
from cases import Array

POSITIONS = (3, 7)
CLASSES = 19

Case: TypeAlias = tuple[str, Array, dict[str, Any]]


def options(classes: int, indices: Array, probabilities: Array) -> Iterator[Case]:
    """Yield name, target (*positions, classes last) and options of every combination."""
    random = np.random.default_rng(0)
    weight = random.uniform(0.5, 2, size=classes)
    weight[:: max(2, classes // 3)] = 0
    for kind, reduction, w, smoothing in itertools.product(
        ["int64", "uint8", "float32", "float64"], cases.REDUCTIONS, [None, weight], [0.0, 0.1, 1.0]
    ):
        index_target = kind in cases.INTEGERS
        for ignore_index in [-100, 2, None] if index_target else [-100]:
            target = indices.copy() if index_target else probabilities
            if index_target and kind != "uint8" and ignore_index is not None:
                target[0, ::2] = ignore_index
            name = f"{kind}, {reduction}, weight {w is not None}, smoothing {smoothing}, ignore {ignore_index}"
            yield name, target.astype(kind), {
                "weight": w, "reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignore_index
            }  # fmt: skip


@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_grid(instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
    random = np.random.default_rng(1)
    x = (random.normal(size=(*POSITIONS, CLASSES)) * 4).astype(dtype.dtype)
    indices = random.integers(CLASSES, size=POSITIONS)
    probabilities = random.dirichlet(np.ones(CLASSES), size=POSITIONS)
    logits, axis = cases.LAYOUTS[layout](x)

    for name, target, chosen in options(CLASSES, indices, probabilities):
        scale = random.normal(size=POSITIONS) if chosen["reduction"] == "none" else float(random.normal())
        y = target if target.ndim == 2 else np.moveaxis(target, -1, axis)
        expected = reference.cross_entropy(x, target, axis=-1, grad_output=scale, **chosen)
        assert np.isfinite(expected.loss).all(), name
        loss, grad = crossent.cross_entropy_with_grad(logits, y, axis=axis, grad_output=scale, **chosen)
        assert cases.bits(crossent.cross_entropy(logits, y, axis=axis, **chosen)) == cases.bits(loss), name
        assert grad.shape == logits.shape
        soft = target.ndim == 3 or chosen["label_smoothing"] > 0
        cases.assert_close(loss, expected.loss, dtype.result, dtype.soft_loss if soft else dtype.loss, f"loss, {name}")
        grad, magnitude = np.moveaxis(grad, axis, -1), expected.magnitude
        cases.assert_close(grad, expected.grad, dtype.dtype, dtype.grad, f"gradient, {name}", magnitude)


@pytest.mark.parametrize("layout", ["rows", "(N, C, d)"])
def test_class_counts(instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
    """Every tail of a vector, of a chunk, of a block."""
    for classes in cases.CLASS_COUNTS:
        random = np.random.default_rng(classes)
        x = (random.normal(size=(2, 3, classes)) * 3).astype(dtype.dtype)
        logits, axis = cases.LAYOUTS[layout](x)
        target = random.integers(classes, size=(2, 3))
        target[0, :2] = [0, classes - 1]
        probabilities = random.dirichlet(np.ones(classes), size=(2, 3))
        for y, smoothing in [(target, 0.0), (target, 0.1), (probabilities, 0.0)]:
            chosen: dict[str, Any] = {"reduction": "none", "label_smoothing": smoothing}
            expected = reference.cross_entropy(x, y, axis=-1, **chosen)
            moved = y if y.ndim == 2 else np.moveaxis(y, -1, axis)
            loss, grad = crossent.cross_entropy_with_grad(logits, moved, axis=axis, **chosen)
            case = f"{classes} classes, {'indices' if y.ndim == 2 else 'probabilities'}, smoothing {smoothing}"
            ulps = dtype.loss if y is target and smoothing == 0 else dtype.soft_loss
            cases.assert_close(loss, expected.loss, dtype.result, ulps, case)
            grad, magnitude = np.moveaxis(grad, axis, -1), expected.magnitude
            cases.assert_close(grad, expected.grad, dtype.dtype, dtype.grad, case, magnitude)


@pytest.mark.parametrize("layout", ["rows", "(N, C, d)", "strided (N, C, d)"])
def test_position_counts(instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
    """Every tail of a block of positions."""
    for count, classes in itertools.product([1, 2, 7, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 500], [3, 10, 70]):
        random = np.random.default_rng(count)
        x = (random.normal(size=(2, count, classes)) * 3).astype(dtype.dtype)
        logits, axis = cases.LAYOUTS[layout](x)
        target = random.integers(classes, size=(2, count))
        expected = reference.cross_entropy(x, target, axis=-1)
        loss, grad = crossent.cross_entropy_with_grad(logits, target, axis=axis)
        case = f"{count} positions, {classes} classes"
        cases.assert_close(loss, expected.loss, dtype.result, dtype.loss, case)
        cases.assert_close(np.moveaxis(grad, axis, -1), expected.grad, dtype.dtype, dtype.grad, case)


def test_the_same_row_everywhere(instruction_set: str, dtype: cases.Tolerance) -> None:
    """A broadcast array has strides of 0, along the positions or along the classes."""
    random = np.random.default_rng(0)
    target = random.integers(CLASSES, size=(5, 4))
    row = random.normal(size=CLASSES).astype(dtype.dtype)
    column = random.normal(size=(5, 4, 1)).astype(dtype.dtype)
    for logits in (cases.broadcast_rows(row, (5, 4)), np.broadcast_to(column, (5, 4, CLASSES))):
        expected = reference.cross_entropy(logits, target, axis=-1)
        loss, grad = crossent.cross_entropy_with_grad(logits, target, axis=-1)
        cases.assert_close(loss, expected.loss, dtype.result, dtype.loss)
        cases.assert_close(grad, expected.grad, dtype.dtype, dtype.grad)


@pytest.mark.parametrize("code", [">f4", ">f8", ">f2"])
def test_foreign_byte_order(code: str) -> None:
    logits = np.random.default_rng(0).normal(size=(5, CLASSES)).astype(code)
    target = np.arange(5)
    expected = crossent.cross_entropy(logits.astype(logits.dtype.newbyteorder("=")), target)
    assert crossent.cross_entropy(logits, target.astype(">i8")) == expected


def test_thirteen_axes(instruction_set: str) -> None:
    """In an order in which no two merge into one."""
    random = np.random.default_rng(0)
    x = random.normal(size=(2,) * 12 + (3,)).transpose(*random.permutation(12), 12)
    target = random.integers(3, size=(2,) * 12)
    expected = reference.cross_entropy(x, target, axis=-1)
    loss, grad = crossent.cross_entropy_with_grad(x, target, axis=-1)
    cases.assert_close(loss, expected.loss, np.float64, 16)
    cases.assert_close(grad, expected.grad, np.float64, 8)
