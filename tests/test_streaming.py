"""Large outputs go past the cache: the same bits as small ones, and not a byte beside the output."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import crossent
import numpy as np
import pytest
from guarded import Arena
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

LARGE_BYTES = 2**25  # from here on outputs stream
GUARD = 7.5

CALLS: dict[str, Callable[[Array, Array, Array], Any]] = {
    "gradient": lambda x, y, out: crossent.cross_entropy_with_grad(x, y, reduction="sum", out=out),
    "smoothing": lambda x, y, out: crossent.cross_entropy_with_grad(
        x, y, reduction="sum", label_smoothing=0.1, ignore_index=3, out=out
    ),
    "softmax": lambda x, y, out: crossent.softmax(x, axis=1, out=out),
    "log_softmax": lambda x, y, out: crossent.log_softmax(x, axis=1, out=out),
}


@pytest.mark.parametrize("offset", [0, 1, 5, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [131, 2051, 20011])
@pytest.mark.parametrize("name", CALLS)
def test_padded_rows_at_any_address(name: str, classes: int, dtype: type, offset: int) -> None:
    rows = LARGE_BYTES // np.dtype(dtype).itemsize // classes + 1
    logits: Array = np.random.default_rng(3).normal(0, 3, (rows, classes)).astype(dtype)
    target = np.arange(rows) % classes
    memory: Array = np.full((rows, classes + 37), GUARD, dtype)
    out = memory[:, offset : offset + classes]
    CALLS[name](logits, target, out)
    assert (memory[:, :offset] == GUARD).all()
    assert (memory[:, offset + classes :] == GUARD).all()
    for first in (0, rows // 2, rows - 9):  # a few rows don't stream
        few = slice(first, first + 9)
        expected = np.empty_like(logits[few])
        CALLS[name](logits[few], target[few], expected)
        np.testing.assert_array_equal(out[few], expected)


def rows_of_all_kinds(rows: int, classes: int, dtype: str) -> tuple[Array, Array]:
    """Return logits and targets: ordinary rows, and among them rows that are computed in other ways or not at all."""
    random = np.random.default_rng(classes)
    logits = random.normal(0, 3, (rows, classes)).astype(dtype)
    target = random.integers(0, classes, rows)
    logits[5::37] *= np.float32(30)  # beyond what is summed in one pass
    logits[6::41, ::3] = -np.inf
    logits[7::43, 11] = 200
    logits[8::301, 9] = np.nan
    logits[9::307, 10] = np.inf
    logits[12::31, :16384] -= 60  # the first chunk of a long row, far from the next
    logits[12::31, 16384:] += 60
    target[10::11] = target[40:80] = target[-19:] = -100
    return logits, target


def parts_that_do_not_stream(rows: int, classes: int) -> Iterator[slice]:
    """Yield slices of as many rows, one after another."""
    at_once = max(200, 400_000 // classes)
    for first in range(0, rows, at_once):
        yield slice(first, min(first + at_once, rows))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("scale", [1, 1e-37])
@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("classes", [66, 131, 512, 1030, 16384, 16385, 20011])
def test_rows_wait_until_others_are_read(classes: int, dtype: str, scale: float, smoothing: float) -> None:
    """A row may be written long after it has been read, beside rows of another kind."""
    out_dtype = np.dtype("float64" if dtype == "float64" else "float32")
    rows = LARGE_BYTES // out_dtype.itemsize // classes + 3
    logits, target = rows_of_all_kinds(rows, classes, dtype)
    grad_output = np.full(rows, scale)
    grad_output[::13] = 1

    def gradient(some: slice) -> tuple[Any, Array]:
        return crossent.cross_entropy_with_grad(
            logits[some],
            target[some],
            label_smoothing=smoothing,
            reduction="none",
            grad_output=grad_output[some],
            out=np.empty(logits[some].shape, out_dtype),
        )

    losses, out = gradient(slice(rows))
    for few in parts_that_do_not_stream(rows, classes):
        some, expected = gradient(few)
        np.testing.assert_array_equal(losses[few], some)
        np.testing.assert_array_equal(out[few], expected)
        np.testing.assert_array_equal(np.signbit(out[few]), np.signbit(expected))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", [131, 1030, 16385, 20011])
def test_rows_with_probabilities_wait(classes: int, dtype: str, weighted: bool) -> None:
    """And so do their targets, of which nothing beyond the last is read."""
    rows = LARGE_BYTES // np.dtype(dtype).itemsize // classes + 3
    logits = rows_of_all_kinds(rows, classes, dtype)[0]
    random = np.random.default_rng(2)
    values = random.uniform(0, 2 / classes, (rows, classes)).astype(dtype)
    values[3::17, ::2] = values[5::29] = 0
    values[9::31, classes // 2] = np.nan
    values[11::33, 2] = np.inf
    values[6::41] = -0.0  # where classes are masked
    values[6::41, 1] = -1
    target = Arena(values.nbytes).copy(values, (classes, 1), "behind")
    weight = random.uniform(0, 2, classes) if weighted else None

    def gradient(some: slice) -> tuple[Any, Array]:
        return crossent.cross_entropy_with_grad(
            logits[some], target[some], weight=weight, reduction="none", out=np.empty_like(logits[some])
        )

    losses, out = gradient(slice(rows))
    for few in parts_that_do_not_stream(rows, classes):
        some, expected = gradient(few)
        np.testing.assert_array_equal(losses[few], some)
        bits = f"i{out.itemsize}"  # of 0 and nan, too
        np.testing.assert_array_equal(out[few].view(bits), expected.view(bits))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("classes", [600, 20011])
def test_rows_of_a_view_wait(classes: int) -> None:
    """Rows with gaps, in lines that end inside a block of the sum, with the same sum as those that don't stream."""
    batch, time = 3, LARGE_BYTES // 4 // classes // 3 + 5
    whole = np.random.default_rng(1).normal(0, 3, (batch, time, classes + 1)).astype(np.float32)
    target = np.random.default_rng(2).integers(0, classes, (batch, time))
    logits = whole[..., :-1]
    out = np.full_like(whole, GUARD)
    loss, _ = crossent.cross_entropy_with_grad(logits, target, axis=-1, out=out[..., :-1])
    assert (out[..., -1] == GUARD).all()
    assert loss == crossent.cross_entropy(logits, target, axis=-1)
    in_place = whole.copy()  # an output in the logits' place doesn't stream
    again, _ = crossent.cross_entropy_with_grad(in_place[..., :-1], target, axis=-1, out=in_place[..., :-1])
    assert loss == again
    np.testing.assert_array_equal(out[..., :-1], in_place[..., :-1])


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize(("offset", "order"), [(0, "C"), (1, "F"), (7, "C")])
@pytest.mark.parametrize(("classes", "dtype"), [(32, "float32"), (61, "bfloat16"), (81, "float16"), (100, "float32")])
def test_short_rows_are_staged(classes: int, dtype: str, offset: int, order: Literal["C", "F"]) -> None:
    """Few classes: batches of rows are put together first, and written while the next are computed."""
    out_dtype = np.dtype("float16" if dtype == "float16" else "float32")
    rows = 2 * LARGE_BYTES // out_dtype.itemsize // classes + 77
    logits, target = rows_of_all_kinds(rows, classes, dtype)
    logits = np.asarray(logits, order=order)
    memory: Array = np.full(rows * classes + 64, GUARD, out_dtype)
    out = memory[offset : offset + rows * classes].reshape(rows, classes)
    losses, _ = crossent.cross_entropy_with_grad(logits, target, reduction="none", out=out)
    assert (memory[:offset] == GUARD).all()
    assert (memory[offset + rows * classes :] == GUARD).all()
    for first in (*range(0, rows, rows // 7), rows - 1000):  # a thousand aren't
        few = slice(first, first + 1000)
        some, expected = crossent.cross_entropy_with_grad(
            logits[few], target[few], reduction="none", out=np.empty(logits[few].shape, out_dtype)
        )
        np.testing.assert_array_equal(losses[few], some)
        np.testing.assert_array_equal(out[few], expected)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize(("offset", "more"), [(0, 0), (4, 0), (1, 37)])
@pytest.mark.parametrize(
    ("classes", "dtype"),
    [(21, "float32"), (64, "float64"), (100, "float32"), (150, "float64"), (1024, "float32"), (2048, "float32")],
)
@pytest.mark.parametrize("name", CALLS)
def test_columns_stream(name: str, classes: int, dtype: str, offset: int, more: int) -> None:
    """Classes apart in memory, whose lines begin anywhere, and belong to two batches where they do so within one."""
    batch, positions = 2, LARGE_BYTES // np.dtype(dtype).itemsize // classes // 2 // 16 * 16 + 16 + more
    logits = rows_of_all_kinds(batch * positions, classes, dtype)[0].reshape(batch, positions, classes)
    target = (np.arange(batch * positions) % classes).reshape(batch, positions)
    columns = np.ascontiguousarray(np.moveaxis(logits, -1, 1))
    memory: Array = np.full(columns.size + 64, GUARD, dtype)
    out = memory[offset : offset + columns.size].reshape(columns.shape)
    CALLS[name](columns, target, out)
    assert (memory[:offset] == GUARD).all()
    assert (memory[offset + columns.size :] == GUARD).all()
    for first in (0, positions // 2, positions - 200):  # 200 don't stream
        few = slice(first, first + 200)
        expected = np.empty((200, classes), dtype)
        CALLS[name](logits[1, few], target[1, few], expected)
        bits = f"i{expected.itemsize}"  # of nan, too
        np.testing.assert_array_equal(np.ascontiguousarray(out[1, :, few].T).view(bits), expected.view(bits))
