"""The report as one HTML file: no script, nothing loaded, light and dark by the reader's choice.

Everything that comes from outside goes through ``html.escape``. The charts are inline SVG whose colours are variables.
"""

import html
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from crossent.config import __version__

from .charts import charts
from .data import ReportData
from .figures import (
    ClassRow,
    commonest_confusions,
    count,
    decimal,
    figures,
    hardest_and_easiest,
    has_classes,
    notes,
    percent,
)
from .style import COLOURS, STYLE, Chart


def write(
    path: Path, totals: Any, data: ReportData, worst: Sequence[Any], title: str, details: Mapping[str, str]
) -> None:
    """Write the page. What UTF-8 has no letter for, such as a byte in a file's name, is written as an escape."""
    template = Template(resources.files(__package__).joinpath("page.html").read_text("utf-8"))
    text = template.substitute(
        title=html.escape(title),
        details=_details(totals, details),
        notes="".join(f'<p class="note" role="note">{html.escape(note)}</p>\n' for note in notes(totals, data)),
        figures=_figures(totals),
        charts="".join(_chart(chart) for chart in charts(totals, data)),
        tables=_class_tables(totals) + _worst_table(worst),
        version=html.escape(__version__),
    )
    path.write_text(text, "utf-8", errors="backslashreplace")


def _details(totals: Any, details: Mapping[str, str]) -> str:
    shown = {
        "rows": count(totals.rows) + (f", {count(totals.ignored)} of them ignored" if totals.ignored else ""),
        "classes": count(totals.classes),
        **details,
    }
    pairs = (f"<div><dt>{html.escape(name)}</dt> <dd>{html.escape(text)}</dd></div>" for name, text in shown.items())
    return "\n".join(pairs)


def _figures(totals: Any) -> str:
    if not totals.scored:
        return ""
    items = (
        f'<div class="figure"><dt>{html.escape(figure.name)}</dt>'
        f'<dd><b>{html.escape(figure.value)}</b> <span class="error">{html.escape(figure.note)}</span>'
        f'<span class="definition">{html.escape(figure.definition)}</span></dd></div>'
        for figure in figures(totals)
    )
    return f'<dl class="figures">\n{chr(10).join(items)}\n</dl>'


def _chart(chart: Chart) -> str:
    return (
        f'<figure id="{chart.name}">\n<h2>{html.escape(chart.title)}</h2>\n{svg(chart)}\n'
        f"<figcaption>{html.escape(chart.caption)}</figcaption>\n</figure>\n"
    )


def svg(chart: Chart) -> str:
    """Return the chart as an SVG element to stand inside a page: fonts and colours are the page's."""
    options = STYLE | {"svg.fonttype": "none", "svg.hashsalt": chart.name, "svg.image_inline": True}
    with style.context(["default", options]):
        figure = Figure(figsize=chart.size, layout="constrained")
        chart.draw(figure)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = written.getvalue()
    text = text[text.index("<svg ") :].rstrip()
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)  # would rule the whole page
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(<g\b[^>]*?) id="[^"]*"', r"\1", text)  # the same in every chart, and nothing refers to them
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", text)
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    head, body = text.split(">", 1)
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)  # in points; the page tells how wide a chart is
    return f'{head} class="chart" role="img" aria-label="{html.escape(chart.description)}">{body}'


def _class_tables(totals: Any) -> str:
    if not has_classes(totals) or not totals.scored or len(totals.class_counts) <= 12:
        return ""
    parts = []
    confusions = commonest_confusions(totals)
    if confusions:
        rows = [(str(target), str(predicted), count(number)) for target, predicted, number in confusions]
        parts.append(_table("Commonest confusions", ("target", "predicted", "rows"), rows))
    hardest, easiest = hardest_and_easiest(totals)
    for title, classes in (("Hardest classes", hardest), ("Easiest classes", easiest)):
        if classes:
            parts.append(_table(title, ("class", "rows", "accuracy"), map(_class_row, classes)))
    note = (
        "<p>Hardest by the upper, easiest by the lower end of the 95% interval (Wilson) of a class’s accuracy: "
        "a few lucky or unlucky rows don’t put a class here.</p>"
    )
    return f'<section class="side-by-side">\n{"".join(parts)}</section>\n{note}\n' if parts else ""


def _class_row(row: ClassRow) -> tuple[str, ...]:
    return str(row.label), f"{row.rows:,.6g}", percent(row.accuracy)


def _worst_table(worst: Sequence[Any]) -> str:
    if not worst:
        return ""
    labelled = worst[0].target is not None
    heads = ("row", "target", "predicted", "confidence", "loss", "p(target)")
    rows = []
    for one in worst:
        cells = [
            position(one.row),
            str(one.target),
            "–" if one.predicted is None else str(one.predicted),
            percent(one.confidence),
            decimal(one.loss, 4),
            decimal(math.exp(-one.loss), 2) if one.loss >= 0 else "–",
        ]
        rows.append(tuple(cells if labelled else [cells[0], *cells[2:5]]))
    return (
        f"<section>\n{_table('Worst rows', heads if labelled else (heads[0], *heads[2:5]), rows)}</section>\n"
        "<p>Rows are counted from 0. The loss is in nats"
        + ("; p(target) = exp(−loss) is the probability that the target was given." if labelled else ".")
        + "</p>\n"
    )


def position(row: Any) -> str:
    """Write where a row stands: a number, or a tuple of them."""
    if isinstance(row, tuple):
        return ", ".join(map(str, row)) or "0"
    return str(row)


def _table(title: str, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return (
        f'<div class="table"><table>\n<caption>{html.escape(title)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>\n"
    )
