"""The command line: ``python -m crossent score``, ``fit-temperature`` and ``demo``.

Messages and exit codes. What it takes is told in ``_arguments.py``, what it does in ``_commands.py``; what it prints
is laid out in ``_printing.py``. Needs NumPy alone.
"""

import io
import os
import sys
from collections.abc import Sequence

from . import _arguments
from ._commands import COMMANDS, Terminated
from ._printing import complain
from .files import DataError, MissingLibraryError, OutputError, Unfinished

EXIT_FAILURE = 1
EXIT_USAGE = 2  # argparse's own
EXIT_BAD_DATA = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE
EXIT_TERMINATED = 143  # 128 + SIGTERM


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
    if sys.stdout is None:
        complain("stdout is closed: what was found could not be shown")
        return EXIT_FAILURE
    try:
        options = _arguments.parse(sys.argv[1:] if arguments is None else list(arguments))
        code = COMMANDS[options.command](options)
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


def explain_interruption(stopped: Unfinished) -> int:
    """Say what stopped a run and how it goes on; return the exit code."""
    cause = stopped.cause
    what = "interrupted" if isinstance(cause, KeyboardInterrupt) else str(cause)
    unchanged = ", as long as the files are the same," if isinstance(cause, DataError) else ","
    complain(
        f"{what}\n{stopped.rows:,} of {stopped.rows_in_all:,} rows are done; to go on from there{unchanged} give the "
        f"same command with --resume {stopped.checkpoint}"
    )
    if isinstance(cause, KeyboardInterrupt):
        return EXIT_TERMINATED if isinstance(cause, Terminated) else EXIT_INTERRUPTED
    return EXIT_BAD_DATA if isinstance(cause, DataError) else EXIT_FAILURE
