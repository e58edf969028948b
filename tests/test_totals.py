"""Totals: figures by their definitions, equal to the bit for every split and order, through text and back."""

import functools
import itertools
import json
import math
import pickle
from dataclasses import replace
from fractions import Fraction
from typing import Any

import crossent
import numpy as np
import pytest
from crossent import Scores, Totals, _core
from crossent._counts import Counts
from crossent._exact_sum import ExactSum, square_root, sum_by_group
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

RNG = np.random.default_rng(0)
Array = NDArray[Any]


def some_scores(rows: int = 200, classes: int = 7, dtype: Any = np.float32, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    target = rng.integers(classes, size=rows)
    target[rng.random(rows) < 0.1] = -100
    return crossent.score((3 * rng.normal(size=(rows, classes))).astype(dtype), target)


def soft_scores(rows: int = 50, classes: int = 4) -> Scores:
    return crossent.score(RNG.normal(size=(rows, classes)), RNG.dirichlet(np.ones(classes), rows))


def exact(values: Array) -> Fraction:
    return sum(map(Fraction, values.ravel().tolist()), Fraction(0))


def exact_sum(values: Array) -> ExactSum:
    specials = (np.count_nonzero(own) for own in (values == np.inf, values == -np.inf, np.isnan(values)))
    return ExactSum(sum_by_group(values)[0], *map(int, specials))


class TestExactSum:
    floats = st.floats(allow_nan=False, allow_infinity=False)

    @given(st.lists(floats))
    def test_of_any_floats(self, values: list[float]) -> None:
        x = np.array(values, np.float64)
        assert sum_by_group(x)[0] == exact(x)

    @given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
    def test_of_any_float32(self, values: list[float]) -> None:
        x = np.array(values, np.float32)
        assert sum_by_group(x)[0] == exact(x)

    @pytest.mark.parametrize("scale", [1e-300, 1.0, 1e280])
    def test_of_many(self, scale: float) -> None:
        """Over 60 binary orders of magnitude, with cancellation."""
        x = RNG.normal(size=70_000) * 10.0 ** RNG.integers(-9, 9, 70_000) * scale
        group = RNG.integers(5, size=x.size)
        assert sum_by_group(x)[0] == exact(x)
        assert float(sum_by_group(x)[0]) == math.fsum(x.tolist())
        assert sum_by_group(x, group, 6) == tuple(exact(x[group == i]) for i in range(6))

    def test_largest_and_smallest(self) -> None:
        """As many of the largest float64 as fill several digits' room for carries, and the smallest beside them."""
        largest = np.finfo(np.float64).max
        x = np.concatenate([np.full(5000, largest), [5e-324, -5e-324, 5e-324], np.full(4999, -largest)])
        assert sum_by_group(x)[0] == Fraction(largest) + Fraction(5e-324)

    def test_groups_are_checked(self) -> None:
        sums = np.zeros((2, _core.exact_sum_digits), np.int64)
        assert _core.add_by_group(np.ones(3), np.array([0, 2, 1]), sums) == 1
        assert _core.add_by_group(np.ones(3), np.array([0, -1, 1]), sums) == 1
        with pytest.raises(TypeError, match="group has a wrong size"):
            _core.add_by_group(np.ones(3), np.array([0]), sums)

    def test_more_than_float64_holds(self) -> None:
        x = np.array([1e308, 1e308, 1e308, 5e-324, -1e308])
        assert sum_by_group(x)[0] == exact(x)
        assert exact_sum(x).over(Fraction(1)) == math.inf
        assert exact_sum(x).over(Fraction(4)) == 5e307

    @given(st.lists(st.floats()), st.integers(1, 5))
    def test_not_finite_as_numpy(self, values: list[float], divisor: int) -> None:
        x = np.array([v for v in values if abs(v) < 1 or not math.isfinite(v)], np.float64)
        with np.errstate(invalid="ignore"):
            expected = x.sum() / divisor
        np.testing.assert_allclose(exact_sum(x).over(Fraction(divisor)), expected, atol=1e-15)

    @given(st.fractions(min_value=0), st.integers(-3000, 3000))
    def test_square_root_is_the_nearest(self, value: Fraction, power: int) -> None:
        value *= Fraction(2) ** power
        root = square_root(value)
        if math.isinf(root):
            assert value > Fraction(2) ** 2047
            return
        for neighbour in (math.nextafter(root, -math.inf), math.nextafter(root, math.inf)):
            if math.isfinite(neighbour):
                middle = (Fraction(root) + Fraction(neighbour)) / 2
                assert (value <= middle**2) if neighbour > root else middle < 0 or (value >= middle**2)


class TestSums:
    """What the core adds up, against fractions."""

    figures = st.one_of(
        st.floats(min_value=0), st.sampled_from([math.nan, 65536.0, 1e-30, 256.0, 700.0]), st.floats(0, 30)
    )
    weights = st.one_of(st.floats(0, 1e300), st.floats(0, 2))

    @given(st.lists(st.tuples(figures, weights), max_size=12), st.sampled_from([np.float32, np.float64]), st.booleans())
    @example([(2.5, 1.0)] * 1030, np.float32, False)
    def test_of_any_figures(self, rows: list[tuple[float, float]], dtype: Any, weighted: bool) -> None:
        with np.errstate(over="ignore"):
            loss = np.array([loss for loss, _ in rows], np.float64).astype(dtype)
        w = np.array([w if weighted else 1.0 for _, w in rows])
        zeros = np.zeros(len(rows), dtype)
        scores = replace(some_scores(len(rows)), sum_of_squares=zeros, confidence=zeros)
        scores = replace(scores, loss=loss, entropy=loss[::-1].copy(), valid=np.ones(len(rows), np.bool_))
        scores = replace(scores, target=np.zeros(len(rows), np.int64), predicted=np.zeros(len(rows), np.int64))
        sums = Totals.of(scores, sample_weight=w if weighted else None).sums
        with np.errstate(over="ignore"):
            terms = {"loss": w * loss, "entropy": w * scores.entropy, "brier": w * brier_without_squares(loss)}
        for name, of_all in terms.items():
            values = of_all[w > 0]
            assert getattr(sums, name) == exact_sum(values)
            assert getattr(sums, name).finite == exact(values[np.isfinite(values)])
        finite = np.isfinite(terms["loss"]) & (w > 0)
        pairs = list(zip(w[finite].tolist(), terms["loss"][finite].tolist(), strict=True))
        assert sums.weight == exact(w)
        assert sums.weight_squares == sum((Fraction(v) ** 2 for v in w.tolist()), Fraction(0))
        assert sums.weight_losses == sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))
        assert sums.loss_squares == sum((Fraction(b) ** 2 for _, b in pairs), Fraction(0))
        assert sums.non_finite == np.count_nonzero(~np.isfinite(loss) & (w > 0))

    @given(st.lists(st.floats(0, 1)), st.integers(1, 40), st.sampled_from([np.float32, np.float64]))
    def test_of_any_confidence(self, values: list[float], bins: int, dtype: Any) -> None:
        confidence = np.array(values, np.float64).astype(dtype)
        rows = replace(some_scores(len(values)), confidence=confidence, valid=np.ones(len(values), np.bool_))
        rows = replace(rows, target=np.zeros(len(values), np.int64), predicted=np.zeros(len(values), np.int64))
        sums = Totals.of(rows, bins=bins).sums
        own = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(int) - 1, 0, bins - 1)
        assert sums.bin_weight == tuple(np.bincount(own, minlength=bins).tolist())
        assert sums.bin_confidence == tuple(exact(confidence[own == i]) for i in range(bins))
        assert sums.confidence.finite == exact(confidence)

    def test_exp_of_minus(self) -> None:
        x = np.concatenate([[0.0, 1e-300, 700, 1e6], RNG.exponential(5, 10_000)])
        np.testing.assert_allclose((1 - brier_without_squares(x)) / 2, np.exp(-x), rtol=0, atol=6e-16)

    @pytest.mark.parametrize(("field", "found"), [("target", ", target 7, but"), ("predicted", "prediction -3,")])
    def test_classes_out_of_range(self, field: str, found: str) -> None:
        scores = replace(some_scores(), valid=np.ones(200, np.bool_), target=np.zeros(200, np.int64))
        getattr(scores, field)[150] = 7 if field == "target" else -3
        with pytest.raises(ValueError, match=rf"row 150 .*{found}.* there are 7 classes"):
            Totals.of(scores)

    def test_figures_of_other_lengths(self) -> None:
        with pytest.raises(ValueError, match="200 losses, but 3 elements of entropy"):
            Totals.of(replace(some_scores(), entropy=np.ones(3)))

    def test_columns_of_any_layout(self) -> None:
        """Made by hand: other strides, byte orders and dtypes, read-only."""
        scores = some_scores()
        whole = {name: np.asarray(array) for name, array in scores.to_dict().items()}
        twice = {name: np.repeat(array, 2)[::2] for name, array in whole.items()}
        swapped = {name: array.astype(array.dtype.newbyteorder()) for name, array in whole.items()}
        for array in swapped.values():
            array.flags.writeable = False
        for columns in (twice, swapped, {**whole, "rank": whole["rank"].astype(np.int16)}):
            assert Totals.of(replace(scores, **columns)) == Totals.of(scores)  # type: ignore[arg-type]

    def test_weights_and_rows_without_probabilities(self) -> None:
        scores = crossent.score([[np.nan, 0.0], [1.0, 0.0], [2.0, 0.0]], [0, 1, 0])
        totals = Totals.of(scores, sample_weight=[2.0, 3.0, 0.5])
        assert totals.accuracy() == 0.5 / 5.5
        assert totals.reliability is not None
        assert totals.reliability.weight.sum() == 3.5


