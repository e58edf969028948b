"""Every operand flush against forbidden pages: each class count, dtype, layout and function of one instruction set.

``CROSSENT_ISA=avx2 python tests/long/guard_pages.py [--quick]``. A read or write outside of an array ends the process
by SIGSEGV; a write between the elements of an output is an AssertionError.
"""

import argparse
import faulthandler
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

sys.path.insert(0, str(Path(__file__).parents[1]))

import cases
import crossent
import numpy as np
from guarded import Arena, Side, row_strides

CLASSES = range(1, 130)
POSITIONS = (1, 2, 3, 5, 8, 15, 16, 17, 33, 63, 64, 65)
# Positions and classes beyond a kernel's chunk, beyond a block that threads share, and of an output that streams.
LARGE = ((3, 16383), (2, 16385), (17, 8193), (1, 131073), (2, 140001), (700, 12500))
PROBABILITY_DTYPES = ("float32", "float64", "float16", "bfloat16")
ELEMENTWISE_DTYPES = (*PROBABILITY_DTYPES, *cases.INTEGERS, "bool")


class Arenas(NamedTuple):
    """One for each operand that can be there at the same time."""

    logits: Arena
    target: Arena
    weight: Arena
    scale: Arena
    out: Arena

    @classmethod
    def of(cls, elements: int) -> "Arenas":
        return cls(*(Arena(8 * elements) for _ in cls._fields))


class Shape(NamedTuple):
    positions: int
    classes: int
    dtype: str
    layout: str
    out_layout: str
    side: Side


def dtype_of(name: str) -> np.dtype[Any]:
    return cases.DTYPES[name].dtype if name in cases.DTYPES else np.dtype(name)


def score(arenas: Arenas, shape: Shape, random: np.random.Generator) -> int:
    """Make every call there is for operands of this shape; return their number."""
    n, c = shape.positions, shape.classes
    strides = row_strides(c, n)
    inner, outer = strides[shape.layout], strides[shape.out_layout]
    dtype, side = dtype_of(shape.dtype), shape.side
    values = random.normal(size=(n, c)).astype(dtype)
    x = arenas.logits.copy(values, inner, side)
    labels = random.integers(c, size=n)
    labels[random.integers(n)] = c - 1
    labels[random.integers(n)] = -100
    w = arenas.weight.copy(random.uniform(size=c), (1,), side)
    scale = arenas.scale.copy(random.normal(size=n), (1,), side)
    out_dtype = np.dtype(np.float32) if dtype.itemsize == 2 and random.integers(2) else dtype
    out = arenas.out.place((n, c), out_dtype, outer, side)
    done = 0

    def written() -> None:
        nonlocal done
        done += 1
        assert arenas.out.is_clean_but_for(out), "written beside the output"

    y = arenas.target.copy(labels, (1,), side)
    crossent.cross_entropy(x, y)
    crossent.nll_loss(x, y, w, axis=1)
    crossent.score(x, y, axis=1)
    for weight, smoothing in ((None, 0.0), (w, 0.0), (w, 0.1)):
        crossent.cross_entropy_with_grad(
            x, y, weight, label_smoothing=smoothing, reduction="none", grad_output=scale, axis=1, out=out
        )
        written()
    crossent.cross_entropy_with_grad(x, y, w, axis=1, out=x)
    kind = PROBABILITY_DTYPES[int(random.integers(len(PROBABILITY_DTYPES)))]
    q = arenas.target.copy(random.uniform(size=(n, c)).astype(dtype_of(kind)), inner, side)
    crossent.cross_entropy_with_grad(x, q, w, axis=1, out=out)
    written()
    for function in (crossent.softmax, crossent.log_softmax):
        function(x, out=out)
        written()
    crossent.logsumexp(x)
    kind = ELEMENTWISE_DTYPES[int(random.integers(len(ELEMENTWISE_DTYPES)))]
    t = arenas.target.copy(random.integers(0, 2, size=(n, c)).astype(dtype_of(kind)), outer, side)
    crossent.binary_cross_entropy_with_logits_with_grad(x, t, w, pos_weight=w, out=out)
    written()
    crossent.softmax(x, out=x)
    np.minimum(x, 1, out=x)
    crossent.binary_cross_entropy(x, t, w)
    return done + 7


def shapes(quick: bool) -> Iterator[Shape]:
    """Yield every combination; quick: for each class count half of them, with one of the others' values in turn."""
    layouts, sides = list(row_strides(1, 1)), get_args(Side)
    turn = 0
    for classes, dtype, layout in itertools.product(CLASSES, cases.DTYPES, layouts):
        if not quick:
            for positions, out_layout, side in itertools.product(POSITIONS, layouts, sides):
                yield Shape(positions, classes, dtype, layout, out_layout, side)
            continue
        turn += 1
        if (turn + classes) % 2:
            continue
        out_layout = layout if turn % 3 else layouts[turn // 3 % len(layouts)]
        yield Shape(POSITIONS[turn * 5 % 12], classes, dtype, layout, out_layout, sides[turn // 2 % 2])


def large_shapes(quick: bool) -> Iterator[Shape]:
    layouts = list(row_strides(1, 1))
    for (positions, classes), dtype, layout in itertools.product(LARGE[:4] if quick else LARGE, cases.DTYPES, layouts):
        if quick and layout not in ("rows", "columns"):
            continue
        for side in get_args(Side)[quick:]:
            yield Shape(positions, classes, dtype, layout, layout, side)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one in a hundred of the cases")
    parser.add_argument("--verbose", action="store_true", help="name each case before it is run: the last one failed")
    options = parser.parse_args()
    quick, calls = options.quick, 0
    faulthandler.enable()
    random = np.random.default_rng(0)
    for arenas, group in (
        (Arenas.of(2 * 130 * 70), shapes(quick)),
        (Arenas.of(2 * 10**6 if quick else 18 * 10**6), large_shapes(quick)),
    ):
        for shape in group:
            if options.verbose:
                print(shape, file=sys.stderr, flush=True)
            calls += score(arenas, shape, random)
    print(f"{crossent.show_config()['instruction_set']}: {calls} calls, no fault")


if __name__ == "__main__":
    main()
