"""Arrays flush against pages that nobody may touch: one byte too far, read or written, ends the process."""

import ctypes
import mmap
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from cases import Array
from numpy.typing import DTypeLike

Side: TypeAlias = Literal["before", "behind"]

_PROT_NONE = 0
_FILL = 0xA5  # as a float of any width neither huge nor special


class Arena:
    """Memory between two forbidden pages, for one array at a time at its beginning or its end."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self.size = -(-size // page) * page
        self._map = mmap.mmap(-1, self.size + 2 * page)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        for guard in (self._base, self._base + page + self.size):
            forbid(guard, page)
        self._bytes: Array = np.frombuffer(self._map, np.uint8, self.size, page)
        self._bytes.fill(_FILL)

    def place(self, shape: Sequence[int], dtype: DTypeLike, strides: Sequence[int], side: Side) -> Array:
        """Return an array with these strides, in elements, whose first or last byte in memory is the arena's."""
        item = np.dtype(dtype).itemsize
        reaches = [step * (extent - 1) for step, extent in zip(strides, shape, strict=True)]
        below, above = sum(min(reach, 0) for reach in reaches), sum(max(reach, 0) for reach in reaches)
        nbytes = (above - below + 1) * item if 0 not in shape else 0
        assert nbytes <= self.size
        start = (0 if side == "before" else self.size - nbytes) - below * item
        placed: Array = np.ndarray(shape, dtype, self._bytes, start, [step * item for step in strides])
        return placed

    def copy(self, values: Array, strides: Sequence[int], side: Side) -> Array:
        """Return these values in the arena."""
        placed = self.place(values.shape, values.dtype, strides, side)
        placed[...] = values
        return placed

    def is_clean_but_for(self, placed: Array) -> bool:
        """Whether nothing but this array has been written since the arena was clean; it is clean again."""
        placed.view(np.uint8 if placed.itemsize == 1 else f"u{placed.itemsize}").fill(
            int.from_bytes(bytes([_FILL] * placed.itemsize), "little")
        )
        if (self._bytes == _FILL).all():
            return True
        self._bytes.fill(_FILL)
        return False


def forbid(address: int, size: int) -> None:
    """Take away the right to read or write whole pages."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), _PROT_NONE) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")


def row_strides(classes: int, positions: int) -> dict[str, tuple[int, int]]:
    """Return strides of (positions, classes), in elements, for every path through the kernels."""
    return {
        "rows": (classes, 1),
        "padded rows": (classes + 3, 1),
        "columns": (1, positions),
        "padded columns": (1, positions + 1),
        "gathered": (2 * classes, 2),
        "backwards": (-classes, -1),
    }
