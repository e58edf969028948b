"""What a report draws that ``Totals`` doesn't hold: how the losses are spread, and how they drift along the rows.

Everything is an integer or an exact sum, so that slabs merge in any order, and through JSON, to the same bits.
"""

import json
import math
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossent._exact_sum import sum_by_group
from crossent.scores import Scores

BINS_PER_DECADE = 40
LOWEST_DECADE, HIGHEST_DECADE = -6, 3
MOST_PARTS = 200
FORMAT, VERSION = "crossent report data", 1

#: Edges of the histogram. Decimal's power is rounded correctly, and so the same on every machine; libm's may not be.
LOSS_EDGES = tuple(
    float(Decimal(10) ** (Decimal(step) / BINS_PER_DECADE))
    for step in range(LOWEST_DECADE * BINS_PER_DECADE, HIGHEST_DECADE * BINS_PER_DECADE + 1)
)


@dataclass(frozen=True)
class ReportData:
    """The spread of the losses and their course along the rows. Ignored rows are in none of the numbers.

    Attributes
    ----------
    rows_in_all : int
        Rows of everything that is scored, ignored ones too: they are cut into parts of equal length, at most 200.
    histogram : tuple of int
        Rows with a finite loss: below ``LOSS_EDGES[0]``, in each half-open bin between edges, at or beyond the last.
    infinite, undefined : int
        Rows with a loss of infinity, and of nan.
    part_rows, part_sums, part_squares : tuple of int, of Fraction, of Fraction
        For each part: rows with a finite loss, the exact sum of their losses, the exact sum of the losses' squares,
        each of these rounded to float64.
    part_non_finite : tuple of int
        For each part: rows with a loss of infinity or nan.
    """

    rows_in_all: int
    histogram: tuple[int, ...]
    infinite: int
    undefined: int
    part_rows: tuple[int, ...]
    part_sums: tuple[Fraction, ...]
    part_squares: tuple[Fraction, ...]
    part_non_finite: tuple[int, ...]

    @staticmethod
    def empty(rows_in_all: int) -> "ReportData":
        """Return the data of no rows yet, the neutral element of ``merge``."""
        parts = min(MOST_PARTS, rows_in_all)
        none, nothing = (0,) * parts, (Fraction(),) * parts
        return ReportData(rows_in_all, (0,) * (len(LOSS_EDGES) + 1), 0, 0, none, nothing, nothing, none)

    @staticmethod
    def of(scores: Scores, first_row: int, rows_in_all: int) -> "ReportData":
        """Return the data of a slab: rows ``first_row``, … in C order of ``rows_in_all``.

        Raises
        ------
        ValueError
            If the slab reaches beyond ``rows_in_all``.

        Examples
        --------
        >>> import crossent
        >>> from crossent.report import ReportData
        >>> scores = crossent.score([[2.0, 1.0], [0.0, 3.0]], [0, 0])
        >>> data = ReportData.of(scores, first_row=0, rows_in_all=4)
        >>> data.part_rows, [round(float(total), 4) for total in data.part_sums]
        ((1, 1, 0, 0), [0.3133, 3.0486, 0.0, 0.0])
        """
        loss, valid = scores.loss.ravel(), scores.valid.ravel()
        if not 0 <= first_row <= rows_in_all - loss.size:
            raise ValueError(f"{loss.size} rows from row {first_row} don't lie within {rows_in_all} rows")
        finite = np.isfinite(loss) & valid
        parts = min(MOST_PARTS, rows_in_all)
        starts = np.clip(np.array(part_starts(rows_in_all)) - first_row, 0, loss.size)
        part = np.repeat(np.arange(parts), np.diff(starts))
        losses, part_of_finite = loss[finite].astype(np.float64), part[finite]
        sums, squares = (sum_by_group(values, part_of_finite, parts) for values in (losses, _squares(losses)))
        bins = np.searchsorted(LOSS_EDGES, losses, side="right")
        return ReportData(
            rows_in_all,
            tuple(np.bincount(bins, minlength=len(LOSS_EDGES) + 1).tolist()),
            int(np.count_nonzero(np.isinf(loss) & valid)),
            int(np.count_nonzero(np.isnan(loss) & valid)),
            tuple(np.bincount(part_of_finite, minlength=parts).tolist()),
            sums,
            squares,
            tuple(np.bincount(part[valid & ~finite], minlength=parts).tolist()),
        )

    def merge(self, other: "ReportData") -> "ReportData":
        """Return the data of both; associative and commutative to the bit.

        Raises
        ------
        ValueError
            If the two differ in ``rows_in_all``.
        """
        if self.rows_in_all != other.rows_in_all:
            raise ValueError(f"slabs of {self.rows_in_all} rows and of {other.rows_in_all} rows don't belong together")

        def add(a: Any, b: Any) -> Any:
            return tuple(map(add, a, b)) if isinstance(a, tuple) else a + b

        names = (field.name for field in fields(self) if field.name != "rows_in_all")
        return ReportData(self.rows_in_all, *(add(getattr(self, name), getattr(other, name)) for name in names))

    __add__ = merge

    def to_json(self) -> str:
        """Write everything exactly: sums as fractions."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps({"format": FORMAT, "version": VERSION, **values}, default=str)

    @staticmethod
    def from_json(text: str) -> "ReportData":
        """Read what ``to_json`` wrote.

        Raises
        ------
        ValueError
            If the text is something else, or of another version.
        """
        values = json.loads(text)
        found = (values.pop("format", None), values.pop("version", None)) if isinstance(values, dict) else values
        if found != (FORMAT, VERSION):
            raise ValueError(f"this is no JSON of {FORMAT}, version {VERSION}: {str(found)[:60]}")
        for name in ("part_sums", "part_squares"):
            values[name] = map(Fraction, values[name])
        arguments: dict[str, Any] = {k: v if isinstance(v, int) else tuple(v) for k, v in values.items()}
        return ReportData(**arguments)

    @property
    def finite(self) -> int:
        """Rows with a finite loss."""
        return sum(self.histogram)

    @property
    def mean_of_finite(self) -> float:
        """Mean of the finite losses; nan if there are none."""
        return float(sum(self.part_sums) / self.finite) if self.finite else math.nan

    def quantile(self, share: float) -> float:
        """Return the loss that this share of the finite ones doesn't exceed, good to a bin's width of 6 %.

        nan if there are none; the nearest edge for losses beyond the histogram.
        """
        wanted, below = share * self.finite, 0
        for position, count in enumerate(self.histogram):
            if count and below + count >= wanted:
                low = LOSS_EDGES[max(position - 1, 0)]
                high = LOSS_EDGES[min(position, len(LOSS_EDGES) - 1)]
                return float(low * (high / low) ** ((wanted - below) / count))
            below += count
        return math.nan

    def drift(self, most: int = MOST_PARTS) -> "Drift":
        """Return the means of the parts in turn, neighbours taken together until there are at most ``most``."""
        group = max(1, -(-len(self.part_rows) // most))
        firsts = range(0, len(self.part_rows), group)
        starts = part_starts(self.rows_in_all)
        mean = np.full(len(firsts), np.nan)
        error = mean.copy()
        for point, first in enumerate(firsts):
            here = slice(first, first + group)
            rows, total, squares = sum(self.part_rows[here]), sum(self.part_sums[here]), sum(self.part_squares[here])
            if rows:
                mean[point] = total / rows
            if rows > 1:
                variance = max(Fraction(squares - total * total / rows) / (rows - 1), Fraction())
                error[point] = math.sqrt(variance / rows)
        non_finite = [sum(self.part_non_finite[first : first + group]) for first in firsts]
        return Drift(
            np.array([*(starts[first] for first in firsts), self.rows_in_all]), mean, error, np.array(non_finite)
        )


class Drift(NamedTuple):
    """Mean losses along the rows.

    ``starts`` has the first row of each point, and the number of all rows; ``mean`` is nan where no loss is finite, and
    its standard error ``error``, which takes rows as independent, where fewer than two are; ``non_finite`` counts rows.
    """

    starts: NDArray[np.int64]
    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    non_finite: NDArray[np.int64]


def part_starts(rows_in_all: int) -> list[int]:
    """Return the first row of each part, and ``rows_in_all`` behind them."""
    parts = min(MOST_PARTS, rows_in_all)
    return [part * rows_in_all // parts for part in range(parts)] + [rows_in_all]


def _squares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", under="ignore"):
        squares: NDArray[np.float64] = np.minimum(values * values, np.finfo(np.float64).max)
    return squares
