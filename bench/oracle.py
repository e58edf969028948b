"""What a row's loss and gradient truly are, and how many units in the last place a result is away from them.

The truth is that of the tests' oracle, in long double; here it is held against 60 digits before it judges anything.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from problems import Array, Problem

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import cases
import reference

# A result of 0 that is so far off is a number lost, not one rounded to 0 below the smallest denormal.
LOST_ULPS = 100
# Rows held against 60 digits, of each problem; those of many classes take seconds.
CHECKED_ROWS = 2
CHECKED_CLASSES = 1000
# How far the oracle may be off, in units of float64.
ORACLE_ULPS = 0.02


class OracleError(AssertionError):
    """The oracle isn't right on this machine, as where long double is only double."""


@dataclass
class Worst:
    """The largest error of many values, in units in the last place, and what was lost: of ``0``, ``inf``, ``nan``."""

    count: int = 0
    ulps: float = 0.0
    lost: set[str] = field(default_factory=set)
    place: str = ""

    def add(self, found: Array, truth: Array, magnitude: Array, dtype: np.dtype[Any], where: str) -> None:
        """Take in values, their errors measured in units of ``dtype`` at ``magnitude``."""
        self.count += found.size
        got = found.astype(reference.long_double)
        error = np.abs(got - truth) / cases.unit(magnitude, dtype)
        lost = {"nan": np.isnan(got), "inf": np.isinf(got), "0": (got == 0) & (error > LOST_ULPS)}
        self.lost |= {name for name, here in lost.items() if here.any()}
        error[~np.isfinite(got)] = np.inf
        at = np.unravel_index(np.argmax(error), error.shape)
        if error[at] > self.ulps:
            self.ulps = float(error[at])
            self.place = f"{where}, at {tuple(map(int, at))}: {got[at]} instead of {truth[at]}, {self.ulps:.3g} ulp"

    def __str__(self) -> str:
        """Return what was lost, or the error."""
        return ", ".join(sorted(self.lost)) or number(self.ulps)


def number(value: float) -> str:
    """Return two or three digits, with an exponent where they are not enough."""
    if value < 1e5:
        return f"{value:.2f}" if value < 10 else f"{value:,.0f}"
    return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def relative_error(found: float, truth: float) -> str:
    """Return the relative error of a number, or what it is if it is none."""
    if not np.isfinite(found) or found == 0:
        return f"{found:g}"
    return "exact" if found == truth else f"{abs(found / truth - 1):.0e}"


def lost_elements(found: Array, truth: Array) -> int:
    """Count what is 0, infinite or nan where the truth, rounded, is not."""
    rounded = truth.astype(found.dtype)
    return int(np.count_nonzero(~np.isfinite(found) | ((found == 0) & (rounded != 0))))


def sum_in_eps(gradient: Array) -> Array:
    """Return the sum of each row's gradient in eps of the sum of its absolute values.

    What the rounding of denormal elements may add, half of the smallest of them each, is left out.
    """
    elements, info = gradient.astype(reference.long_double), np.finfo(gradient.dtype)
    total, size = np.abs(elements.sum(axis=1)), np.abs(elements).sum(axis=1)
    total = np.maximum(total - gradient.shape[1] * info.smallest_subnormal.astype(reference.long_double) / 2, 0)
    sums: Array = (total / np.where(size == 0, 1, size * info.eps)).astype(np.float64)
    return sums


def true_rows(problem: Problem) -> reference.LossAndGrad:
    """Return each row's loss and gradient; raises OracleError if 60 digits say otherwise."""
    assert problem.target is not None
    truth = reference.cross_entropy(
        problem.logits, problem.target, axis=1, reduction="none", label_smoothing=problem.label_smoothing
    )
    rows, classes = problem.logits.shape
    if classes <= CHECKED_CLASSES:
        for row in np.linspace(0, rows - 1, CHECKED_ROWS).astype(int):
            _check(problem, truth, row)
    return truth


def _check(problem: Problem, truth: reference.LossAndGrad, row: int) -> None:
    assert problem.target is not None
    x = problem.logits[row].astype(np.float64)
    if problem.has_probabilities or problem.label_smoothing:
        ones = np.ones(len(x), reference.long_double)
        t, _ = reference.weighted_target(problem.target[row], ones, None, problem.label_smoothing)
        loss, grad = reference.exact_soft_row(x, t)
    else:
        loss, grad = reference.exact_row(x, int(problem.target[row]))
    exact = reference.from_exact([loss, *grad])
    found = np.array([truth.loss[row], *truth.grad[row]])
    magnitude = np.array([truth.loss[row], *truth.magnitude[row]])
    # (not by units: those of denormals say nothing of the oracle)
    error = float(np.max(np.abs(found - exact) / np.abs(magnitude))) / np.finfo(np.float64).eps
    if not error <= ORACLE_ULPS:
        raise OracleError(f"{problem.cell.name}, row {row}: the oracle is {error:.2g} eps of float64 off 60 digits")
