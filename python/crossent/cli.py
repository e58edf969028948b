"""The command line: ``python -m crossent score``, ``fit-temperature`` and ``demo``.

Arguments, messages and exit codes; the work is done in ``files`` and ``demo.py``, what is printed is laid out in
``_printing.py``. Needs NumPy alone.
"""

import argparse
import importlib.util
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import __version__, _printing
from .files import (
    DataError,
    MissingLibraryError,
    OutputError,
    ScoreOptions,
    Unfinished,
    fit_files,
    memory,
    score_files,
)
from .files.checks import check_outputs

EXIT_FAILURE = 1
EXIT_USAGE = 2  # argparse's own
EXIT_BAD_DATA = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE
EXIT_TERMINATED = 143  # 128 + SIGTERM

SCORE_DESCRIPTION = """\
Score saved predictions: how well do the logits in one file predict the
classes in the other?

LOGITS   floats, one for each row and class, for example of shape
         (rows, classes) or (batch, classes, height, width)
TARGETS  integers, the right class of each row, counted from 0: the shape of
         LOGITS without its class axis; or floats of the shape of LOGITS, the
         probabilities that are right. Left out: in the same file as LOGITS

Each is a file: .npy, .npz, safetensors, Parquet (a column of lists), or Zarr;
or a directory of such files, or a pattern like 'logits-*.npy': their rows are
read one file behind the other, in the order of the numbers in their names.
Where a file has several arrays, FILE:NAME picks one; otherwise those called
logits, and targets or labels, are taken.

Files are read in small parts, whatever their size. Nothing is ever unpickled.
"""

SCORE_EPILOG = """\
printed are
  rows, ignored      how many there are; how many of them don't count
  mean loss          cross-entropy in nats and, behind the +-, the standard
                     error of the mean, taking rows as independent
  perplexity         exp(mean loss)
  accuracy, top k    how often the target is the class with the largest logit,
                     or among the k largest (the first of equals; a row with
                     nan is never right)
  calibration error  the mean distance between confidence and accuracy
  brier score        mean square distance between probabilities and the truth
  confidence         mean probability of the predicted class
  entropy            mean entropy of the predicted probabilities, in nats
  divergence         with probabilities as targets: mean Kullback-Leibler
                     divergence of the predictions from them, in nats

--json prints one object on one line: "rows", "ignored", "non_finite" (rows
whose loss is inf or nan), "classes" (integers); "mean_loss", "standard_error",
"perplexity", "bits", "accuracy", "top_k" (an object: k to accuracy),
"expected_calibration_error", "brier_score", "mean_confidence",
"mean_entropy", "mean_divergence"; with --worst "worst", a list of objects:
"row" (a list: its position), "target", "predicted", "loss", "confidence".
What has no meaning for these targets is null; "NaN", "Infinity" and
"-Infinity" are strings, since JSON has no such numbers.

exit codes: 0 scored; 1 the output can't be written, or a library is missing;
2 wrong arguments; 3 files missing, damaged or at odds with each other (the
message names file and row, counted from 0); 130 interrupted by Ctrl-C. What
was finished before 3 or 130 is in a checkpoint: --resume goes on from there.

examples:
  python -m crossent score logits.npy labels.npy
  python -m crossent score predictions.npz --worst 10 --report report.html
  python -m crossent score 'shards/logits-*.npy' 'shards/labels-*.npy' --json
"""


FIT_TEMPERATURE_DESCRIPTION = """\
Calibrate by one number: find the temperature T at which the softmax of
logits / T has the least mean loss, on rows that the model was not trained on.
Which class is predicted stays the same, and so does the accuracy.

Prints T with its standard error (taking rows as independent), and the figures
of score before, at T = 1, and after. The files are read some ten times. Rows
whose loss is infinite or nan are left out. Where there is no best temperature,
as for a model that is always right, a message tells why, with exit code 3.
"""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; what is under way ends as after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; ``sys.argv[1:]`` if not given.

    Returns
    -------
    int
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # ± where the terminal has none
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        if options.command is None:
            parser.error("a command is needed: score, fit-temperature or demo")
        code: int = options.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except DataError as error:
        complain(str(error))
        return EXIT_BAD_DATA
    except (MissingLibraryError, OutputError) as error:
        complain(str(error))
        return EXIT_FAILURE
    except Unfinished as stopped:
        return explain_interruption(stopped)
    except KeyboardInterrupt as error:
        complain("interrupted")
        return EXIT_TERMINATED if isinstance(error, Terminated) else EXIT_INTERRUPTED
    except OSError as error:
        # What stdout still holds would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader left early, as ``head`` does
            return EXIT_BROKEN_PIPE
        complain(str(error))
        return EXIT_FAILURE
    return code


