"""Ctrl-C ends a long call, whatever it computes: Python's signal handlers run while it does, in the main thread."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import cases
import crossent
import numpy as np
import pytest
from cases import Array
from crossent import _core

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")

DELAY_S = 0.05
PATIENCE_S = 10  # of CPU time, however busy others are. Every call takes longer uninterrupted; its arrays are views


COMPUTING = (_core.cross_entropy, _core.softmax, _core.logsumexp, _core.binary_cross_entropy)


class Alarm(Exception):
    """Raised by the signal handler."""


@contextlib.contextmanager
def profiled(note: Callable[[types.FrameType, str, object], None]) -> Iterator[None]:
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


@contextlib.contextmanager
def timer(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture
def alarm() -> Iterator[None]:
    """Raise Alarm in the main thread when the timer ends, and not before the core computes."""
    begun: list[object] = []

    def note(_: types.FrameType, event: str, function: object) -> None:
        if event == "c_call" and function in COMPUTING:
            begun.append(function)

    def handler(_: int, frame: types.FrameType | None) -> None:
        if not begun or (frame and frame.f_code is note.__code__):
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            return
        begun.clear()
        raise Alarm

    before = signal.signal(signal.SIGALRM, handler)
    with profiled(note):
        yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def endless(*shape: int, dtype: str = "float32") -> Array:
    """Return an array of one number, over and over."""
    return np.broadcast_to(np.ones((), dtype), shape)


CALLS: dict[str, Callable[[], object]] = {
    "rows": lambda: crossent.cross_entropy(endless(1 << 26, 1000), np.zeros(1 << 26, np.int64)),
    "probabilities": lambda: crossent.cross_entropy(endless(1 << 26, 1000), endless(1 << 26, 1000)),
    "float16": lambda: crossent.cross_entropy(endless(1 << 26, 1000, dtype="float16"), np.zeros(1 << 26, np.int64)),
    "float64": lambda: crossent.logsumexp(endless(1 << 27, 1000, dtype="float64")),
    "few rows": lambda: crossent.logsumexp(endless(4, 1 << 34)),
    "few columns": lambda: crossent.logsumexp(
        np.lib.stride_tricks.as_strided(np.ones(16, np.float32), (1 << 34, 16), (0, 4)), axis=0
    ),
    "binary": lambda: crossent.binary_cross_entropy_with_logits(endless(1 << 36), endless(1 << 36)),
}


@pytest.mark.usefixtures("num_threads", "alarm")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CALLS)
def test_long_calls(name: str, threads: int) -> None:
    crossent.set_num_threads(threads)
    started = time.process_time()
    with pytest.raises(Alarm), timer(DELAY_S):
        CALLS[name]()
    assert time.process_time() - started < PATIENCE_S


@pytest.mark.usefixtures("alarm")
def test_a_call_runs_no_python_code() -> None:
    """A handler might run in it, and what it raises be lost."""
    ran: list[str] = []

    def handler(*_: object) -> None:
        raise Alarm

    def note(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call":
            ran.append(frame.f_code.co_name)

    x, lse = endless(1 << 26, 1000), np.empty(1 << 26, np.float32)
    signal.signal(signal.SIGALRM, handler)
    with pytest.raises(Alarm), timer(10 * DELAY_S), profiled(note):
        _core.logsumexp(x, lse)
    assert ran[0] == "handler"


@pytest.fixture
def slowest() -> Iterator[None]:
    """Compute on one thread, with the slowest instruction set."""
    threads, instruction_set = crossent.get_num_threads(), _core.get_instruction_set()
    crossent.set_num_threads(1)
    _core.set_instruction_set("baseline")
    yield
    crossent.set_num_threads(threads)
    _core.set_instruction_set(instruction_set)


@pytest.mark.usefixtures("slowest", "alarm")
def test_out_is_partly_written_and_nothing_leaks() -> None:
    """Rows are computed in order by one thread: the last ones haven't been reached. All would take a second."""
    x, target = endless(240_000, 1000, dtype="float16"), np.zeros(240_000, np.int64)
    out = np.empty(x.shape, np.float16)
    references = [sys.getrefcount(array) for array in (x, target, out)]
    for function in (
        lambda: crossent.cross_entropy_with_grad(x, target, out=out),
        lambda: crossent.softmax(x, out=out),
    ):
        out[[0, -1]] = 7
        with pytest.raises(Alarm), timer(0.001):
            function()
        assert not np.array_equal(out[0], np.full(1000, 7))
        assert np.array_equal(out[-1], np.full(1000, 7))
    assert [sys.getrefcount(array) for array in (x, target, out)] == references


