"""Scoring files: slab after slab to totals, worst rows, figures of each row; checkpoints on the way."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossent import __version__, config
from crossent.scores import Scores, score
from crossent.totals import Totals

from . import checks, memory
from .checkpoint import Checkpoint
from .checks import Advise, InputKind
from .errors import DataError
from .formats import LOGITS_NAMES, TARGET_NAMES, WEIGHT_NAMES, open_source
from .per_sample import PerSampleFile
from .sources import AnyPart, Source
from .stream import PIECE_BYTES, Part, Plan, Slab, Stream, pieces
from .worst import WorstRow, cutoff, merge_worst, worst_rows

if TYPE_CHECKING:
    from crossent.report import ReportData

CHECKPOINT_SECONDS = 30.0
MERGED = 16
"""Totals of slabs that are merged at once."""


@dataclass(frozen=True)
class ScoreOptions:
    """Files and how to read them, as the command line says."""

    logits: str
    targets: str | None = None
    """None: in the same file as the logits."""
    sample_weight: str | None = None
    kind: InputKind = "logits"
    bfloat16: bool = False
    axis: int | None = None
    ignore_index: int | None = -100
    temperature: float = 1.0
    top_k: tuple[int, ...] = (1, 5)
    bins: int = 15
    worst: int = 0
    report: bool = False
    """Whether the data of a report are gathered."""
    per_sample: Path | None = None
    resume: Path | None = None
    """A checkpoint to go on from, if it is there, and to write now and then."""
    max_memory: int = 512 * 10**6
    """What the run may take beside what the process has already."""
    threads: int | None = None


@dataclass(frozen=True)
class Result:
    """What is known of the rows up to ``rows``. Replaced as a whole, so that an interruption finds a whole one."""

    rows: int
    parts: tuple[Totals, ...]
    """Of these rows, one behind the other: merged as ``with_part`` says."""
    worst: tuple[WorstRow, ...] = ()
    report: "ReportData | None" = None
    first_nan: int | None = None
    slabs: int = 0
    """How many there were in this run."""

    @property
    def totals(self) -> Totals:
        """Of all the rows."""
        return self.parts[0].merge(*self.parts[1:])


def with_part(parts: tuple[Totals, ...], number: int, part: Totals) -> tuple[Totals, ...]:
    """Return the parts with one more, which is that of this number, counted from 1.

    MERGED of them are merged at once, and from then on two of equal size, as digits of a binary number that is counted
    up: what many have added up to, which may be a million counts, is seldom merged. The first part stays as it is.
    """
    most = MERGED
    while number % most == 0:
        last = len(parts) - (most - 1)
        part, parts, number, most = parts[last].merge(*parts[last + 1 :], part), parts[:last], number // most, 2
    return (*parts, part)


class Unfinished(Exception):  # it need not be an error
    """The run was interrupted or failed, and can go on from ``checkpoint``."""

    def __init__(self, checkpoint: Path, rows: int, rows_in_all: int, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.checkpoint, self.rows, self.rows_in_all, self.cause = checkpoint, rows, rows_in_all, cause


def score_files(
    options: ScoreOptions, advise: Advise, on_progress: Callable[[int, int, int], None] | None = None
) -> Result:
    """Score files.

    Parameters
    ----------
    options : ScoreOptions
    advise : callable
        Is given messages on what looks wrong but can be scored.
    on_progress : callable, optional
        Is told the rows that are done, first those done before, the rows in all, and the bytes of logits in a row.

    Raises
    ------
    DataError
        If a file is missing, unreadable, of the wrong type or shape, or holds something that can't be scored.
    MissingLibraryError
        If a format needs a library that isn't there.
    OutputError
        If ``per_sample`` or ``resume`` can't be written, or is a file that is read.
    Unfinished
        After Ctrl-C, or an error halfway: what was finished is in a checkpoint.
    """
    return Run(options, advise).run(on_progress or (lambda *_: None))


def open_stream(options: ScoreOptions, stack: ExitStack) -> Stream:
    """Open the files and check that they fit each other."""
    resident = memory.resident_bytes()

    def opened(spec: str, names: tuple[str, ...]) -> Source:
        source = open_source(spec, names)
        stack.callback(source.close)
        return source

    logits = opened(options.logits, LOGITS_NAMES)
    targets = opened(options.targets or options.logits, TARGET_NAMES)
    if targets.fingerprint() == logits.fingerprint():
        raise DataError(f"{logits.name} would be both the logits and their targets: name another file, or FILE:NAME")
    weight = None if options.sample_weight is None else opened(options.sample_weight, WEIGHT_NAMES)
    axis = checks.check_fit(logits, targets, weight, axis=options.axis, bfloat16=options.bfloat16)
    if axis == 0 and isinstance(logits, AnyPart):
        logits.read_any_part()
    workers = options.threads or config.get_num_threads()
    libraries = max(0, memory.resident_bytes() - resident)  # those that read the formats take room, too
    plan = Plan.within(options.max_memory - libraries, logits, axis, workers)
    return Stream(logits, targets, weight, axis, plan)


class Run:
    """One run: the options, the stream, and what becomes of each slab."""

    def __init__(self, options: ScoreOptions, advise: Advise) -> None:
        self.options, self.advise = options, advise
        self.totals_options: dict[str, Any] = {"top_k": options.top_k, "bins": options.bins}

    def run(self, on_progress: Callable[[int, int, int], None]) -> Result:
        """Score all rows."""
        options = self.options
        checks.check_outputs(
            [options.logits, options.targets, options.sample_weight],
            {"--per-sample": options.per_sample, "--resume": options.resume},
        )
        with ExitStack() as stack:
            stream = self.stream = open_stream(options, stack)
            self.classes = stream.logits.shape[stream.axis]
            job = self._job()
            result = self._start(job)
            checkpoint = options.resume or default_checkpoint(job)
            if result.rows == 0:
                self._check_classes_first()
            per_sample = self._per_sample(result.rows)
            if per_sample is not None:
                stack.callback(per_sample.close)
            self.result = result
            written = time.monotonic()
            try:
                on_progress(result.rows, stream.rows, stream.row_bytes)
                for slab, (scores, of_slab) in self.stream.map(self._score_slab, result.rows):
                    if per_sample is not None and scores is not None:
                        per_sample.append(scores)
                    self.result = result = self._merge(result, slab, of_slab)
                    on_progress(result.rows, stream.rows, stream.row_bytes)
                    if options.resume is not None and time.monotonic() - written > CHECKPOINT_SECONDS:
                        self._write(checkpoint, job, result, per_sample)
                        written = time.monotonic()
                if per_sample is not None:
                    per_sample.finish()
            except (KeyboardInterrupt, DataError, OSError) as error:
                if self.result.rows == 0:
                    if per_sample is not None:
                        per_sample.discard()
                    raise
                if per_sample is not None:
                    per_sample.leave()
                self._write(checkpoint, job, self.result, None)
                raise Unfinished(checkpoint, self.result.rows, stream.rows, error) from error
            if options.resume is not None:
                options.resume.unlink(missing_ok=True)
        result = replace(result, parts=(result.totals,), slabs=0)
        self._notes(result)
        return result

    def _job(self) -> dict[str, Any]:
        """All that the figures depend on."""
        stream, options = self.stream, self.options
        sources = {"logits": stream.logits, "targets": stream.targets, "sample weights": stream.sample_weight}
        return {
            **{name: source and source.fingerprint() for name, source in sources.items()},
            "shape": list(stream.logits.shape),
            "dtype": str(stream.logits.dtype),
            "axis": stream.axis,
            "input": options.kind,
            "ignore_index": options.ignore_index,
            "temperature": options.temperature,
            "top_k": list(options.top_k),
            "bins": options.bins,
            "worst": options.worst,
            "report": options.report,
            "per_sample": options.per_sample and str(options.per_sample),
            "version": __version__,
        }

    def _start(self, job: dict[str, Any]) -> Result:
        """Begin, or go on where a checkpoint says."""
        options = self.options
        if options.resume is None or not options.resume.exists():
            return Result(0, (Totals.empty(self.classes, **self.totals_options),), report=self._empty_report())
        found = Checkpoint.read(options.resume)
        found.check(options.resume, job)
        try:
            report = None
            if found.report is not None:
                from crossent.report import ReportData  # noqa: PLC0415  # only if asked for

                report = ReportData.from_json(found.report)
            worst = tuple(WorstRow(**{**row, "row": tuple(row["row"])}) for row in found.worst)
            plan = Plan(**{**found.plan, "workers": self.stream.plan.workers})
            result = Result(found.rows, (Totals.from_json(found.totals),), worst, report, found.first_nan)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{options.resume}: a damaged checkpoint: {error}") from error
        self.stream = replace(self.stream, plan=plan)
        return result

    def _empty_report(self) -> "ReportData | None":
        if not self.options.report:
            return None
        from crossent.report import ReportData  # noqa: PLC0415  # only if asked for

        return ReportData.empty(self.stream.rows)

    def _write(self, path: Path, job: dict[str, Any], result: Result, per_sample: PerSampleFile | None) -> None:
        if per_sample is not None:
            per_sample.flush()
        Checkpoint(
            job=job,
            rows=result.rows,
            plan=asdict(self.stream.plan),
            totals=result.totals.to_json(),
            worst=[asdict(row) for row in result.worst],
            report=None if result.report is None else result.report.to_json(),
            first_nan=result.first_nan,
        ).write(path)

    def _per_sample(self, first_row: int) -> PerSampleFile | None:
        if self.options.per_sample is None:
            return None
        stream = self.stream
        return PerSampleFile(
            self.options.per_sample,
            stream.positions,
            double=stream.logits.dtype.itemsize == 8,
            class_indices=stream.targets.shape == stream.positions and not stream.targets.bfloat16,
            first_row=first_row,
        )

    def _check_classes_first(self) -> None:
        """Look at all class indices before the first row is scored, if that takes little: scoring may take long."""
        stream = self.stream
        targets = stream.targets
        if targets.dtype.kind not in "iu" or targets.forward or 16 * targets.dtype.itemsize > stream.row_bytes:
            return
        for rows in pieces((*targets.shape, 1), len(targets.shape), targets.dtype.itemsize, PIECE_BYTES, PIECE_BYTES):
            error = checks.bad_class(
                targets.read(rows), rows, stream.logits, targets, self.classes, self.options.ignore_index
            )
            if error is not None:
                raise error

    def _score_slab(self, slab: Slab, parts: Iterator[Part]) -> tuple[Scores | None, Result]:
        """Score a slab; called from several threads."""
        scored: list[Scores] = []
        weights: list[NDArray[Any]] = []
        for part in parts:
            if slab.first_row == 0 and not scored:
                self._advise(part)
            scored.append(flat(self._score(part)))
            if part.sample_weight is not None and self.stream.sample_weight is not None:
                checks.check_weights(part.sample_weight, part.rows, self.stream.sample_weight)
                weights.append(np.ravel(part.sample_weight))
        scores = scored[0] if len(scored) == 1 else Scores.concatenate(scored)
        weight = np.concatenate(weights) if weights else None
        worst: tuple[WorstRow, ...] = ()
        if self.options.worst:
            bound = cutoff(self.result.worst, self.options.worst)
            worst = tuple(worst_rows(scores, slab.first_row, self.stream.positions, self.options.worst, bound))
        report = None
        if self.options.report:
            from crossent.report import ReportData  # noqa: PLC0415  # only if asked for

            report = ReportData.of(scores, slab.first_row, self.stream.rows)
        nan = np.isnan(scores.loss)
        result = Result(
            slab.rows,
            (Totals.of(scores, sample_weight=weight, **self.totals_options),),
            worst,
            report,
            slab.first_row + int(nan.argmax()) if nan.any() else None,
        )
        return scores if self.options.per_sample is not None else None, result

    def _score(self, part: Part) -> Scores:
        options, stream = self.options, self.stream
        values = checks.as_floats(part.values)
        target = checks.as_floats(part.target) if stream.targets.bfloat16 else part.target  # uint16: class indices
        if options.kind == "probabilities":
            checks.check_probabilities(values, part.rows, stream.axis, stream.logits)
            values = logarithms(values)
        try:
            return score(
                values, target, ignore_index=options.ignore_index, temperature=options.temperature, axis=stream.axis
            )
        except IndexError as error:
            found = checks.bad_class(
                part.target, part.rows, stream.logits, stream.targets, self.classes, options.ignore_index
            )
            raise found or DataError(f"{stream.targets.name}: {error}") from error
        except (TypeError, ValueError) as error:
            raise DataError(f"can't score {stream.logits.name} with {stream.targets.name}: {error}") from error

    def _advise(self, part: Part) -> None:
        stream = self.stream
        if part.values.size:
            values = checks.as_floats(part.values)
            checks.advise_on_kind(values, stream.axis, self.options.kind, stream.logits, self.advise)
            if part.target.ndim == values.ndim:
                target = checks.as_floats(part.target)
                checks.advise_on_targets(target, part.rows, stream.axis, stream.targets, self.advise)

    def _merge(self, all_before: Result, slab: Slab, of_slab: Result) -> Result:
        report = of_slab.report
        if report is not None and all_before.report is not None:
            report = all_before.report.merge(report)
        return Result(
            slab.first_row + slab.rows,
            with_part(all_before.parts, all_before.slabs + 1, *of_slab.parts),
            merge_worst(all_before.worst, of_slab.worst, self.options.worst),
            report,
            of_slab.first_nan if all_before.first_nan is None else all_before.first_nan,
            all_before.slabs + 1,
        )

    def _notes(self, result: Result) -> None:
        totals, logits = result.totals, self.stream.logits
        if result.first_nan is not None:
            position = tuple(map(int, np.unravel_index(result.first_nan, self.stream.positions or (1,))))
            self.advise(f"note: the loss of {logits.row(position)} is nan, and so is the mean")
        if totals.scored == 0:
            self.advise(
                f"note: no row is left to score ({totals.rows} rows, {totals.ignored} ignored): the mean is nan"
            )
        for source in (logits, self.stream.targets):
            missing = getattr(source, "missing_chunks", int)()
            if missing:
                self.advise(f"note: {missing} chunks of {source.name} have no file and were read as its fill value")


def flat(scores: Scores) -> Scores:
    """Return the rows along one axis."""
    if scores.loss.ndim == 1:
        return scores
    arrays: dict[str, Any] = {name: value.reshape(-1) for name, value in scores.to_dict().items()}
    return replace(scores, **arrays)


def logarithms(values: NDArray[Any]) -> NDArray[Any]:
    """Return the logarithms of probabilities, in float32 or float64; that of 0 is -inf."""
    wide = values if values.dtype.itemsize >= 4 else values.astype(np.float32)
    with np.errstate(divide="ignore"):
        found: NDArray[Any] = np.log(wide)
    return found


def default_checkpoint(job: dict[str, Any]) -> Path:
    """Name the checkpoint of a run that wasn't given one: the same for the same files and options."""
    digest = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
    return Path(f"crossent-{digest[:8]}.checkpoint")
