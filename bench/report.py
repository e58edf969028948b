"""What a run found, one record a line of the table, the figures derived from it, and the table itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict

from library import GRADIENT, LOSS, OUT
from peers import Crossent

Statistic: TypeAlias = Literal["minimum", "median"]

OURS = Crossent.name
MACHINE = "machine"  # its limits are recorded as if it were a library
BESIDE = "crossent, beside"
WRONG = "wrong"


class Timing(TypedDict):
    """Seconds a call, over the rounds of one contender."""

    minimum: float
    median: float
    rounds: int


@dataclass
class Result:
    """One cell with one number of threads."""

    cell: str
    threads: int
    rows: int
    classes: int
    beside: str = ""  # the easier problem that ours is held against
    beside_rows: int = 0
    cycles_a_machine_call: int = 0
    timings: dict[str, dict[str, Timing]] = field(default_factory=dict)  # by library and operation
    wrong: list[list[str]] = field(default_factory=list)  # library and operation

    def seconds(self, library: str, operation: str, statistic: Statistic) -> float | None:
        """Time of one call."""
        timing = self.timings.get(library, {}).get(operation)
        return None if timing is None else timing[statistic]


@dataclass
class Report:
    """All that was measured, and which results were wrong unexpectedly."""

    machine: dict[str, str]
    versions: dict[str, str]
    results: list[Result] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Report:
        """Return what ``dataclasses.asdict`` was given."""
        return cls(**record | {"results": [Result(**result) for result in record["results"]]})


def join(reports: list[Report]) -> Report:
    """Join runs of the same cells with different threads; the lines of a cell come together."""
    return Report(
        reports[0].machine,
        reports[0].versions,
        [result for lines in zip(*(report.results for report in reports), strict=True) for result in lines],
        [line for report in reports for line in report.surprises],
    )


@dataclass
class Derived:
    """The figures that promises are made about; None where a line has none."""

    result: Result
    statistic: Statistic

    def seconds(self, library: str, operation: str) -> float | None:
        """Time of one call."""
        return self.result.seconds(library, operation, self.statistic)

    def ratio_to_best_peer(self, operation: str) -> float | None:
        """How many times longer the fastest peer takes."""
        peers = set(self.result.timings) - {OURS, MACHINE, BESIDE}
        return _divide(_least(self.seconds(peer, operation) for peer in peers), self.seconds(OURS, operation))

    def share_of_limit(self, limit: Literal["read", "copy"]) -> float | None:
        """Speed as a share of the machine's: the loss of its read, loss and gradient into ``out=`` of its copy."""
        operations = [name for name in self.result.timings.get(MACHINE, {}) if name.split()[0] == limit]
        machine = _least(self.seconds(MACHINE, operation) for operation in operations)
        return _divide(machine, self.seconds(OURS, LOSS if limit == "read" else OUT))

    def share_of_beside(self, operation: str) -> float | None:
        """Rows a second as a share of the easier problem's."""
        share = _divide(self.seconds(BESIDE, operation), self.seconds(OURS, operation))
        return None if share is None else share * self.result.rows / self.result.beside_rows

    def cycles_a_row(self, operation: str) -> float | None:
        """Cycles of one core for each row."""
        calls = _divide(self.seconds(OURS, operation), self.seconds(MACHINE, "cycles"))
        result = self.result
        return None if calls is None else calls * result.cycles_a_machine_call * result.threads / result.rows


def table(report: Report, statistic: Statistic, *, markdown: bool) -> str:
    """Return the table; times in microseconds a call."""
    peers = [name for name in report.versions if name != OURS]
    header = ["cell", "threads", LOSS, GRADIENT, OUT, *peers, "× loss", "× grad", "% read", "% copy", "% of", "cycles"]
    lines = [header, *(_line(Derived(result, statistic), peers) for result in report.results)]
    return aligned(lines, markdown=markdown)


def aligned(lines: list[list[str]], *, markdown: bool) -> str:
    """Return lines of cells, the first of them the header, in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    padded.insert(1, ["-" * widths[0], *("-" * (width - 1) + (":" if markdown else "-") for width in widths[1:])])
    return "\n".join(f"| {' | '.join(line)} |" if markdown else "  ".join(line).rstrip() for line in padded)


def _line(derived: Derived, peers: list[str]) -> list[str]:
    result = derived.result

    def time(library: str, operation: str) -> str:
        return WRONG if [library, operation] in result.wrong else _microseconds(derived.seconds(library, operation))

    beside = _pair(_percent(derived.share_of_beside(LOSS)), _percent(derived.share_of_beside(OUT)))
    return [
        result.cell,
        str(result.threads),
        *(time(OURS, operation) for operation in (LOSS, GRADIENT, OUT)),
        *(_pair(time(peer, LOSS), time(peer, GRADIENT)) for peer in peers),
        _figure(derived.ratio_to_best_peer(LOSS)),
        _figure(derived.ratio_to_best_peer(GRADIENT)),
        _percent(derived.share_of_limit("read")),
        _percent(derived.share_of_limit("copy")),
        beside and f"{beside} {result.beside}",
        _pair(_figure(derived.cycles_a_row(LOSS)), _figure(derived.cycles_a_row(OUT))),
    ]


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _divide(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else above / below


def _pair(left: str, right: str) -> str:
    return f"{left or '-'} / {right or '-'}" if left or right else ""


def _microseconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    micro = seconds * 1e6
    return f"{micro:.2f}" if micro < 10 else f"{micro:.1f}" if micro < 100 else f"{micro:,.0f}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f}"