@pytest.mark.usefixtures("slowest", "alarm")
def test_the_memory_of_a_result_is_given_back() -> None:
    crossent.release_memory()
    x = endless(100_000, 1000)
    with pytest.raises(Alarm), timer(0.001):
        crossent.softmax(x)
    assert crossent.release_memory() >= x.size * 4


def calls_with_a_handler(handler: Callable[..., Any]) -> tuple[Array, Array]:
    """Return what a call that takes longer than 10 ms on any machine computes, with a signal then, and without."""
    x = np.random.default_rng(0).normal(size=(1, 1000)).astype(np.float32)
    rows = np.broadcast_to(x, (150_000, 1000))
    expected = crossent.logsumexp(rows)
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        result = crossent.logsumexp(rows)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return result, expected


@pytest.mark.usefixtures("slowest")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_handler_may_compute(threads: int) -> None:
    """And even fork; the interrupted call then goes on and is right."""
    crossent.set_num_threads(threads)
    logits, target = np.random.default_rng(1).normal(size=(2000, 100)), np.arange(2000) % 100
    expected = crossent.cross_entropy_with_grad(logits, target)
    seen = []

    def handler(*_: object) -> None:
        loss, grad = crossent.cross_entropy_with_grad(logits, target)
        seen.append(loss == expected[0] and cases.bits(grad) == cases.bits(expected[1]))

    result, unharmed = calls_with_a_handler(handler)
    assert cases.bits(result) == cases.bits(unharmed)
    assert seen == [True]


FORKING_HANDLER = """
import os, signal
import numpy as np, crossent

crossent.set_num_threads(2)
x = np.broadcast_to(np.random.default_rng(0).normal(size=(1, 1000)), (100_000, 1000))
expected = crossent.logsumexp(x)
children = []

def handler(*_):
    children.append(os.fork())

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.01)
right = np.array_equal(crossent.logsumexp(x), expected)
if children == [0]:
    os._exit(0 if right else 1)
print(right, children and os.waitpid(children[0], 0)[1])
"""


def test_a_handler_may_fork(python_environment: dict[str, str]) -> None:
    """The child is in the middle of the call, and ends it without the parent's threads."""
    command = [sys.executable, "-W", "ignore", "-c", FORKING_HANDLER]
    environment = python_environment | {"OMP_NUM_THREADS": "2", "CROSSENT_ISA": "baseline"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True", "0"]


@pytest.mark.usefixtures("slowest")
def test_other_threads_go_on() -> None:
    """Signals are the main thread's business."""
    x = np.broadcast_to(np.random.default_rng(0).normal(size=(1, 1000)).astype(np.float32), (150_000, 1000))
    results: list[Array] = []
    thread = threading.Thread(target=lambda: results.append(crossent.logsumexp(x)))

    def handler(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, handler)
    try:
        thread.start()
        with pytest.raises(Alarm):
            signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, before)
    thread.join()
    assert cases.bits(results[0]) == cases.bits(crossent.logsumexp(x))


DAEMON = """
import threading, time
import numpy as np, crossent

x = np.zeros((2000, 100))
def compute():
    while True:
        crossent.logsumexp(x)

for _ in range(2):
    threading.Thread(target=compute, daemon=True).start()
time.sleep(0.2)
print("over")
"""


def test_the_interpreter_may_end_during_a_call(python_environment: dict[str, str]) -> None:
    """Daemon threads that compute don't take it down."""
    for _ in range(3):
        command = [sys.executable, "-c", DAEMON]
        done = subprocess.run(command, env=python_environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


CONTROL_C = """
import os, signal, threading, time
import numpy as np, crossent

x = np.broadcast_to(np.float32(1), (1 << 27, 1000))
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs don't have
try:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    crossent.logsumexp(x)
except KeyboardInterrupt:
    print((crossent.logsumexp(x[:1000]) == crossent.logsumexp(x[0])).all())
"""


@pytest.mark.skipif(os.name != "posix", reason="needs os.kill")
def test_control_c(python_environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", CONTROL_C]
    done = subprocess.run(command, env=python_environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
