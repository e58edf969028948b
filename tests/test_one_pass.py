"""Rows of ordinary logits may be summed in one pass, others take two: nobody can tell from the bits.

Positions side by side in memory always take two passes, and so does a row with one logit beyond the ordinary: both are
what a row is held against.
"""

from typing import Any, NamedTuple

import cases
import crossent
import numpy as np
import pytest
from cases import Array
from crossent import _core

INF, NAN, ALL = np.inf, np.nan, slice(None)
#: Beyond which a logit is not ordinary, or doesn't matter: of floats, of doubles.
BOUNDS = (-300, -104, -87, 80, -2300, -745, -700, 680)


class Change(NamedTuple):
    """What may happen to a row of ordinary logits: ``row += shift``, ``row[where] = value``."""

    where: Any
    value: Any
    shift: float = 0


CHANGES = [
    Change([], []),
    Change([3, 19], 20),  # two maxima, in the same lane of a group
    Change([0, -1], 20),
    Change(slice(0, 200, 3), 20),  # more maxima than one pass takes
    Change(ALL, 1.5),
    Change(0, 50),
    Change(-1, 50),
    Change(slice(1, None, 2), -INF),
    Change(slice(0, None, 3), -60000),
    Change(slice(128, 256), -INF),  # a whole group
    Change(slice(1, None), -INF),
    Change(ALL, -INF),
    Change(100, NAN),
    Change([32, 33, 48], [NAN, 30, 31]),
    Change(ALL, NAN),
    Change(200, INF),
    *(Change([], [], shift) for shift in (-30000, -60, 60, 30000)),
    Change(7, 75, shift=-30),  # confident
    Change(250, 35, shift=-60),
    *(Change([17, 99], [40, 40 - gap]) for gap in (120, 124.99999, 125, 125.00001, 127, 650)),
    *(Change(17, np.nextafter(bound, to, dtype="float32")) for bound in BOUNDS for to in (-INF, INF)),
    *(Change(17, bound) for bound in BOUNDS),
    *(Change([17, 99], [600, 600 - gap]) for gap in (1049, 1050, 1051)),
]


def changed_rows(classes: int, dtype: str) -> Array:
    random = np.random.default_rng(classes)
    rows = (random.normal(size=(len(CHANGES), classes)) * 4).astype(np.float32)
    for i, change in enumerate(CHANGES):
        rows[i] += change.shift
        rows[i][change.where] = change.value
    return rows.astype(cases.DTYPES[dtype].dtype)


def results(logits: Array, target: Array) -> tuple[Array, Array]:
    loss, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none")
    return np.asarray(loss), np.ascontiguousarray(grad)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("classes", [256, 257, 1000, 2048, 2049, 16384, 16400, 33000])
def test_one_pass_or_two(classes: int, dtype: str) -> None:
    rows = changed_rows(classes, dtype)
    target = np.arange(len(rows)) * 7 % classes
    expected = results(np.asfortranarray(rows), target)
    together = results(rows, target)
    alone = [results(rows[i : i + 1], target[i : i + 1]) for i in range(len(rows))]
    for i, change in enumerate(CHANGES):
        for one, among_others, by_column in zip(alone[i], together, expected, strict=True):
            assert cases.bits(among_others[i]) == cases.bits(by_column[i]), change
            assert cases.bits(one[0]) == cases.bits(by_column[i]), change


def test_one_pass_on_every_instruction_set() -> None:
    """Those with fused multiply-add agree to the bit."""
    rows = changed_rows(1000, "float32")
    target = np.arange(len(rows)) * 7 % 1000
    with_fma = [name for name in _core.instruction_sets() if name != "baseline"]
    before = _core.get_instruction_set()
    try:
        found = {}
        for name in with_fma:
            _core.set_instruction_set(name)
            found[name] = [cases.bits(result) for result in results(rows, target)]
    finally:
        _core.set_instruction_set(before)
    assert all(bits == found[with_fma[0]] for bits in found.values())
