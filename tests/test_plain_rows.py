"""Rows longer than few classes and up to some KB, without targets by class, have a way of their own: the bits are those
of columns, whatever else is in a batch, wherever the rows lie and the output goes."""

from collections.abc import Callable
from typing import Any, TypeAlias

import crossent
import numpy as np
import pytest
from guarded import Arena, Side
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

CLASSES = [65, 66, 80, 100, 101, 112, 127, 128, 129, 144, 250, 256, 257, 300, 511, 512, 513, 1000, 1023, 1024, 1025]
ROWS = [1, 2, 15, 16, 17, 63, 64, 65, 150]

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "softmax": crossent.softmax,
    "log_softmax": crossent.log_softmax,
    "logsumexp": crossent.logsumexp,
}


def bits(a: Any) -> bytes:
    return np.ascontiguousarray(a).tobytes()


def ordinary(rows: int, classes: int, dtype: str) -> Array:
    return np.random.default_rng(classes + rows).normal(0, 4, (rows, classes)).astype(dtype)


def masked(rows: int, classes: int, dtype: str) -> Array:
    logits = ordinary(rows, classes, dtype)
    logits[np.random.default_rng(1).random(logits.shape) < 0.4] = -np.inf
    logits[:, classes // 2] = 1
    return logits


def tied(rows: int, classes: int, dtype: str) -> Array:
    return np.minimum(np.round(ordinary(rows, classes, dtype)), 3)


def far_apart(rows: int, classes: int, dtype: str) -> Array:
    scaled: Array = ordinary(rows, classes, dtype) * np.array(60, dtype)
    return scaled


def one_is_large(rows: int, classes: int, dtype: str) -> Array:
    logits = ordinary(rows, classes, dtype)
    logits[rows // 2] += 70_000
    return logits


def one_has_nan(rows: int, classes: int, dtype: str) -> Array:
    logits = ordinary(rows, classes, dtype)
    logits[rows // 3, classes // 3] = np.nan
    return logits


def one_is_infinite(rows: int, classes: int, dtype: str) -> Array:
    logits = ordinary(rows, classes, dtype)
    logits[rows // 3, classes // 3] = np.inf
    logits[rows - 1] = -np.inf
    return logits


KINDS = [ordinary, masked, tied, far_apart, one_is_large, one_has_nan, one_is_infinite]


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
class TestBits:
    """Of rows against columns."""

    @pytest.mark.parametrize("options", ["none", "weights", "ignored", "factors"])
    def test_losses_and_gradients(self, kind: Callable[..., Array], dtype: str, options: str) -> None:
        for classes, rows in ((c, r) for c in CLASSES for r in (ROWS if c in (100, 257) else ROWS[4::4])):
            random = np.random.default_rng(rows)
            logits, target = kind(rows, classes, dtype), random.integers(0, classes, rows)
            chosen: dict[str, Any] = {"reduction": "none"}
            if options == "weights":
                chosen["weight"] = random.integers(0, 3, classes) / 2
            elif options == "ignored":
                target[random.random(rows) < 0.5] = -100
            elif options == "factors":
                chosen["grad_output"] = 10.0 ** random.integers(-44, 30, rows)
            loss, grad = crossent.cross_entropy_with_grad(logits, target, **chosen)
            loss_of_columns, grad_of_columns = crossent.cross_entropy_with_grad(
                np.asfortranarray(logits), target, **chosen
            )
            assert bits(loss) == bits(loss_of_columns), (classes, rows)
            assert bits(grad) == bits(grad_of_columns), (classes, rows)
            chosen.pop("grad_output", None)
            assert bits(crossent.cross_entropy(logits, target, **chosen)) == bits(loss), (classes, rows)
            chosen["reduction"] = "sum"
            assert crossent.cross_entropy(logits, target, **chosen) == pytest.approx(
                np.sum(loss, dtype=np.longdouble), rel=1e-6, nan_ok=True
            )

    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_activations(self, kind: Callable[..., Array], dtype: str, name: str) -> None:
        for classes, rows in ((c, r) for c in CLASSES for r in (ROWS if c in (100, 257) else ROWS[4::4])):
            logits = kind(rows, classes, dtype)
            by_row = ACTIVATIONS[name](logits, axis=1)
            assert bits(by_row) == bits(ACTIVATIONS[name](np.asfortranarray(logits), axis=1)), (classes, rows)


def write(name: str, logits: Array, target: Array, out: Array) -> Array:
    if name == "gradient":
        crossent.cross_entropy_with_grad(logits, target, reduction="sum", out=out)
    else:
        ACTIVATIONS[name](logits, axis=1, out=out)
    return out


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_in_place_and_with_gaps(kind: Callable[..., Array], dtype: str) -> None:
    for classes in CLASSES:
        logits, target = kind(70, classes, dtype), np.arange(70) * 7 % classes
        memory = np.full((70, classes + 5), 7.5, dtype)
        for name in ("gradient", "softmax", "log_softmax"):
            expected = bits(write(name, logits, target, np.empty_like(logits)))
            in_place, with_gaps = logits.copy(), memory.copy()
            write(name, in_place, target, in_place)
            assert bits(in_place) == expected, classes
            with_gaps[:, 2:-3] = logits
            write(name, with_gaps[:, 2:-3], target, with_gaps[:, 2:-3])
            assert bits(with_gaps[:, 2:-3]) == expected, classes
            assert (np.delete(with_gaps, np.s_[2:-3], axis=1) == 7.5).all()


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("position", ["before", "behind"])
def test_nothing_is_read_beyond_the_last_row(dtype: str, position: Side) -> None:
    """Though the maxima of the next rows are looked for, of which there may be none."""
    for classes in CLASSES:
        for rows in (1, 15, 17, 33, 64, 70):
            values = ordinary(rows, classes, dtype)
            logits = Arena(values.nbytes).copy(values, (classes, 1), position)
            target = np.arange(rows) % classes
            target[rows // 2] = -100
            loss, grad = crossent.cross_entropy_with_grad(logits, target)
            expected, expected_grad = crossent.cross_entropy_with_grad(values, target)
            assert loss == expected or np.isnan(expected)
            assert bits(grad) == bits(expected_grad)
            assert bits(crossent.logsumexp(logits, axis=1)) == bits(crossent.logsumexp(values, axis=1))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("classes", [70, 300, 512])
def test_large_activations_wait(name: str, classes: int) -> None:
    """Until the rows after them are summed, beside batches that are computed in another way."""
    rows = 2**25 // 4 // classes + 21
    logits = ordinary(rows, classes, "float32")
    logits[1000:9000:1500, 3] = np.inf
    logits[1300:9000:1500, 5] = np.nan
    out = np.empty_like(logits)
    ACTIVATIONS[name](logits, axis=1, out=out)
    for first in range(0, rows, 7000):
        few = slice(first, first + 7000)
        assert bits(out[few]) == bits(ACTIVATIONS[name](logits[few], axis=1)), first
