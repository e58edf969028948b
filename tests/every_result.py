"""Results of every operation, dtype, layout and kind of number, made the same way to the bit on every machine.

The inputs are integers of a PCG64 stream, which NumPy promises not to change, and exact arithmetic on them: no libm, no
distribution. ``python tests/every_result.py [INSTRUCTION_SET]`` prints a checksum for each group of results, so that
the outputs of two machines or versions can be compared with ``diff``, and the digest of them all.
"""

import hashlib
import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import cases
import crossent
import numpy as np
from cases import Array
from crossent import _core

CLASS_COUNTS = (*range(1, 131), 1000, 4097, 33_000, 131_089)
INF, NAN = float("inf"), float("nan")
SPECIAL = (NAN, -NAN, INF, -INF, 0.0, -0.0, 1.5)
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "rows": lambda x: x,
    "columns": np.asfortranarray,
    "gathered": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
}


class Source:
    """Numbers that are the same everywhere."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def integers(self, end: int, shape: tuple[int, ...]) -> Array:
        """Return integers of 0 to end - 1."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))), np.uint64)
        return np.asarray(raw % np.uint64(end), np.int64).reshape(shape)

    def uniform(self, *shape: int) -> Array:
        """Return multiples of 2^-24 from 0 to 1."""
        return np.asarray(self.integers(1 << 24, shape) * 2.0**-24)

    def bell(self, *shape: int) -> Array:
        """Return sums of four uniform numbers of -1 to 1."""
        return np.asarray(self.uniform(4, *shape).sum(axis=0) * 2 - 4)


def logits_of(source: Source, dtype: np.dtype[Any], rows: int, classes: int) -> Array:
    """Return rows that are, in turn, ordinary, wide, confident, level, far from 0 (twice), denormal, masked."""
    info = cases.finfo(dtype)
    x = source.bell(rows, classes)
    x[1::8] *= 16
    x[2::8, source.integers(classes, (1,))] += 60
    x[3::8] = np.round(x[3::8])
    x[4::8] += 3000
    x[5::8] = x[5::8] / 4 * float(info.max)
    x[6::8] *= 100 * float(info.smallest_subnormal)
    x[7::8][source.integers(3, x[7::8].shape) == 0] = -INF
    return x.astype(dtype)


