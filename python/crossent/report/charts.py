"""The charts of a report, in the order in which they are shown.

Each is drawn by matplotlib into a figure, or a part of one, that it is given.
"""

from typing import Any

from .calibration import reliability
from .classes import class_accuracy, confusion
from .course import drift
from .data import ReportData
from .histogram import losses
from .style import Chart


def charts(totals: Any, data: ReportData) -> list[Chart]:
    """Return the charts that these results have something to show in."""
    return [chart for make in (losses, reliability, drift, confusion, class_accuracy) if (chart := make(totals, data))]
