"""The command line: ``python -m crossent score`` and ``python -m crossent demo``.

Arguments, messages and exit codes; the work is done in ``score_files.py`` and ``demo.py``. Needs NumPy alone.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .score_files import DataError, ScoreFiles
from .scoring import Totals

EXIT_FAILURE = 1
EXIT_USAGE = 2  # argparse's own
EXIT_BAD_DATA = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE

SCORE_DESCRIPTION = """\
Score predictions saved with numpy.save: how well do the logits in one file
predict the classes in the other?

LOGITS.npy   floats, one for each row and class, for example of shape
             (rows, classes) or (batch, classes, height, width)
TARGETS.npy  integers, the right class of each row, counted from 0; the shape
             is that of LOGITS.npy without its class axis

Printed are
  rows            how many there are
  ignored         how many of them have --ignore-index as their target
  mean loss       cross-entropy in nats, the mean over the other rows
  standard error  of the mean loss, taking rows as independent
  perplexity      exp(mean loss)
  accuracy        how often the largest value stands at the target (the first
                  of equals; a row with nan is never right)

Files are mapped and read in slabs of 32 MiB, so they may be larger than
memory. Pickled data is never loaded.
"""

SCORE_EPILOG = """\
exit codes: 0 scored; 2 wrong arguments; 3 files missing, unreadable or at
odds with each other (the message names file and row, counted from 0).

--json prints one object: "rows", "ignored", "classes" (integers),
"mean_loss", "standard_error", "perplexity", "accuracy" (numbers, or the
strings "NaN", "Infinity" and "-Infinity", for which JSON has no numbers).

example: python -m crossent score logits.npy targets.npy --json
"""


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
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        if options.command == "score":
            code = run_score(options)
        elif options.command == "demo":
            code = run_demo(options)
        else:
            parser.error("a command is needed: score or demo")
        sys.stdout.flush()
    except DataError as error:
        complain(str(error))
        return EXIT_BAD_DATA
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_INTERRUPTED
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
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    score = commands.add_parser(
        "score",
        help="loss, perplexity and accuracy of logits and targets in .npy files",
        description=SCORE_DESCRIPTION,
        epilog=SCORE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    score.add_argument("logits", metavar="LOGITS.npy", type=Path, help="what the model said")
    score.add_argument("targets", metavar="TARGETS.npy", type=Path, help="what was right")
    score.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    score.add_argument(
        "--ignore-index",
        metavar="N",
        type=integer_or_none,
        default=-100,
        help='rows with this target are left out (default: -100; "none": every row counts)',
    )
    score.add_argument(
        "--axis",
        metavar="N",
        type=int,
        help="the axis of LOGITS.npy that holds the classes; -1 is the last "
        "(default: 1, as in PyTorch, or 0 if it is the only one)",
    )
    score.add_argument(
        "--input",
        metavar="KIND",
        choices=("logits", "log-probabilities", "probabilities"),
        default="logits",
        help='what LOGITS.npy holds: "logits", the plain output of the last layer (default); '
        '"log-probabilities", their log_softmax; or "probabilities", their softmax',
    )
    score.add_argument(
        "--dtype",
        choices=("bfloat16",),
        help="LOGITS.npy holds bfloat16, for which .npy has no name: it is saved as |V2 or uint16",
    )

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
        help="where logits.npy and labels.npy are written (default: crossent-demo)",
    )
    demo.add_argument(
        "--epochs", metavar="N", type=natural_number, default=100, help="passes over the digits (default: 100)"
    )
    demo.add_argument("--seed", metavar="N", type=natural_number, default=0, help="of all randomness (default: 0)")
    return parser


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


def run_score(options: argparse.Namespace) -> int:
    """Run ``score``."""
    files = ScoreFiles(
        options.logits,
        options.targets,
        kind=options.input,
        ignore_index=options.ignore_index,
        axis=options.axis,
        bfloat16=options.dtype == "bfloat16",
    )
    totals, classes = files.run(advise=complain)
    print(as_json(totals, classes) if options.json else as_table(totals))
    return 0


def run_demo(options: argparse.Namespace) -> int:
    """Run ``demo``."""
    try:
        from . import demo  # noqa: PLC0415  # needs more than NumPy
    except ModuleNotFoundError:
        complain('the demo needs scikit-learn, threadpoolctl and tqdm: pip install "crossent[demo]"')
        return EXIT_FAILURE
    return demo.run(options.output, epochs=options.epochs, seed=options.seed)


def as_table(totals: Totals) -> str:
    """Lay the results out for a reader."""
    lines = {
        "rows": f"{totals.rows}",
        "ignored": f"{totals.ignored}",
        "mean loss": f"{totals.mean_loss:.6g}",
        "standard error": f"{totals.standard_error:.2g}",
        "perplexity": f"{totals.perplexity:.6g}",
        "accuracy": f"{totals.accuracy:.2%}" if totals.scored else "nan",
    }
    return "\n".join(f"{name:<16}{text:>12}" for name, text in lines.items())


def as_json(totals: Totals, classes: int) -> str:
    """Write the results for a program, as strict JSON."""

    def number(value: float) -> float | str:
        return value if math.isfinite(value) else json.dumps(value)

    return json.dumps(
        {
            "rows": totals.rows,
            "ignored": totals.ignored,
            "classes": classes,
            "mean_loss": number(totals.mean_loss),
            "standard_error": number(totals.standard_error),
            "perplexity": number(totals.perplexity),
            "accuracy": number(totals.accuracy),
        },
        allow_nan=False,
    )


def complain(message: str) -> None:
    """Write a message for the user where it doesn't mix with results."""
    print(f"crossent: {message}", file=sys.stderr, flush=True)
