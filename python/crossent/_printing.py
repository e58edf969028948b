"""What the command line shows: results as a table or as JSON, and progress."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .files import WorstRow
from .temperature import TemperatureFit
from .totals import Totals


def as_table(totals: Totals, worst: Sequence[WorstRow] = (), *, every_k: bool = False) -> str:
    """Lay the results out for a reader; unless ``every_k`` is wanted, without a top k of all classes."""
    lines = {"rows": f"{totals.rows}", "ignored": f"{totals.ignored}"}
    if totals.non_finite:
        lines["inf or nan"] = f"{totals.non_finite}"
    lines["mean loss"] = f"{totals.mean_loss:.6g} ± {totals.standard_error:.2g}"
    lines["perplexity"] = f"{totals.perplexity:.6g}"
    if totals.accuracy() is not None:
        for k in totals.top_k:
            if k == 1 or k < totals.classes or every_k:
                lines["accuracy" if k == 1 else f"top {k}"] = percent(totals.accuracy(k))
        lines["calibration error"] = percent(totals.expected_calibration_error)
        lines["brier score"] = decimal(totals.brier_score)
    lines["confidence"] = percent(totals.mean_confidence)
    lines["entropy"] = decimal(totals.mean_entropy)
    if totals.mean_divergence is not None and totals.accuracy() is None:
        lines["divergence"] = decimal(totals.mean_divergence)
    # The ± and what is behind it stick out, so that the figures stand below each other.
    whole = max(len(text.partition(" ")[0]) for text in lines.values())
    table = [
        f"{name:<17} {text.partition(' ')[0]:>{whole}}{''.join(text.partition(' ')[1:])}"
        for name, text in lines.items()
    ]
    return "\n".join([*table, *worst_table(worst)])


def worst_table(worst: Sequence[WorstRow]) -> list[str]:
    """Lay the worst rows out for a reader."""
    if not worst:
        return []
    head = ("worst row", "loss", "target", "predicted", "confidence")
    rows = [
        (
            str(row.row[0] if len(row.row) == 1 else row.row),
            f"{row.loss:.6g}",
            "" if row.target is None else str(row.target),
            "" if row.predicted is None else str(row.predicted),
            percent(row.confidence),
        )
        for row in worst
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return ["", *lines]


def percent(share: float | None) -> str:
    """Write a share."""
    return "nan" if share is None or math.isnan(share) else f"{share:.2%}"


def decimal(value: float | None) -> str:
    """Write a number to a few digits."""
    return f"{math.nan if value is None else value:.4g}"


def as_json(totals: Totals, worst: Sequence[WorstRow] | None = ()) -> str:
    """Write the results for a program, as strict JSON."""

    def number(value: float | None) -> Any:
        return value if value is None or math.isfinite(value) else json.dumps(value)

    found: dict[str, Any] = {
        "rows": totals.rows,
        "ignored": totals.ignored,
        "non_finite": totals.non_finite,
        "classes": totals.classes,
        "mean_loss": number(totals.mean_loss),
        "standard_error": number(totals.standard_error),
        "perplexity": number(totals.perplexity),
        "bits": number(totals.bits),
        "accuracy": number(totals.accuracy()),
        "top_k": {str(k): number(totals.accuracy(k)) for k in totals.top_k},
        "expected_calibration_error": number(totals.expected_calibration_error),
        "brier_score": number(totals.brier_score),
        "mean_confidence": number(totals.mean_confidence),
        "mean_entropy": number(totals.mean_entropy),
        "mean_divergence": None if totals.accuracy() is not None else number(totals.mean_divergence),
    }
    if worst:
        found["worst"] = [
            {
                "row": list(row.row),
                "target": row.target,
                "predicted": row.predicted,
                "loss": number(row.loss),
                "confidence": number(row.confidence),
            }
            for row in worst
        ]
    return json.dumps(found, allow_nan=False)


def fit_table(fit: TemperatureFit) -> str:
    """Lay out a fit for a reader."""
    lines: list[tuple[str, str, str]] = [("", "before", "after")]
    lines.append(("temperature", "1", f"{fit.temperature:.6g}"))
    lines.append(("standard error", "", f"{fit.standard_error:.2g}"))

    def add(name: str, value: Callable[[Totals], float | None], form: str) -> None:
        before, after = value(fit.before), value(fit.after)
        if before is not None and after is not None:
            lines.append((name, format(before, form), format(after, form)))

    add("mean loss", lambda totals: totals.mean_loss, ".6g")
    add("standard error", lambda totals: totals.standard_error, ".2g")
    add("perplexity", lambda totals: totals.perplexity, ".6g")
    add("calibration error", lambda totals: totals.expected_calibration_error, ".2%")
    add("accuracy", lambda totals: totals.accuracy(), ".2%")
    lines.append(("rows", "", str(fit.after.scored)))
    if fit.left_out:
        lines.append(("rows left out", "", str(fit.left_out)))
    return "\n".join(f"{name:<18}{before:>12}{after:>12}" for name, before, after in lines)


def fit_json(fit: TemperatureFit) -> str:
    """Write a fit for a program, as strict JSON; what isn't known is null."""

    def figures(totals: Totals) -> dict[str, float | None]:
        values = {
            "mean_loss": totals.mean_loss,
            "standard_error": totals.standard_error,
            "perplexity": totals.perplexity,
            "expected_calibration_error": totals.expected_calibration_error,
            "accuracy": totals.accuracy(),
        }
        return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}

    return json.dumps(
        {
            "temperature": fit.temperature,
            "standard_error": fit.standard_error,
            "before": figures(fit.before),
            "after": figures(fit.after),
            "rows": fit.after.scored,
            "left_out": fit.left_out,
            "passes": fit.passes,
        },
        allow_nan=False,
    )


class Progress:
    """A bar on stderr if that is a terminal and tqdm is there."""

    def __enter__(self) -> "Progress":
        self._bar: Any = None
        self._wanted = sys.stderr is not None and sys.stderr.isatty()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, rows: int, rows_in_all: int, row_bytes: int) -> None:
        """Move the bar to this row; it starts at the first that is shown."""
        if not self._wanted:
            return
        if self._bar is None:
            try:
                from tqdm import tqdm  # noqa: PLC0415  # optional
            except ModuleNotFoundError:
                self._wanted = False
                return
            self._bar = tqdm(
                total=rows_in_all, initial=rows, desc="scoring", unit=" rows", unit_scale=True, file=sys.stderr
            )
        self._bar.update(rows - self._bar.n)
        elapsed = self._bar.format_dict["elapsed"]
        if elapsed > 0:
            rate = (rows - self._bar.initial) * row_bytes / elapsed / 1e9
            self._bar.set_postfix_str(f"{rate:.2f} GB/s", refresh=False)

    def advise(self, complain: Callable[[str], None]) -> Callable[[str], None]:
        """Return ``complain``, but on a line of its own where there is a bar."""

        def say(message: str) -> None:
            if self._bar is not None:
                self._bar.clear()
            complain(message)

        return say


def complain(message: str) -> None:
    """Write a message for the user where it doesn't mix with results."""
    print(f"crossent: {message}", file=sys.stderr, flush=True)
