"""How fast files are scored, against how fast the same files can merely be read, in one run.

``read`` is what any reader can do at best: as many threads as crossent uses, each reading the next part of the file
into memory of its own, again and again, and looking at nothing. ``memory`` is ``crossent.score`` of rows that lie in
memory, in the same number of threads: no scorer of files can be faster. ``bound`` is what follows from both where the
same processors have to read and to score: ``1 / (1 / read + 1 / memory)``. ``score`` is
``crossent.files.score_files``, totals included. Warm: the file is in the system's page cache. Cold: it was dropped from
there before every pass; what is read then is at the mercy of the disk, so that passes take turns and the median counts.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import crossent
import numpy as np
from crossent.files import ScoreOptions, score_files
from numpy.typing import NDArray

CELLS = [("float16", 10), ("float16", 1000), ("float16", 32_000), ("float32", 1000)]
READS = [2**20, 2**21, 2**22]  # bytes at a time


def write(directory: Path, dtype: str, classes: int, gigabytes: float) -> tuple[Path, Path]:
    """Write logits and targets, and wait until they are on the disk."""
    rng = np.random.default_rng(0)
    rows = int(gigabytes * 1e9) // (classes * np.dtype(dtype).itemsize)
    logits, targets = directory / f"{dtype}-{classes}.npy", directory / "targets.npy"
    values = np.lib.format.open_memmap(logits, "w+", np.dtype(dtype), (rows, classes))
    step = max(1, 10**7 // classes)
    for start in range(0, rows, step):
        part = values[start : start + step]
        part[:] = 3 * rng.standard_normal(part.shape, np.float32)
    values.flush()
    np.save(targets, rng.integers(classes, size=rows))
    for path in (logits, targets):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return logits, targets


def drop(*paths: Path) -> None:
    """Drop files from the page cache."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_threads(count: int, work: Callable[[Callable[[], int]], None]) -> None:
    """Run ``work`` in threads; it is given what counts the parts of the file."""
    lock, numbers = threading.Lock(), iter(range(2**62))

    def take() -> int:
        with lock:
            return next(numbers)

    threads = [threading.Thread(target=work, args=(take,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def read(path: Path, threads: int, size: int) -> None:
    """Read all of a file and look at nothing."""
    end = path.stat().st_size

    def work(take: Callable[[], int]) -> None:
        memory = np.ones(size, np.uint8)
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while (start := take() * size) < end:
                os.preadv(file.fileno(), [memory.data], start)

    in_threads(threads, work)


def score_memory(rows: NDArray[np.generic], targets: NDArray[np.int64], threads: int, parts: int) -> None:
    """Score rows in memory, a part at a time in each of the threads."""

    def work(take: Callable[[], int]) -> None:
        while (number := take()) < parts:
            own = slice(number * len(rows) // parts, (number + 1) * len(rows) // parts)
            crossent.score(rows[own], targets[own])

    before = crossent.get_num_threads()
    crossent.set_num_threads(1)
    in_threads(threads, work)
    crossent.set_num_threads(before)


def seconds(run: Callable[[], object]) -> float:
    """Time one pass."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(dtype: str, classes: int, options: argparse.Namespace, threads: int) -> str:
    """Return a row of the table."""
    warm: dict[str, list[float]] = {"read": [], "memory": [], "score": []}
    cold: dict[str, list[float]] = {"read": [], "score": []}
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        logits, targets = write(Path(directory), dtype, classes, options.gigabytes)
        size = logits.stat().st_size
        job = ScoreOptions(str(logits), str(targets), threads=threads)
        labels = np.load(targets)
        sample = np.array(np.load(logits, mmap_mode="r")[: len(labels) // 4])
        for number in range(options.passes + 1):
            runs = {
                "read": min(seconds(partial(read, logits, threads, part)) for part in READS),
                "memory": 4 * seconds(lambda: score_memory(sample, labels[: len(sample)], threads, 100)),
                "score": seconds(lambda: score_files(job, print)),
            }
            for name, value in runs.items():
                warm[name] += [value] if number else []  # the first warms up
        runs_of_disk: dict[str, Callable[[], object]] = {
            "read": lambda: read(logits, threads, READS[1]),
            "score": lambda: score_files(job, print),
        }
        for number in range(4 * options.passes):
            for name in sorted(cold, reverse=bool(number % 2)):
                drop(logits, targets)
                time.sleep(0.2)
                cold[name].append(seconds(runs_of_disk[name]))
    rate = {name: size / min(values) / 1e9 for name, values in warm.items()}
    rate["bound"] = 1 / (1 / rate["read"] + 1 / rate["memory"])
    of_disk = {name: size / statistics.median(values) / 1e9 for name, values in cold.items()}
    shares = [f"{rate[name]:.2f} ({rate[name] / rate['read']:.0%})" for name in ("memory", "bound", "score")]
    return (
        f"| {dtype}, {classes:,} classes | {rate['read']:.2f} | {' | '.join(shares)} | {of_disk['read']:.2f} "
        f"| {of_disk['score']:.2f} ({of_disk['score'] / of_disk['read']:.0%}) |"
    )


def main() -> None:
    """Print a table in Markdown: GB/s of logits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where the files are written (a temporary one)")
    parser.add_argument("--cells", type=int, nargs="*", default=range(len(CELLS)), help="which rows of the table")
    options = parser.parse_args()
    threads = crossent.get_num_threads()
    print(f"GB/s of logits, {threads} threads: warm, with the share of `read`; then cold, likewise\n")
    print("| | read | memory | bound | score | cold read | cold score |\n|---|---:|---:|---:|---:|---:|---:|")
    for cell in options.cells:
        dtype, classes = CELLS[int(cell)]
        print(measure(dtype, classes, options, threads), flush=True)


if __name__ == "__main__":
    main()
