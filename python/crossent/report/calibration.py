"""The reliability diagram."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import FigureBase
from matplotlib.ticker import FuncFormatter

from .data import ReportData
from .figures import has_classes, percent, wilson_interval
from .style import COLOURS, Chart, shares


def reliability(totals: Any, data: ReportData) -> Chart | None:
    """Return the reliability diagram: how often the model is right when it is this sure, and how often it is."""
    if not has_classes(totals) or not totals.scored:
        return None
    bins = totals.reliability
    weight = np.asarray(bins.weight, np.float64)
    used = weight > 0
    if not used.any():
        return None
    confidence, accuracy = np.asarray(bins.confidence)[used], np.asarray(bins.accuracy)[used]
    caption = (
        "Rows by the probability of the predicted class. On the dashed line the model is right as often as it says. "
        "Upright lines: 95% intervals (Wilson). Below: where the rows are."
    )
    error = totals.expected_calibration_error
    description = (
        f"Reliability diagram. Mean confidence {percent(totals.mean_confidence)}, accuracy "
        f"{percent(totals.accuracy())}, expected calibration error {percent(error)}."
    )

    def draw(figure: FigureBase) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
        low, high = wilson_interval(accuracy * weight[used], weight[used])
        upper.vlines(confidence, low, high, color=COLOURS["accent"], linewidth=1.3)
        upper.plot(confidence, accuracy, "-o", color=COLOURS["accent"], markersize=5, linewidth=1,
                   markeredgecolor=COLOURS["surface"], markeredgewidth=0.8, clip_on=False, zorder=3)  # fmt: skip
        for x, y, text, side in ((0.03, 0.95, "underconfident", "left"), (0.97, 0.05, "overconfident", "right")):
            free = not ((np.abs(confidence - x) < 0.3) & (np.abs(accuracy - y) < 0.1)).any()
            if free:
                upper.text(x, y, text, ha=side, va="center", color=COLOURS["muted"], fontsize=9.5)
        upper.set_ylim(0, 1)
        shares(upper, "accuracy", 5)
        edges = np.asarray(bins.edges, np.float64)
        lower.bar(edges[:-1], weight / weight.sum(), np.diff(edges), align="edge", color=COLOURS["accent"],
                  edgecolor=COLOURS["surface"], linewidth=0.7)  # fmt: skip
        lower.set_xlim(0, 1)
        shares(lower, "rows", 2)
        lower.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        lower.set_xlabel("confidence")

    title = f"Calibration: expected error {percent(error)}" if math.isfinite(error) else "Calibration"
    return Chart("reliability", title, caption, description, (5.6, 3.9), draw)