def brier_without_squares(loss: Array) -> Array:
    """Return ``1 - 2 * exp(-loss)`` with the bits that the core has: every step is rounded alike everywhere."""
    x = -np.fmin(loss, 700).astype(np.float64)
    power = np.rint(x * (1 / math.log(2)))
    x = (x - power * float.fromhex("0x1.62e42fefa0000p-1")) - power * float.fromhex("0x1.cf79abc9e3b3ap-40")
    series = np.full(x.shape, 1 / math.factorial(13))
    for n in range(12, -1, -1):
        series = series * x + 1 / math.factorial(n)
    return np.asarray(-2 * np.ldexp(series, power.astype(np.int32)) + 1)


class TestCounts:
    numbers = st.lists(st.integers(0, 30))

    @given(st.lists(numbers), st.sampled_from([31, 10**9]))
    def test_add(self, parts: list[list[int]], limit: int) -> None:
        counted = [Counts.of(np.array(part, np.int64), limit) for part in parts]
        whole = Counts.of(np.array(list(itertools.chain(*parts)), np.int64), limit)
        assert functools.reduce(Counts.__add__, counted, Counts()) == whole
        assert functools.reduce(Counts.__add__, reversed(counted), Counts()) == whole
        assert whole.dense(31).tolist() == [sum(part.count(i) for part in parts) for i in range(31)]


