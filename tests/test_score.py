"""``score``: the loss has the bits of ``cross_entropy``, places are exact, figures within 4 ulp of the oracle's."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import cases
import crossent
import numpy as np
import pytest
import reference
from cases import Array

POSITIONS = (3, 7)
FIGURES = ("confidence", "log_sum_exp", "entropy", "sum_of_squares")


def labelled(classes: int, dtype: cases.Tolerance, seed: int = 0) -> tuple[Array, Array]:
    """Return rows (3, 7, classes) with equal logits among them, and targets: hits, misses and ignored ones."""
    random = np.random.default_rng(seed)
    x = (random.normal(size=(*POSITIONS, classes)) * 4).astype(dtype.dtype)
    x[0, 1] = x[0, 1].round()  # ties
    x[0, 2] = x[0, 2, 0]
    target = random.integers(classes, size=POSITIONS)
    target[1] = np.argmax(x[1].astype(np.float64), axis=-1)
    target[0, 2:4] = [classes - 1, 0]
    target[2, ::3] = -100
    return x, target


@np.errstate(invalid="ignore")
def check(
    scores: crossent.Scores,
    x: Array,
    target: Array,
    dtype: cases.Tolerance,
    case: object,
    expected: reference.RowScores | None = None,
) -> None:
    """Compare with the oracle, which has the classes last."""
    if expected is None:
        expected = reference.scores(x, target)
    assert np.array_equal(scores.predicted, expected.predicted), case
    assert np.array_equal(np.asarray(scores.rank), expected.rank), case
    assert np.array_equal(scores.valid, target != -100), case
    for name in FIGURES:
        figure = getattr(scores, name)
        assert figure.dtype == dtype.result, name
        magnitude = np.maximum(np.abs(figure), np.abs(x.max(axis=-1))) if name == "log_sum_exp" else None  # they cancel
        cases.assert_close(figure, getattr(expected, name), dtype.result, 4, f"{name}, {case}", magnitude)


@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_layouts(instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
    for classes in (19, 130):
        x, target = labelled(classes, dtype)
        logits, axis = cases.LAYOUTS[layout](x)
        scores = crossent.score(logits, target, axis=axis)
        assert cases.bits(scores.loss) == cases.bits(crossent.cross_entropy(x, target, axis=-1, reduction="none"))
        check(scores, x, target, dtype, (layout, classes))


@pytest.mark.parametrize("layout", ["rows", "(N, C, d)"])
def test_class_counts(instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
    """Every tail of a vector, and two chunks."""
    for classes in (*(count for count in cases.CLASS_COUNTS if count <= 1000), 17_000):
        x, target = labelled(classes, dtype, seed=classes)
        logits, axis = cases.LAYOUTS[layout](x)
        scores = crossent.score(logits, target, axis=axis)
        check(scores, x, target, dtype, classes)
        assert scores.classes == classes


def test_special_values(each_instruction_set: Callable[[], Iterator[str]], dtype: cases.Tolerance) -> None:
    """Rows with nan, infinities, nothing but -inf: NumPy's argmax, and no hit without probabilities."""
    inf, nan = np.inf, np.nan
    rows = [
        [0, nan, 1, nan], [nan, inf, 0, 0], [inf, nan, 0, 0], [nan, nan, nan, nan],
        [inf, 0, 0, 0], [0, inf, 0, inf], [inf, -inf, 0, 0], [inf, inf, inf, inf],
        [-inf, -inf, -inf, -inf], [-inf, 0, -inf, -inf], [-inf, 0, 1, -inf], [0, -inf, -inf, nan],
    ]  # fmt: skip
    for padding, target in itertools.product([0, 13, 100, 17_000], [0, 1, 3]):
        x = np.concatenate([rows, np.full((len(rows), padding), -inf)], axis=-1).astype(dtype.dtype).reshape(2, 6, -1)
        y = np.full((2, 6), target)
        with np.errstate(invalid="ignore"):
            expected = reference.scores(x, y)
        has_no_hit = ~np.isfinite(reference.logsumexp(x))
        for instruction_set in each_instruction_set():
            loss = crossent.cross_entropy(x, y, axis=-1, reduction="none")
            for layout in ("rows", "(N, C, d)"):
                logits, axis = cases.LAYOUTS[layout](x)
                scores = crossent.score(logits, y, axis=axis)
                check(scores, x, y, dtype, (padding, target, instruction_set, layout), expected)
                assert cases.bits(scores.loss) == cases.bits(loss)
                assert (np.asarray(scores.rank)[has_no_hit] == x.shape[-1]).all()


