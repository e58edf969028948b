"""Fitting a temperature to files, which are read again for every temperature that is tried."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossent.scores import Scores
from crossent.temperature import Slopes, TemperatureFit, fit

from . import checks
from .checks import Advise
from .errors import DataError, MissingLibraryError
from .scoring import Run, ScoreOptions, open_stream
from .stream import Part, Slab


def fit_files(
    options: ScoreOptions, advise: Advise, on_progress: Callable[[int, int, int], None] | None = None
) -> TemperatureFit:
    """Fit the temperature to files; of the options, those that tell what the files mean and what the run may take.

    Parameters
    ----------
    options : ScoreOptions
    advise : callable
        Is given messages on what looks wrong but can be scored.
    on_progress : callable, optional
        Is told, for each pass, the rows that are done, the rows in all, and the bytes of logits in a row.

    Raises
    ------
    DataError
        If a file is missing, unreadable, of the wrong type or shape, or if there is no best temperature.
    MissingLibraryError
        If SciPy is not there, or a library that a format needs.
    """
    progress = on_progress or (lambda *_: None)
    advised: set[str] = set()

    def advise_once(message: str) -> None:
        if message not in advised:
            advised.add(message)
            advise(message)

    def read(temperature: float, totals: bool) -> Slopes:
        run = Run(replace(options, temperature=temperature), advise_once)
        with ExitStack() as stack:
            return _read(run, stack, totals, progress)

    try:
        return fit(read)
    except ModuleNotFoundError as error:
        raise MissingLibraryError(str(error)) from error
    except ValueError as error:
        raise DataError(f"{options.logits}: {error}") from error


def _read(run: Run, stack: ExitStack, totals: bool, progress: Callable[[int, int, int], None]) -> Slopes:
    """Read all rows at the temperature of the run."""
    stream = run.stream = open_stream(run.options, stack)
    run.classes = stream.logits.shape[stream.axis]

    def slopes(slab: Slab, parts: Iterator[Part]) -> Slopes:
        found = Slopes()
        for part in parts:
            if slab.first_row == 0 and not found.rows:
                run._advise(part)
            scores = run._score(part)
            found += Slopes.of(scores, _mass(part, scores, stream.axis), totals=totals)
        return found

    sums = Slopes()
    progress(0, stream.rows, stream.row_bytes)
    for slab, found in stream.map(slopes):
        sums += found
        progress(slab.first_row + slab.rows, stream.rows, stream.row_bytes)
    return sums


def _mass(part: Part, scores: Scores, axis: int) -> NDArray[np.float64]:
    """Return what the target probabilities of each row sum to."""
    if scores.target is not None:
        return np.ones(())
    mass: NDArray[np.float64] = checks.as_floats(part.target).astype(np.float64).sum(axis=axis)
    return mass.reshape(scores.loss.shape)