class TestFigures:
    """Each against its definition, written in another way."""

    @pytest.fixture(params=["float32", "float64", "weighted"])
    def case(self, request: pytest.FixtureRequest) -> tuple[Scores, Array, Totals]:
        scores = some_scores(dtype="float64" if request.param == "float64" else "float32")
        weight = RNG.exponential(size=scores.loss.shape) if request.param == "weighted" else None
        totals = Totals.of(scores, sample_weight=weight, top_k=(2, 5), bins=10)
        w = np.ones(scores.loss.shape) if weight is None else weight
        return scores.select(scores.valid), w[scores.valid], totals

    def test_numbers(self, case: tuple[Scores, Array, Totals]) -> None:
        rows, w, totals = case
        assert (totals.rows, totals.scored, totals.ignored) == (200, rows.loss.size, 200 - rows.loss.size)
        assert totals.weight == pytest.approx(w.sum(), rel=1e-15)
        assert (totals.top_k, totals.bins, totals.classes) == ((1, 2, 5), 10, 7)
        assert totals.targets == "class indices"
        assert totals.mean_divergence is None

    def test_means(self, case: tuple[Scores, Array, Totals]) -> None:
        rows, w, totals = case
        loss = rows.loss.astype(np.float64)
        assert rows.target is not None
        assert rows.rank is not None

        def mean(values: Array) -> Any:
            return pytest.approx(np.average(values.astype(np.float64), weights=w), rel=1e-14)

        assert totals.mean_loss == mean(loss)
        assert totals.bits == mean(loss / math.log(2))
        assert totals.perplexity == pytest.approx(math.exp(np.average(loss, weights=w)), rel=1e-13)
        assert totals.mean_entropy == mean(rows.entropy)
        assert totals.mean_confidence == mean(rows.confidence)
        assert totals.accuracy() == mean(rows.predicted == rows.target)
        for k in (2, 5):
            assert totals.accuracy(k) == mean(rows.rank < k)
        assert totals.brier_score == pytest.approx(
            np.average(rows.sum_of_squares - 2 * np.exp(-loss) + 1, weights=w), rel=1e-7
        )

    def test_standard_error(self, case: tuple[Scores, Array, Totals]) -> None:
        rows, w, totals = case
        loss, n = rows.loss.astype(np.float64), rows.loss.size
        squares = np.square(w * (loss - np.average(loss, weights=w))).sum()
        assert totals.standard_error == pytest.approx(math.sqrt(n / (n - 1) * squares) / w.sum(), rel=1e-13)
        if (w == 1).all():
            assert totals.standard_error == pytest.approx(loss.std(ddof=1) / math.sqrt(n), rel=1e-13)

    def test_calibration(self, case: tuple[Scores, Array, Totals]) -> None:
        rows, w, totals = case
        reliability = totals.reliability
        assert reliability is not None
        expected = 0.0
        for i, (low, high) in enumerate(itertools.pairwise(reliability.edges)):
            own = (low < rows.confidence) & (rows.confidence <= high)
            assert reliability.weight[i] == pytest.approx(w[own].sum(), rel=1e-14)
            if own.any():
                confidence = np.average(rows.confidence[own].astype(np.float64), weights=w[own])
                accuracy = np.average(rows.predicted[own] == rows.target[own], weights=w[own])  # type: ignore[index]
                np.testing.assert_allclose([reliability.confidence[i], reliability.accuracy[i]], [confidence, accuracy])
                expected += w[own].sum() / w.sum() * abs(accuracy - confidence)
            else:
                assert math.isnan(reliability.confidence[i])
                assert math.isnan(reliability.accuracy[i])
        assert totals.expected_calibration_error == pytest.approx(expected, rel=1e-13)

    def test_counts(self, case: tuple[Scores, Array, Totals]) -> None:
        rows, _, totals = case
        confusion = np.zeros((7, 7), np.int64)
        for pair in zip(rows.target, rows.predicted, strict=True):  # type: ignore[arg-type]
            confusion[pair] += 1
        np.testing.assert_array_equal(totals.confusion, confusion)
        np.testing.assert_array_equal(totals.class_counts, confusion.sum(axis=1))
        np.testing.assert_array_equal(totals.predicted_counts, confusion.sum(axis=0))
        np.testing.assert_array_equal(totals.correct_counts, confusion.diagonal())
        np.testing.assert_array_equal(totals.class_accuracy, confusion.diagonal() / confusion.sum(axis=1))

    def test_bins_are_closed_above(self) -> None:
        scores = crossent.score(np.ones((4, 2)), np.zeros(4, np.int64))
        scores = replace(scores, confidence=np.array([0.5, np.nextafter(0.5, 1), 1, 0.75]))
        reliability = Totals.of(scores, bins=4).reliability
        assert reliability is not None
        assert reliability.weight.tolist() == [0, 1, 2, 1]
        assert reliability.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]

    def test_equal_losses_have_no_error(self) -> None:
        """Squares of float64 losses are exact, so that nothing is left of their difference."""
        scores = crossent.score(np.tile([0.1, 0.7, -0.3], (1000, 1)), np.zeros(1000, np.int64))
        assert Totals.of(scores).standard_error == 0
        assert Totals.of(scores, sample_weight=RNG.random(1000)).standard_error < 1e-17

    def test_weights_of_any_unit(self) -> None:
        scores, weight = some_scores(), RNG.exponential(size=200)
        one, other = (Totals.of(scores, sample_weight=unit * weight) for unit in (1, 2.0**-900))
        for name in ("mean_loss", "standard_error", "brier_score", "expected_calibration_error"):
            assert getattr(one, name) == getattr(other, name)

    def test_weight_one_is_no_weight(self) -> None:
        scores = some_scores()
        assert Totals.of(scores, sample_weight=np.ones(200, np.int8)) == Totals.of(scores)

    def test_weight_zero_is_ignored(self) -> None:
        scores = some_scores()
        weight = RNG.integers(2, size=200)
        kept = Totals.of(scores.select(weight == 1))
        totals = Totals.of(scores, sample_weight=np.where(scores.valid, weight, np.nan))
        assert totals.scored == kept.scored
        assert replace(totals.sums, rows=0, ignored=0) == replace(kept.sums, rows=0, ignored=0)

    def test_class_probabilities(self) -> None:
        scores = soft_scores()
        totals = Totals.of(scores)
        assert scores.divergence is not None
        assert totals.targets == "class probabilities"
        assert totals.mean_loss == pytest.approx(scores.loss.mean(), rel=1e-14)
        assert totals.mean_divergence == pytest.approx(scores.divergence.mean(), rel=1e-14)
        assert totals.mean_confidence == pytest.approx(scores.confidence.mean(), rel=1e-14)
        assert totals.predicted_counts.sum() == 50
        figures = ["expected_calibration_error", "reliability", "brier_score", "class_counts", "correct_counts"]
        assert all(getattr(totals, name) is None for name in [*figures, "class_accuracy", "confusion"])
        assert totals.accuracy() is totals.accuracy(5) is None

    def test_no_rows(self) -> None:
        for totals in (Totals.empty(3), Totals.of(some_scores().select(slice(0)))):
            figures = ("mean_loss", "standard_error", "perplexity", "bits", "mean_entropy", "brier_score")
            assert all(math.isnan(getattr(totals, name)) for name in figures)
            assert math.isnan(totals.accuracy() or 0)
            assert totals.rows == 0
        one = crossent.score([[1.0, 2.0]], [0])
        assert math.isnan(Totals.of(one).standard_error)

    def test_many_classes(self) -> None:
        scores = some_scores(100, 1001)
        totals = Totals.of(scores)
        assert totals.confusion is None
        assert totals.class_counts is not None
        assert totals.class_counts.shape == (1001,)
        assert len(pickle.dumps(totals)) < 20_000

    def test_perplexity_beyond_float64(self) -> None:
        assert Totals.of(crossent.score([[2000.0, 0.0]], [1])).perplexity == math.inf

    def test_huge_losses(self) -> None:
        """The square of 1e200 is no float64, the standard error is."""
        loss = np.array([1e200, 3e200])
        scores = replace(crossent.score(np.ones((2, 2)), np.zeros(2, np.int64)), loss=loss)
        assert Totals.of(scores).standard_error == pytest.approx(1e200, rel=1e-15)

    def test_rows_without_probabilities(self) -> None:
        logits = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [-np.inf] * 3, [0, -np.inf, 0], [5, 0, 0]])
        scores = crossent.score(logits, [0, 0, 0, 1, 0])
        totals = Totals.of(scores, top_k=(3,))
        assert totals.non_finite == 4
        assert totals.accuracy() == 1 / 5
        assert totals.accuracy(3) == 2 / 5
        for name in ("mean_loss", "mean_confidence", "brier_score", "expected_calibration_error", "standard_error"):
            assert math.isnan(getattr(totals, name)), name
        assert totals.confusion is not None
        assert totals.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
        masked = Totals.of(scores.select([3, 4]))
        assert (masked.mean_loss, masked.perplexity) == (math.inf, math.inf)
        assert math.isfinite(masked.brier_score or math.nan)
        assert totals == Totals.of(scores.select([0, 1]), top_k=(3,)) + Totals.of(scores.select([2, 3, 4]), top_k=(3,))


