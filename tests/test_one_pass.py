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
BOUNDS = (-300, -104, -87, -42, 42, 80, -2300, -745, -700, -350, 350, 680)


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
    Change([5, 200], [-100, -INF]),  # none vanishes in the first group, but one is not ordinary there
    Change(slice(1, None), -INF),
    Change(ALL, -INF),
    Change(100, NAN),
    Change([32, 33, 48], [NAN, 30, 31]),
    Change(ALL, NAN),
    Change(200, INF),
    *(Change([], [], shift) for shift in (-30000, -60, 60, 30000)),
    Change(7, 75, shift=-30),  # confident
    Change(250, 35, shift=-60),
    Change(250, 41, shift=-25),
    Change([], [], shift=-25),
    Change([5, 130, 131, 255], 41.5, shift=-20),
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


def score(logits: Array, target: Array) -> list[Array]:
    columns = crossent.score(logits, target).to_dict()
    return [np.asarray(columns[name]) for name in sorted(columns)]


def losses_and_gradients(logits: Array, target: Array, **options: Any) -> list[Array]:
    loss, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none", **options)
    return [np.asarray(loss), np.ascontiguousarray(grad)]


def results(logits: Array, target: Array) -> list[Array]:
    weight = np.arange(logits.shape[1]) % 5 / 2  # every fifth class has none
    return [
        *losses_and_gradients(logits, target),
        *losses_and_gradients(logits, target, label_smoothing=0.1),
        *losses_and_gradients(logits, target, label_smoothing=0.1, weight=weight),
        *score(logits, target),
    ]


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("classes", [256, 257, 1000, 1030, 2048, 2049, 16384, 16400, 33000])
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


#: The maximum of a row, and how far below it the others begin.
MAXIMA_AND_GAPS = [
    *(
        (lowest + 1, 1)
        for lowest in (-87, -80, -72, -70, -69.5, -69, -68, -60, 78, 79, -690, -672, -670, -668, 678, 680)
    ),
    *((80, gap) for gap in (90, 100, 107, 108, 109, 110, 112, 120, 124, 125)),
    *((30, gap) for gap in (97, 98, 99, 100, 107, 108, 109, 110, 125, 127, 128)),
    *((340, gap) for gap in (1005, 1008, 1009, 1010, 1014, 1015, 1020, 1049, 1050)),
]


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("dtype", "classes"),
    [("float32", 300), ("float32", 1030), ("float64", 300), ("float64", 130), ("float64", 520)],
)
def test_rows_near_the_bounds(dtype: str, classes: int, smoothing: float) -> None:
    """Where an exponential, or what it is made of, is about to be no normal number any more: all of a row."""
    random = np.random.default_rng(0)
    for maximum, gap in MAXIMA_AND_GAPS:
        rows = (maximum - gap + random.uniform(0, 1, (16, classes))).astype(dtype)
        rows[:, 7] = maximum
        target = random.integers(classes, size=16)
        options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": "none"}
        by_column = crossent.cross_entropy_with_grad(np.asfortranarray(rows), target, **options)
        by_row = crossent.cross_entropy_with_grad(rows, target, **options)
        for ours, others in zip(by_row, by_column, strict=True):
            assert np.ascontiguousarray(ours).tobytes() == np.ascontiguousarray(others).tobytes(), (maximum, gap)
        for i in range(16):
            mean = crossent.cross_entropy(rows[i : i + 1], target[i : i + 1], label_smoothing=smoothing)
            assert mean == crossent.cross_entropy(
                np.asfortranarray(rows[i : i + 1]), target[i : i + 1], label_smoothing=smoothing
            )


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-3, 1e-30, 1e-38, 1e-45, 1e-306, 1e-315])
def test_tiny_gaps_of_label_smoothing(dtype: str, scale: float) -> None:
    rows = (np.random.default_rng(0).normal(size=(16, 300)) * scale).astype(dtype)
    target = np.arange(16) * 19
    for ours, others in zip(results(rows, target), results(np.asfortranarray(rows), target), strict=True):
        assert ours.tobytes() == others.tobytes()


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 42), ("float64", 350)])
def test_scores_near_the_bounds(dtype: str, bound: float) -> None:
    """Where the square of an exponential is about to be no normal number any more, and where gaps are tiny."""
    random = np.random.default_rng(0)
    for maximum, gap in [(b + at, gap) for b in (-bound + 1, bound) for at in (-1, 0, 1) for gap in (1, 2 * bound - 1)]:
        rows = (maximum - gap + random.uniform(0, 1, (16, 300))).astype(dtype)
        rows[:, 7] = maximum
        target = random.integers(300, size=16)
        for by_row, by_column in zip(score(rows, target), score(np.asfortranarray(rows), target), strict=True):
            assert np.array_equal(by_row, by_column), (maximum, gap)
    for scale in (1e-3, 1e-12, 1e-30, 1e-38, 1e-45):
        rows = (random.normal(size=(16, 300)) * scale).astype(dtype)
        rows[:, 7] = 3 * scale
        for by_row, by_column in zip(score(rows, target), score(np.asfortranarray(rows), target), strict=True):
            assert np.array_equal(by_row, by_column), scale


@pytest.mark.usefixtures("instruction_set")
def test_ties_of_the_reduction() -> None:
    """Half-way between two reductions of exp's argument, one pass and two choose the same."""
    rows = np.full((2, 520), -274.0808183936302)
    rows[:, 0] = 10
    target = np.array([0, 1])
    expected = results(np.asfortranarray(rows), target)
    for ours, others in zip(results(rows, target), expected, strict=True):
        assert cases.bits(ours) == cases.bits(others)


@pytest.mark.usefixtures("instruction_set")
def test_a_factor_that_rounds_to_the_least_normal_number() -> None:
    """In units of 1 the factor of these rows' exponentials is between 2^-127 and 2^-126, and nearest to the latter."""
    random = np.random.default_rng(0)
    rows = random.uniform(60, 79, (2, 1030)).astype(np.float32)
    rows[1] = rows[0]
    rows[:, 5] = 79.9
    gaps = rows[0].astype(np.longdouble) - rows[0, 5]
    factor = (2 - np.longdouble(2) ** -23) * np.longdouble(2) ** -127
    scale = float(factor * np.exp(np.longdouble(rows[0, 5])) * np.exp(gaps).sum())
    options: dict[str, Any] = {"reduction": "none", "grad_output": [scale] * 2}
    by_row = crossent.cross_entropy_with_grad(rows, [5, 5], **options)[1]
    by_column = crossent.cross_entropy_with_grad(np.asfortranarray(rows), [5, 5], **options)[1]
    assert np.array_equal(by_row, by_column)


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