def build_parser() -> argparse.ArgumentParser:
    """All arguments of all commands."""
    parser = argparse.ArgumentParser(prog="python -m crossent", description="Cross-entropy for NumPy arrays.")
    parser.add_argument("--version", action="version", version=f"crossent {__version__}")
    if importlib.util.find_spec("shtab") is not None:
        import shtab  # noqa: PLC0415  # optional

        shtab.add_argument_to(parser, help='print completions for a shell: eval "$(crossent --print-completion bash)"')
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    add_score(commands)
    add_fit_temperature(commands)
    add_demo(commands)
    return parser


def add_score(commands: Any) -> None:
    """Arguments of ``score``."""
    score = commands.add_parser(
        "score",
        help="loss, perplexity, accuracy, calibration of logits and targets in files",
        description=SCORE_DESCRIPTION,
        epilog=SCORE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    score.set_defaults(run=run_score)
    add_files(score)
    meaning = add_meaning(score)
    meaning.add_argument("--temperature", metavar="T", type=positive_float, default=1.0, help="divide the logits by T")
    meaning.add_argument("--sample-weight", metavar="FILE", help="how much each row counts: one number for each")
    output = score.add_argument_group("what comes out")
    output.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    output.add_argument("--worst", metavar="N", type=natural_number, default=0, help="list the N rows of greatest loss")
    output.add_argument(
        "--top-k", metavar="K,…", type=positive_numbers, default=(1, 5), help="numbers of guesses to count (1,5)"
    )
    output.add_argument(
        "--bins", metavar="N", type=positive_number, default=15, help="bins of confidence of the calibration error (15)"
    )
    output.add_argument(
        "--per-sample", metavar="OUT", type=Path, help="write the figures of each row to OUT.npy or OUT.parquet"
    )
    output.add_argument("--report", metavar="OUT", type=Path, help="draw a report: OUT.html, OUT.png or OUT.pdf")
    add_resources(score).add_argument(
        "--resume",
        metavar="CHECKPOINT",
        type=Path,
        help="go on from this file if it is there, and write it now and then (deleted at the end)",
    )


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add the files that a command reads."""
    parser.add_argument("logits", metavar="LOGITS", help="what the model said")
    parser.add_argument("targets", metavar="TARGETS", nargs="?", help="what was right")


def add_meaning(parser: argparse.ArgumentParser) -> Any:
    """Options that tell what the files mean."""
    meaning = parser.add_argument_group("what the files mean")
    meaning.add_argument(
        "--ignore-index",
        metavar="N",
        type=integer_or_none,
        default=-100,
        help='rows with this target are left out (default: -100; "none": every row counts)',
    )
    meaning.add_argument(
        "--axis",
        metavar="N",
        type=int,
        help="the axis of LOGITS that holds the classes; -1 is the last "
        "(default: 1, as in PyTorch, or 0 if it is the only one)",
    )
    meaning.add_argument(
        "--input",
        metavar="KIND",
        choices=("logits", "log-probabilities", "probabilities"),
        default="logits",
        help='what LOGITS holds: "logits", the plain output of the last layer (default); '
        '"log-probabilities", their log_softmax; or "probabilities", their softmax',
    )
    meaning.add_argument(
        "--dtype",
        choices=("bfloat16",),
        help="LOGITS holds bfloat16, for which .npy has no name: it is saved as |V2 or uint16",
    )
    return meaning


def add_resources(parser: argparse.ArgumentParser) -> Any:
    """Options of what a run may take."""
    resources = parser.add_argument_group("how it runs")
    resources.add_argument(
        "--max-memory",
        metavar="SIZE",
        type=amount_of_memory,
        default=512 * 10**6,
        help="what the process may take in all, like 200MB or 1GiB (default: 512MB)",
    )
    resources.add_argument("--threads", metavar="N", type=positive_number, help="default: one for each core")
    return resources


def add_fit_temperature(commands: Any) -> None:
    """Arguments of ``fit-temperature``."""
    parser = commands.add_parser(
        "fit-temperature",
        help="calibrate: the temperature that minimises the loss",
        description=FIT_TEMPERATURE_DESCRIPTION,
        epilog="example: python -m crossent fit-temperature held-out.npz",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run_fit_temperature, temperature=1.0, sample_weight=None)
    add_files(parser)
    add_meaning(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    add_resources(parser)


def add_demo(commands: Any) -> None:
    """Arguments of ``demo``."""
    demo = commands.add_parser(
        "demo",
        help="train a classifier of handwritten digits and score it",
        description="Train a small neural network on scikit-learn's handwritten digits, in plain NumPy; write its "
        "logits for digits it has never seen, and their labels, to .npy files; score these. "
        'Needs scikit-learn, threadpoolctl and tqdm: pip install "crossent[demo]".',
    )
    demo.set_defaults(run=run_demo)
    demo.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("crossent-demo"),
        help="where logits.npy, labels.npy and, with matplotlib, report.html are written (default: crossent-demo)",
    )
    demo.add_argument(
        "--epochs", metavar="N", type=natural_number, default=100, help="passes over the digits (default: 100)"
    )
    demo.add_argument("--seed", metavar="N", type=natural_number, default=0, help="of all randomness (default: 0)")


def integer_or_none(text: str) -> int | None:
    """Parse an integer or ``none``."""
    try:
        return None if text == "none" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'neither an integer nor "none": {text!r}') from None


def natural_number(text: str) -> int:
    """Parse 0, 1, 2, …."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"not a whole number from 0 up: {text!r}")
    return int(text)


def positive_number(text: str) -> int:
    """Parse 1, 2, …."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a whole number from 1 up: {text!r}")
    return int(text)


def positive_numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers with commas between them."""
    return tuple(positive_number(part) for part in text.split(","))


def positive_float(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"not a number above 0: {text!r}")
    return value


def amount_of_memory(text: str) -> int:
    """Parse an amount such as 512MB."""
    try:
        return memory.parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def score_options(options: argparse.Namespace) -> ScoreOptions:
    """Arguments as the scorer takes them, those that ``score`` and ``fit-temperature`` have in common."""
    return ScoreOptions(
        logits=options.logits,
        targets=options.targets,
        sample_weight=options.sample_weight,
        kind=options.input,
        bfloat16=options.dtype == "bfloat16",
        axis=options.axis,
        ignore_index=options.ignore_index,
        temperature=options.temperature,
        max_memory=options.max_memory - memory.resident_bytes(),
        threads=options.threads,
    )


def run_score(options: argparse.Namespace) -> int:
    """Run ``score``."""
    outputs = {"--per-sample": options.per_sample, "--resume": options.resume, "--report": options.report}
    check_outputs([options.logits, options.targets, options.sample_weight], outputs)
    if options.report is not None:
        check_report(options.report)
    job = replace(
        score_options(options),
        top_k=options.top_k,
        bins=options.bins,
        worst=max(options.worst, 20 if options.report else 0),
        report=options.report is not None,
        per_sample=options.per_sample,
        resume=options.resume,
    )
    with termination_like_interruption(), _printing.Progress() as progress:
        result = score_files(job, progress.advise(complain), progress.show)
    if options.report is not None:
        from . import report  # noqa: PLC0415  # needs matplotlib

        assert result.report is not None
        report.write_report(
            options.report,
            totals=result.totals,
            data=result.report,
            worst=result.worst,
            title=Path(options.logits).name,
            details=report_details(options),
        )
    worst = result.worst[: options.worst]
    print(_printing.as_json(result.totals, worst) if options.json else _printing.as_table(result.totals, worst))
    return 0


def run_fit_temperature(options: argparse.Namespace) -> int:
    """Run ``fit-temperature``."""
    with _printing.Progress() as progress:
        found = fit_files(score_options(options), progress.advise(complain), progress.show)
    print(_printing.fit_json(found) if options.json else _printing.fit_table(found))
    return 0


def report_details(options: argparse.Namespace) -> dict[str, str]:
    """Return what a report tells of the files."""
    details = {"logits": options.logits, "targets": options.targets, "sample weights": options.sample_weight}
    if options.input != "logits":
        details["input"] = options.input
    if options.temperature != 1:
        details["temperature"] = f"{options.temperature:g}"
    return {name: text for name, text in details.items() if text is not None}


def check_report(path: Path) -> None:
    """Find out before the work what would keep a report from being drawn."""
    from . import report  # noqa: PLC0415  # only if asked for

    try:
        report.check_path(path)
    except ModuleNotFoundError as error:
        raise MissingLibraryError(str(error)) from error
    except ValueError as error:
        raise DataError(str(error)) from error


def run_demo(options: argparse.Namespace) -> int:
    """Run ``demo``."""
    try:
        from . import demo  # noqa: PLC0415  # needs more than NumPy
    except ModuleNotFoundError:
        complain('the demo needs scikit-learn, threadpoolctl and tqdm: pip install "crossent[demo]"')
        return EXIT_FAILURE
    return demo.run(options.output, epochs=options.epochs, seed=options.seed)


@contextmanager
def termination_like_interruption() -> Iterator[None]:
    """Let SIGTERM end the block like Ctrl-C, so that a checkpoint is written."""

    def stop(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # no other may handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def explain_interruption(stopped: Unfinished) -> int:
    """Say what stopped a run and how it goes on; return the exit code."""
    cause = stopped.cause
    what = "interrupted" if isinstance(cause, KeyboardInterrupt) else str(cause)
    complain(
        f"{what}\n{stopped.rows:,} of {stopped.rows_in_all:,} rows are done; to go on from there, give the same "
        f"command with --resume {stopped.checkpoint}"
    )
    if isinstance(cause, KeyboardInterrupt):
        return EXIT_TERMINATED if isinstance(cause, Terminated) else EXIT_INTERRUPTED
    return EXIT_BAD_DATA if isinstance(cause, DataError) else EXIT_FAILURE


def complain(message: str) -> None:
    """Write a message for the user where it doesn't mix with results."""
    print(f"crossent: {message}", file=sys.stderr, flush=True)
