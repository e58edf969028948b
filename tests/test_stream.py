"""Pieces cover an array once, in order and within bounds; a stream gives back what its threads did, in order."""

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import crossent
import numpy as np
import pytest
import threadpoolctl
from crossent.files import DataError
from crossent.files.formats import open_source
from crossent.files.memory import parse_bytes
from crossent.files.stream import Part, Plan, Slab, Stream, pieces
from hypothesis import given
from hypothesis import strategies as st

extents = st.lists(st.integers(0, 7), min_size=1, max_size=4)


class TestPieces:
    @given(extents, st.booleans(), st.data())
    def test_each_position_once_in_c_order(self, shape: list[int], whole: bool, data: st.DataObject) -> None:
        axis = data.draw(st.integers(0, len(shape) - 1))
        size, rows = data.draw(st.integers(1, 2000)), data.draw(st.integers(1, 50))
        positions = tuple(shape[:axis] + shape[axis + 1 :])
        numbers = np.arange(math.prod(positions)).reshape(positions)
        seen = [numbers[index].ravel() for index in pieces(tuple(shape), axis, 4, size, rows, whole=whole)]
        np.testing.assert_array_equal(np.concatenate([np.empty(0, np.intp), *seen]), numbers.ravel())

    @given(extents, st.data())
    def test_no_larger_than_asked_or_one_row(self, shape: list[int], data: st.DataObject) -> None:
        axis = data.draw(st.integers(0, len(shape) - 1))
        size, rows = data.draw(st.integers(1, 2000)), data.draw(st.integers(1, 50))
        for index in pieces(tuple(shape), axis, 4, size, rows):
            count = math.prod(part.stop - part.start for part in index)
            assert (count * shape[axis] * 4 <= size and count <= rows) or count == 1

    def test_few_pieces(self) -> None:
        """Small extents before or behind the long one don't make small pieces."""
        assert len(list(pieces((1, 10, 1, 1_000_000), 1, 4, 4_000_000, 10**9))) == 10
        assert len(list(pieces((1_000_000, 10, 1), 1, 4, 4_000_000, 10**9))) == 10


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    np.save(tmp_path / "logits.npy", np.arange(800, dtype=np.float32).reshape(100, 8))
    np.save(tmp_path / "targets.npy", np.arange(100))
    logits, targets = (open_source(str(tmp_path / name)) for name in ("logits.npy", "targets.npy"))
    yield Stream(
        logits, targets, None, 1, Plan(piece_bytes=64, largest_piece=64, slab_bytes=160, slab_rows=100, workers=3)
    )
    logits.close()
    targets.close()


class TestMap:
    def test_results_come_in_order_whatever_takes_longest(self, stream: Stream) -> None:
        def work(slab: Slab, parts: Iterator[Part]) -> list[int]:
            rows = [int(row) for part in parts for row in part.target]
            time.sleep(0.005 if slab.first_row % 3 == 0 else 0)
            return rows

        seen = list(stream.map(work))
        assert [row for _, rows in seen for row in rows] == list(range(100))
        assert [slab.first_row for slab, _ in seen] == list(range(0, 100, 4))
        assert [slab.first_row for slab, _ in stream.map(work, first_row=40)] == list(range(40, 100, 4))

    def test_no_more_slabs_at_a_time_than_planned(self, stream: Stream) -> None:
        begun = 0

        def work(slab: Slab, parts: Iterator[Part]) -> None:
            nonlocal begun
            begun += 1

        for number, _ in enumerate(stream.map(work)):
            time.sleep(0.002)
            assert begun <= number + 2 + stream.plan.workers + 1

    def test_an_error_comes_after_all_before_it(self, stream: Stream) -> None:
        def work(slab: Slab, parts: Iterator[Part]) -> None:
            if slab.first_row in (20, 24):
                raise DataError(str(slab.first_row))
            time.sleep(0.002)

        running = set(threading.enumerate())  # other libraries have threads, too
        seen: list[int] = []
        with pytest.raises(DataError, match="20"):
            seen.extend(slab.first_row for slab, _ in stream.map(work))
        for slab, _ in (results := stream.map(lambda slab, parts: None)):
            seen.append(slab.first_row)
            if slab.first_row == 8:
                break
        results.close()  # type: ignore[attr-defined]
        assert set(threading.enumerate()) <= running

    def test_every_thread_computes_alone_and_leaves_the_others_theirs(self, stream: Stream) -> None:
        with threadpoolctl.threadpool_limits(3, user_api="openmp"):
            before = crossent.show_config()
            for _, threads in stream.map(lambda slab, parts: crossent.get_num_threads()):
                assert threads == 1
                assert crossent.show_config() == before
            assert crossent.show_config() == before


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200MB", 200_000_000),
        ("1GiB", 2**30),
        ("1.5 gib", 3 * 2**29),
        ("1000", 1000),
        ("64k", 64_000),
        ("2M", 2 * 10**6),
        ("9" * 400, 10**400 - 1),
    ],
)
def test_amounts_of_memory(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "MB", "-1", "1XB", "1 2", "nan"])
def test_texts_that_are_no_amounts(text: str) -> None:
    with pytest.raises(ValueError, match="amount of memory"):
        parse_bytes(text)
