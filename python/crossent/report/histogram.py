"""The spread of the losses."""

import math
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from .data import BINS_PER_DECADE, HIGHEST_DECADE, LOWEST_DECADE, ReportData
from .figures import count, decimal, has_classes
from .style import COLOURS, Chart, shares

Bars: TypeAlias = list[tuple[float, float, int]]  # left and right in decades, rows


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
        shares(axes, "share of rows")
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
