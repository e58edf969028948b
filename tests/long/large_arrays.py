"""More than 2^31 and 2^32 elements: indices are 64-bit everywhere.

``python tests/long/large_arrays.py``. The arrays are pages of zeros that take no memory until they are written, and
views of strides 0; what is written is within 5 GB.
"""

import math
import mmap
import resource
import time
from typing import Any

import crossent
import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray

MAP_NORESERVE = 0x4000  # Linux: no promise of memory for all of it
MORE = 2**32 + 5


def zeros(count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return zeros that have no memory of their own until they are written to."""
    kind = np.dtype(dtype)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    memory = mmap.mmap(-1, count * kind.itemsize, flags=flags)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, kind)


def close(actual: float, expected: float) -> None:
    assert abs(actual - expected) <= 1e-6 * abs(expected), (actual, expected)


def classes_beyond_32_bits() -> None:
    """A row of 2^32 + 5 classes, with the target the last of them."""
    x = zeros(MORE, np.float16)[np.newaxis]
    x[0, -1] = 8
    target = np.array([MORE - 1])
    expected = math.log(MORE - 1 + math.exp(8)) - 8
    close(crossent.cross_entropy(x, target), expected)
    close(crossent.nll_loss(x, target), -8)
    close(float(crossent.logsumexp(x[0].reshape(1, -1))[0]), 22.1875)  # to float16
    with pytest.raises(IndexError, match=f"is {MORE}, but there are {MORE} classes"):
        crossent.cross_entropy(x, target + 1)


def positions_beyond_32_bits() -> None:
    """2^32 + 5 samples of one row, by class probabilities and by class indices; the last index is bad."""
    row = np.array([1.0, 2.0], np.float32)
    x = np.broadcast_to(row, (MORE, 2))
    one = math.log(math.e + math.e**2) - 1
    close(
        crossent.cross_entropy(x, np.broadcast_to(np.array([1, 0], np.float32), (MORE, 2)), reduction="sum"), MORE * one
    )
    target = zeros(MORE, np.int64)
    close(crossent.cross_entropy(x, target, reduction="sum"), MORE * one)
    target[-1] = 2
    with pytest.raises(IndexError, match=f"position {MORE - 1} is 2"):
        crossent.cross_entropy(x, target)


def binary_beyond_32_bits() -> None:
    """Elements of one byte and of none."""
    x = np.broadcast_to(np.float32(0), (MORE,))
    target = zeros(MORE, np.int8)
    target[-1] = 127
    close(crossent.binary_cross_entropy_with_logits(x, target, reduction="sum"), MORE * math.log(2))


def gradient_beyond_31_bits() -> None:
    """2^31 + 70,000 elements that are written, 4.3 GB of them, by rows and by columns; the last is looked at."""
    count = 2**31 + 70_000
    out = zeros(count, np.float16)
    for classes in (1000, 10):
        n = count // classes
        shape = (n, classes)
        x = np.broadcast_to(np.float16(0), shape)
        target = zeros(n, np.int64)
        target[-1] = classes - 1
        grad = out[: n * classes].reshape(shape)
        crossent.cross_entropy_with_grad(x, target, reduction="sum", out=grad)
        close(float(grad[-1, -1]), np.float16(1 / classes - 1))
        close(float(grad[-2, -1]), np.float16(1 / classes))
    crossent.softmax(np.broadcast_to(np.float16(0), (2, count // 2)), out=out[: count // 2 * 2].reshape(2, -1))
    assert float(out[count // 2 * 2 - 1]) == 0  # 2^-30 is none of float16's


def main() -> None:
    for test in (classes_beyond_32_bits, positions_beyond_32_bits, binary_beyond_32_bits, gradient_beyond_31_bits):
        started = time.monotonic()
        test()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{test.__name__}: right, in {time.monotonic() - started:.0f} s; peak memory so far {peak:.1f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
