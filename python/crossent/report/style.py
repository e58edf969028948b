"""What the charts have in common: colours, matplotlib's settings, axes.

They use the six colours of ``COLOURS`` and no others, so that a page can exchange them for those of a dark theme.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import FuncFormatter, MaxNLocator

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


class Chart(NamedTuple):
    """A chart, what it shows, and how large it wants to be."""

    name: str
    title: str
    caption: str
    description: str  # for who can't see it
    size: tuple[float, float]  # inches
    draw: Callable[[FigureBase], None]


def shares(axes: Axes, label: str, ticks: int = 4) -> None:
    """Lay out an upright axis of shares."""
    plain_axis(axes)
    axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=ROUND_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    axes.set_ylabel(label)


def plain_axis(axes: Axes) -> None:
    """Show the upright axis by its grid alone."""
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