class TestMerge:
    @given(st.lists(st.integers(0, 300), max_size=6), st.booleans(), st.randoms(use_true_random=False))
    def test_any_split_in_any_order(self, cuts: list[int], weighted: bool, random: Any) -> None:
        scores = some_scores(300, dtype=np.float64)
        scores.loss[7], scores.loss[11] = np.inf, np.nan
        weight = np.random.default_rng(1).exponential(size=300) if weighted else np.ones(300)
        whole = Totals.of(scores, sample_weight=weight)
        bounds = [0, *sorted(cuts), 300]
        parts = [
            Totals.of(scores.select(slice(*own)), sample_weight=weight[slice(*own)])
            for own in itertools.pairwise(bounds)
        ]
        parts.append(Totals.empty(7))
        random.shuffle(parts)
        while len(parts) > 1:
            a, b = parts.pop(random.randrange(len(parts))), parts.pop(random.randrange(len(parts)))
            parts.append(random.choice([a.merge(b), b + a]))
        assert parts[0] == whole
        assert parts[0].to_json() == whole.to_json()

    def test_order_of_rows_and_blocks(self) -> None:
        """More rows than are summed at a time, in another order."""
        scores = some_scores(150_000, 10)
        shuffled = scores.select(RNG.permutation(150_000))
        assert Totals.of(scores) == Totals.of(shuffled)
        image = {name: array.reshape(300, 500) for name, array in scores.to_dict().items()}
        assert Totals.of(replace(scores, **image)) == Totals.of(scores)  # type: ignore[arg-type]

    def test_empty_is_neutral(self) -> None:
        for scores in (some_scores(), soft_scores()):
            totals, empty = Totals.of(scores), Totals.empty(scores.classes)
            assert totals + empty == empty + totals == totals
        assert Totals.empty(3) + Totals.empty(3) == Totals.empty(3)

    @pytest.mark.parametrize(
        ("other", "found"),
        [
            (Totals.empty(8), "classes=7 and with classes=8"),
            (Totals.empty(7, top_k=[1, 3]), r"top_k=\(1, 5\) and with top_k=\(1, 3\)"),
            (Totals.empty(7, bins=10), "bins=15 and with bins=10"),
            (Totals.of(soft_scores(3, 7)), "targets='class indices' and with targets='class probabilities'"),
        ],
    )
    def test_different_kinds(self, other: Totals, found: str) -> None:
        with pytest.raises(ValueError, match=found):
            Totals.of(some_scores()).merge(other)

    def test_pickle(self) -> None:
        totals = Totals.of(some_scores())
        assert pickle.loads(pickle.dumps(totals)) == totals
        assert repr(totals).startswith("Totals(classes=7, rows=200, ignored=")


