"""A Zarr array, read by zarr in parts of whole chunks."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import formats
from .errors import DataError, MissingLibraryError
from .sources import BlockSource, Index, Scratch

try:
    import zarr
except ModuleNotFoundError as error:
    raise MissingLibraryError('Zarr arrays are read by zarr: pip install "crossent[zarr]"') from error

BLOCK_BYTES = 2**20


class ZarrSource(BlockSource):
    """Whole chunks, one behind the other along the first axis; any part after ``read_any_part``."""

    def __init__(self, path: Path, name: str, array: Any) -> None:
        super().__init__()
        self.path, self.name, self._array, self.dtype = path, name, array, array.dtype
        self.shape = tuple(array.shape)

    def blocks(self, first: int) -> Iterator[NDArray[Any]]:
        """Decode chunks from the one that holds ``first``."""
        chunk = self._array.chunks[0]
        row_bytes = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        step = chunk * max(1, BLOCK_BYTES // (chunk * row_bytes))
        for start in range(first // chunk * chunk, self.shape[0], step):
            rows = self._array[start : min(start + step, self.shape[0])]
            yield rows[max(0, first - start) :]

    def read_any_part(self) -> None:
        """Be read in any order from now on, chunks more than once if need be."""
        self.forward = False

    def read(self, index: Index, scratch: Scratch | None = None) -> NDArray[Any]:
        """Read a part."""
        if self.forward and self.shape:
            return super().read(index, scratch)
        try:
            return np.asarray(self._array[index])
        except Exception as error:  # whatever a damaged chunk makes a codec raise
            raise DataError(f"{self.name}: can't be read: {error}") from error

    def missing_chunks(self) -> int:
        """How many chunks have no file, and are read as the array's fill value."""
        return int(self._array.nchunks - self._array.nchunks_initialized)


def open_zarr(path: Path, member: str | None, names: Sequence[str]) -> ZarrSource:
    """Open a Zarr array, or one of a group."""
    try:
        found = zarr.open(path, mode="r")
        title = str(path)
        if isinstance(found, zarr.Group):
            arrays = [name for name, _ in found.arrays()]
            chosen = formats.choose(path, arrays, member, names)
            title = f"{path}:{chosen}" if len(arrays) > 1 else title
            found = found[chosen]
        elif member is not None:
            raise DataError(f"{path}: one Zarr array, not a group: leave :{member} out")
        return ZarrSource(path, title, found)
    except DataError:
        raise
    except Exception as error:  # whatever damaged metadata makes zarr raise
        raise DataError(f"{path}: can't be opened as Zarr: {error}") from error
