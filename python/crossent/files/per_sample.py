"""The figures of each row in a file, written as they come.

They go to ``OUT.partial``, an ``.npy`` file that can be read at any time after the writer has stopped, and become OUT
in one step at the end: renamed, or for Parquet converted, part by part.
"""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossent.scores import Scores

from .errors import DataError, MissingLibraryError, OutputError

FIGURES = ("loss", "predicted", "confidence", "entropy", "log_sum_exp")
HEADER_BYTES = 1024
ROWS_AT_A_TIME = 2**16


def check_path(path: Path) -> None:
    """``DataError`` if its suffix is no format that is written, ``MissingLibraryError`` if that needs a library."""
    if path.suffix not in (".npy", ".parquet"):
        raise DataError(f"{path}: figures of each row are written as .npy or .parquet")
    if path.suffix == ".parquet":
        check_pyarrow()


class PerSampleFile:
    """A structured array of the shape of the targets: ``target``, ``loss``, ``predicted``, ``rank`` and others."""

    def __init__(self, path: Path, positions: tuple[int, ...], *, double: bool, class_indices: bool, first_row: int):
        check_path(path)
        self.path, self.partial = path, path.with_name(path.name + ".partial")
        self._positions = positions
        real = np.float64 if double else np.float32
        columns = [(name, np.int64 if name == "predicted" else real) for name in FIGURES]
        extra = [("target", np.int64), ("rank", np.int64)] if class_indices else [("divergence", real)]
        self.dtype = np.dtype([*extra, *columns])
        try:
            self._file = self.partial.open("r+b" if first_row else "w+b")
            end = HEADER_BYTES + first_row * self.dtype.itemsize
            if first_row and self._file.seek(0, 2) < end:
                self._file.close()
                raise DataError(f"{self.partial}: doesn't hold the {first_row} rows that the checkpoint speaks of")
            self._file.truncate(end)
        except OSError as error:
            raise OutputError(f"{self.partial}: {error.strerror}") from error
        self._rows = first_row
        self._write_header((first_row,))

    def _write_header(self, shape: tuple[int, ...]) -> None:
        """Write the header in the same room, whatever the shape."""
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        )
        text = header.getvalue()
        length = (HEADER_BYTES - 10).to_bytes(2, "little")
        self._file.seek(0)
        self._file.write(text[:8] + length + text[10:].rstrip().ljust(HEADER_BYTES - 11) + b"\n")
        self._file.seek(0, 2)

    def append(self, scores: Scores) -> None:
        """Write rows behind those that are there."""
        records = np.empty(scores.loss.size, self.dtype)
        for name in self.dtype.names or ():
            records[name] = getattr(scores, name).ravel()
        self._file.write(records.data)
        self._rows += records.size

    def flush(self) -> None:
        """Hand what is written to the system, so that a checkpoint may count on it."""
        self._file.flush()

    def finish(self) -> None:
        """Make it the file that was asked for."""
        self._write_header(self._positions)
        self._file.close()
        if self.path.suffix == ".parquet":
            to_parquet(self.partial, self.path, self.dtype, math.prod(self._positions))
            self.partial.unlink()
        else:
            self.partial.replace(self.path)

    def leave(self) -> None:
        """Stop before the end; what is written can be read."""
        if not self._file.closed:  # or all rows are in it, and only OUT isn't finished
            self._write_header((self._rows,))
        self.close()

    def discard(self) -> None:
        """Stop where no row is written, and leave nothing."""
        self.close()
        self.partial.unlink()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def check_pyarrow() -> None:
    """MissingLibraryError if there is none."""
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415  # optional
    except ModuleNotFoundError as error:
        raise MissingLibraryError('Parquet files are written by pyarrow: pip install "crossent[parquet]"') from error


def to_parquet(source: Path, path: Path, dtype: np.dtype[Any], rows: int) -> None:
    """Convert records to columns; ``row`` counts them."""
    import pyarrow as pa  # noqa: PLC0415  # optional
    from pyarrow import parquet  # noqa: PLC0415

    names = dtype.names or ()
    schema = pa.schema([("row", pa.int64()), *((name, pa.from_numpy_dtype(dtype[name])) for name in names)])
    beside = path.with_name(path.name + ".parquet-partial")
    with source.open("rb") as file, parquet.ParquetWriter(beside, schema) as writer:
        file.seek(HEADER_BYTES)
        for start in range(0, rows, ROWS_AT_A_TIME):
            count = min(ROWS_AT_A_TIME, rows - start)
            records: NDArray[Any] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
            columns = [np.ascontiguousarray(records[name]) for name in names]
            writer.write_batch(pa.record_batch([np.arange(start, start + count), *columns], schema=schema))
    beside.replace(path)
