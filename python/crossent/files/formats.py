"""From what the command line names to a source: which format a file has, which of its arrays is meant, which shards.

The bytes of a file tell its format, not its name. Nothing is ever unpickled.
"""

import json
import re
import struct
import zipfile
from collections.abc import Sequence
from glob import glob, has_magic
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import DataError, irregular
from .sources import RawSource, Shards, Source

LOGITS_NAMES = ("logits", "log_probabilities", "probabilities", "predictions", "outputs")
TARGET_NAMES = ("targets", "target", "labels", "label", "y")
WEIGHT_NAMES = ("sample_weight", "weights", "weight")

SAFETENSORS_DTYPES = {"BF16": "V2", "BOOL": "?"} | {
    f"{letter}{8 * size}": f"<{kind}{size}"
    for letter, kind, sizes in (("F", "f", (2, 4, 8)), ("I", "i", (1, 2, 4, 8)), ("U", "u", (1, 2, 4, 8)))
    for size in sizes
}


def open_source(spec: str, names: Sequence[str] = ()) -> Source:
    """Open what the command line names.

    Parameters
    ----------
    spec : str
        A file, a directory of shards, a pattern such as ``logits-*.npy``, or a Zarr store; ``:NAME`` behind it picks
        one of several arrays.
    names : sequence of str
        Names to look for where there are several arrays and none is picked.

    Raises
    ------
    DataError
        If there is no such file or array, or the file is damaged.
    MissingLibraryError
        If the format needs a library that isn't there.
    """
    path_text, member = split_name(spec)
    path = Path(path_text)
    if has_magic(path_text) and not path.exists():
        paths = [Path(found) for found in glob(path_text)]
        if not paths:
            raise DataError(f"{path_text}: no file matches")
        return open_shards(path_text, paths, member, names)
    if path.is_dir() and not is_zarr(path):
        paths = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        if not paths:
            raise DataError(f"{path}: an empty directory")
        return open_shards(path_text, paths, member, names)
    return open_file(path, member, names)


def split_name(spec: str) -> tuple[str, str | None]:
    """Split ``FILE:NAME``; a file whose own name has a colon comes first."""
    path, colon, member = spec.rpartition(":")
    if not colon or not path or Path(spec).exists() or ("/" in member and not Path(path).exists()):
        return spec, None
    return path, member


def open_file(path: Path, member: str | None, names: Sequence[str]) -> Source:
    """Open one file, whatever its format."""
    if path.is_dir():
        from .zarr_arrays import open_zarr  # noqa: PLC0415  # needs zarr

        return open_zarr(path, member, names)
    try:
        if (kind := irregular(path)) is not None:  # to open a pipe may take for ever
            raise DataError(f"{path} is {kind}, but a regular file is needed, which can be read in any order")
        with path.open("rb") as file:
            magic = file.read(9)
            if magic.startswith(b"\x93NUMPY"):
                file.seek(0)
                return open_npy(path, file, member)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if magic.startswith(b"PK\x03\x04"):
        return open_npz(path, member, names)
    if magic.startswith(b"PAR1"):
        from .parquet import open_parquet  # noqa: PLC0415  # needs pyarrow

        return open_parquet(path, member, names)
    if magic[8:9] == b"{":
        return open_safetensors(path, member, names)
    raise DataError(
        f"{path}: not an .npy file as numpy.save writes it, nor .npz, safetensors, Parquet or Zarr "
        "(pickled data is never loaded)"
    )


def choose(path: Path, arrays: Sequence[str], member: str | None, names: Sequence[str]) -> str:
    """Return the name of the array that is meant."""
    shown = ", ".join(sorted(arrays)) or "none"
    if member is not None:
        if member not in arrays:
            raise DataError(f"{path}: no array is called {member!r}; there are: {shown}")
        return member
    if len(arrays) == 1:
        return arrays[0]
    for name in names:
        if name in arrays:
            return name
    raise DataError(
        f"{path}: which array? There are: {shown}. Add its name: {path}:NAME"
        + (f" (looked for: {', '.join(names)})" if names else "")
    )


def read_npy_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, Fortran order and dtype; the file is then at the first value."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # whatever a damaged header makes NumPy raise
        raise DataError(f"{name}: can't be read as an array of numbers: {error}") from error
    if dtype.hasobject or dtype.names:
        raise DataError(f"{name}: holds {dtype}, not an array of numbers (pickled data is never loaded)")
    return shape, fortran, dtype


