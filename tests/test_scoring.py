"""Slabs cover an array once, in order and within bounds; totals don't depend on how rows are grouped."""

import math
from typing import Any

import numpy as np
import pytest
from crossent import scoring
from crossent.scoring import Totals
from hypothesis import given
from hypothesis import strategies as st

extents = st.lists(st.integers(0, 7), min_size=1, max_size=4)


def totals_of(logits: Any, target: Any, slab_bytes: int, ignore_index: int | None = -100) -> Totals:
    totals = Totals()
    for rows in scoring.slabs(logits.shape, 1, logits.itemsize, slab_bytes):
        all_classes = (rows[0], slice(None), *rows[1:])
        values = logits[all_classes]
        loss = scoring.losses(values, target[rows], kind="logits", ignore_index=ignore_index, axis=1)
        totals += scoring.total(values, target[rows], loss, ignore_index, 1)
    return totals


class TestSlabs:
    @given(extents, st.data())
    def test_each_position_once_in_c_order(self, shape: list[int], data: st.DataObject) -> None:
        axis = data.draw(st.integers(0, len(shape) - 1))
        slab_bytes = data.draw(st.integers(1, 2000))
        positions = tuple(shape[:axis] + shape[axis + 1 :])
        numbers = np.arange(math.prod(positions)).reshape(positions)
        seen = [numbers[rows].ravel() for rows in scoring.slabs(tuple(shape), axis, 4, slab_bytes)]
        np.testing.assert_array_equal(np.concatenate([np.empty(0, np.intp), *seen]), numbers.ravel())

    @given(extents, st.data())
    def test_no_larger_than_asked_or_one_row(self, shape: list[int], data: st.DataObject) -> None:
        axis = data.draw(st.integers(0, len(shape) - 1))
        slab_bytes = data.draw(st.integers(1, 2000))
        for rows in scoring.slabs(tuple(shape), axis, 4, slab_bytes):
            count = math.prod(part.stop - part.start for part in rows)
            assert count * shape[axis] * 4 <= slab_bytes or count == 1

    def test_few_slabs(self) -> None:
        """Small extents before or behind the long one don't make small slabs."""
        assert len(list(scoring.slabs((1, 10, 1, 1_000_000), 1, 4, slab_bytes=4_000_000))) == 10
        assert len(list(scoring.slabs((1_000_000, 10, 1), 1, 4, slab_bytes=4_000_000))) == 10


class TestTotals:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 7, 3)).astype(np.float32)
    target = rng.integers(7, size=(50, 3))
    target[4, 1] = target[9, 0] = -100

    @pytest.mark.parametrize("slab_bytes", [1, 300, 7 * 3 * 4 * 20])
    def test_slabs_merge_into_the_whole(self, slab_bytes: int) -> None:
        whole = totals_of(self.logits, self.target, 10**9)
        merged = totals_of(self.logits, self.target, slab_bytes)
        assert (merged.rows, merged.ignored, merged.correct) == (whole.rows, whole.ignored, whole.correct)
        assert merged.loss_sum == pytest.approx(whole.loss_sum, rel=1e-13)
        assert merged.standard_error == pytest.approx(whole.standard_error, rel=1e-13)

    def test_definitions(self) -> None:
        loss = scoring.losses(self.logits, self.target, kind="logits", ignore_index=-100, axis=1)
        kept = self.target != -100
        totals = totals_of(self.logits, self.target, 10**9)
        assert (totals.rows, totals.ignored, totals.scored) == (150, 2, 148)
        assert totals.mean_loss == pytest.approx(loss[kept].mean(dtype=np.float64), rel=1e-13)
        assert totals.standard_error == pytest.approx(
            loss[kept].astype(np.float64).std(ddof=1) / math.sqrt(148), rel=1e-12
        )
        assert totals.perplexity == pytest.approx(math.exp(totals.mean_loss), rel=1e-13)
        assert totals.accuracy == np.mean((self.logits.argmax(axis=1) == self.target)[kept])

    def test_the_spread_of_nearly_equal_large_losses(self) -> None:
        """A sum of squares minus a squared sum would leave nothing of it."""
        parts = [scoring.total(np.zeros((1, 1)), np.zeros(1, int), np.array([x]), None, 1) for x in (1e9, 1e9 + 1)]
        assert sum(parts, Totals()).standard_error == pytest.approx(0.5)

    def test_none_of_no_rows(self) -> None:
        assert Totals() + Totals() == Totals()
        assert math.isnan(Totals().mean_loss)
        assert math.isnan(Totals().accuracy)
        assert math.isnan(Totals(rows=1).standard_error)

    def test_an_infinite_loss(self) -> None:
        one = scoring.total(np.zeros((2, 1)), np.zeros(2, int), np.array([math.inf, 1.0]), None, 1)
        for totals in (one, one + one, Totals() + one):
            assert totals.mean_loss == totals.perplexity == math.inf
            assert math.isnan(totals.standard_error)

    def test_a_perplexity_beyond_float64(self) -> None:
        assert Totals(rows=1, loss_sum=800.0).perplexity == math.inf

    def test_the_first_of_equals_is_the_prediction_and_nan_predicts_nothing(self) -> None:
        logits = np.array([[1.0, 1.0], [1.0, 1.0], [math.nan, 0.0]])
        assert totals_of(logits, np.array([0, 1, 0]), 10**9).correct == 1
