"""Calibration by one number: the temperature T at which softmax(logits / T) has the least mean loss.

With b = 1 / T, a row's loss is ``logsumexp(b x) - b x[y]``, convex in b. Its derivative by log b is
``b (E[x] - x[y])``, and since the entropy H of the row is ``logsumexp(b x) - b E[x]``, that is ``loss - H``. So at the
best temperature the mean loss equals the mean entropy, and one pass of ``score`` gives all that a root finder needs.
"""

from __future__ import annotations  # help() shows them as they are written

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from . import _options
from ._exact_sum import sum_by_group
from .scores import Scores, score
from .totals import CLASS_INDICES, Totals

#: Gives logits and targets, slab after slab from the first row on, each time that it is called.
Slabs: TypeAlias = Callable[[], Iterable[tuple[ArrayLike, ArrayLike]]]
#: Reads all rows at a temperature, and says what it found; whether their totals are wanted too is the second argument.
Read: TypeAlias = Callable[[float, bool], "Slopes"]

HIGHEST = 1e4  # and its inverse is the lowest temperature that is tried
PRECISION = 1e-6  # relative, of the temperature
_STEP = 0.05  # of log T, for the second derivative


@dataclass(frozen=True)
class TemperatureFit:
    """The temperature that minimises the mean loss, and what it changes.

    Attributes
    ----------
    temperature : float
        Divide logits by it, or pass it to ``score``.
    standard_error : float
        Of ``temperature``, for independent rows, whether or not the model is right otherwise (the sandwich estimate).
    before, after : Totals
        At temperature 1 and at ``temperature``, of the rows that the fit uses.
    left_out : int
        Rows that the fit doesn't use, although they aren't ignored: their loss is infinite or nan at every temperature.
    passes : int
        How often the logits were read.

    Examples
    --------
    >>> import crossent
    >>> fit = crossent.fit_temperature([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]], [0, 1, 1])
    >>> round(fit.temperature, 2), round(fit.before.mean_loss, 2), round(fit.after.mean_loss, 2)
    (5.77, 1.35, 0.64)
    """

    temperature: float
    standard_error: float
    before: Totals
    after: Totals
    left_out: int
    passes: int


def fit_temperature(
    logits: ArrayLike, target: ArrayLike, *, ignore_index: int | None = -100, axis: int | None = None
) -> TemperatureFit:
    """Fit the temperature to labelled logits that the model was not trained on.

    Needs SciPy: ``pip install "crossent[calibration]"``.

    Parameters
    ----------
    logits, target, ignore_index, axis
        As in ``score``.

    Returns
    -------
    TemperatureFit

    Raises
    ------
    ValueError
        If there is no best temperature: no rows, a loss that doesn't depend on it, or one that falls for ever as it
        goes to 0 (every target has the largest logit) or to infinity (logits that tell nothing of the target).

    Examples
    --------
    >>> import crossent
    >>> logits = [[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]]
    >>> fit = crossent.fit_temperature(logits, [0, 0, 1, 1])  # sure to 98 %, right in three of four
    >>> round(fit.temperature, 4)  # 4 / log(3)
    3.641
    >>> round(fit.before.mean_loss, 4), round(fit.after.mean_loss, 4)
    (1.0181, 0.5623)
    """
    return fit_slabs(lambda: [(logits, target)], ignore_index=ignore_index, axis=axis)


def fit_slabs(slabs: Slabs, *, ignore_index: int | None = -100, axis: int | None = None) -> TemperatureFit:
    """Fit the temperature to slabs that are given again for every pass; no two of them are held at a time."""

    def read(temperature: float, totals: bool) -> Slopes:
        found = Slopes()
        for logits, target in slabs():
            scores = score(logits, target, ignore_index=ignore_index, temperature=temperature, axis=axis)
            mass: ArrayLike = 1.0
            if scores.target is None:
                class_axis = _options.as_class_axis(axis, np.shape(logits))
                mass = np.asarray(target).astype(np.float64).sum(axis=class_axis).reshape(scores.loss.shape)
            found += Slopes.of(scores, mass, totals=totals)
        return found

    return fit(read)


