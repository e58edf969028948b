"""A column of a Parquet file, read by pyarrow: numbers, or lists of numbers of one length."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import formats
from .errors import DataError, MissingLibraryError
from .sources import BlockSource

try:
    import pyarrow
    from pyarrow import parquet
except ModuleNotFoundError as error:
    raise MissingLibraryError('Parquet files are read by pyarrow: pip install "crossent[parquet]"') from error

BLOCK_BYTES = 2**20
BUFFER_BYTES = 2**20


class ParquetSource(BlockSource):
    """Rows of a column, decoded in batches; a row group may be larger than memory."""

    def __init__(self, path: Path, name: str, column: str) -> None:
        super().__init__()
        self._width: int | None = None
        self.path, self.name, self._column = path, name, column
        file = self._open()
        self._group_starts = np.cumsum(
            [0, *(file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups))]
        ).tolist()
        rows = file.metadata.num_rows
        first = next(file.iter_batches(batch_size=1, columns=[column]), None)
        if first is None:
            raise DataError(f"{name}: has no rows")
        one = self._as_array(first.column(0), 0)
        self.shape, self.dtype = (rows, *one.shape[1:]), one.dtype

    def _open(self) -> Any:
        return parquet.ParquetFile(
            self.path, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        )

    def _as_array(self, column: Any, first_row: int) -> NDArray[Any]:
        if column.null_count:
            row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(f"row {row} of {self.name} is null")
        if isinstance(column.type, pyarrow.FixedSizeListType):
            inner = column.flatten()
            shape: tuple[int, ...] = (len(column), column.type.list_size)
        elif isinstance(column.type, (pyarrow.ListType, pyarrow.LargeListType)):
            inner = column.flatten()
            lengths = np.diff(column.offsets.to_numpy())
            if self._width is None:
                self._width = int(lengths[0])
            expected = self._width
            if (lengths != expected).any():
                at = int(np.argmax(lengths != expected))
                raise DataError(
                    f"row {first_row + at} of {self.name} has {lengths[at]} values, but those before have {expected}"
                )
            shape = (len(column), expected)
        else:
            inner, shape = column, (len(column),)
        if inner.null_count:
            at = int(np.argmax(inner.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(
                f"row {first_row + at // max(1, shape[-1] if len(shape) > 1 else 1)} of {self.name} has a null"
            )
        if not (pyarrow.types.is_integer(inner.type) or pyarrow.types.is_floating(inner.type)):
            raise DataError(f"{self.name} holds {column.type}, not numbers or lists of numbers of one length")
        values: NDArray[Any] = inner.to_numpy(zero_copy_only=False)
        return values.reshape(shape)

    def blocks(self, first: int) -> Iterator[NDArray[Any]]:
        """Decode from the row group that holds ``first``; what comes before it there is thrown away."""
        group = int(np.searchsorted(self._group_starts, first, "right")) - 1
        row_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        batches = self._open().iter_batches(
            batch_size=max(1, min(BLOCK_BYTES // max(1, row_bytes), 2**17)),
            row_groups=list(range(group, len(self._group_starts) - 1)),
            columns=[self._column],
            use_threads=False,
        )
        row = self._group_starts[group]
        for batch in batches:
            rows = self._as_array(batch.column(0), row)
            row += len(rows)
            if row > first:
                yield rows[max(0, len(rows) - (row - first)) :]


def open_parquet(path: Path, member: str | None, names: Sequence[str]) -> ParquetSource:
    """Open one column of a Parquet file."""
    try:
        columns = [field.name for field in parquet.read_schema(path)]
        column = formats.choose(path, columns, member, names)
        return ParquetSource(path, f"{path}:{column}" if len(columns) > 1 else str(path), column)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: a damaged Parquet file: {error}") from error
