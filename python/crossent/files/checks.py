"""Whether files fit each other, and whether their values are what they are said to be."""

import glob
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossent import _explain, _options

from .errors import DataError, OutputError, irregular
from .sources import BFLOAT16_BITS, Index, Source

InputKind: TypeAlias = Literal["logits", "log-probabilities", "probabilities"]
Advise: TypeAlias = Callable[[str], None]


def check_fit(
    logits: Source, targets: Source, sample_weight: Source | None, *, axis: int | None, bfloat16: bool
) -> int:
    """Return the class axis, counted from 0, if types and shapes fit each other."""
    if bfloat16 and logits.dtype not in BFLOAT16_BITS:
        raise DataError(f"{logits.name} holds {logits.dtype}, but bfloat16 is saved as |V2 or uint16")
    if not (bfloat16 or logits.bfloat16) and logits.dtype in BFLOAT16_BITS:
        raise DataError(f"{logits.name} holds {logits.dtype}: if these are bfloat16, add --dtype bfloat16")
    try:
        if logits.dtype not in BFLOAT16_BITS and (logits.dtype.kind != "f" or logits.dtype.itemsize > 8):
            raise _explain.not_values(outline(logits), "logits")
        class_axis = _options.as_class_axis(axis, logits.shape)
        positions = logits.shape[:class_axis] + logits.shape[class_axis + 1 :]
        kind = "f" if targets.bfloat16 else targets.dtype.kind
        fits = positions if kind in "iu" else logits.shape if kind == "f" else None
        if targets.shape != fits:
            raise _explain.unfit_target(outline(targets), kind, logits.shape, class_axis, probabilities=True)
        if logits.shape[class_axis] == 0 and 0 not in positions:
            raise _explain.no_classes(logits.shape, class_axis)
    except (TypeError, ValueError) as error:
        raise DataError(f"can't score {logits.name} with {targets.name}: {error}") from error
    if sample_weight is not None and (sample_weight.shape != positions or sample_weight.dtype.kind not in "biuf"):
        raise DataError(
            f"{sample_weight.name} must hold one real number for each row, shape {positions}, "
            f"not {sample_weight.dtype} of shape {sample_weight.shape}"
        )
    return class_axis


def check_outputs(inputs: Sequence[str | None], outputs: Mapping[str, Path | None]) -> None:
    """Raise OutputError if a file to be written is one that is read, is to be written twice, or can't be written.

    Nor may it come to lie among the shards that are read: the next run would take it for one of them.
    """
    specs = [spec for spec in inputs if spec is not None]
    read = [path for spec in specs for path in _files_of(spec)]
    written: dict[str, Path] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        if any(path.exists() and path.samefile(other) for other in read):
            raise OutputError(f"{option} {path} is a file that is read: it would be overwritten")
        for spec in specs:
            if _would_be_read(path, spec):
                raise OutputError(
                    f"{option} {path} would be one of the files of {spec} the next time: write it elsewhere"
                )
        for other_option, other in written.items():
            if path.absolute() == other.absolute() or (path.exists() and other.exists() and path.samefile(other)):
                raise OutputError(f"{option} and {other_option} name the same file, {path}")
        if path.exists() and (kind := irregular(path)) is not None:
            raise OutputError(f"{option} {path} is {kind}")
        _check_writable(option, path)
        written[option] = path


def _would_be_read(path: Path, spec: str) -> bool:
    """Whether a file lies in a directory that is read (a Zarr store, shards), or matches a pattern."""
    names = {spec, spec.rpartition(":")[0] or spec}
    inside = any(Path(name).is_dir() and path.resolve().is_relative_to(Path(name).resolve()) for name in names)
    return inside or any(
        glob.has_magic(name) and not Path(name).exists() and path.absolute().match(str(Path(name).absolute()))
        for name in names
    )


def _check_writable(option: str, path: Path) -> None:
    """Find out by writing: rights alone don't tell."""
    partial = path.with_name(path.name + ".partial")  # what is written first
    was_there = partial.exists()
    try:
        with partial.open("ab"):
            pass
        if not was_there:
            partial.unlink()
        if path.exists():
            with path.open("ab"):
                pass
    except OSError as error:
        raise OutputError(f"{option} {path} can't be written: {error.strerror}") from error


def _files_of(spec: str) -> list[Path]:
    """Return the files that may be meant by FILE, FILE:NAME or a pattern."""
    names = {spec, spec.rpartition(":")[0] or spec}
    found = [Path(match) for name in names for match in (glob.glob(name) or [name])]  # absolute ones too
    return [file for path in found if path.exists() for file in (path, *(path.iterdir() if path.is_dir() else ()))]


def outline(source: Source) -> NDArray[Any]:
    """Return an array of this dtype and shape that takes no memory."""
    return np.broadcast_to(np.empty((), source.dtype), source.shape)


