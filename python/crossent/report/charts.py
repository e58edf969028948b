"""The charts of a report, each drawn by matplotlib into a figure, or a part of one, that it is given.

They use the six colours of ``COLOURS`` and no others, so that a page can exchange them for those of a dark theme.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from .data import BINS_PER_DECADE, HIGHEST_DECADE, LOWEST_DECADE, MOST_PARTS, ReportData
from .figures import count, decimal, has_classes, percent, wilson_interval

COLOURS = {
    "surface": "#fffffe",
    "ink": "#1d232b",
    "muted": "#59626e",
    "line": "#dfe3e8",
    "accent": "#2a68b2",
    "warning": "#b8480f",
}
#: A picture keeps its colours in either theme, so these lie between the two.
HEAT = {"accent": "#3f7fcb", "warning": "#d9652a"}
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.titlesize": 12,
    "axes.edgecolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.labelcolor": COLOURS["muted"],
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "text.color": COLOURS["ink"],
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # a dollar sign in a file's name is a dollar sign
    "axes.unicode_minus": True,
}

ROUND_STEPS = (1, 2, 2.5, 5, 10)
MOST_POINTS, ROWS_A_POINT = 40, 500  # of the loss along the rows, in a short file
MOST_CLASSES_WITH_NUMBERS = 12
MOST_CLASSES_WITH_NAMES = 20
MOST_CLASSES_IN_A_MATRIX = 50
MOST_CELLS_A_SIDE = 250


class Chart(NamedTuple):
    """A chart, what it shows, and how large it wants to be."""

    name: str
    title: str
    caption: str
    description: str  # for who can't see it
    size: tuple[float, float]  # inches
    draw: Callable[[FigureBase], None]


Bars: TypeAlias = list[tuple[float, float, int]]  # left and right in decades, rows


def charts(totals: Any, data: ReportData) -> list[Chart]:
    """Return the charts that these results have something to show in."""
    return [chart for make in (losses, reliability, drift, confusion, class_accuracy) if (chart := make(totals, data))]


# --- The spread of the losses ---------------------------------------------------------------------------------------


def losses(totals: Any, data: ReportData) -> Chart | None:
    """Return a histogram of the losses on a logarithmic axis; what that can't show has bars of its own."""
    rows = data.finite + data.infinite + data.undefined
    if not data.finite:
        return None
    middle, ninetieth = data.quantile(0.5), data.quantile(0.9)
    caption = "Each bar counts the rows whose loss lies in its range; the axis is logarithmic."
    if has_classes(totals):
        caption += " Above: the probability, exp(−loss), that the target was given."
    description = (
        f"Histogram of {count(rows)} losses. Half of the finite ones are below {decimal(middle, 2)}, "
        f"nine in ten below {decimal(ninetieth, 2)}. "
    )
    if data.infinite or data.undefined:
        description += f"{count(data.infinite)} are infinite, {count(data.undefined)} are nan."

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        bars, low, high = _bars(data)
        width = bars[0][1] - bars[0][0] if bars else 0.1
        for left, right, here in bars:
            axes.bar(left, here / rows, right - left, align="edge", color=COLOURS["accent"],
                     edgecolor=COLOURS["surface"], linewidth=0.7)  # fmt: skip
        ticks = _loss_ticks(low, high) if bars else {}
        if data.histogram[0]:
            ticks.pop(float(LOWEST_DECADE), None)  # its label and "<10⁻⁶" would touch
        if data.histogram[-1]:
            ticks.pop(float(HIGHEST_DECADE), None)
        slot, step = max(width, (high - low) / 28), (high - low) / 9
        position = low
        if data.histogram[0]:
            position -= step
            _extra_bar(axes, position, slot, data.histogram[0] / rows, "accent")
            ticks[position] = "<10⁻⁶"
        left_end = position
        position = high if bars else low
        for number, label, colour in (
            (data.histogram[-1], "≥1000", "accent"),
            (data.infinite, "∞", "warning"),
            (data.undefined, "nan", "warning"),
        ):
            if number:
                position += step
                _extra_bar(axes, position, slot, number / rows, colour)
                ticks[position] = label
        axes.set_xlim(left_end - slot, position + slot)
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set_xlabel("loss, nats")
        top = max(
            [here for _, _, here in bars] + [data.histogram[0], data.histogram[-1], data.infinite, data.undefined]
        )
        axes.set_ylim(0, top / rows * 1.36)
        _shares(axes, "share of rows")
        axes.set_yticks([tick for tick in axes.get_yticks() if tick <= min(1, axes.get_ylim()[1])])
        _mark_losses(axes, totals, data, (low, high))
        if has_classes(totals) and bars:
            _probability_axis(axes, low, high)

    return Chart("losses", "Loss", caption, description.strip(), (5.6, 3.9), draw)


