"""The report as a picture: one sheet of A4's proportions, as PNG or PDF, light."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Annotation

from .charts import charts
from .data import ReportData
from .figures import count, decimal, figures, notes, percent
from .page import position
from .style import COLOURS, STYLE

WIDTH, HEIGHT = 11.0, 15.56  # inches
DOTS_PER_INCH = 150
MOST_WORST_ROWS = 10


def write(
    path: Path, totals: Any, data: ReportData, worst: Sequence[Any], title: str, details: Mapping[str, str]
) -> None:
    """Draw everything on one figure and save it."""
    with style.context(["default", STYLE | {"figure.facecolor": COLOURS["surface"], "pdf.fonttype": 42}]):
        sheet = Figure(figsize=(WIDTH, HEIGHT), dpi=DOTS_PER_INCH)
        drawn = charts(totals, data)
        drawn = drawn[:3] + drawn[-1:] if len(drawn) > 4 else drawn
        chart_rows = max(1, math.ceil(len(drawn) / 2))
        bands: Any = sheet.subfigures(3, 1, height_ratios=(3.0, 4.75 * chart_rows, 13.0 - 4.75 * chart_rows))
        head, body, foot = bands
        _head(head, totals, data, title, details)
        cells = body.subfigures(chart_rows, 2, squeeze=False)
        for chart, cell in zip(drawn, cells.flat, strict=False):
            cell.suptitle(chart.title, x=0.06, ha="left", fontsize=12, fontweight="bold")
            chart.draw(cell)
            _keep_clear(cell)
        _foot(foot, worst)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # a title in a script DejaVu lacks
            sheet.savefig(path, metadata={"Creator": "crossent"} if path.suffix.lower() == ".pdf" else None)


def _keep_clear(cell: SubFigure) -> None:
    """Leave room for title and labels."""
    cell.subplots_adjust(left=0.15, right=0.91, top=0.86, bottom=0.14, hspace=0.16)


def _head(part: SubFigure, totals: Any, data: ReportData, title: str, details: Mapping[str, str]) -> None:
    part.text(0.03, 0.90, _clip(title, 75), fontsize=20, fontweight="bold", va="top")
    ignored = f", {count(totals.ignored)} ignored" if totals.ignored else ""
    known = [f"rows {count(totals.rows)}{ignored}", f"classes {count(totals.classes)}"]
    known += [f"{name} {text}" for name, text in details.items()]
    part.text(0.03, 0.72, _clip("    ".join(known), 150), color=COLOURS["muted"], va="top")
    if totals.scored:
        for number, figure in enumerate(figures(totals)[:8]):
            x, y = 0.03 + 0.245 * (number % 4), 0.52 - 0.25 * (number // 4)
            part.text(x, y, figure.name, color=COLOURS["muted"], va="bottom")
            value = part.text(x, y - 0.02, figure.value, fontsize=17, fontweight="bold", va="top")
            if figure.note:
                part.add_artist(Annotation(figure.note, (1, 0.45), xycoords=value, xytext=(6, 0),
                                           textcoords="offset points", va="center"))  # fmt: skip
    for number, note in enumerate(notes(totals, data)):
        part.text(0.03, 0.02 - 0.08 * number, _clip(note, 150), color=COLOURS["warning"], va="top")


def _foot(part: SubFigure, worst: Sequence[Any]) -> None:
    if not worst:
        return
    part.text(0.03, 0.93, "Worst rows", fontsize=12, fontweight="bold", va="top")
    heads = ("row", "target", "predicted", "confidence", "loss")
    columns = (0.03, 0.36, 0.50, 0.66, 0.80)
    step = 0.8 / (MOST_WORST_ROWS + 1)
    lines = [heads] + [
        (position(one.row), "–" if one.target is None else str(one.target),
         "–" if one.predicted is None else str(one.predicted), percent(one.confidence), decimal(one.loss, 4))
        for one in worst[:MOST_WORST_ROWS]
    ]  # fmt: skip
    for number, line in enumerate(lines):
        for x, text in zip(columns, line, strict=True):
            first = x == columns[0]
            part.text(x, 0.84 - step * number, text, va="top", ha="left" if first else "right",
                      color=COLOURS["ink" if number else "muted"])  # fmt: skip


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