class TestJson:
    @pytest.mark.parametrize("weight", [None, RNG.exponential(size=200)])
    def test_there_and_back(self, weight: Array | None) -> None:
        scores = some_scores()
        scores.loss[3:6] = np.inf, np.nan, 1e-30
        totals = Totals.of(scores, sample_weight=weight, top_k=(1, 2, 3), bins=3)
        assert Totals.from_json(totals.to_json()) == totals
        assert "\n" not in totals.to_json()

    def test_of_the_other_kinds(self) -> None:
        for totals in (Totals.of(soft_scores()), Totals.empty(5)):
            assert Totals.from_json(totals.to_json()) == totals

    def test_reformatted(self) -> None:
        totals = Totals.of(some_scores())
        assert Totals.from_json(totals.to_json().encode()) == totals
        assert Totals.from_json(json.dumps(json.loads(totals.to_json()), indent=2, sort_keys=True)) == totals

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", "begins ''"),
            ("loss,rows\n1,2", "begins 'loss,rows"),
            ("[1, 2]", "but list"),
            ("3", "but int"),
            ('{"rows": 1}', "an object with format None"),
            ('{"format": "report"}', "an object with format 'report'"),
            ('{"format": "crossent totals", "version": 2}', "version 2 can't be read: this crossent knows 1"),
            ('{"format": "crossent totals", "version": 1}', "they say None"),
        ],
    )
    def test_something_else(self, text: str, found: str) -> None:
        with pytest.raises(ValueError, match=found):
            Totals.from_json(text)

    @given(st.data())
    def test_damaged(self, data: st.DataObject) -> None:
        """Another character anywhere, or an end that is missing."""
        text = Totals.of(some_scores(20)).to_json()
        place = data.draw(st.integers(0, len(text) - 1))
        character = data.draw(st.sampled_from('0123456789abcdefx,[]{}"\\ -é'))
        damaged = data.draw(st.sampled_from([text[:place], text[:place] + character + text[place + 1 :]]))
        if json_or_none(damaged) != json.loads(text):
            with pytest.raises(ValueError, match=r"JSON|damaged|version"):
                Totals.from_json(damaged)


