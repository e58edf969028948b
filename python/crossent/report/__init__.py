"""The report of ``score --report``: charts, figures and worst rows on one page, as HTML, PNG or PDF.

``data`` has what is gathered while scoring, ``figures`` the numbers as text; ``charts`` lists the drawings, which stand
in ``histogram``, ``calibration``, ``course`` and ``classes`` and share a ``style``; ``page`` makes the HTML, ``sheet``
the PNG and the PDF. All but the first two need matplotlib.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .data import ReportData

__all__ = ["SUFFIXES", "ReportData", "check_path", "write_report"]

SUFFIXES = (".html", ".png", ".pdf")


def check_path(path: Path) -> None:
    """Raise now what ``write_report`` would raise for this path after the work is done.

    Raises
    ------
    ValueError
        If the suffix is none of ``SUFFIXES``.
    ModuleNotFoundError
        If matplotlib isn't installed; the message tells how to install it.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"a report ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, not in {path.suffix!r}: {path}"
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise ModuleNotFoundError('a report needs matplotlib: pip install "crossent[report]"', name="matplotlib")


def write_report(
    path: Path,
    *,
    totals: Any,
    data: ReportData,
    worst: Sequence[Any] = (),
    title: str = "Cross-entropy",
    details: Mapping[str, str] | None = None,
) -> None:
    """Write a report whose format the suffix of ``path`` tells: ``.html``, ``.png`` or ``.pdf``.

    The HTML is one file without scripts that loads nothing; it follows the reader's choice of light or dark.

    Parameters
    ----------
    path : Path
        Is overwritten.
    totals : Totals
        Of all rows.
    data : ReportData
        Of the same rows.
    worst : sequence of WorstRow
        The rows with the greatest loss, the greatest first.
    title : str
        Any text.
    details : mapping of str to str, optional
        What was scored and how, shown below the title: ``{"logits": "logits.npy", "targets": "targets.npy"}``.

    Raises
    ------
    ValueError, ModuleNotFoundError
        As in ``check_path``.
    OSError
        If the file can't be written.
    """
    check_path(path)
    from . import page, sheet  # noqa: PLC0415  # need matplotlib

    write = page.write if path.suffix.lower() == ".html" else sheet.write
    write(path, totals, data, worst, title, details or {})
