"""Forks, interrupts and many callers, for the record: what the suite only samples, and how long it takes.

Run in an environment where crossent is installed; prints one line a promise, and fails if one is broken. Arguments
choose parts: ``extra_time_of_a_fork``, ``latency_of_control_c``, ``many_callers``, ``forks``.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import crossent
import numpy as np

FORKS = 200
CALLERS, CALLS = 16, 1000
SLOWER_TOGETHER = 1.25  # the noise of two measurements
LATENCY_LIMIT_S = 0.2
EXTRA_FORK_LIMIT_S = 0.001


def forks() -> None:
    """Run every kind of fork in the suite, 200 times each."""
    tests = Path(__file__).parents[1] / "test_fork.py"
    started = time.perf_counter()
    environment = os.environ | {"CROSSENT_TEST_FORKS": str(FORKS)}
    subprocess.run([sys.executable, "-m", "pytest", "-q", str(tests)], env=environment, check=True)
    print(f"forks: {FORKS} of each kind, 0 hangs, the same bits, in {time.perf_counter() - started:.0f} s")


def extra_time_of_a_fork() -> None:
    """Compare a fork after a parallel call with one after a serial call, taken in turns."""
    x = np.zeros((12_000, 100), np.float32)

    def time_of_fork(threads: int) -> float:
        crossent.set_num_threads(threads)
        crossent.logsumexp(x)
        started = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        elapsed = time.perf_counter() - started
        os.waitpid(pid, 0)
        return elapsed

    pairs = [(time_of_fork(1), time_of_fork(os.cpu_count() or 2)) for _ in range(300)]
    serial, parallel = (sorted(times) for times in zip(*pairs, strict=True))
    for name, k in [("at best", 0), ("median", 150)]:  # on a busy machine the helpers wait for a CPU before they end
        extra = (parallel[k] - serial[k]) * 1e3
        print(f"a fork, {name}: {serial[k] * 1e3:.2f} ms, and {extra:.2f} ms more where there is a team", flush=True)
    assert parallel[0] - serial[0] <= EXTRA_FORK_LIMIT_S


def latency_of_control_c() -> None:
    """Send SIGINT into long calls of every kind and see how long it takes until KeyboardInterrupt is caught."""
    rows = np.broadcast_to(np.float32(1), (1 << 26, 1000))
    target = np.zeros(1 << 26, np.int64)
    out = np.empty((1, 100_000_000), np.float32)
    out[:] = 0
    columns = np.zeros((10_000_000, 16), np.float32)
    strided = np.zeros((3, 16_000_000, 2), np.float32)[..., 0]
    calls: dict[str, Callable[[], object]] = {
        "rows": lambda: crossent.cross_entropy(rows, target),
        "probabilities": lambda: crossent.cross_entropy(rows, rows),
        "one row of 1e8 classes, again and again": lambda: [
            crossent.cross_entropy_with_grad(out, [0], out=out) for _ in range(1000)
        ],
        "16 columns of 1e7 classes, again and again": lambda: [
            crossent.cross_entropy_with_grad(columns, target[:16], axis=0, out=columns) for _ in range(1000)
        ],
        "every second of 3.2e7 classes, again and again": lambda: [
            crossent.score(strided, [0] * 3) for _ in range(1000)
        ],
        "16 columns of 1e6 classes, again and again": lambda: [
            crossent.score(columns[:1_000_000], target[:16], axis=0) for _ in range(1000)
        ],
        "binary": lambda: crossent.binary_cross_entropy_with_logits(rows, rows),
    }
    for threads in (1, os.cpu_count() or 2):
        crossent.set_num_threads(threads)
        for name, call in calls.items():
            latencies = [latency(call) for _ in range(10)]
            half, most = median(latencies) * 1e3, max(latencies) * 1e3
            print(f"Ctrl-C, {threads} threads, {name}: {half:.0f} ms (median), {most:.0f} ms at most", flush=True)
            assert max(latencies) <= LATENCY_LIMIT_S


def latency(call: Callable[[], object]) -> float:
    """Return the seconds from the signal to its exception."""
    sent = [0.0]

    def kick() -> None:
        time.sleep(0.3)
        sent[0] = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=kick)
    thread.start()
    try:
        call()
    except KeyboardInterrupt:
        caught = time.perf_counter()
        thread.join()
        return caught - sent[0]
    raise AssertionError("the call has ended by itself")


def many_callers() -> None:
    """Let 16 threads make 1000 mixed calls each at the same time, and one thread make them all."""
    random = np.random.default_rng(0)
    shapes = [(50, 10), (3000, 100), (2, 50_000), (20_000, 7), (1, 300_000), (300, 1000), (32, 10), (4, 10)]
    batches = [(random.normal(size=s).astype(np.float32), random.integers(s[1], size=s[0])) for s in shapes]
    expected = [crossent.cross_entropy_with_grad(*batch) for batch in batches]
    wrong: list[int] = []

    def call() -> None:
        for i in range(CALLS):
            crossent.cross_entropy_with_grad(*batches[i % len(batches)])

    def call_and_compare() -> None:
        for i in range(CALLS):
            k = i % len(batches)
            loss, grad = crossent.cross_entropy_with_grad(*batches[k])
            if loss != expected[k][0] or grad.tobytes() != expected[k][1].tobytes():
                wrong.append(k)

    crossent.set_num_threads(os.cpu_count() or 2)
    call()
    started = time.perf_counter()
    for _ in range(CALLERS):
        call()
    alone = time.perf_counter() - started
    together = time_together(call)
    most, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.002):
            most[0] = max(most[0], len(os.listdir("/proc/self/task")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    time_together(call_and_compare)
    is_over.set()
    watcher.join()
    print(
        f"{CALLERS} callers x {CALLS} calls, {crossent.get_num_threads()} threads: {len(wrong)} wrong, "
        f"{together:.2f} s together, {alone:.2f} s one after the other, at most {most[0]} threads of the system"
    )
    assert not wrong
    assert together < SLOWER_TOGETHER * alone


def time_together(function: Callable[[], None]) -> float:
    """Return the seconds that all callers take at the same time."""
    threads = [threading.Thread(target=function) for _ in range(CALLERS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


if __name__ == "__main__":
    parts = (extra_time_of_a_fork, latency_of_control_c, many_callers, forks)
    for part in parts:
        if part.__name__ in sys.argv[1:] or not sys.argv[1:]:
            part()
