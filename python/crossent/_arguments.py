"""What the command line takes: commands, files, options, and the help that tells of them. Needs NumPy alone."""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__, _core
from .files import DataError, MissingLibraryError, memory, per_sample

SCORE_DESCRIPTION = """\
Score saved predictions: how well do the logits in one file predict the
classes in the other?

LOGITS   floats, one for each row and class, for example of shape
         (rows, classes) or (batch, classes, height, width)
TARGETS  integers, the right class of each row, counted from 0: the shape of
         LOGITS without its class axis; or floats of the shape of LOGITS, the
         probabilities that are right, taken as they are (a warning says so if
         the first rows don't sum to 1). Left out: in the same file as LOGITS

Each is a file: .npy, .npz, safetensors, Parquet (a column of lists), or Zarr;
or a directory of such files, or a pattern like 'logits-*.npy': their rows are
read one file behind the other, in the order of the numbers in their names.
Where a file has several arrays, FILE:NAME picks one; otherwise those called
logits, and targets or labels, are taken.

Files are read in small parts, whatever their size, in any order: a pipe can't
be scored, save it first. Nothing is ever unpickled.
"""

SCORE_EPILOG = """\
printed are
  rows, ignored      how many there are; how many of them don't count
  mean loss          cross-entropy in nats and, behind the +-, the standard
                     error of the mean, taking rows as independent
  perplexity         exp(mean loss)
  accuracy, top k    how often the target is the class with the largest logit,
                     or among the k largest (the first of equals; a row with
                     nan is never right). Top 5 unless --top-k says otherwise,
                     and not in the table where there are 5 classes or fewer;
                     100% where k is all classes, but for rows with nan
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
2 wrong arguments; 3 files missing, damaged, or at odds with each other or the
arguments (the message names file and row, counted from 0); 130 interrupted by
Ctrl-C. What was finished before 3 or 130 is in a checkpoint: --resume goes on
from there.

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


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse what comes behind the program's name; options may stand between files. ``SystemExit`` if it is wrong."""
    parser, commands = build_parser()
    if arguments and arguments[0] in commands:
        name = arguments[0]
        return commands[name].parse_intermixed_args(arguments[1:], argparse.Namespace(command=name))
    parser.parse_args(arguments)  # helps, tells the version, or knows what is wrong
    return parser.error(f"a command is needed: {', '.join(commands)}")


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """All arguments of all commands, and those of each."""
    parser = argparse.ArgumentParser(prog="python -m crossent", description="Cross-entropy for NumPy arrays.")
    parser.add_argument("--version", action="version", version=f"crossent {__version__}")
    if importlib.util.find_spec("shtab") is not None:
        import shtab  # noqa: PLC0415  # optional

        shtab.add_argument_to(parser, help='print completions for a shell: eval "$(crossent --print-completion bash)"')
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    add_score(commands)
    add_fit_temperature(commands)
    add_demo(commands)
    return parser, commands.choices


def add_score(commands: Any) -> None:
    """Arguments of ``score``."""
    score = commands.add_parser(
        "score",
        help="loss, perplexity, accuracy, calibration of logits and targets in files",
        description=SCORE_DESCRIPTION,
        epilog=SCORE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_files(score)
    meaning = add_meaning(score)
    meaning.add_argument("--temperature", metavar="T", type=positive_float, default=1.0, help="divide the logits by T")
    meaning.add_argument("--sample-weight", metavar="FILE", help="how much each row counts: one number for each")
    output = score.add_argument_group("what comes out")
    output.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    output.add_argument("--worst", metavar="N", type=natural_number, default=0, help="list the N rows of greatest loss")
    output.add_argument("--top-k", metavar="K,…", type=positive_numbers, help="numbers of guesses to count (1,5)")
    output.add_argument(
        "--bins", metavar="N", type=number_of_bins, default=15, help="bins of confidence of the calibration error (15)"
    )
    output.add_argument(
        "--per-sample",
        metavar="OUT",
        type=per_sample_path,
        help="write the figures of each row to OUT.npy or OUT.parquet",
    )
    output.add_argument("--report", metavar="OUT", type=report_path, help="draw a report: OUT.html, OUT.png or OUT.pdf")
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
    parser.set_defaults(temperature=1.0, sample_weight=None)
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


def number_of_bins(text: str) -> int:
    """Parse 1, 2, … up to what the core takes."""
    if positive_number(text) > _core.most_bins:
        raise argparse.ArgumentTypeError(f"more than {_core.most_bins} bins: {text!r}")
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
    """Parse an amount such as 512MB, which has to be more than the process takes."""
    try:
        amount = memory.parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if amount <= (taken := memory.resident_bytes()):
        raise argparse.ArgumentTypeError(f"the process takes {taken:,} bytes before it reads anything: {text!r}")
    return amount


def per_sample_path(text: str) -> Path:
    """Parse where figures of rows can be written."""
    try:
        per_sample.check_path(Path(text))
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)


def report_path(text: str) -> Path:
    """Parse where a report can be drawn."""
    from . import report  # noqa: PLC0415  # only if asked for

    try:
        report.check_path(Path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except ModuleNotFoundError as error:
        raise MissingLibraryError(str(error)) from error
    return Path(text)