def json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "error", "found"),
        [
            ({"sample_weight": np.ones(3)}, ValueError, r"shape \(200,\), but its shape is \(3,\)"),
            ({"sample_weight": ["a"] * 200}, TypeError, "sample_weight must hold real numbers"),
            ({"sample_weight": [*[1.0] * 199, -2.0]}, ValueError, r"position \(199,\) is -2.0"),
            ({"sample_weight": [*[1.0] * 199, math.nan]}, ValueError, "is nan"),
            ({"sample_weight": [*[1.0] * 199, math.inf]}, ValueError, "is inf"),
            ({"top_k": (0, 5)}, ValueError, "from 1 on, not 0"),
            ({"top_k": 5}, TypeError, "must be a sequence of integers, not 5"),
            ({"top_k": np.array(2)}, TypeError, "must be a sequence of integers, not array"),
            ({"top_k": b"12"}, TypeError, "must be a sequence of integers, not b'12'"),
            ({"top_k": (2.5,)}, TypeError, "must be an integer, not 2.5"),
            ({"bins": 0}, ValueError, "1 to 1000, not 0"),
            ({"bins": 1.5}, TypeError, "must be an integer, not 1.5"),
            ({"bins": 1001}, ValueError, "bins must be 1 to 1000, not 1001"),
        ],
    )
    def test_bad(self, options: dict[str, Any], error: type[Exception], found: str) -> None:
        scores = replace(some_scores(), valid=np.ones(200, np.bool_))
        with pytest.raises(error, match=found):
            Totals.of(scores, **options)

    def test_not_scores(self) -> None:
        with pytest.raises(TypeError, match="not ndarray"):
            Totals.of(np.ones(3))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="valid of these scores must be a NumPy array, not list"):
            Totals.of(replace(some_scores(3), valid=[True] * 3))  # type: ignore[arg-type]

    def test_not_counted(self) -> None:
        with pytest.raises(ValueError, match=r"accuracy\(3\) was not counted: these totals have top_k=\(1, 5\)"):
            Totals.of(some_scores()).accuracy(3)
        with pytest.raises(TypeError, match=r"k must be an integer, not array"):
            Totals.of(some_scores()).accuracy(np.array([1, 5]))  # type: ignore[arg-type]