def as_floats(values: NDArray[Any]) -> NDArray[Any]:
    """Return bfloat16 bits as bfloat16 if ``ml_dtypes`` is there, else as float32, which holds the same numbers."""
    if values.dtype not in BFLOAT16_BITS:
        return values
    try:
        import ml_dtypes  # noqa: PLC0415  # optional

        return values.view(ml_dtypes.bfloat16)
    except ModuleNotFoundError:
        wide = values.view(np.uint16).astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)


def first_position(marks: NDArray[np.bool_], rows: Index) -> tuple[int, ...] | None:
    """Position in the whole file of the first mark of a part, None if there is none."""
    if not marks.any():
        return None
    inside = np.unravel_index(int(np.argmax(marks)), marks.shape)
    return tuple(int(index) + part.start for index, part in zip(inside, rows, strict=False))


def bad_class(
    target: NDArray[Any], rows: Index, logits: Source, targets: Source, classes: int, ignore_index: int | None
) -> DataError | None:
    """Find the first class index that is out of range."""
    target = np.atleast_1d(target)
    out_of_range = (target < 0) | (target >= classes)
    if ignore_index is not None:
        out_of_range &= target != ignore_index
    position = first_position(out_of_range, rows)
    if position is None:
        return None
    found = target[tuple(index - part.start for index, part in zip(position, rows, strict=True)) or 0]
    return DataError(
        f"{targets.row(position)} is class {found}, but {logits.name} has {classes} classes, 0 to {classes - 1}"
        + ("" if ignore_index is None else f"; only targets of {ignore_index} are ignored")
    )


def check_weights(weights: NDArray[Any], rows: Index, source: Source) -> None:
    """Weights are finite and not negative."""
    position = first_position(np.atleast_1d(~(weights >= 0) | (weights == math.inf)), rows)
    if position is not None:
        found = np.atleast_1d(weights)[tuple(i - part.start for i, part in zip(position, rows, strict=True)) or 0]
        raise DataError(f"{source.row(position)} is a weight of {found}: weights are finite and not negative")


def unlike_probabilities(values: NDArray[Any], rows: Index, axis: int, source: Source) -> str | None:
    """Tell of the first row that has a negative number or doesn't sum to 1 within the rounding of its dtype."""
    with np.errstate(invalid="ignore", over="ignore"):
        smallest = np.atleast_1d(values.min(axis=axis))
        sums = np.atleast_1d(values.sum(axis=axis, dtype=np.float64))
    bad = ~(smallest >= 0) | ~(np.abs(sums - 1) <= tolerance(values.dtype))
    position = first_position(bad, rows)
    if position is None:
        return None
    inside = tuple(i - part.start for i, part in zip(position, rows, strict=True)) or 0
    least, total = float(smallest[inside]), float(sums[inside])
    found = f"has a probability of {least:g}" if not least >= 0 else f"sums to {total:g}, not 1"
    return f"{source.row(position)} {found}"


def check_probabilities(values: NDArray[Any], rows: Index, axis: int, source: Source) -> None:
    """Probabilities are not negative, and sum to 1."""
    found = unlike_probabilities(values, rows, axis, source)
    if found is not None:
        raise DataError(f"{found}: if these are logits, leave --input probabilities out")


def advise_on_targets(target: NDArray[Any], rows: Index, axis: int, targets: Source, advise: Advise) -> None:
    """Look whether the first rows of a target with classes are probabilities; they are scored as they are."""
    found = unlike_probabilities(first_rows(target, axis), rows, axis, targets)
    if found is not None:
        advise(f"warning: {found}: targets of the logits' shape are class probabilities, and are taken as they are")


def first_rows(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return what is worth a look."""
    return values[tuple(slice(None) if i == axis else slice(0, 1000) for i in range(values.ndim))]


def advise_on_kind(values: NDArray[Any], axis: int, kind: InputKind, logits: Source, advise: Advise) -> None:
    """Look whether the first rows are what ``kind`` says."""
    first = first_rows(values, axis)
    if kind == "log-probabilities":
        with np.errstate(over="ignore"):
            first = np.exp(first)
    normalised = sums_to_one(first, axis)
    if kind == "logits" and normalised:
        advise(
            f"warning: the rows of {logits.name} are non-negative and sum to 1, so they look like probabilities, "
            "not logits. If they come out of a softmax, add --input probabilities: this loss is not theirs"
        )
    if kind == "log-probabilities" and not normalised:
        advise(
            f"warning: the rows of {logits.name} don't look like log-probabilities, which would be non-negative "
            "and sum to 1 after exp. If they are logits, leave --input out"
        )


def tolerance(dtype: np.dtype[Any]) -> float:
    """How far from 1 the sum of rounded probabilities may be."""
    return 0.02 if dtype.itemsize == 2 else 1e-3


def sums_to_one(values: NDArray[Any], axis: int) -> bool:
    """Whether all rows are non-negative and sum to 1, as probabilities do, within the rounding of their dtype."""
    with np.errstate(invalid="ignore", over="ignore"):
        sums = values.sum(axis=axis, dtype=np.float64)
    return bool(values.size and np.all(values >= 0) and np.all(np.abs(sums - 1) <= tolerance(values.dtype)))
