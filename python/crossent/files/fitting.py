"""A temperature fitted to files, which are read again for every pass."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from numpy.typing import NDArray

from crossent.temperature import TemperatureFit, fit_slabs

from . import checks
from .errors import DataError, MissingLibraryError
from .scoring import ScoreOptions, logarithms, open_stream
from .stream import Stream


def fit_temperature_to_files(options: ScoreOptions, advise: checks.Advise) -> TemperatureFit:
    """Find the temperature of the least mean loss; DataError if there is none, or the files can't be scored."""
    with ExitStack() as stack:
        stream = open_stream(options, stack)
        try:
            return fit_slabs(
                lambda: slabs(stream, options, advise), ignore_index=options.ignore_index, axis=stream.axis
            )
        except ModuleNotFoundError as error:
            raise MissingLibraryError(str(error)) from error
        except (TypeError, ValueError, IndexError) as error:
            raise DataError(f"can't fit a temperature to {stream.logits.name}: {error}") from error


def slabs(stream: Stream, options: ScoreOptions, advise: checks.Advise) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield logits and targets, as ``score`` takes them."""
    classes = stream.logits.shape[stream.axis]
    for part in stream.parts():
        values = checks.as_floats(part.values)
        if options.kind == "probabilities":
            checks.check_probabilities(values, part.rows, stream.axis, stream.logits)
            values = logarithms(values)
        if part.target.shape != values.shape:
            error = checks.bad_class(
                part.target, part.rows, stream.logits, stream.targets, classes, options.ignore_index
            )
            if error is not None:
                raise error
        yield values, checks.as_floats(part.target)
