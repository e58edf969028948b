"""An array in a file, of which parts can be read: the protocol that every format has, and the two kinds there are.

``RawSource`` reads any part, from bytes that lie in the file as they do in memory; ``BlockSource`` reads forward, in
blocks along the first axis, what a library decodes. ``Shards`` are several of either, one behind the other.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, row_text

#: What bfloat16 becomes in ``.npy``, which has no name for it: as ``ml_dtypes`` saves it, or seen as integers.
BFLOAT16_BITS = (np.dtype("V2"), np.dtype(np.uint16))

Index = tuple[slice, ...]
"""One slice with a start and a stop for each axis."""


class Scratch:
    """What one thread uses again and again: memory that stays in its processor's cache, and the file it reads.

    The file stays open so that the system sees its reads following each other, and reads ahead.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        self._path: Path | None = None
        self._file: FileIO | None = None

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array in this memory, valid until the same thread asks again."""
        size = math.prod(shape) * dtype.itemsize
        if self._memory.size < size:
            self._memory = np.empty(size, np.uint8)
        array: NDArray[Any] = np.ndarray(shape, dtype, self._memory.data)
        return array

    def open(self, path: Path) -> FileIO:
        """Return this file, opened if it isn't the last one."""
        if self._file is None or path != self._path:
            self.close()
            self._file, self._path = open_file(path), path
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return self._file

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None


