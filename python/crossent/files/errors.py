"""What is wrong with files, and how messages name a row and the kind of a file."""

import stat
from pathlib import Path

KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class DataError(Exception):
    """Something about the files that makes scoring impossible; the text is for the user."""


class OutputError(Exception):
    """Results can't be written where they should go; the text is for the user."""


class MissingLibraryError(Exception):
    """A format needs a library that isn't installed; the text says how to get it."""


def row_text(position: tuple[int, ...]) -> str:
    """How messages name a row: counted from 0, as in NumPy."""
    return f"row {position[0]}" if len(position) == 1 else f"row {position}" if position else "the only row"


def irregular(path: Path) -> str | None:
    """Return what is there if it is no regular file, None if it is one; ``OSError`` if there is nothing."""
    mode = path.stat().st_mode
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "a device")
