"""Scoring ``.npy`` files: map them, check that they fit each other, score slab after slab.

What is wrong with the files is a :class:`DataError`, what only looks wrong goes to a callback; ``cli.py`` shows both.
"""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _explain, _options, scoring
from .scoring import InputKind, Totals

#: What bfloat16 becomes in ``.npy``, which has no name for it: as ``ml_dtypes`` saves it, or seen as integers.
BFLOAT16_BITS = (np.dtype("V2"), np.dtype(np.uint16))


class DataError(Exception):
    """Something about the files that makes scoring impossible; the text is for the user."""


@dataclass(frozen=True)
class ScoreFiles:
    """Two files and how to read them, as the command line says; messages quote the paths."""

    logits: Path
    targets: Path
    kind: InputKind = "logits"
    ignore_index: int | None = -100
    axis: int | None = None
    bfloat16: bool = False
    """The logits are bfloat16, and their file holds one of ``BFLOAT16_BITS``."""

    def run(self, advise: Callable[[str], None]) -> tuple[Totals, int]:
        """Score the files.

        Parameters
        ----------
        advise : callable
            Is given messages on what looks wrong but can be scored.

        Returns
        -------
        totals : Totals
        classes : int

        Raises
        ------
        DataError
            If a file is missing, unreadable, of the wrong type or shape, or holds a target out of range.
        """
        logits, targets = open_array(self.logits), open_array(self.targets)
        if self.bfloat16:
            logits = self._bfloat16_bits(logits)
        axis = self._check_fit(logits, targets)
        self._check_targets(targets, logits.shape[axis])

        totals = Totals()
        first_nan: tuple[int, ...] | None = None
        itemsize = 4 if self.bfloat16 else logits.itemsize
        for rows in scoring.slabs(logits.shape, axis, itemsize):
            all_classes = (*rows[:axis], slice(None), *rows[axis:])
            values = logits[all_classes]
            if self.bfloat16:
                values = float32_of_bfloat16_bits(values)
            if totals.rows == 0 and values.size:
                self._advise_on_kind(values, axis, advise)
            target = np.asarray(targets[rows])
            loss = scoring.losses(values, target, kind=self.kind, ignore_index=self.ignore_index, axis=axis)
            totals += scoring.total(values, target, loss, self.ignore_index, axis)
            if first_nan is None:
                first_nan = first_position(np.isnan(loss), rows)
            forget_pages(logits)
            forget_pages(targets)

        if first_nan is not None:
            advise(f"note: the loss of {row_text(first_nan)} of {self.logits} is nan, and so is the mean")
        if totals.scored == 0:
            advise(f"note: no row is left to score ({totals.rows} rows, {totals.ignored} ignored): the mean is nan")
        return totals, logits.shape[axis]

    def _bfloat16_bits(self, logits: NDArray[Any]) -> NDArray[np.uint16]:
        if logits.dtype not in BFLOAT16_BITS:
            raise DataError(f"{self.logits} holds {logits.dtype}, but bfloat16 is saved as |V2 or uint16")
        return logits.view(np.uint16)

    def _check_fit(self, logits: NDArray[Any], targets: NDArray[Any]) -> int:
        """Return the class axis, counted from 0, if types and shapes fit each other."""
        if not self.bfloat16 and logits.dtype in BFLOAT16_BITS:
            raise DataError(f"{self.logits} holds {logits.dtype}: if these are bfloat16, add --dtype bfloat16")
        try:
            if not self.bfloat16 and (logits.dtype.kind != "f" or logits.itemsize > 8):
                raise _explain.not_values(logits, "logits")
            axis = _options.as_class_axis(self.axis, logits.shape)
            if targets.dtype.kind not in "iu" or targets.shape != logits.shape[:axis] + logits.shape[axis + 1 :]:
                raise _explain.unfit_target(targets, targets.dtype.kind, logits.shape, axis, probabilities=False)
            if logits.shape[axis] == 0 and targets.size:
                raise _explain.no_classes(logits.shape, axis)
        except (TypeError, ValueError) as error:
            raise DataError(f"can't score {self.logits} with {self.targets}: {error}") from error
        return axis

    def _check_targets(self, targets: NDArray[Any], classes: int) -> None:
        """All of them before the first row is scored: scoring may take long."""
        for rows in scoring.slabs((*targets.shape, 1), targets.ndim, targets.itemsize):
            target = np.atleast_1d(targets[rows])
            out_of_range = (target < 0) | (target >= classes)
            position = first_position(out_of_range & scoring.counts(target, self.ignore_index), rows)
            if position is not None:
                raise DataError(
                    f"{row_text(position)} of {self.targets} is class {targets[position]}, but {self.logits} "
                    f"has {classes} classes, 0 to {classes - 1}"
                    + ("" if self.ignore_index is None else f"; only targets of {self.ignore_index} are ignored")
                )
            forget_pages(targets)

    def _advise_on_kind(self, values: NDArray[Any], axis: int, advise: Callable[[str], None]) -> None:
        """Look whether the first rows are what ``kind`` says."""
        first = values[tuple(slice(None) if i == axis else slice(0, 1000) for i in range(values.ndim))]
        if self.kind == "log-probabilities":
            with np.errstate(over="ignore"):
                first = np.exp(first)
        normalised = scoring.sums_to_one(first, axis)
        if self.kind == "logits" and normalised:
            advise(
                f"warning: the rows of {self.logits} are non-negative and sum to 1, so they look like probabilities, "
                "not logits. If they come out of a softmax, add --input probabilities: this loss is not theirs"
            )
        if self.kind != "logits" and not normalised:
            advise(
                f"warning: the rows of {self.logits} don't look like {self.kind}, which would be non-negative "
                f"and sum to 1{' after exp' if self.kind == 'log-probabilities' else ''}. If they are logits, "
                "leave --input out"
            )


def open_array(path: Path) -> NDArray[Any]:
    """Map an ``.npy`` file; DataError if it isn't one."""
    try:
        with path.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if magic.startswith(b"PK\x03\x04"):
        raise DataError(f"{path}: an .npz archive can't be mapped; save each array with numpy.save")
    if magic != b"\x93NUMPY":
        raise DataError(f"{path}: not an .npy file as numpy.save writes it (pickled data is never loaded)")
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # whatever a damaged header makes NumPy raise
        raise DataError(f"{path}: can't be mapped as an array of numbers: {error}") from error


def forget_pages(array: NDArray[Any]) -> None:
    """Unmap the pages read so far, which would count as this process's memory; the system's cache keeps them."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def float32_of_bfloat16_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Convert exactly: bfloat16 is the upper half of float32."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def first_position(marks: NDArray[np.bool_], rows: tuple[slice, ...]) -> tuple[int, ...] | None:
    """Position in the whole file of the first mark of a slab, None if there is none."""
    if not marks.any():
        return None
    inside = np.unravel_index(int(np.argmax(marks)), marks.shape)
    return tuple(int(index) + part.start for index, part in zip(inside, rows, strict=False))


def row_text(position: tuple[int, ...]) -> str:
    """How messages name a row: counted from 0, as in NumPy."""
    return f"row {position[0]}" if len(position) == 1 else f"row {position}" if position else "the only row"
