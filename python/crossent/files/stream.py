"""Rows of files as a stream: cut into slabs, read and worked on by several threads at once, given back in order.

Each thread reads a piece into memory that stays in its processor's cache, and works on it there; while one reads, the
others compute. What is in memory at a time is bounded, whatever the size of the files.
"""

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from crossent import _core

from .errors import DataError
from .sources import Index, Scratch, Source

T = TypeVar("T")

PIECE_BYTES = 2**21
"""Values read and scored at a time: they stay in the cache."""
SLAB_BYTES = 2**26
SLAB_ROWS = 2**16
"""Pieces that are totalled together: enough to make Python's share small."""
RUN_BYTES = 2**14
"""Where the values of a row aren't neighbours in the file, pieces are cut so that reads are no shorter than this."""
COPIES = 16
"""Room for the values that are read as float32, as logarithms, with the classes last."""
BYTES_A_ROW = 400
"""What scores and totals take in memory for one row, temporary arrays included, as measured."""


class Part(NamedTuple):
    """Values, targets and weights of a piece, and which rows of all these are (one slice for each of their axes)."""

    rows: Index
    values: NDArray[Any]
    target: NDArray[Any]
    sample_weight: NDArray[Any] | None


@dataclass(frozen=True)
class Slab:
    """Consecutive rows, in C order of their positions."""

    first_row: int
    rows: int
    pieces: tuple[Index, ...]


