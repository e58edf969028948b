"""Scoring what lies in files, of any size, in bounded memory: ``score_files``.

``formats`` turns what the user names into ``sources``; ``stream`` reads them in slabs, several threads at once;
``scoring`` scores the slabs and keeps what they add up to, ``per_sample`` the figures of each row, ``worst`` the worst
rows, and ``checkpoint`` where the run stands. ``checks`` finds what is wrong with the data;
``fitting`` fits a temperature to the same files.
"""

from .errors import DataError, MissingLibraryError, OutputError
from .fitting import fit_files
from .scoring import Result, ScoreOptions, Unfinished, score_files
from .worst import WorstRow

__all__ = [
    "DataError",
    "MissingLibraryError",
    "OutputError",
    "Result",
    "ScoreOptions",
    "Unfinished",
    "WorstRow",
    "fit_files",
    "score_files",
]
