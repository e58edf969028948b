"""The memory of large results is kept for the next one: within a limit, given back on request, never shared by two."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import crossent
import numpy as np
import pytest
from crossent import _core

ROWS = _core.kept_memory_smallest // 4000 + 1
LOGITS = np.linspace(-1, 1, ROWS * 1000, dtype=np.float32).reshape(ROWS, 1000)
TARGET = np.arange(ROWS) % 1000


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    crossent.release_memory()
    yield
    crossent.release_memory()


def test_the_next_gradient_has_the_last_ones_memory() -> None:
    grad = crossent.cross_entropy_with_grad(LOGITS, TARGET)[1]
    address, expected = grad.ctypes.data, grad.copy()
    del grad
    grad = crossent.cross_entropy_with_grad(LOGITS, TARGET)[1]
    assert grad.ctypes.data == address
    np.testing.assert_array_equal(grad, expected, strict=True)


def test_arrays_alive_at_the_same_time_have_their_own() -> None:
    grads = [crossent.cross_entropy_with_grad(LOGITS, TARGET, grad_output=k)[1] for k in (1.0, 2.0, 4.0)]
    view = grads[0][5:7, 3:]
    expected = view.copy()
    del grads[0]
    crossent.softmax(LOGITS)
    np.testing.assert_array_equal(view, expected)  # a view keeps the memory in use
    np.testing.assert_array_equal(grads[1], grads[0] * 2)


def test_released() -> None:
    assert crossent.release_memory() == 0
    result = crossent.softmax(LOGITS)
    assert crossent.release_memory() == 0  # it is in use
    size = result.nbytes
    del result
    assert crossent.release_memory() >= size
    assert crossent.release_memory() == 0


def test_small_results_and_out_are_not_kept() -> None:
    crossent.cross_entropy_with_grad(LOGITS[:10], TARGET[:10])
    crossent.cross_entropy_with_grad(LOGITS, TARGET, out=np.empty_like(LOGITS))
    assert crossent.release_memory() == 0


def test_limit() -> None:
    pieces = [_core.kept_bytes(_core.kept_memory_limit // 4) for _ in range(6)]  # untouched, so not even in memory
    pieces.clear()
    assert 0 < crossent.release_memory() <= _core.kept_memory_limit


def lazily_freed_bytes() -> int:
    """How much the system may take from this process without asking; -1 where it doesn't say."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return -1
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("LazyFree")), -1)


@pytest.mark.skipif(lazily_freed_bytes() == -1, reason="needs Linux's word for it")
def test_a_system_short_of_memory_may_take_a_large_piece() -> None:
    before = lazily_freed_bytes()
    for size, is_lent in ((1 << 22, False), (1 << 29, False), ((1 << 29) + 4096, True)):
        piece = _core.kept_bytes(size)
        piece[: 1 << 22] = 1  # as much as has to be in memory
        assert lazily_freed_bytes() == before
        address = piece.ctypes.data
        del piece
        assert (lazily_freed_bytes() >= before + (1 << 22)) == is_lent
        piece = _core.kept_bytes(size)
        assert piece.ctypes.data == address
        piece[: 1 << 22] = 2  # is in use again
        assert lazily_freed_bytes() == before
        del piece
        crossent.release_memory()


def test_much_smaller_results_dont_take_a_large_piece() -> None:
    del_me = _core.kept_bytes(16 * _core.kept_memory_smallest)
    address = del_me.ctypes.data
    del del_me
    assert crossent.softmax(LOGITS).ctypes.data != address


def test_no_more_than_is_needed() -> None:
    result = crossent.softmax(LOGITS)
    size = result.nbytes
    del result
    assert size <= crossent.release_memory() <= size + 4096


LITTLE_ROOM = """
import resource
import numpy as np, crossent

crossent.set_num_threads(1)
x = np.zeros((50_000, 1000), np.float32)
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + x.nbytes * 3 // 2,) * 2)
crossent.softmax(x)  # needs no second block, and its memory is kept
crossent.softmax(np.broadcast_to(x[:1], (60_000, 1000)))  # needs what is kept for another size
try:
    crossent.softmax(np.broadcast_to(x[:1], (100_000, 1000)))
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's limit of the address space")
def test_little_room(python_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_ROOM], env=python_environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "unable to allocate 400000000 bytes for a result\n"


def test_kind_of_array() -> None:
    half = LOGITS.astype(np.float16).repeat(2, 0)
    blocks = LOGITS[:1000].reshape(10, 4, 25, 1000).repeat(2, 0)  # as in (batch, class, height, width)
    swapped, cropped = blocks.transpose(0, 2, 1, 3), blocks.repeat(2, 3)[:, :, ::-1, 5:-5]
    for logits in (LOGITS, LOGITS.astype(np.float64), np.asfortranarray(LOGITS), half, blocks, swapped, cropped):
        target = np.zeros(np.delete(logits.shape, 1), int)
        grad = crossent.cross_entropy_with_grad(logits, target)[1]
        twin = np.empty_like(logits)
        assert (grad.dtype, grad.shape, grad.strides) == (twin.dtype, twin.shape, twin.strides)
        assert grad.flags.writeable
        assert grad.flags.aligned


def test_threads_at_once() -> None:
    expected = crossent.cross_entropy_with_grad(LOGITS, TARGET)[1].copy()
    wrong = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(crossent.cross_entropy_with_grad(LOGITS, TARGET)[1], expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_copy() -> None:
    grad = crossent.cross_entropy_with_grad(LOGITS, TARGET)[1]
    expected = grad.copy()
    pid = os.fork()
    if pid == 0:
        grad[:] = 7
        del grad
        again = crossent.cross_entropy_with_grad(LOGITS, TARGET)[1]
        os._exit(0 if np.array_equal(again, expected) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    np.testing.assert_array_equal(grad, expected)