@dataclass(frozen=True)
class Plan:
    """How an array is cut, and how much memory that takes."""

    piece_bytes: int
    largest_piece: int
    slab_bytes: int
    slab_rows: int
    workers: int

    @classmethod
    def within(cls, free_bytes: int, logits: Source, axis: int, workers: int) -> "Plan":
        """Find the cut for this much free memory; DataError if it doesn't hold a row for every thread."""
        row_bytes = max(1, logits.shape[axis] * logits.dtype.itemsize)
        share = free_bytes // (COPIES * workers)
        preferred = PIECE_BYTES
        if axis != len(logits.shape) - 1:
            preferred = max(preferred, logits.shape[axis] * RUN_BYTES)
        if share < row_bytes:
            raise DataError(
                f"{logits.name}: a row takes {row_bytes:,} bytes, and {workers} threads need {COPIES * workers} times "
                f"that, but only {max(0, free_bytes):,} are left of --max-memory: use more, or fewer --threads"
            )
        slab_rows = max(1, min(SLAB_ROWS, free_bytes // (2 * (workers + 2) * BYTES_A_ROW)))
        return cls(
            min(preferred, share), share, min(SLAB_BYTES, share) if logits.forward else SLAB_BYTES, slab_rows, workers
        )


def pieces(
    shape: tuple[int, ...], axis: int, itemsize: int, piece_bytes: int, max_rows: int, *, whole: bool = False
) -> Iterator[Index]:
    """Cut the positions of an array into pieces of at most `piece_bytes`, or of one row where a row is larger.

    Parameters
    ----------
    shape : tuple of int
        Of the whole array, the classes included.
    axis : int
        The class axis, not negative. A piece always has all classes.
    itemsize : int
        Bytes of one value.
    piece_bytes, max_rows : int
        The size to stay under.
    whole : bool, optional
        Cut along the first axis of the positions alone.

    Yields
    ------
    tuple of slice
        One slice for each axis but the class axis, so that it indexes the targets as it stands; in C order.

    Examples
    --------
    >>> [rows for (rows,) in pieces((5, 1000), 1, itemsize=4, piece_bytes=8000, max_rows=100)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    positions = shape[:axis] + shape[axis + 1 :]
    if not positions:
        yield ()
        return
    limit = max(1, min(piece_bytes // max(1, shape[axis] * itemsize), max_rows))
    # Slices are taken along the outermost axis that a piece can hold one index of, one at a time of those before it.
    split = 0 if whole else len(positions) - 1
    while split > 0 and math.prod(positions[split:]) <= limit:
        split -= 1
    step = max(1, limit // max(1, math.prod(positions[split + 1 :])))
    inner = tuple(slice(0, extent) for extent in positions[split + 1 :])
    for outer in np.ndindex(*positions[:split]):
        for start in range(0, positions[split], step):
            stop = min(start + step, positions[split])
            yield (*(slice(i, i + 1) for i in outer), slice(start, stop), *inner)


def slabs(cut: Iterable[Index], row_bytes: int, plan: Plan) -> Iterator[Slab]:
    """Group consecutive pieces into slabs."""
    first_row = rows = 0
    group: list[Index] = []
    for piece in cut:
        count = math.prod(part.stop - part.start for part in piece)
        if group and (rows + count > plan.slab_rows or (rows + count) * row_bytes > plan.slab_bytes):
            yield Slab(first_row, rows, tuple(group))
            first_row, rows, group = first_row + rows, 0, []
        group.append(piece)
        rows += count
    if group:
        yield Slab(first_row, rows, tuple(group))


@dataclass(frozen=True)
class Stream:
    """Logits, targets and weights from files that fit each other."""

    logits: Source
    targets: Source
    sample_weight: Source | None
    axis: int
    plan: Plan

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of the rows: that of the logits without the classes."""
        return self.logits.shape[: self.axis] + self.logits.shape[self.axis + 1 :]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return math.prod(self.positions)

    @property
    def row_bytes(self) -> int:
        """What a row of logits takes in its file."""
        return self.logits.shape[self.axis] * self.logits.dtype.itemsize

    @property
    def _sources(self) -> tuple[Source, ...]:
        return (self.logits, self.targets, *(() if self.sample_weight is None else (self.sample_weight,)))

    def slabs(self, first_row: int = 0) -> Iterator[Slab]:
        """Return the slabs from the one that begins with ``first_row`` on."""
        shape, axis, plan = self.logits.shape, self.axis, self.plan
        if self.logits.forward and axis == 0 and len(shape) > 1:
            if self.rows * self.row_bytes > plan.largest_piece:
                raise DataError(
                    f"{self.logits.name} has the classes on its first axis, so that its rows can't be streamed from "
                    "this format: save it uncompressed with numpy.save, or increase --max-memory"
                )
            cut: Iterable[Index] = [tuple(slice(0, extent) for extent in self.positions)]
        else:
            whole = any(source.forward for source in self._sources)
            cut = pieces(shape, axis, self.logits.dtype.itemsize, plan.piece_bytes, plan.slab_rows, whole=whole)
        return (slab for slab in slabs(cut, self.row_bytes, plan) if slab.first_row >= first_row)

    def _read(self, slab: Slab, scratch: Scratch | None) -> Iterator[Part]:
        """Read the parts of a slab; what is small is read for all of them at once, if they continue each other."""
        first, last = slab.pieces[0], slab.pieces[-1]
        joined = first and all(piece[1:] == first[1:] for piece in slab.pieces)
        start = first[0].start if first else 0
        span = (slice(start, last[0].stop), *first[1:]) if joined else ()
        of_classes = len(self.targets.shape) > len(first)
        targets = self.targets.read(span) if joined and not of_classes else None
        weights = self.sample_weight.read(span) if joined and self.sample_weight is not None else None
        for rows in slab.pieces:
            index = (*rows[: self.axis], slice(0, self.logits.shape[self.axis]), *rows[self.axis :])
            part = slice(rows[0].start - start, rows[0].stop - start) if rows else slice(None)
            values = self.logits.read(index, scratch)
            target = self.targets.read(index if of_classes else rows) if targets is None else targets[part]
            weight = None
            if self.sample_weight is not None:
                weight = self.sample_weight.read(rows) if weights is None else weights[part]
            yield Part(rows, values, target, weight)

    def map(self, work: Callable[[Slab, Iterator[Part]], T], first_row: int = 0) -> Iterator[tuple[Slab, T]]:
        """Call ``work`` for every slab, in several threads; yield what it returns, in order of the rows.

        Each thread computes alone, without others to help it; the limit of all others stays as it is.

        An error in a slab is raised when all those before it have been yielded. The values of a part are valid until
        the next one is asked for.
        """
        todo = enumerate(self.slabs(first_row))
        in_order = any(source.forward for source in self._sources)
        taking, done = threading.Lock(), threading.Condition()
        room = threading.Semaphore(self.plan.workers + 1)
        results: dict[int, tuple[Slab | None, T | None, BaseException | None]] = {}
        stopped = False

        def run() -> None:
            _core.compute_alone()
            with closing(Scratch()) as scratch:
                work_through(scratch)

        def work_through(scratch: Scratch) -> None:
            while True:
                room.acquire()
                with taking:
                    number, slab = -1, None
                    try:
                        if stopped or (taken := next(todo, None)) is None:
                            return finish()
                        number, slab = taken
                        # Sources that are read forward are read here, one slab behind the other.
                        parts = list(self._read(slab, None)) if in_order else None
                    except BaseException as error:
                        return finish(error, number)
                try:
                    stream = iter(parts) if parts else self._read(slab, scratch)
                    del parts
                    give(number, (slab, work(slab, stream), None))
                except BaseException as error:
                    return finish(error, number)

        def give(number: int, result: tuple[Slab | None, T | None, BaseException | None]) -> None:
            with done:
                results[number] = result
                done.notify()

        running = self.plan.workers

        def finish(error: BaseException | None = None, number: int = -1) -> None:
            nonlocal running, stopped
            with done:
                running -= 1
                if error is not None:
                    stopped = True  # no further slab is begun; those before this one are on their way
                    results[number] = (None, None, error)
                done.notify()
            room.release()

        threads = [threading.Thread(target=run, daemon=True) for _ in range(self.plan.workers)]
        try:
            for thread in threads:
                thread.start()
            for expected in itertools.count():
                with done:
                    while expected not in results and running:
                        done.wait()
                    if expected not in results:
                        error = next((one[2] for one in results.values() if one[2] is not None), None)
                        if error is not None:
                            raise error
                        return
                    slab, result, error = results.pop(expected)
                if error is not None:
                    raise error
                room.release()
                yield slab, result  # type: ignore[misc]  # without an error, there are both
        finally:
            stopped = True
            for _ in threads:
                room.release()
            for thread in threads:
                thread.join()
