"""The machine's own limits, measured beside what they judge: streaming read, non-temporal copy, length of a cycle."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from problems import Array
from timing import Call

CYCLES_A_CALL = 200_000
ALIGNMENT = 64


class Limits:
    """The loops of limits.cpp, compiled for this machine."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._library = _compile(Path(__file__).with_name("limits.cpp"))

    def read(self, *arrays: Array) -> dict[str, Call]:
        """Return calls that read one array, or two of the same size, from end to end; the fastest is the limit."""
        pointers, size = _pointers(arrays)
        if len(arrays) == 2:
            return {"read": self._call("read_two", *pointers, size)}
        return {f"read {s}": self._call(f"read_{s}", *pointers, size) for s in ("one_stream", "four_streams", "ahead")}

    def copy(self, *arrays: Array, out: Array) -> dict[str, Call]:
        """Return calls that read one or two arrays and write as much as one of them, past the caches."""
        pointers, size = _pointers((*arrays, out))
        if len(arrays) == 2:
            return {"copy": self._call("copy_two", *pointers, size)}
        return {f"copy {s}": self._call(f"copy_{s}", *pointers, size) for s in ("one", "ahead")}

    def cycles(self) -> dict[str, Call]:
        """Return a call that takes CYCLES_A_CALL cycles of a core."""
        return {"cycles": partial(self._library.count_cycles, ctypes.c_size_t(CYCLES_A_CALL // 10))}

    def _call(self, name: str, *arguments: ctypes.c_void_p | ctypes.c_size_t) -> Call:
        return partial(getattr(self._library, name), *arguments, ctypes.c_int(self.threads))


def _pointers(arrays: tuple[Array, ...]) -> tuple[list[ctypes.c_void_p], ctypes.c_size_t]:
    """Return where the arrays begin, on lines of the cache, and the bytes that all of them have from there."""
    starts = [-(-array.ctypes.data // ALIGNMENT) * ALIGNMENT for array in arrays]
    ends = (array.ctypes.data + array.nbytes for array in arrays)
    size = min(end - start for start, end in zip(starts, ends, strict=True)) // ALIGNMENT * ALIGNMENT
    return [ctypes.c_void_p(start) for start in starts], ctypes.c_size_t(size)


def _compile(source: Path) -> ctypes.CDLL:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise FileNotFoundError("the machine's limits need a C++ compiler (CXX, g++ or c++)")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "limits.so"
        flags = ["-std=c++20", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared"]
        subprocess.run([compiler, *flags, "-o", library, source], check=True)
        return ctypes.CDLL(str(library))
