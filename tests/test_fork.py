"""A forked child computes: it neither waits for the parent's threads nor takes them away."""

import os
import subprocess
import sys

import pytest

FORKS = int(os.environ.get("CROSSENT_TEST_FORKS", "20"))  # of each kind; tests/long has more

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform != "linux", reason="needs os.fork on Linux")

# `check` runs in children; the gradient is large enough for kept memory.
PREPARE = """
import multiprocessing, os, signal, sys, threading
from concurrent.futures import ProcessPoolExecutor
import numpy as np, crossent

x = np.random.default_rng(0).standard_normal((12_000, 100), dtype=np.float32)
y = np.arange(12_000) % 100
assert x.nbytes > crossent._core.kept_memory_smallest

def compute():
    loss, grad = crossent.cross_entropy_with_grad(x, y)
    return loss, hash(grad.data.tobytes())

crossent.set_num_threads(1)
expected = compute()
crossent.set_num_threads(4)

def check(*_):
    signal.alarm(30)
    right = compute() == expected
    kept = crossent.release_memory() > 0
    signal.alarm(0)
    return right and kept

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0 if check() and check() else 1)
    return pid

def all_agree(forks=1):
    return all(os.waitpid(fork(), 0)[1] == 0 for _ in range(forks))

def from_thread(*work):
    results = []
    thread = threading.Thread(target=lambda: results.extend(step() for step in work))
    thread.start()
    thread.join()
    return all(results)

FORKS = int(sys.argv[1])
"""

KINDS = {
    "main thread": """
assert all_agree() and check()
for _ in range(FORKS):
    assert all_agree() and compute() == expected
""",
    "thread that has never computed": """
assert check()
for _ in range(FORKS):
    assert from_thread(all_agree) and compute() == expected
""",
    "thread that has computed": """
for _ in range(FORKS):
    assert from_thread(lambda: compute() == expected, all_agree, lambda: compute() == expected)
""",
    "while other threads compute": """
stop = threading.Event()
wrong = []

def work():
    while not stop.is_set():
        if compute() != expected:
            wrong.append(1)

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
agree = all_agree(FORKS // 2) and from_thread(lambda: all_agree(FORKS // 2), lambda: compute() == expected)
stop.set()
for thread in threads:
    thread.join()
assert agree and not wrong
""",
    "while memory is given back": """
stop = threading.Event()

def work():
    while not stop.is_set():
        pieces = [crossent._core.kept_bytes(crossent._core.kept_memory_smallest) for _ in range(20)]
        pieces.clear()
        crossent.release_memory()

thread = threading.Thread(target=work)
thread.start()
agree = all_agree(FORKS)
stop.set()
thread.join()
assert agree
""",
    "child of a child": """
def generations(left):
    if compute() != expected:
        os._exit(1)
    if left:
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            generations(left - 1)
            os._exit(0)
        if os.waitpid(pid, 0)[1] != 0:
            os._exit(1)

generations(FORKS // 4)
""",
    "multiprocessing": """
assert compute() == expected
with multiprocessing.get_context("fork").Pool(4) as pool:
    assert all(pool.map(check, range(FORKS), chunksize=1))
assert compute() == expected
""",
    "ProcessPoolExecutor": """
assert compute() == expected
context = multiprocessing.get_context("fork")
for _ in range(FORKS // 10):
    with ProcessPoolExecutor(4, mp_context=context) as pool:
        assert all(pool.map(check, range(10)))
    assert compute() == expected
""",
    "server that forks its workers first": """
assert compute() == expected
workers = {}
for _ in range(4):
    requests, answers = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        for end in (requests[1], answers[0]):
            os.close(end)
        while os.read(requests[0], 1):
            signal.alarm(30)
            os.write(answers[1], b"1" if compute() == expected else b"0")
        os._exit(0)
    os.close(requests[0])
    os.close(answers[1])
    workers[pid] = requests[1], answers[0]
for _ in range(FORKS // 4):
    for requests, answers in workers.values():
        os.write(requests, b"?")
    assert compute() == expected
    assert all(os.read(answers, 1) == b"1" for _, answers in workers.values())
for pid, ends in reversed(workers.items()):  # the later workers hold the ends of the earlier ones
    os.close(ends[0])
    os.waitpid(pid, 0)
""",
}

STILL_PARALLEL = """
assert compute() == expected
print(len(os.listdir("/proc/self/task")) >= 4 or crossent.get_num_threads() == 1)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_forked_children(python_environment: dict[str, str], kind: str) -> None:
    """Children get the same bits and have memory kept for them; the parent is parallel afterwards."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PREPARE + KINDS[kind] + STILL_PARALLEL, str(FORKS)],
        env=python_environment | {"OMP_NUM_THREADS": "4", "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=60 + 10 * FORKS,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True\n")