class TestScores:
    def test_to_dict(self) -> None:
        names = some_scores().to_dict().keys()
        assert {"loss", "target", "rank", "valid"} <= names
        assert "divergence" not in names
        assert {"divergence"} == soft_scores().to_dict().keys() - names

    @pytest.mark.parametrize("index", [slice(3, 9), [5, 2, 2], RNG.random(200) < 0.5])
    def test_select(self, index: Any) -> None:
        scores = some_scores()
        for name, array in scores.select(index).to_dict().items():
            np.testing.assert_array_equal(array, scores.to_dict()[name][index])

    @given(st.lists(st.sampled_from([0.0, 1.0, 2.5, math.inf, math.nan]), max_size=12), st.integers(0, 14), st.data())
    def test_worst(self, losses: list[float], k: int, data: st.DataObject) -> None:
        valid = np.array(data.draw(st.lists(st.booleans(), min_size=len(losses), max_size=len(losses))), np.bool_)
        loss = np.array(losses)
        scores = replace(some_scores(len(losses)), loss=loss, valid=valid)
        order = sorted(np.flatnonzero(valid), key=lambda i: (not np.isnan(loss[i]), -np.nan_to_num(loss[i]), i))
        assert scores.worst(k).tolist() == order[:k]

    def test_worst_of_less_than_none(self) -> None:
        with pytest.raises(ValueError, match="not -1"):
            some_scores().worst(-1)

    def test_concatenate(self) -> None:
        scores = some_scores()
        parts = [scores.select(slice(0, 50)), scores.select(slice(50, 50)), scores.select(slice(50, None))]
        for name, array in Scores.concatenate(parts).to_dict().items():
            np.testing.assert_array_equal(array, scores.to_dict()[name])
        assert Totals.of(Scores.concatenate(part for part in parts)) == Totals.of(scores)

    def test_select_a_single_row(self) -> None:
        scores = some_scores()
        assert Totals.of(scores.select(3)) == Totals.of(scores.select([3]))

    def test_nothing_to_concatenate(self) -> None:
        with pytest.raises(ValueError, match="the sequence is empty"):
            Scores.concatenate([])
        for nothing in (None, some_scores(3)):
            with pytest.raises(TypeError, match=r"takes a sequence of Scores, not (NoneType|Scores)"):
                Scores.concatenate(nothing)  # type: ignore[arg-type]

    def test_concatenate_different_kinds(self) -> None:
        with pytest.raises(ValueError, match=r"scores\[0\] are class indices, but those of scores\[1\] are class prob"):
            Scores.concatenate([some_scores(3, 4), soft_scores()])
        with pytest.raises(ValueError, match=r"scores\[0\] has 7 classes, but scores\[2\] has 4"):
            Scores.concatenate([some_scores(), some_scores(), some_scores(5, 4)])
        one = some_scores().select(3)
        with pytest.raises(ValueError, match=r"scores\[1\] is of a single row without an axis"):
            Scores.concatenate([some_scores(), one])
        with pytest.raises(ValueError, match=r"scores\[0\] has the shape \(200,\), but scores\[1\] \(200, 1\)"):
            Scores.concatenate([some_scores(), some_scores().select((slice(None), None))])


def test_scores_keep_their_target() -> None:
    """A buffer of labels may be used again."""
    labels = np.array([0, 1])
    scores = crossent.score(np.eye(2), labels)
    labels[:] = 1
    assert np.array_equal(np.asarray(scores.target), [0, 1])


def test_sum_of_totals() -> None:
    totals = Totals.of(crossent.score(np.eye(2), [0, 1]))
    assert sum([totals, totals]) == totals + totals


@pytest.mark.parametrize("other", [3, None, "text"])
def test_merging_something_else(other: Any) -> None:
    with pytest.raises(TypeError, match=type(other).__name__):
        Totals.empty(2).merge(other)


def test_classes_of_empty_totals() -> None:
    assert Totals.from_json(Totals.empty(np.int64(3)).to_json()) == Totals.empty(3)
    with pytest.raises(ValueError, match="-1"):
        Totals.empty(-1)
    with pytest.raises(TypeError, match=r"1\.5"):
        Totals.empty(1.5)  # type: ignore[arg-type]


def test_deeply_nested_text() -> None:
    with pytest.raises(ValueError, match="to_json"):
        Totals.from_json("[" * 100_000)