@dataclass(frozen=True)
class Slopes:
    """Sums over rows whose loss is finite: of the slope ``loss - entropy``, and of its square; without rounding.

    The slope is the derivative of the loss by ``log(1 / T)``.
    """

    rows: int = 0
    left_out: int = 0
    """Rows that count, but whose loss is infinite or nan."""
    total: Fraction = Fraction()
    squares: Fraction = Fraction()
    totals: Totals | None = None

    @staticmethod
    def of(scores: Scores, mass: ArrayLike = 1.0, *, totals: bool = False) -> Slopes:
        """Return the sums over these rows, with their totals if wanted.

        ``mass`` is what the target probabilities of each row sum to, for those that don't sum to 1.
        """
        finite = np.isfinite(scores.loss) & scores.valid
        used = scores.select(finite)
        weight = np.broadcast_to(np.asarray(mass, np.float64), scores.loss.shape)[finite]
        slopes = used.loss - weight * used.entropy.astype(np.float64)
        return Slopes(
            slopes.size,
            int(np.count_nonzero(scores.valid & ~finite)),
            sum_by_group(slopes)[0],
            sum_by_group(slopes * slopes)[0],
            Totals.of(used) if totals else None,
        )

    def __add__(self, other: Slopes) -> Slopes:
        both = self.totals + other.totals if self.totals and other.totals else self.totals or other.totals
        return Slopes(
            self.rows + other.rows,
            self.left_out + other.left_out,
            self.total + other.total,
            self.squares + other.squares,
            both,
        )


def fit(read: Read) -> TemperatureFit:
    """Fit the temperature to rows that ``read`` reads again at every temperature that is tried, some ten in all.

    The result has the same bits in whatever parts ``read`` adds up the rows. Raises what ``fit_temperature`` raises,
    and ``ModuleNotFoundError`` before the first pass if SciPy isn't installed.
    """
    try:
        from scipy.optimize import brentq  # noqa: PLC0415  # an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'fitting a temperature needs SciPy: pip install "crossent[calibration]"', name="scipy"
        ) from error

    passes = _Passes(read)
    before = passes.totals(0.0)
    if before.classes == 1:
        raise ValueError("there is no temperature to fit: with one class, the loss is 0 at every temperature")
    if before.targets == CLASS_INDICES and before.accuracy() == 1:
        raise ValueError(
            f"there is no best temperature: in all {before.scored} rows the target has the largest logit, so the loss "
            "never rises as the temperature goes to 0"
        )
    near, far = _bracket(passes.slope)
    root = near if near == far else float(brentq(passes.slope, near, far, xtol=PRECISION))
    temperature = math.exp(-root)
    after = passes.totals(root)
    curvature = (passes.slope(root + _STEP) - passes.slope(root - _STEP)) / (2 * _STEP)
    if not curvature > 1e-6 * after.mean_loss:
        raise ValueError(f"there is no best temperature: around {temperature:.4g} the loss doesn't depend on it")
    standard_error = temperature * math.sqrt(passes.mean_square(root) / after.scored) / curvature
    return TemperatureFit(temperature, standard_error, before, after, passes.left_out, passes.number)


def _bracket(slope: Callable[[float], float]) -> tuple[float, float]:
    """Return two values of ``log(1 / T)`` between which the slope of the loss changes its sign."""
    if slope(0.0) == 0:
        return 0.0, 0.0
    direction = 1 if slope(0.0) < 0 else -1
    near, far, limit = 0.0, 0.5, math.log(HIGHEST)
    while slope(direction * far) * direction < 0:
        if far == limit:
            course = f"the lower it is, down to {1 / HIGHEST:g}"
            if direction < 0:
                course = f"the higher it is, up to {HIGHEST:g}: the logits tell nothing of the targets or are too large"
            raise ValueError(f"there is no best temperature: the loss falls {course}")
        near, far = far, min(3 * far, limit)
    return direction * near, direction * far


class _Passes:
    """Reads all rows at a temperature, which goes by ``u = log(1 / T)``, and remembers what it found."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known: dict[float, Slopes] = {}
        self.number = 0
        self.left_out = 0

    def slope(self, u: float) -> float:
        """Return the derivative of the mean loss by ``u``: the mean of ``loss - entropy``."""
        found = self._at(u)
        return float(found.total / found.rows)

    def mean_square(self, u: float) -> float:
        """Return the mean of ``(loss - entropy)**2``."""
        found = self._at(u)
        return float(found.squares / found.rows)

    def totals(self, u: float) -> Totals:
        """Return the totals of the rows whose loss is finite."""
        totals = self._at(u, totals=True).totals
        assert totals is not None
        return totals

    def _at(self, u: float, *, totals: bool = False) -> Slopes:
        known = self._known.get(u)
        if known is None or (totals and known.totals is None):
            temperature = math.exp(-u)
            self._known[u] = known = self._read(temperature, totals)
            if not self.number:
                self.left_out = known.left_out
            self.number += 1
            self._check(known, temperature)
        return known

    def _check(self, found: Slopes, temperature: float) -> None:
        if found.left_out != self.left_out:
            raise ValueError(
                f"at temperature {temperature:.4g}, {found.left_out} rows have a loss that is infinite or nan, "
                f"at temperature 1 {self.left_out}: the logits are too large to be divided by it"
            )
        if not found.rows:
            why = f"the loss of all {found.left_out} rows is infinite or nan" if found.left_out else "no row counts"
            raise ValueError(f"there is nothing to fit a temperature to: {why}")
