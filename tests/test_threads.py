"""How many threads a call uses: within our limit, OpenMP's and threadpoolctl's, and no more than there is work for."""

import concurrent.futures
import subprocess
import sys
import sysconfig
import textwrap
import threading

import cases
import crossent
import numpy as np
import pytest
import threadpoolctl
from crossent import _core

parallel = pytest.mark.skipif(crossent.show_config()["openmp"] is None, reason="a serial build has one thread")
free_threaded = pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
linux = pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")

COUNT = """
import os, time, crossent, numpy as np

def count():
    return len(os.listdir("/proc/self/task"))

def settled_count():
    counts = []
    for _ in range(20):  # a thread that has been joined is listed until the system has got round to its end
        counts.append(count())
        time.sleep(0.005)
    return min(counts)

def call(rows, classes):
    crossent.cross_entropy_with_grad(np.zeros((rows, classes), np.float32), np.zeros(rows, np.int64))
    return settled_count()
"""


def run(program: str, environment: dict[str, str], **variables: str) -> list[str]:
    """Return the words that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT + textwrap.dedent(program)],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.usefixtures("num_threads")
class TestLimit:
    def test_lowers_the_number(self) -> None:
        crossent.set_num_threads(1)
        assert crossent.get_num_threads() == 1
        assert crossent.show_config()["threads"] == 1

    def test_is_an_upper_limit(self) -> None:
        """A higher one than OpenMP's has the effect of OpenMP's."""
        before = crossent.get_num_threads()
        crossent.set_num_threads(10_000)
        limit = crossent.get_num_threads()
        assert before <= limit < 10_000
        for count in (limit + 1, 2**100):
            crossent.set_num_threads(count)
            assert crossent.get_num_threads() == limit

    @pytest.mark.parametrize(
        ("count", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)]
    )
    def test_errors(self, count: int, error: type[Exception]) -> None:
        before = crossent.get_num_threads()
        with pytest.raises(error):
            crossent.set_num_threads(count)
        assert crossent.get_num_threads() == before

    @parallel
    def test_threadpoolctl(self) -> None:
        crossent.set_num_threads(10_000)
        before = crossent.get_num_threads()
        with threadpoolctl.threadpool_limits(1, user_api="openmp"):
            assert crossent.get_num_threads() == 1
        with threadpoolctl.threadpool_limits(3, user_api="openmp"):
            assert crossent.get_num_threads() == 3
        assert crossent.get_num_threads() == before

    @parallel
    def test_the_least_limit_holds(self) -> None:
        crossent.set_num_threads(2)
        with threadpoolctl.threadpool_limits(3, user_api="openmp"):
            assert crossent.get_num_threads() == 2

    @parallel
    def test_set_by_two_threads_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While one sets it another does, which is done first: show_config knows where the number comes from."""
        set_in_core = _core.set_num_threads

        def be_overtaken(count: int) -> None:
            if count == 2:
                other = threading.Thread(target=crossent.set_num_threads, args=(3,))
                other.start()
                other.join()
            set_in_core(count)

        monkeypatch.setattr(_core, "set_num_threads", be_overtaken)
        with threadpoolctl.threadpool_limits(8, user_api="openmp"):
            crossent.set_num_threads(2)
            config = crossent.show_config()
        assert (config["threads"], config["threads_from"]) == (2, "set_num_threads")


@parallel
class TestEnvironment:
    @pytest.mark.parametrize("count", ["1", "3", "7"])
    def test_omp_num_threads(self, python_environment: dict[str, str], count: str) -> None:
        words = run("print(crossent.get_num_threads())", python_environment, OMP_NUM_THREADS=count)
        assert words == [count]

    def test_set_num_threads_is_for_the_whole_process(self, python_environment: dict[str, str]) -> None:
        """It holds in other threads too, unlike OpenMP's own setting."""
        program = """
            import threading
            crossent.set_num_threads(2)
            other = threading.Thread(target=lambda: print(crossent.get_num_threads()))
            other.start()
            other.join()
        """
        assert run(program, python_environment, OMP_NUM_THREADS="5") == ["2"]