def _bars(data: ReportData) -> tuple[Bars, float, float]:
    """Merge the fine bins into as many bars as the rows can fill; return them and their range, in decades."""
    inner = np.array(data.histogram[1:-1])
    used = np.flatnonzero(inner)
    if not used.size:
        return [], 0.0, 1.0
    first, last = int(used[0]), int(used[-1]) + 1
    most = min(56.0, max(10.0, 2 * math.sqrt(data.finite)))
    decades = max((last - first) / BINS_PER_DECADE, 0.2)
    group = next((size for size in (1, 2, 4, 5, 8, 10) if decades * BINS_PER_DECADE / size <= most), 20)
    edges = range(first // group * group, -(-last // group) * group, group)
    bars = [
        (LOWEST_DECADE + left / BINS_PER_DECADE, LOWEST_DECADE + (left + group) / BINS_PER_DECADE,
         int(inner[left : left + group].sum()))
        for left in edges
    ]  # fmt: skip
    low, high = bars[0][0], bars[-1][1]
    spare = max(0.0, 1 - (high - low)) / 2  # at least a decade
    return bars, low - spare, high + spare


def _extra_bar(axes: Axes, position: float, width: float, share: float, colour: str) -> None:
    axes.bar(position, share, width, color=COLOURS[colour], edgecolor=COLOURS["surface"], linewidth=0.7)


def _loss_ticks(low: float, high: float) -> dict[float, str]:
    """Return positions in decades, and what is written there: 1, 2, 5, 10, … or whole decades."""
    powers = range(math.floor(low) - 1, math.ceil(high) + 1)
    for digits, step in (((1, 2, 5), 1), ((1,), 1), ((1,), 2)):
        ticks = {
            power + math.log10(digit): _power(power, digit) for power in powers for digit in digits if power % step == 0
        }
        ticks = {position: label for position, label in ticks.items() if low - 1e-9 <= position <= high + 1e-9}
        if len(ticks) <= 7:
            break
    return ticks


def _power(power: int, digit: int) -> str:
    if power >= -3:
        return f"{digit * 10**power:,}" if power >= 0 else f"{digit * 10.0**power:.{-power}f}"
    superscript = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digit}·10{superscript}" if digit > 1 else f"10{superscript}"


def _mark_losses(axes: Axes, totals: Any, data: ReportData, view: tuple[float, float]) -> None:
    """Mark the median, the mean and the loss of a guess, each with its label at a height of its own."""
    marks = [("median", data.quantile(0.5), "ink"), ("mean", totals.mean_loss, "ink")]
    if has_classes(totals) and totals.classes > 1:
        marks.append(("all classes alike", math.log(totals.classes), "muted"))
    placed = [
        (math.log10(value), f"{name} {decimal(value, 3)}", colour)
        for name, value, colour in marks
        if math.isfinite(value) and value > 0 and view[0] <= math.log10(value) <= view[1]
    ]
    left, right = axes.get_xlim()
    rightward = sum(x - left < 0.5 * (right - left) for x, _, _ in placed) > len(placed) / 2
    for number, (x, label, colour) in enumerate(sorted(placed, reverse=not rightward)):  # no line crosses a label
        height = 0.965 - 0.075 * number
        axes.axvline(
            x, ymax=height, color=COLOURS[colour], linewidth=1, linestyle="-" if colour == "ink" else (0, (3, 3))
        )
        axes.annotate(
            label, (x, height), xycoords=("data", "axes fraction"), xytext=(4 if rightward else -4, 0),
            textcoords="offset points", va="top", ha="left" if rightward else "right",
            color=COLOURS[colour], fontsize=9.5,
        )  # fmt: skip


