"""What is wrong with files, and how messages name a row."""


class DataError(Exception):
    """Something about the files that makes scoring impossible; the text is for the user."""


class OutputError(Exception):
    """Results can't be written where they should go; the text is for the user."""


class MissingLibraryError(Exception):
    """A format needs a library that isn't installed; the text says how to get it."""


def row_text(position: tuple[int, ...]) -> str:
    """How messages name a row: counted from 0, as in NumPy."""
    return f"row {position[0]}" if len(position) == 1 else f"row {position}" if position else "the only row"
