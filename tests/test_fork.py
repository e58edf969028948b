"""A forked child computes: it neither waits for the parent's threads nor takes them away."""

import os
import subprocess
import sys

import pytest

FORKS = """
import os, signal, threading
import numpy as np, crossent

x = np.random.default_rng(0).standard_normal((4000, 100), dtype=np.float32)
y = np.arange(4000) % 100
expected = crossent.cross_entropy(x, y)

def child_agrees():
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os._exit(0 if crossent.cross_entropy(x, y) == expected else 1)
    return os.waitpid(pid, 0)[1] == 0

for _ in range(20):
    assert child_agrees()
    assert crossent.cross_entropy(x, y) == expected

stop = threading.Event()
def compute():
    while not stop.is_set():
        assert crossent.cross_entropy(x, y) == expected

thread = threading.Thread(target=compute)
thread.start()
results = [child_agrees() for _ in range(20)]
stop.set()
thread.join()
assert all(results)
assert crossent.cross_entropy(x, y) == expected
print(len(os.listdir("/proc/self/task")) > 1 or crossent.get_num_threads() == 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork") or not sys.platform.startswith("linux"), reason="needs os.fork on Linux")
def test_forked_children(python_environment: dict[str, str]) -> None:
    """From a thread that has computed in parallel, and while another one does; the parent stays parallel."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS],
        env=python_environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.strip() == "True"