@pytest.mark.parametrize("layout", ["rows", "(N, C, d)"])
def test_classes_masked_by_the_thousand(instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
    """Nothing but -inf for chunk after chunk, before, between and behind the others."""
    classes = 5 * 16_384
    x = np.full((2, 3, classes), -np.inf, dtype.dtype)
    few = np.random.default_rng(0).normal(size=9).astype(dtype.dtype)
    for row, places in enumerate(([0], [40_000], [classes - 9], [20_000, 70_000], [0, 60_000])):
        for place in places:
            x[row // 3, row % 3, place : place + 9] = few
    y = np.array([[8, 40_008, classes - 1], [70_008, 5, 0]])
    logits, axis = cases.LAYOUTS[layout](x)
    check(crossent.score(logits, y, axis=axis), x, y, dtype, layout)


def test_squares_of_equal_probabilities(instruction_set: str) -> None:
    """Where all classes but one are equal, their errors are too and add up: of doubles, 5 ulp."""
    random = np.random.default_rng(0)
    for classes in (3, 9, 65, 257):
        x = np.full((1000, classes), random.normal(size=(1000, 1)) * 10)
        x[:, 0] += random.exponential(size=1000) * random.choice([1e-10, 0.01], size=1000)
        target = np.zeros(1000, int)
        expected = reference.scores(x, target).sum_of_squares
        cases.assert_close(crossent.score(x, target).sum_of_squares, expected, np.float64, 5, classes)


def test_confident_rows(instruction_set: str) -> None:
    """Entropies down to 1e-41 keep their digits, as losses do."""
    x = np.zeros((401, 9), np.float32)
    x[:, 3] = np.linspace(0, 100, 401)
    target = np.full(401, 3)
    for dtype in (cases.DTYPES["float32"], cases.DTYPES["float64"]):
        check(crossent.score(x.astype(dtype.dtype), target), x.astype(dtype.dtype), target, dtype, dtype.dtype)


def test_long_rows_are_exact_in_places(instruction_set: str) -> None:
    """The largest logit and the target in any chunk, ties across chunks."""
    classes = 3 * 16_384 + 5
    for place in (0, 16_383, 16_384, 40_000, classes - 1):
        x = np.zeros((2, classes), np.float32)
        x[:, place] = 1
        x[1, -1] = 1
        target = np.array([classes - 1, classes - 1])
        scores = crossent.score(x, target)
        assert scores.predicted.tolist() == [place, place]
        assert np.asarray(scores.rank).tolist() == reference.scores(x, target).rank.tolist()


def test_rank_gives_accuracy_at_any_k() -> None:
    random = np.random.default_rng(0)
    x, target = random.normal(size=(500, 30)), random.integers(30, size=500)
    rank = np.asarray(crossent.score(x, target).rank)
    order = np.argsort(-x, axis=1, kind="stable")
    for k in (1, 2, 5, 29, 30):
        assert np.array_equal(rank < k, (order[:, :k] == target[:, np.newaxis]).any(axis=1))


@pytest.mark.parametrize("layout", ["rows", "(N, C, d)", "every second class"])
def test_temperature_divides_the_logits(instruction_set: str, dtype: cases.Tolerance, layout: str) -> None:
    """The bits of logits divided beforehand, in the precision they are computed in."""
    for classes, temperature in itertools.product([3, 65, 17_000], [0.7, np.float32(2)]):
        x, target = labelled(classes, dtype)
        logits, axis = cases.LAYOUTS[layout](x)
        divided = x.astype(dtype.result) / dtype.result.type(temperature)
        actual = crossent.score(logits, target, temperature=temperature, axis=axis)
        expected = crossent.score(divided, target, axis=-1)
        for name, values in expected.to_dict().items():
            assert cases.bits(getattr(actual, name)) == cases.bits(values), (name, classes, temperature)


def test_class_probabilities(instruction_set: str, dtype: cases.Tolerance) -> None:
    """Cross-entropy and divergence; a row predicted perfectly diverges by 0, a certain one by its loss."""
    random = np.random.default_rng(0)
    x = (random.normal(size=(*POSITIONS, 40)) * 3).astype(dtype.dtype)
    q = random.dirichlet(np.ones(40), size=POSITIONS)
    q[0] = np.eye(40)[:7]
    scores = crossent.score(x, q, axis=-1)
    assert cases.bits(scores.loss) == cases.bits(crossent.cross_entropy(x, q, axis=-1, reduction="none"))
    assert scores.rank is None
    assert scores.target is None
    assert scores.valid.all()
    assert scores.divergence is not None
    assert np.array_equal(scores.divergence[0], scores.loss[0])
    entropy = np.where(q > 0, -q * np.log(np.where(q > 0, q, 1)), 0).sum(axis=-1)
    assert np.allclose(scores.divergence, scores.loss - entropy, rtol=1e-5, atol=1e-6)
    by_index = crossent.score(x, np.zeros(POSITIONS, int), axis=-1)
    for name in ("predicted", *FIGURES):
        assert cases.bits(getattr(scores, name)) == cases.bits(getattr(by_index, name)), name

    warm = crossent.score(x, q, axis=-1, temperature=2.0)
    cool = crossent.score(x.astype(dtype.result) / dtype.result.type(2), q, axis=-1)
    assert all(cases.bits(warm.to_dict()[name]) == cases.bits(values) for name, values in cool.to_dict().items())


@pytest.mark.parametrize(("positions", "classes"), [((5000,), 10), ((300,), 1000), ((1,), 300_000), ((2, 3), 70_000)])
def test_bits_do_not_depend_on_threads_or_splits(num_threads: None, positions: tuple[int, ...], classes: int) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(*positions, classes)).astype(np.float32)
    target = random.integers(classes, size=positions)
    everything = []
    for threads in (1, 2, 3):
        crossent.set_num_threads(threads)
        everything.append(crossent.score(x, target, axis=-1).to_dict())
        everything.append(
            crossent.Scores.concatenate([crossent.score(x[i:], target[i:], axis=-1).select(slice(1))
                                         for i in range(min(4, len(x)))]).to_dict()
        )  # fmt: skip
    for name, values in everything[0].items():
        for other in everything[::2]:
            assert cases.bits(other[name]) == cases.bits(values), name
        for part in everything[1::2]:
            assert cases.bits(part[name]) == cases.bits(values[: len(part[name])]), name


def test_shapes() -> None:
    one = crossent.score([1.0, 3.0, 2.0], 1)
    assert one.loss.shape == one.predicted.shape == np.asarray(one.rank).shape == ()
    assert int(one.predicted) == 1
    none = crossent.score(np.zeros((0, 4)), np.zeros(0, int))
    assert none.loss.shape == (0,)
    assert none.worst(3).size == 0
    image = crossent.score(np.zeros((2, 3, 4, 5), np.float16), np.zeros((2, 4, 5), np.uint8))
    assert image.entropy.shape == (2, 4, 5)
    assert image.entropy.dtype == np.float32


@pytest.mark.parametrize(
    ("logits", "target", "options", "error", "message"),
    [
        (np.zeros((2, 3)), [0, 3], {}, IndexError, "target at position 1 is 3, but there are 3 classes"),
        (np.zeros((2, 0)), [0, 0], {}, ValueError, "classes"),
        (np.zeros((2, 3)), [0, 1, 2], {}, ValueError, r"\(3,\)"),
        (np.zeros((2, 3), int), [0, 1], {}, TypeError, "int64"),
        (np.zeros((2, 3)), [0, 1], {"temperature": 0.0}, ValueError, "temperature must be positive and finite.*0.0"),
        (np.zeros((2, 3)), [0, 1], {"temperature": -1}, ValueError, "-1"),
        (np.zeros((2, 3)), [0, 1], {"temperature": float("nan")}, ValueError, "nan"),
        (np.zeros((2, 3), np.float32), [0, 1], {"temperature": 1e-50}, ValueError, "1e-50"),
        (np.zeros((2, 3), np.float32), [0, 1], {"temperature": 1e39}, ValueError, r"1e\+39"),
        (np.zeros((2, 3)), [0, 1], {"temperature": 10**400}, ValueError, "temperature"),
        (np.zeros((2, 3)), [0, 1], {"temperature": "1"}, TypeError, "'1'"),
        (np.zeros((2, 3)), [0, 1], {"temperature": True}, TypeError, "True"),
        (np.zeros((2, 3)), [0, 1], {"axis": 2}, ValueError, "axis 2"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"ignore_index": 1}, ValueError, "ignore_index"),
    ],
)
def test_wrong_arguments(
    logits: Array, target: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        crossent.score(logits, target, **options)