def open_file(path: Path) -> FileIO:
    """Open a file; DataError if it can't be."""
    try:
        return FileIO(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


class Source(Protocol):
    """An array in a file."""

    name: str
    """How messages call it: the path, and the array's name if the file has several."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """``V2`` for bfloat16."""
    bfloat16: bool
    """Whether the file itself says that ``V2`` is bfloat16."""
    forward: bool
    """Whether it is read by one thread at a time, in order, and in parts of the first axis."""

    def read(self, index: Index, scratch: Scratch | None = None) -> NDArray[Any]:
        """Read a part, into ``scratch`` if there is one and this kind can; DataError if the file is damaged."""

    def row(self, position: tuple[int, ...]) -> str:
        """Name a row for a message, like ``row 17 of logits.npy``."""

    def fingerprint(self) -> list[Any]:
        """Return what changes if the data changes, as JSON knows it."""

    def close(self) -> None:
        """Release what is open."""


@runtime_checkable
class AnyPart(Protocol):
    """A source that is read forward, but need not be."""

    def read_any_part(self) -> None:
        """Be read in any order from now on, at a price."""


def fingerprint_of_file(path: Path) -> list[Any]:
    """Size and time of change of a file; of a directory, those of all that is in it, added up."""
    try:
        if path.is_dir():
            found = [entry.stat() for entry in path.rglob("*") if entry.is_file()]
            return [str(path), sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0)]
        found_file = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    return [str(path), found_file.st_size, found_file.st_mtime_ns]


class RawSource:
    """Values that lie in a file as they do in memory, in C or Fortran order.

    They are read, not mapped: a mapped file that another process cuts short, or whose disk fails, ends this one. And
    to map a part of a few MiB, page by page, takes longer than to read it into memory that stays in the processor's
    cache: 283 and 78 to 190 microseconds for 2 MiB on the machine of ``bench/files.py``.
    """

    bfloat16: bool
    forward = False

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        fortran: bool = False,
        bfloat16: bool = False,
    ) -> None:
        self.path, self.name, self.shape, self.dtype, self.bfloat16 = path, name, shape, dtype, bfloat16
        self._offset, self._fortran = offset, fortran
        self._fingerprint = fingerprint_of_file(path)
        needed, found = offset + math.prod(shape) * dtype.itemsize, self._fingerprint[1]
        if found < needed:
            raise DataError(
                f"{name}: cut short: {dtype} of shape {shape} takes {needed} bytes with the header, "
                f"but the file has {found}"
            )

    def read(self, index: Index, scratch: Scratch | None = None) -> NDArray[Any]:
        """Read a part, in one go if it is contiguous in the file."""
        if self._fortran:
            return np.transpose(self._read_c_order(self.shape[::-1], index[::-1], scratch))
        return self._read_c_order(self.shape, index, scratch)

    def _read_c_order(self, shape: tuple[int, ...], index: Index, scratch: Scratch | None) -> NDArray[Any]:
        extents = tuple(part.stop - part.start for part in index)
        if 0 in extents:
            return np.empty(extents, self.dtype)
        # A run is contiguous in the file: behind axis `last`, the axes are whole.
        last = len(shape) - 1
        while last > 0 and extents[last] == shape[last]:
            last -= 1
        run = math.prod(extents[last:]) * self.dtype.itemsize
        strides = [math.prod(shape[axis + 1 :]) * self.dtype.itemsize for axis in range(len(shape))]
        first = self._offset + sum(part.start * stride for part, stride in zip(index, strides, strict=True))
        with nullcontext(scratch.open(self.path)) if scratch else open_file(self.path) as file:
            self._check_unchanged(file)
            out = np.empty(extents, self.dtype) if scratch is None else scratch.array(extents, self.dtype)
            memory = out.reshape(-1).view(np.uint8).data
            for number, outer in enumerate(np.ndindex(*extents[:last])):
                start = first + sum(i * stride for i, stride in zip(outer, strides, strict=False))
                self._fill(memory[number * run : (number + 1) * run], file.fileno(), start)
        return out

    def _check_unchanged(self, file: FileIO) -> None:
        now = os.fstat(file.fileno())
        if [now.st_size, now.st_mtime_ns] != self._fingerprint[1:] and now.st_size >= self._fingerprint[1]:
            raise DataError(f"{self.name} was changed while it was read")

    def _fill(self, memory: memoryview, descriptor: int, start: int) -> None:
        while memory:
            try:
                count = os.preadv(descriptor, [memory], start)
            except OSError as error:
                raise DataError(f"{self.name}: reading at byte {start} failed: {error.strerror}") from error
            if count == 0:
                row = (start - self._offset) // max(1, self.dtype.itemsize * math.prod(self.shape[1:]))
                where = f", in row {row}" if not self._fortran else ""
                raise DataError(f"{self.name} was cut short while it was read: it ends at byte {start}{where}")
            memory, start = memory[count:], start + count

    def row(self, position: tuple[int, ...]) -> str:
        """Name a row."""
        return f"{row_text(position)} of {self.name}"

    def fingerprint(self) -> list[Any]:
        """Size and time of change of the file."""
        return [self.name, *self._fingerprint]

    def close(self) -> None:
        """Nothing is open between two reads."""


class BlockSource:
    """What a library decodes from the beginning to the end, block after block along the first axis.

    A format fills in ``blocks``. Reading backwards starts again from the beginning.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    path: Path
    bfloat16 = False
    forward = True

    def __init__(self) -> None:
        self._blocks: Iterator[NDArray[Any]] = iter(())
        self._start = self._stop = 0  # rows of the blocks at hand
        self._held: list[NDArray[Any]] = []
        self._opened = False

    def blocks(self, first: int) -> Iterator[NDArray[Any]]:
        """Yield the rows from ``first`` on, in parts of a size that suits the file."""
        raise NotImplementedError

    def read(self, index: Index, scratch: Scratch | None = None) -> NDArray[Any]:
        """Read on until the part is there."""
        start, stop = index[0].start, index[0].stop
        if not self._opened or start < self._start:
            self._blocks, self._held = self.blocks(start), []
            self._start = self._stop = start
            self._opened = True
        while self._held and self._start + len(self._held[0]) <= start:
            self._start += len(self._held.pop(0))
        if self._held:  # what is read must not be held for ever where parts end in the middle of blocks
            self._held[0] = self._held[0][start - self._start :]
            self._start = start
        while self._stop < stop:
            block = self._next_block()
            self._stop += len(block)
            if self._stop <= start:
                self._start = self._stop
            else:
                self._held.append(block)
        rows = self._held[0] if len(self._held) == 1 else np.concatenate(self._held)
        self._held = [rows] if stop < self._stop else []
        part = (slice(start - self._start, stop - self._start), *index[1:])
        if not self._held:
            self._start = self._stop
        return rows[part]

    def _next_block(self) -> NDArray[Any]:
        try:
            block = next(self._blocks, None)
        except DataError:
            raise
        except Exception as error:  # whatever damaged data makes the library raise
            raise DataError(f"{self.name}: can't be read from row {self._stop} on: {error}") from error
        if block is None or len(block) == 0:
            raise DataError(f"{self.name}: ends at row {self._stop} of {self.shape[0]}")
        return block

    def row(self, position: tuple[int, ...]) -> str:
        """Name a row."""
        return f"{row_text(position)} of {self.name}"

    def fingerprint(self) -> list[Any]:
        """Size and time of change of the file."""
        return [self.name, *fingerprint_of_file(self.path)]

    def close(self) -> None:
        """Forget what was read."""
        self._blocks, self._held, self._opened = iter(()), [], False


class Shards:
    """Files that hold one array between them: the parts of its first axis, in order."""

    def __init__(self, name: str, parts: Sequence[Source]) -> None:
        self.name, self.parts = name, parts
        first = parts[0]
        for part in parts[1:]:
            if (part.shape[1:], part.dtype) != (first.shape[1:], first.dtype) or not part.shape:
                raise DataError(
                    f"{part.name} holds {part.dtype} of shape {part.shape}, which doesn't continue {first.name}, "
                    f"{first.dtype} of shape {first.shape}"
                )
        self.dtype, self.bfloat16 = first.dtype, first.bfloat16
        self.forward = any(part.forward for part in parts)
        self.starts = np.cumsum([0, *(part.shape[0] for part in parts)]).tolist()
        self.shape = (self.starts[-1], *first.shape[1:])

    def _place(self, row: int) -> int:
        return int(np.searchsorted(self.starts, row, "right")) - 1

    def read(self, index: Index, scratch: Scratch | None = None) -> NDArray[Any]:
        """Read a part; one that several files hold is put together."""
        start, stop = index[0].start, index[0].stop
        read: list[NDArray[Any]] = []
        number = min(self._place(start), len(self.parts) - 1)
        while not read or start < stop:
            end = min(stop, self.starts[number + 1])
            inside = slice(start - self.starts[number], end - self.starts[number])
            alone = end == stop and not read
            read.append(self.parts[number].read((inside, *index[1:]), scratch if alone else None))
            if self.parts[number].forward and end == self.starts[number + 1]:
                self.parts[number].close()
            start, number = end, number + 1
        return read[0] if len(read) == 1 else np.concatenate(read)

    def row(self, position: tuple[int, ...]) -> str:
        """Name a row by the file that holds it."""
        number = self._place(position[0])
        return self.parts[number].row((position[0] - self.starts[number], *position[1:]))

    def fingerprint(self) -> list[Any]:
        """Those of all files."""
        return [part.fingerprint() for part in self.parts]

    def close(self) -> None:
        """Close all files."""
        for part in self.parts:
            part.close()
