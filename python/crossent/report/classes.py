"""How well classes are told from each other: the confusion matrix, and the accuracy by class."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from .data import ReportData
from .figures import count, percent
from .style import COLOURS, HEAT, ROUND_STEPS, Chart, plain_axis

MOST_CLASSES_WITH_NUMBERS = 12
MOST_CLASSES_WITH_NAMES = 20
MOST_CLASSES_IN_A_MATRIX = 50
MOST_CELLS_A_SIDE = 250


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
        plain_axis(axes)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=ROUND_STEPS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set_xlabel("accuracy within the class")
        axes.set_ylabel("classes")

    return Chart("class-accuracy", "Accuracy by class", caption, description, (5.6, 3.9), draw)