def open_npy(path: Path, file: IO[bytes], member: str | None) -> Source:
    """Open an ``.npy`` file."""
    if member is not None:
        raise DataError(f"{path}: an .npy file has one array, without a name: leave :{member} out")
    shape, fortran, dtype = read_npy_header(file, str(path))
    return RawSource(path, str(path), offset=file.tell(), shape=shape, dtype=dtype, fortran=fortran)


def open_npz(path: Path, member: str | None, names: Sequence[str]) -> Source:
    """Open one array of an ``.npz`` archive: read in place if stored, inflated as a stream if compressed."""
    from .inflated import InflatedSource  # noqa: PLC0415  # refers to read_npy_header

    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            chosen = choose(path, list(arrays), member, names)
            entry = archive.getinfo(arrays[chosen])
            title = f"{path}:{chosen}" if len(arrays) > 1 else str(path)
            with archive.open(entry) as file:
                shape, fortran, dtype = read_npy_header(file, title)
                header = file.tell()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise DataError(f"{path}: a damaged .npz archive: {error}") from error
    if entry.compress_type != zipfile.ZIP_STORED:
        return InflatedSource(path, title, arrays[chosen], shape, dtype, fortran)
    with path.open("rb") as raw:  # names and extras may differ in length from those of the directory at the end
        raw.seek(entry.header_offset)
        name_length, extra_length = struct.unpack("<26xHH", raw.read(30))
    start = entry.header_offset + 30 + name_length + extra_length
    return RawSource(path, title, offset=start + header, shape=shape, dtype=dtype, fortran=fortran)


def open_safetensors(path: Path, member: str | None, names: Sequence[str]) -> Source:
    """Open one tensor of a safetensors file: a length, a header in JSON, the values as they lie in memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(size - 8, 100_000_000):
            raise DataError(
                f"{path}: a header of {length} bytes, but the file has {size}: not safetensors, or cut short"
            )
        text = file.read(length)
    try:
        header = json.loads(text)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        chosen = choose(path, list(tensors), member, names)
        shape = tuple(int(extent) for extent in tensors[chosen]["shape"])
        start, stop = (int(offset) for offset in tensors[chosen]["data_offsets"])
        format_name = str(tensors[chosen]["dtype"])
    except DataError:
        raise
    except Exception as error:  # whatever damaged JSON holds in the place of these
        raise DataError(f"{path}: not a header of safetensors: {type(error).__name__}: {error}") from error
    title = f"{path}:{chosen}" if len(tensors) > 1 else str(path)
    if format_name not in SAFETENSORS_DTYPES:
        raise DataError(f"{title} holds {format_name}, which can't be scored")
    dtype = np.dtype(SAFETENSORS_DTYPES[format_name])
    if start < 0 or min(shape, default=1) < 0 or stop - start != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise DataError(f"{title}: {format_name} of shape {shape} can't take {stop - start} bytes: a damaged header")
    return RawSource(path, title, offset=8 + length + start, shape=shape, dtype=dtype, bfloat16=format_name == "BF16")


def is_zarr(path: Path) -> bool:
    """Whether a directory is a Zarr store, of version 2 or 3."""
    return any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup"))


def open_shards(title: str, paths: Sequence[Path], member: str | None, names: Sequence[str]) -> Source:
    """Open files as one array, in the natural order of their names: 2 before 10."""
    ordered = sorted(paths, key=natural_key)
    check_numbering(title, ordered)
    parts = [open_file(path, member, names) for path in ordered]
    return parts[0] if len(parts) == 1 else Shards(title, parts)


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Sort key by which numbers in names count as numbers."""
    return [(0, int(text)) if text.isdecimal() else (1, text) for text in re.split(r"(\d+)", path.name)]


def check_numbering(title: str, paths: Sequence[Path]) -> None:
    """Find a shard that is missing from names with consecutive numbers, or with ``-of-00012`` in them."""
    names = [path.name for path in paths]
    for name in names:
        if (total := re.search(r"(\d+)-of-(\d+)", name)) and int(total[2]) != len(names):
            raise DataError(f"{title}: {name} is one of {int(total[2])} files, but there are {len(names)}")
    split = [re.split(r"(\d+)", name) for name in names]
    if len({len(parts) for parts in split}) != 1:
        return
    varying = [place for place in range(len(split[0])) if len({parts[place] for parts in split}) > 1]
    if len(varying) != 1 or varying[0] % 2 == 0:
        return
    numbers = [int(parts[varying[0]]) for parts in split]
    gaps = [(a, b) for a, b in pairwise(numbers) if b - a > 1]
    if gaps and len(gaps) < len(numbers) - 1:
        before, after = gaps[0]
        missing = names[numbers.index(before)], names[numbers.index(after)]
        raise DataError(f"{title}: a shard is missing between {missing[0]} and {missing[1]}")
