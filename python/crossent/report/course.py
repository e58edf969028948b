"""The loss along the rows."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import FigureBase
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .data import MOST_PARTS, ReportData
from .figures import count, decimal
from .style import COLOURS, ROUND_STEPS, Chart, plain_axis

MOST_POINTS, ROWS_A_POINT = 40, 500  # in a short file


def drift(totals: Any, data: ReportData) -> Chart | None:
    """Return the mean loss along the rows."""
    course = data.drift(MOST_POINTS if data.rows_in_all < ROWS_A_POINT * MOST_PARTS else MOST_PARTS)
    seen = np.isfinite(course.mean)
    if course.mean.size < 2 or not seen.any():
        return None
    rows = course.starts[1:] - course.starts[:-1]
    single = rows.max() == 1
    each = "Each point is a row." if single else f"Mean of each {count(int(rows.max()))} rows in turn."
    shade = " The shade is ± one standard error." if np.isfinite(course.error).any() else ""
    marks = " Triangles: rows with a loss that is not finite." if course.non_finite.any() else ""
    description = (
        f"Mean loss along {count(data.rows_in_all)} rows in {course.mean.size} parts, "
        f"from {decimal(np.nanmin(course.mean), 3)} to {decimal(np.nanmax(course.mean), 3)}."
    )

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        middle = (course.starts[:-1] + course.starts[1:] - 1) / 2
        error = np.where(np.isfinite(course.error), course.error, 0)
        axes.fill_between(middle, course.mean - error, course.mean + error, where=seen, color=COLOURS["accent"],
                          alpha=0.22, linewidth=0)  # fmt: skip
        if not single:
            axes.plot(middle, course.mean, color=COLOURS["accent"])
        alone = seen & ~np.r_[False, seen[:-1]] & ~np.r_[seen[1:], False]
        points = seen if single else alone
        axes.plot(middle[points], course.mean[points], "o", color=COLOURS["accent"], markersize=4)
        axes.margins(y=0.12)
        if axes.get_ylim()[0] < 0 <= np.nanmin(course.mean):
            axes.set_ylim(bottom=0)
        if math.isfinite(totals.mean_loss):
            axes.axhline(totals.mean_loss, color=COLOURS["ink"], linewidth=0.8, zorder=1)
            axes.annotate("mean", (1, totals.mean_loss), xycoords=("axes fraction", "data"), xytext=(4, 0),
                          textcoords="offset points", va="center", fontsize=9.5)  # fmt: skip
        broken = np.flatnonzero(course.non_finite)
        axes.plot(middle[broken], np.ones(broken.size), "v", transform=axes.get_xaxis_transform(), clip_on=False,
                  color=COLOURS["warning"], markersize=6)  # fmt: skip
        plain_axis(axes)
        margin = 0.5 + 0.01 * data.rows_in_all
        axes.set_xlim(-margin, data.rows_in_all - 1 + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=ROUND_STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
        axes.set_xlabel("row")
        axes.set_ylabel("mean loss, nats")

    return Chart("drift", "Loss along the rows", each + shade + marks, description, (5.6, 3.9), draw)