@linux
class TestOperatingSystemThreads:
    def test_small_inputs_start_none(self, python_environment: dict[str, str]) -> None:
        """Nor does the import."""
        program = """
            print(settled_count(), call(32, 10), call(1, 1000), call(100, 100))
            crossent.softmax(np.zeros((32, 10)))
            crossent.binary_cross_entropy_with_logits(np.zeros(100), np.zeros(100))
            print(settled_count())
        """
        assert run(program, python_environment, OMP_NUM_THREADS="4") == ["1"] * 5

    @parallel
    @pytest.mark.parametrize(("rows", "classes"), [(100_000, 100), (400, 25_000), (1_000_000, 10)])
    def test_large_ones_use_as_many_as_allowed(
        self, python_environment: dict[str, str], rows: int, classes: int
    ) -> None:
        words = run(f"print(call({rows}, {classes}))", python_environment, OMP_NUM_THREADS="4")
        assert words == ["4"]
        program = f"crossent.set_num_threads(3); print(call({rows}, {classes}))"
        assert run(program, python_environment, OMP_NUM_THREADS="4") == ["3"]

    def test_a_serial_call_is_serial(self, python_environment: dict[str, str]) -> None:
        program = "crossent.set_num_threads(1); print(call(100_000, 100))"
        assert run(program, python_environment, OMP_NUM_THREADS="4") == ["1"]


CALLERS = """
import threading

random = np.random.default_rng(0)
shapes = [(50, 10), (3000, 100), (2, 50_000), (20_000, 7), (1, 300_000), (300, 1000)]
batches = [(random.normal(size=shape).astype(np.float32), random.integers(shape[1], size=shape[0])) for shape in shapes]
outs = [np.empty_like(x) for x, _ in batches]

def compute(batch, out):
    return crossent.cross_entropy_with_grad(*batch, out=out)[0], hash(out.data.tobytes())

crossent.set_num_threads(1)
expected = [compute(*each) for each in zip(batches, outs)]
crossent.set_num_threads(4)
wrong, most, is_over = [], [0], threading.Event()

def look():
    most[0] = max(most[0], count())

all_are_there = threading.Barrier(16, look)  # or, without a GIL, the first would be gone when the last starts

def caller(first):
    own = [np.empty_like(x) for x, _ in batches]
    all_are_there.wait()
    for i in range(first, first + CALLS):
        k = i % len(batches)
        if compute(batches[k], own[k]) != expected[k]:
            wrong.append(k)
    all_are_there.wait()

def watch():
    while not is_over.wait(0.001):
        look()

watcher = threading.Thread(target=watch)
watcher.start()
threads = [threading.Thread(target=caller, args=(i,)) for i in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
is_over.set()
watcher.join()
"""


@linux
@parallel
def test_operating_system_threads_of_many_callers(python_environment: dict[str, str]) -> None:
    """16 callers with 4 threads each share helpers: never the 48 that each having its own would make."""
    program = "CALLS = 60\n" + CALLERS + "print(len(wrong), most[0] - 18)"
    wrong, helpers = map(int, run(program, python_environment, OMP_NUM_THREADS="4"))
    assert wrong == 0
    assert 3 <= helpers < 36  # 12, and those about to end, which a busy machine lists for a while


def test_many_callers_at_once() -> None:
    """Python threads that call at the same time get what each alone would get."""
    random = np.random.default_rng(0)
    batches = [
        (random.normal(size=shape).astype(np.float32), random.integers(shape[1], size=shape[0]))
        for shape in [(50, 10), (3000, 100), (2, 50_000), (20_000, 7)] * 4
    ]
    expected = [crossent.cross_entropy_with_grad(*batch) for batch in batches]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda batch: crossent.cross_entropy_with_grad(*batch), batches * 4))
    for (loss, grad), (expected_loss, expected_grad) in zip(results, expected * 4, strict=True):
        assert loss == expected_loss
        assert cases.bits(grad) == cases.bits(expected_grad)


@free_threaded
def test_needs_no_gil(python_environment: dict[str, str]) -> None:
    """On a free-threaded Python the import neither warns nor makes it take a GIL."""
    python_environment.pop("PYTHON_GIL", None)
    program = "import sys, numpy, crossent, crossent.files, crossent.cli; print(sys._is_gil_enabled())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=python_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