def special_rows(dtype: np.dtype[Any], classes: int) -> Array:
    """Return a row for each way to have three special values in the first, middle and last class."""
    values = (*SPECIAL[:-1], float(cases.finfo(dtype).max), -float(cases.finfo(dtype).smallest_subnormal))
    rows = np.full((len(values) ** 3, classes), 0.5, dtype)
    rows[:, [0, classes // 2, classes - 1]] = list(itertools.product(values, repeat=3))
    return rows


def cross_entropies(source: Source, x: Array) -> Iterator[tuple[str, Any]]:
    """Yield losses, gradients, scores for class indices and probabilities, with and without weights and smoothing."""
    rows, classes = x.shape
    target = source.integers(classes, (rows,))
    ignoring = np.where(np.arange(rows) % 5 == 3, -100, target)
    weight, probabilities = source.uniform(classes), source.uniform(rows, classes)
    yield "loss", crossent.cross_entropy(x, target, reduction="none")
    yield "mean", crossent.cross_entropy_with_grad(x, ignoring)
    yield "weighted", crossent.cross_entropy_with_grad(x, ignoring, weight, reduction="sum")
    options: dict[str, Any] = {"label_smoothing": 0.125, "reduction": "none", "grad_output": source.bell(rows)}
    yield "smooth", crossent.cross_entropy_with_grad(x, ignoring, **options)
    yield "probabilities", crossent.cross_entropy_with_grad(x, probabilities.astype(x.dtype), weight, **options)
    yield "mean of probabilities", crossent.cross_entropy_with_grad(x, probabilities)
    for temperature in (1.0, 0.75):  # (the divergence from target probabilities takes NumPy's logarithms)
        scores = crossent.score(x, ignoring, temperature=temperature).to_dict()
        yield "score", tuple(scores[name] for name in sorted(scores))


def activations(x: Array) -> Iterator[tuple[str, Any]]:
    yield "softmax", crossent.softmax(x)
    yield "log_softmax", crossent.log_softmax(x)
    yield "logsumexp", crossent.logsumexp(x)


def awkward_factors(dtype: np.dtype[Any], layout: Callable[[Array], Array]) -> Iterator[tuple[str, Any]]:
    """Yield results of special, vast and tiny weights, probabilities and output gradients."""
    source = Source(0)
    values = (*SPECIAL, -2.0, 1e300, 1e-300, 1e-310, 3e38, 1e-42)
    for classes, smoothing in itertools.product([3, 70], [0.0, 0.125]):
        x = layout(logits_of(source, dtype, len(values), classes))
        target = source.integers(classes, (len(values),))
        probabilities = source.uniform(len(values), classes)
        probabilities[:, classes // 2] = values
        options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": "none"}
        yield "grad_output", crossent.cross_entropy_with_grad(x, target, grad_output=np.array(values), **options)
        yield "grad_output 0", crossent.cross_entropy_with_grad(x, 1e38 * probabilities, grad_output=0.0, **options)
        yield "probabilities", crossent.cross_entropy_with_grad(x, probabilities, **options)
        for value in values:
            weight = source.uniform(classes)
            weight[classes // 2] = value
            yield "weight", crossent.cross_entropy_with_grad(x, target, weight, **options)
            yield "weight", crossent.cross_entropy_with_grad(x, probabilities, weight, label_smoothing=smoothing)


def binary_losses(dtype: np.dtype[Any]) -> Iterator[tuple[str, Any]]:
    source = Source(1)
    x = logits_of(source, dtype, 40, 101)
    x[0, : len(SPECIAL)] = SPECIAL
    target, weight, pos_weight = source.uniform(3, *x.shape)
    weight[:3, : len(SPECIAL)] = pos_weight[2:5, : len(SPECIAL)] = target[5:8, : len(SPECIAL)] = SPECIAL
    for reduction in cases.REDUCTIONS:
        options: dict[str, Any] = {"pos_weight": pos_weight, "reduction": reduction}
        grad_output = source.bell(*x.shape) if reduction == "none" else 1.0
        calls = crossent.binary_cross_entropy_with_logits_with_grad
        yield "logits", calls(x, target, weight.astype(dtype), **options, grad_output=grad_output)
        yield "whole", calls(x[8:], target[8:] > 0.5, grad_output=NAN, reduction=reduction)
        yield "probabilities", crossent.binary_cross_entropy(target[8:].astype(dtype), target[8:], reduction=reduction)
    yield "edges", crossent.binary_cross_entropy(np.array([0, 1, NAN, 1e-30], dtype), np.array([1, 0, 1, 1]))


def every_result() -> Iterator[tuple[str, Any]]:
    """Yield the name and the numbers of each result."""

    def named(prefix: str, results: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        return ((f"{prefix} {name}", numbers) for name, numbers in results)

    for name, tolerance in cases.DTYPES.items():
        for classes, (layout, arrange) in itertools.product(CLASS_COUNTS, LAYOUTS.items()):
            if name in cases.HALVES and layout != list(LAYOUTS)[classes % 3]:
                continue  # only loads and stores differ from float32's
            source = Source(classes)
            rows = 81 if classes < 16 else 19 if classes < 2000 else 3
            x = arrange(logits_of(source, tolerance.dtype, rows, classes))
            yield from named(f"{name} {classes} {layout}", cross_entropies(source, x))
            yield from named(f"{name} {classes} {layout}", activations(x))
        for classes, (layout, arrange) in itertools.product([3, 20, 90], LAYOUTS.items()):
            x = arrange(special_rows(tolerance.dtype, classes))
            yield from named(f"{name} {classes} {layout} special", cross_entropies(Source(classes), x))
            yield from named(f"{name} {classes} {layout} special", activations(x))
        for layout, arrange in LAYOUTS.items():
            yield from named(f"{name} {layout} awkward", awkward_factors(tolerance.dtype, arrange))
        yield from named(f"{name} binary", binary_losses(tolerance.dtype))


def checksums() -> dict[str, str]:
    """Return a checksum of each group of results, by name."""
    hashes: dict[str, Any] = {}
    with np.errstate(all="ignore"):
        for name, numbers in every_result():
            group = hashes.setdefault(name, hashlib.sha256())
            for part in numbers if isinstance(numbers, tuple) else (numbers,):
                group.update(cases.bits(part))
    return {name: group.hexdigest()[:16] for name, group in hashes.items()}


def digest(sums: dict[str, str]) -> str:
    return hashlib.sha256(repr(sums).encode()).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _core.set_instruction_set(sys.argv[1])
    results = checksums()
    for group, checksum in results.items():
        print(checksum, group)
    print(digest(results))
