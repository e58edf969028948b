"""Calls of every function, good and failing ones in turn: memory doesn't grow, and no reference is kept.

``python tests/long/leaks.py --calls 100000`` prints by how many bytes resident memory grew, and the counts of
references that changed.
"""

import argparse
import ctypes
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crossent
import numpy as np

PR_SET_THP_DISABLE = 41


def calls() -> tuple[list[Callable[[], Any]], list[Any]]:
    """Return the calls, and the objects whose references are counted."""
    x = np.random.default_rng(0).normal(size=(16, 10)).astype(np.float32)
    y = np.arange(16) % 10
    narrow, unsigned, bad = y.astype(np.int8), y.astype(np.uint64), y + 1
    q, w, out, scale = np.full((16, 10), 0.1), np.ones(10), np.empty_like(x), np.ones(16)
    swapped, masked, columns = x.astype(">f4"), np.ma.masked_array(x), np.asfortranarray(x)
    large, wrong, number = np.zeros((600, 2000), np.float32), object(), 10**9 + 7
    with_grad = crossent.cross_entropy_with_grad
    binary = crossent.binary_cross_entropy_with_logits_with_grad
    good: list[Callable[[], Any]] = [
        lambda: crossent.cross_entropy(x, y),
        lambda: crossent.cross_entropy(swapped, narrow, w, label_smoothing=0.1, reduction="none"),
        lambda: crossent.cross_entropy(columns, unsigned, ignore_index=number),
        lambda: with_grad(x, y),
        lambda: with_grad(x, q, w, out=out),
        lambda: with_grad(x, y, reduction="none", grad_output=scale, axis=1),
        lambda: crossent.nll_loss(x, y, w, reduction="none"),
        lambda: crossent.softmax(x, out=out),
        lambda: crossent.log_softmax(x, None),
        lambda: crossent.logsumexp(x, keepdims=True),
        lambda: binary(x, q, w, pos_weight=w, out=out),
        lambda: crossent.binary_cross_entropy(q, q, reduction="sum"),
        lambda: (crossent.CrossEntropyLoss(w)(x, y), crossent.score(x, y)),
    ]
    failing: list[Callable[[], Any]] = [
        lambda: crossent.cross_entropy(x, bad),
        lambda: with_grad(x, bad, out=out),
        lambda: crossent.score(x, bad),
        lambda: crossent.cross_entropy(masked, y),
        lambda: crossent.cross_entropy(wrong, y),  # type: ignore[call-overload]
        lambda: crossent.cross_entropy(x, y, q),
        lambda: crossent.cross_entropy(x, y, reduction=wrong),  # type: ignore[call-overload]
        lambda: crossent.cross_entropy(x, y, ignore_index=wrong),  # type: ignore[call-overload]
        lambda: with_grad(x, y, out=q),
        lambda: crossent.softmax(x, out=x[::-1]),
        lambda: crossent.softmax(x, 5),
        lambda: binary(x, wrong),  # type: ignore[call-overload]
        lambda: crossent.binary_cross_entropy(x * 100, q),
    ]
    counted = [x, y, narrow, unsigned, bad, q, w, out, scale, swapped, masked, columns, large, wrong, number]
    counted += [x.dtype, y.dtype, q.dtype, swapped.dtype, TypeError, ValueError, IndexError]
    every = [one for pair in zip(good, failing, strict=True) for one in pair]
    every += [lambda: with_grad(large, np.zeros(600, np.int64))]  # memory that is kept
    return every, counted


def run(every: list[Callable[[], Any]], count: int) -> int:
    failed = 0
    for number in range(count):
        try:
            every[number % len(every)]()
        except (TypeError, ValueError, IndexError):
            failed += 1
    return failed


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def without_huge_pages() -> None:
    """Keep the kernel from making huge pages of what is there, in its own time, as if memory had grown."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def main() -> None:
    without_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    count = parser.parse_args().calls
    every, counted = calls()
    run(every, 50 * len(every))
    gc.collect()
    references, before = [sys.getrefcount(one) for one in counted], resident_bytes()
    failed = run(every, count)
    gc.collect()
    after, growth = [sys.getrefcount(one) for one in counted], resident_bytes() - before
    changed = [
        f"{one!r:.60}: {old} to {new}"
        for one, old, new in zip(counted, references, after, strict=True)
        if abs(new - old) > 2  # the interpreter's own caches
    ]
    print(json.dumps({"calls": count, "failed": failed, "growth": growth, "changed": changed}))


if __name__ == "__main__":
    main()
