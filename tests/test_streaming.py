"""Large outputs of long rows go past the cache: the same bits as small ones, and not a byte beside the output."""

from collections.abc import Callable
from typing import Any, TypeAlias

import crossent
import numpy as np
import pytest
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

LARGE_BYTES = 2**25  # from here on outputs stream
CLASSES = 2051
GUARD = 7.5

CALLS: dict[str, Callable[[Array, Array, Array], Any]] = {
    "gradient": lambda x, y, out: crossent.cross_entropy_with_grad(x, y, reduction="sum", out=out),
    "smoothing": lambda x, y, out: crossent.cross_entropy_with_grad(
        x, y, reduction="sum", label_smoothing=0.1, ignore_index=3, out=out
    ),
    "softmax": lambda x, y, out: crossent.softmax(x, out=out),
    "log_softmax": lambda x, y, out: crossent.log_softmax(x, out=out),
}


@pytest.mark.parametrize("offset", [0, 1, 5, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CALLS)
def test_padded_rows_at_any_address(name: str, dtype: type, offset: int) -> None:
    rows = LARGE_BYTES // np.dtype(dtype).itemsize // CLASSES + 1
    logits: Array = np.random.default_rng(3).normal(0, 3, (rows, CLASSES)).astype(dtype)
    target = np.arange(rows) % CLASSES
    memory: Array = np.full((rows, CLASSES + 37), GUARD, dtype)
    out = memory[:, offset : offset + CLASSES]
    CALLS[name](logits, target, out)
    assert (memory[:, :offset] == GUARD).all()
    assert (memory[:, offset + CLASSES :] == GUARD).all()
    for first in (0, rows // 2, rows - 9):  # a few rows don't stream
        few = slice(first, first + 9)
        expected = np.empty_like(logits[few])
        CALLS[name](logits[few], target[few], expected)
        np.testing.assert_array_equal(out[few], expected)
