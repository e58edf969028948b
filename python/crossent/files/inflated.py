"""A compressed member of an ``.npz`` archive, inflated as a stream."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .formats import read_npy_header
from .sources import BlockSource

BLOCK_BYTES = 2**20


class InflatedSource(BlockSource):
    """Rows of the first axis, one block after the other; zipfile checks the sum of all bytes at the end."""

    def __init__(
        self, path: Path, name: str, member: str, shape: tuple[int, ...], dtype: np.dtype[Any], fortran: bool
    ) -> None:
        super().__init__()
        if fortran and len(shape) > 1:
            raise DataError(
                f"{name}: compressed in Fortran order, so that no row is complete before the last: "
                "save it with numpy.ascontiguousarray, or uncompressed"
            )
        self.path, self.name, self._member, self.shape, self.dtype = path, name, member, shape, dtype

    def blocks(self, first: int) -> Iterator[NDArray[Any]]:
        """Inflate from the beginning; what comes before ``first`` is thrown away."""
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        step = max(1, BLOCK_BYTES // max(1, row_bytes))
        with zipfile.ZipFile(self.path) as archive, archive.open(self._member) as file:
            read_npy_header(file, self.name)
            if first and row_bytes:
                file.seek(first * row_bytes, 1)
            for start in range(first, max(self.shape[0], 1) if self.shape else 1, step):
                rows = min(step, self.shape[0] - start)
                try:
                    data = file.read(rows * row_bytes)
                except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                    raise DataError(
                        f"{self.name}: damaged: {error}. That shows in row {start} or later, but rows before it may be "
                        "wrong as well: the checksum is one of all rows"
                    ) from error
                if len(data) < rows * row_bytes:
                    raise DataError(f"{self.name}: ends in row {start + len(data) // max(1, row_bytes)}: cut short")
                yield np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])
            if file.read(1):
                raise DataError(f"{self.name}: holds more than its header says")
