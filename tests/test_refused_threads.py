"""Where the system gives no more threads, or OpenMP is busy with others: calls compute with the threads there are."""

import ctypes
import glob
import subprocess
import sys

import crossent
import pytest

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits and /proc"),
    pytest.mark.skipif(crossent.show_config()["openmp"] is None, reason="a serial build has one thread"),
]

PREPARE = """
import hashlib, os, resource, time
import numpy as np, crossent

x = np.random.default_rng(0).standard_normal((20_000, 100), dtype=np.float32)
y = np.arange(20_000) % 100
out = np.empty_like(x)

def compute():
    return crossent.cross_entropy_with_grad(x, y, out=out)[0], hashlib.sha256(out).digest()

crossent.set_num_threads(1)
expected = compute()
crossent.set_num_threads(8)
used = lambda: int(open("/proc/self/statm").read().split()[0]) * 4096

def count():
    counts = []
    for _ in range(20):  # a thread that has been joined is listed until the system has got round to its end
        counts.append(len(os.listdir("/proc/self/task")))
        time.sleep(0.005)
    return min(counts)
"""
CHECK = """
print(*(compute() == expected for _ in range(3)), crossent.get_num_threads(), count())
"""


def run(program: str, environment: dict[str, str]) -> list[str]:
    """Return the words that a fresh interpreter prints."""
    command = [sys.executable, "-c", PREPARE + program + CHECK]
    done = subprocess.run(
        command, env=environment | {"OMP_NUM_THREADS": "8"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


class TestRefused:
    """libgomp ends the process when it is refused a thread. So it isn't asked for one that the system doesn't give."""

    def test_number_of_processes(self, python_environment: dict[str, str]) -> None:
        program = """
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
if os.getuid() == 0:
    os.setuid(65534)  # root has no limit
"""
        assert run(program, python_environment) == ["True"] * 3 + ["8", "1"]

    def test_address_space(self, python_environment: dict[str, str]) -> None:
        program = "resource.setrlimit(resource.RLIMIT_AS, (used() + (4 << 20),) * 2)"
        assert run(program, python_environment) == ["True"] * 3 + ["8", "1"]

    def test_some_are_given(self, python_environment: dict[str, str]) -> None:
        """Room for the stacks of three; they help."""
        program = """
resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
resource.setrlimit(resource.RLIMIT_AS, (used() + (30 << 20),) * 2)
"""
        *same, limit, threads = run(program, python_environment | {"MALLOC_ARENA_MAX": "1"})
        assert same == ["True"] * 3
        assert limit == "8"
        assert 1 < int(threads) < 8


def runtimes() -> list[str]:
    """Return the OpenMP runtimes found here, by the name to load them by."""
    found = ["libgomp.so.1", *glob.glob("/usr/lib/llvm-*/lib/libomp.so.5"), *glob.glob(f"{sys.prefix}/lib/libiomp5.so")]
    loadable = []
    for name in found:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        loadable.append(name)
    return loadable


IN_A_REGION = """
import ctypes, sys, threading

runtime = ctypes.CDLL({name!r})
results, seen = [], set()

@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def body(_):
    seen.add(threading.get_ident())
    for _ in range(5):
        loss, grad = crossent.cross_entropy_with_grad(x, y)
        results.append((loss, hashlib.sha256(grad).digest()) == expected)

{before}
for _ in range(3):
    runtime.GOMP_parallel(body, None, 4, 0)
if len(seen) != 4 or len(results) != 60 or not all(results):
    print("wrong", len(seen), results)
print(max(1, count() // 100))
"""


@pytest.mark.parametrize("before", ["compute()", ""], ids=["our team first", "their team first"])
@pytest.mark.parametrize("name", runtimes())
def test_called_in_a_parallel_region(python_environment: dict[str, str], name: str, before: str) -> None:
    """Of our own OpenMP runtime, and of another one in the same process."""
    words = run(IN_A_REGION.format(name=name, before=before), python_environment)
    assert words[:4] == ["1"] + ["True"] * 3


FOREIGN_TEAMS = """
from sklearn.metrics import pairwise_distances_argmin

def learn():
    assert (pairwise_distances_argmin(x[:2000], x[:2000]) == np.arange(2000)).all()

assert compute() == expected
learn()
assert compute() == expected
pid = os.fork()
if pid == 0:
    import signal
    signal.alarm(60)
    os._exit(0 if compute() == expected else 1)
assert os.waitpid(pid, 0)[1] == 0
learn()
"""


@pytest.mark.parametrize("first", ["", "import sklearn.metrics\n"], ids=["before", "after"])
def test_beside_scikit_learn(python_environment: dict[str, str], first: str) -> None:
    """Which brings a copy of libgomp: before and after its import and its use, and in a fork after both."""
    command = [sys.executable, "-W", "ignore", "-c", first + PREPARE + FOREIGN_TEAMS + CHECK]
    environment = python_environment | {"OMP_NUM_THREADS": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[:3] == ["True"] * 3