def _probability_axis(axes: Axes, low: float, high: float) -> None:
    """Write along the top what probability of the target a loss stands for."""
    left, right = axes.get_xlim()
    ticks: dict[float, str] = {}
    for text in ("50%", "1%", "90%", "99%", "10%", "99.9%", "99.99%", "99.999%", "0.01%", "75%", "25%"):
        position = math.log10(-math.log(float(text[:-1]) / 100))
        width = (right - left) / 75  # of a character, with some room
        free = all(abs(position - other) > width * (len(text) + len(near)) for other, near in ticks.items())
        if free and low <= position <= high:
            ticks[position] = text
    top = axes.secondary_xaxis("top")
    top.set_xticks(list(ticks), list(ticks.values()))
    top.tick_params(length=3, labelsize=9.5)
    top.spines["top"].set_visible(False)


# --- Calibration ----------------------------------------------------------------------------------------------------


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
        _shares(upper, "accuracy", 5)
        edges = np.asarray(bins.edges, np.float64)
        lower.bar(edges[:-1], weight / weight.sum(), np.diff(edges), align="edge", color=COLOURS["accent"],
                  edgecolor=COLOURS["surface"], linewidth=0.7)  # fmt: skip
        lower.set_xlim(0, 1)
        _shares(lower, "rows", 2)
        lower.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        lower.set_xlabel("confidence")

    title = f"Calibration: expected error {percent(error)}" if math.isfinite(error) else "Calibration"
    return Chart("reliability", title, caption, description, (5.6, 3.9), draw)


