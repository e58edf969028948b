"""The figures of a report as text: names, numbers with the digits that mean something, definitions."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .data import ReportData


class Figure(NamedTuple):
    """A named number."""

    name: str
    value: str
    note: str = ""  # behind the number
    definition: str = ""


def figures(totals: Any) -> list[Figure]:
    """Return what is known of all rows together, the most asked for first."""
    entries = [
        Figure("Mean loss", *_with_error(totals.mean_loss, totals.standard_error), "nats a row, ± standard error"),
        Figure("Perplexity", decimal(totals.perplexity, 4), "", "exp of the mean loss"),
    ]
    if has_classes(totals):
        for k in totals.top_k:
            if k == 1 or k < totals.classes:
                name = "Accuracy" if k == 1 else f"Top-{k} accuracy"
                what = "is predicted" if k == 1 else f"is among the {k} likeliest classes"
                entries.append(Figure(name, percent(totals.accuracy(k)), "", f"rows whose target {what}"))
        entries += [
            Figure("Calibration error (ECE)", percent(totals.expected_calibration_error), "",
                   "expected |confidence − accuracy| over bins of confidence"),
            Figure("Mean confidence", percent(totals.mean_confidence), "", "probability of the predicted class"),
            Figure("Brier score", decimal(totals.brier_score, 3), "", "squared error of the probabilities; 0 to 2"),
        ]  # fmt: skip
    elif totals.mean_divergence is not None:
        entries.append(
            Figure(
                "Divergence",
                decimal(totals.mean_divergence, 3),
                "",
                "Kullback–Leibler, from the target's probabilities",
            )
        )
    entries.append(Figure("Mean entropy", decimal(totals.mean_entropy, 3), "", "nats; what the model expects to lose"))
    return entries


def notes(totals: Any, data: ReportData) -> list[str]:
    """Return what a reader has to know before believing the figures."""
    texts = []
    if not totals.rows:
        texts.append("There are no rows, so there is nothing to show.")
    elif not totals.scored:
        texts.append(f"All {count(totals.rows)} rows are ignored, so there is nothing to show.")
    if totals.non_finite:
        rows = "1 row has" if totals.non_finite == 1 else f"{count(totals.non_finite)} rows have"
        text = f"{rows} a loss that is infinite or nan: the logits call the target impossible, or hold nan or +∞. "
        others = (
            f"That of the other {count(data.finite)} rows is {decimal(data.mean_of_finite, 5)}." if data.finite else ""
        )
        texts.append(text + "The mean loss is therefore not finite. " + others)
    return texts


def has_classes(totals: Any) -> bool:
    """Whether the targets are classes, not probabilities."""
    return totals.class_counts is not None


def count(number: int) -> str:
    """Write a whole number, in groups of three digits."""
    return f"{number:,}"


def percent(share: float) -> str:
    """Write a share with two decimals."""
    return f"{100 * share:.2f}%" if math.isfinite(share) else "–"


def decimal(value: float, digits: int) -> str:
    """Write a number to so many significant digits; a dash for nan."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e7:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        superscript = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa}·10{superscript}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace("-", "−")


def _with_error(value: float, error: float) -> tuple[str, str]:
    """Write a number and its error, both to the error's second digit."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return decimal(value, 5), ""
    decimals = max(0, 1 - math.floor(math.log10(error)))
    if decimals > 7:
        return decimal(value, 5), f"± {decimal(error, 2)}"
    return f"{value:,.{decimals}f}", f"± {error:,.{decimals}f}"


def wilson_interval(
    hits: NDArray[Any], trials: NDArray[Any], z: float = 1.96
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Wilson's interval for shares, at 95% unless told otherwise; it stays within 0 and 1."""
    share = hits / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    spread = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return np.clip(middle - spread, 0, 1), np.clip(middle + spread, 0, 1)


class ClassRow(NamedTuple):
    """A class with its rows and how many of them are predicted right."""

    label: int
    rows: float
    accuracy: float


def hardest_and_easiest(totals: Any, most: int = 10) -> tuple[list[ClassRow], list[ClassRow]]:
    """Return the classes that are surely hard, the hardest first, and those that are surely easy, likewise.

    Hard by the upper, easy by the lower end of Wilson's interval: a class with a single row is neither.
    """
    labels = np.flatnonzero(totals.class_counts)
    rows = np.asarray(totals.class_counts, np.float64)[labels]
    accuracy = np.asarray(totals.class_accuracy, np.float64)[labels]
    low, high = wilson_interval(accuracy * rows, rows)
    most = min(most, labels.size // 2)

    def table(order: NDArray[np.intp]) -> list[ClassRow]:
        return [ClassRow(int(labels[i]), float(rows[i]), float(accuracy[i])) for i in order[:most]]

    return table(np.lexsort((labels, high))), table(np.lexsort((labels, -low)))


def commonest_confusions(totals: Any, most: int = 10) -> list[tuple[int, int, int]]:
    """Return target, prediction and rows of the cells off the diagonal that hold the most."""
    if totals.confusion is None:
        return []
    wrong = np.array(totals.confusion)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    cells = [(int(i) // len(wrong), int(i) % len(wrong)) for i in order]
    return [(row, column, int(wrong[row, column])) for row, column in cells if wrong[row, column]]