# --- Along the rows -------------------------------------------------------------------------------------------------


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
        _plain_axis(axes)
        margin = 0.5 + 0.01 * data.rows_in_all
        axes.set_xlim(-margin, data.rows_in_all - 1 + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=ROUND_STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
        axes.set_xlabel("row")
        axes.set_ylabel("mean loss, nats")

    return Chart("drift", "Loss along the rows", each + shade + marks, description, (5.6, 3.9), draw)


# --- Classes --------------------------------------------------------------------------------------------------------


def confusion(totals: Any, data: ReportData) -> Chart | None:
    """Return the confusion matrix, cell by cell or, of more than 50 classes, as a heat map."""
    matrix = totals.confusion
    if matrix is None or not 1 < len(matrix) <= 1000 or not matrix.sum():
        return None
    classes = len(matrix)
    side = math.ceil(classes / MOST_CELLS_A_SIDE)
    caption = "Shade: share of the target's rows, on a square-root scale. Blue is right, orange wrong."
    if side > 1:
        caption += f" Each cell holds {side} × {side} classes."
    right = int(np.trace(matrix))
    description = (
        f"Confusion matrix of {classes} classes: {count(right)} of {count(int(matrix.sum()))} rows on the diagonal."
    )

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        if classes <= MOST_CLASSES_IN_A_MATRIX:
            _cells(axes, matrix)
        else:
            _heat(axes, matrix, side)
        axes.set_xlim(-0.5, classes - 0.5)
        axes.set_ylim(classes - 0.5, -0.5)
        axes.set_aspect("equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(
                MaxNLocator(10, integer=True, steps=ROUND_STEPS)
                if classes > MOST_CLASSES_WITH_NAMES
                else FixedLocator(range(classes))
            )
        axes.tick_params(length=0 if classes <= MOST_CLASSES_WITH_NAMES else 3)
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_color(COLOURS["line"])
        axes.set_xlabel("predicted class")
        axes.set_ylabel("target class")

    size = (6.4, 6.2) if classes > MOST_CLASSES_WITH_NUMBERS else (5.6, 5.2) if classes > 4 else (5.6, 3.9)
    return Chart("confusion", "Confusion", caption, description, size, draw)


def _shades(matrix: NDArray[Any]) -> NDArray[np.float64]:
    totals = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shades: NDArray[np.float64] = np.sqrt(matrix / totals)
    return shades


def _cells(axes: Axes, matrix: NDArray[Any]) -> None:
    shades = _shades(matrix)
    filled = np.argwhere(matrix > 0)
    axes.add_collection(
        PatchCollection(
            [Rectangle((column - 0.5, row - 0.5), 1, 1) for row, column in filled],
            facecolors=[
                (*to_rgb(COLOURS["accent" if row == column else "warning"]), 0.08 + 0.72 * shades[row, column])
                for row, column in filled
            ],
            edgecolors=COLOURS["surface"],
            linewidths=0.7,
        )
    )
    if len(matrix) <= MOST_CLASSES_WITH_NUMBERS:
        for row, column in filled:
            strong = shades[row, column] > 0.75
            axes.text(column, row, _short(int(matrix[row, column])), ha="center", va="center", fontsize=9,
                      color=COLOURS["surface" if strong else "ink"])  # fmt: skip


def _short(number: int) -> str:
    """Write a count in at most four characters or so."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if number >= size:
            unit = 1000 if letter == "k" else size
            return f"{number / unit:.3g}{letter}" if number / unit < 1000 else f"{number / unit:.0f}{letter}"
    return str(number)


def _heat(axes: Axes, matrix: NDArray[Any], side: int) -> None:
    classes = len(matrix)
    starts = np.arange(0, classes, side)
    blocks = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    image = np.empty((*blocks.shape, 4))
    image[..., :3] = to_rgb(HEAT["warning"])
    image[np.arange(len(blocks)), np.arange(len(blocks)), :3] = to_rgb(HEAT["accent"])
    image[..., 3] = np.where(blocks > 0, 0.25 + 0.75 * _shades(blocks), 0)
    end = len(starts) * side - 0.5
    axes.imshow(image, extent=(-0.5, end, end, -0.5), interpolation="none")


def class_accuracy(totals: Any, data: ReportData) -> Chart | None:
    """Return how accuracy is spread over the classes, where a matrix can't be read cell by cell."""
    if totals.class_counts is None or len(totals.class_counts) <= MOST_CLASSES_IN_A_MATRIX:
        return None
    present = totals.class_counts > 0
    if not present.any():
        return None
    accuracy = np.asarray(totals.class_accuracy)[present]
    counts, edges = np.histogram(np.clip(accuracy, 0, 1), np.linspace(0, 1, 21))
    absent = int(np.count_nonzero(~present))
    caption = f"How many of the {count(accuracy.size)} classes that have rows are predicted right how often."
    if absent:
        caption += f" {count(absent)} classes have no rows."
    description = (
        f"Histogram of the accuracy of {count(accuracy.size)} classes; the median is {percent(np.median(accuracy))}."
    )

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        axes.bar(edges[:-1], counts, 0.05, align="edge", color=COLOURS["accent"], edgecolor=COLOURS["surface"],
                 linewidth=0.7)  # fmt: skip
        axes.set_xlim(0, 1)
        _plain_axis(axes)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=ROUND_STEPS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set_xlabel("accuracy within the class")
        axes.set_ylabel("classes")

    return Chart("class-accuracy", "Accuracy by class", caption, description, (5.6, 3.9), draw)


def _shares(axes: Axes, label: str, ticks: int = 4) -> None:
    """Lay out an upright axis of shares."""
    _plain_axis(axes)
    axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=ROUND_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    axes.set_ylabel(label)


def _plain_axis(axes: Axes) -> None:
    """Show the upright axis by its grid alone."""
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
