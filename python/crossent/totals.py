"""What any number of scored rows add up to: ``Totals``, and the definition of every figure.

``of`` sums the rows of one ``Scores``, ``merge`` adds two totals. The sums are exact (see ``_exact_sum``), so that
every figure is the same to the last bit however the rows were split, in whatever order and wherever the parts were
added. Only what follows from one ``exp``, the perplexity, is as good as the machine's.
"""

from __future__ import annotations  # help() shows them as they are written

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, _options
from ._exact_sum import ExactSum, nearest_float, square_root
from ._sums import CONFUSION_CLASSES, Sums
from .scores import Scores

CLASS_INDICES, CLASS_PROBABILITIES = "class indices", "class probabilities"


class Reliability(NamedTuple):
    """How often the model is right where it is how sure: an array each, with an element for each bin of confidence."""

    edges: NDArray[np.float64]
    """The ``bins + 1`` edges ``0, 1 / bins, ..., 1``."""
    weight: NDArray[np.float64]
    """Number of rows in the bin, or the sum of their weights."""
    confidence: NDArray[np.float64]
    """Mean confidence of these rows; nan in an empty bin."""
    accuracy: NDArray[np.float64]
    """Fraction of them that is correct; nan in an empty bin."""


@dataclass(frozen=True, repr=False)
class Totals:
    """What scored rows add up to. Made by ``of``, ``empty``, ``merge`` and ``from_json``.

    - **Weights.** With ``sample_weight``, every mean is ``sum(w * x) / sum(w)``; without, each ``w`` is 1. Numbers of
      rows and counts of classes count rows, whatever their weight. A row of weight 0 is an ignored row.
    - **Rounding.** ``w * x`` is rounded to float64 for each row; the sums have no error, a mean is rounded once.
    - **Rows without a figure.** A loss may be inf, and a row whose logits have nan or +inf, or nothing but -inf, has
      no probabilities. As with NumPy, they make the mean inf or nan. In the accuracies such a row without
      probabilities counts, as wrong; it predicts no class, so it is missing in ``predicted_counts`` and ``confusion``.
    - **No rows.** The means of no rows are nan.
    - **Class probabilities as targets.** There is no one class to be right or wrong about: ``accuracy``,
      ``expected_calibration_error``, ``reliability``, ``brier_score``, ``class_counts``, ``correct_counts``,
      ``class_accuracy`` and ``confusion`` are None. With class indices, ``mean_divergence`` is.

    Attributes
    ----------
    classes : int
    top_k : tuple of int
        The numbers of guesses for which there is an ``accuracy``, in ascending order; 1 is always one of them.
    bins : int
        Number of bins of confidence.
    targets : {"class indices", "class probabilities"} or None
        What the targets are; None as long as nothing was scored.
    sums : Sums
        What the figures are computed from.

    Examples
    --------
    >>> import crossent
    >>> first = crossent.Totals.of(crossent.score([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], [1, 1]))
    >>> second = crossent.Totals.of(crossent.score([[0.0, 0.5, 2.0]], [2]))
    >>> totals = first.merge(second)
    >>> totals.rows, round(totals.mean_loss, 4), round(totals.perplexity, 4), totals.accuracy(5)
    (3, 0.6279, 1.8737, 1.0)
    >>> totals.confusion
    array([[0, 0, 0],
           [1, 1, 0],
           [0, 0, 1]])
    >>> crossent.Totals.from_json(totals.to_json()) == totals
    True
    """

    classes: int
    top_k: tuple[int, ...]
    bins: int
    targets: str | None
    sums: Sums

    @staticmethod
    def of(
        scores: Scores, *, sample_weight: ArrayLike | None = None, top_k: Sequence[int] = (1, 5), bins: int = 15
    ) -> Totals:
        """Return the totals of some rows.

        Parameters
        ----------
        scores : Scores
        sample_weight : array of numbers, optional
            One for each row, in the shape of ``scores.loss``; finite and not negative (those of ignored rows apart).
        top_k : sequence of int, optional
            Numbers of guesses to count hits for; 1 is added.
        bins : int, optional
            Number of bins of confidence.

        Raises
        ------
        TypeError
            If an argument is of another type.
        ValueError
            If a weight is negative, nan or infinite, ``sample_weight`` has another shape, an element of ``top_k`` is
            below 1, or ``bins`` not from 1 to 1000.
        """
        if not isinstance(scores, Scores):
            raise TypeError(f"Totals.of takes the Scores that crossent.score returns, not {type(scores).__name__}")
        if not isinstance(scores.loss, np.ndarray):
            found = f"{type(scores.loss).__module__}.{type(scores.loss).__qualname__}"
            raise TypeError(f"Totals.of takes Scores of NumPy arrays, not of {found}; for Dask: crossent.dask.totals")
        guesses, bins = _options.as_top_k(top_k), _options.as_bins(bins)
        weight = None if sample_weight is None else _arrays.as_sample_weight(sample_weight, scores.loss.shape)
        targets = CLASS_PROBABILITIES if scores.target is None else CLASS_INDICES
        return Totals(scores.classes, guesses, bins, targets, Sums.of(scores, weight, guesses, bins))

    @staticmethod
    def empty(classes: int, *, top_k: Sequence[int] = (1, 5), bins: int = 15) -> Totals:
        """Return the totals of no rows, which change nothing when merged."""
        guesses, bins = _options.as_top_k(top_k), _options.as_bins(bins)
        return Totals(_options.as_number_of_classes(classes), guesses, bins, None, Sums.empty(guesses, bins))

    def merge(self, *others: Totals) -> Totals:
        """Return the totals of the rows of all of them; ``a + b`` is ``a.merge(b)``.

        Many parts are merged faster at once than one by one.

        Raises
        ------
        TypeError
            If another is no ``Totals``.
        ValueError
            If they differ in ``classes``, ``top_k``, ``bins`` or the kind of ``targets``.

        Examples
        --------
        >>> import crossent
        >>> crossent.Totals.empty(10).merge(crossent.Totals.empty(12))
        Traceback (most recent call last):
            ...
        ValueError: totals with classes=10 and with classes=12 can't be merged
        """
        targets = self.targets
        for other in others:
            if not isinstance(other, Totals):
                raise TypeError(f"totals can be merged with totals, not with {type(other).__name__}")
            for name in ("classes", "top_k", "bins"):
                self._check_equal(name, getattr(self, name), getattr(other, name))
            if None not in (targets, other.targets):
                self._check_equal("targets", targets, other.targets)
            targets = targets or other.targets
        return Totals(
            self.classes, self.top_k, self.bins, targets, Sums.total([self.sums, *(other.sums for other in others)])
        )

    @staticmethod
    def _check_equal(name: str, mine: object, others: object) -> None:
        if mine != others:
            raise ValueError(f"totals with {name}={mine!r} and with {name}={others!r} can't be merged")

    def __add__(self, other: Totals) -> Totals:
        return self.merge(other) if isinstance(other, Totals) else NotImplemented

    def __radd__(self, other: Any) -> Totals:
        return self if isinstance(other, int) and other == 0 else NotImplemented  # the start of sum()

    def __repr__(self) -> str:
        accuracy = "" if self.targets == CLASS_PROBABILITIES else f", accuracy={self.accuracy()!r}"
        return (
            f"Totals(classes={self.classes}, rows={self.rows}, ignored={self.ignored}, "
            f"mean_loss={self.mean_loss!r}{accuracy})"
        )

    def to_json(self) -> str:
        """Return all that ``from_json`` needs for equal totals, as one line of text.

        An object with ``format``, ``version``, ``classes``, ``top_k``, ``bins``, ``targets``, ``sums`` and a checksum.
        Sums of floats are exact, in the hexadecimal form ``0x1fp-3``; counts name only the classes that occurred.
        """
        settings = {"classes": self.classes, "top_k": self.top_k, "bins": self.bins, "targets": self.targets}
        from . import _totals_json  # noqa: PLC0415  # json is not worth everybody's time

        return _totals_json.dumps(settings, self.sums)

    @staticmethod
    def from_json(text: str | bytes) -> Totals:
        """Return the totals that ``to_json`` wrote, from its text or that as UTF-8.

        Raises
        ------
        ValueError
            If the text is something else, of a later version, or damaged; the message tells what was found.
        TypeError
            If it is no text.
        """
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"from_json takes the text that to_json returned, not {type(text).__name__}")
        from . import _totals_json  # noqa: PLC0415  # json is not worth everybody's time

        try:
            settings, sums = _totals_json.loads(text)
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ValueError(f"these are no totals that were written by to_json: {error!r}") from error
        return Totals(**settings, sums=sums)

    @property
    def rows(self) -> int:
        """Number of rows, the ignored ones too."""
        return self.sums.rows

    @property
    def ignored(self) -> int:
        """Number of ignored rows: those that aren't ``valid``, and those of weight 0."""
        return self.sums.ignored

    @property
    def scored(self) -> int:
        """Number of rows that count: those not ignored."""
        return self.rows - self.ignored

    @property
    def weight(self) -> float:
        """Sum of the weights of the scored rows; their number if they have none."""
        return nearest_float(self.sums.weight)

    @property
    def non_finite(self) -> int:
        """Number of scored rows whose loss is inf or nan."""
        return self.sums.non_finite

    @property
    def mean_loss(self) -> float:
        """``sum(w * loss) / sum(w)``, in nats."""
        return self._mean(self.sums.loss)

    @property
    def standard_error(self) -> float:
        """Standard error of ``mean_loss``, for rows that are independent of each other; nan for fewer than two.

        With n scored rows: ``sqrt(n / (n - 1) * sum((w * (loss - mean_loss))**2)) / sum(w)``, which without weights is
        the sample standard deviation divided by ``sqrt(n)``. Weights say how much a row counts, not how often it was
        seen: multiplying all by one number changes nothing.
        """
        sums, n = self.sums, self.scored
        if n < 2 or not sums.loss.is_finite:
            return math.nan
        mean = sums.loss.finite / sums.weight
        squares = sums.loss_squares - 2 * mean * sums.weight_losses + mean * mean * sums.weight_squares
        return square_root(Fraction(n, n - 1) * squares / sums.weight**2)

    @property
    def perplexity(self) -> float:
        """``exp(mean_loss)``; inf where that is beyond float64."""
        try:
            return math.exp(self.mean_loss)
        except OverflowError:
            return math.inf

    @property
    def bits(self) -> float:
        """``mean_loss`` in bits: divided by ``log(2)``."""
        return self.mean_loss / math.log(2)

    def accuracy(self, k: int = 1) -> float | None:
        """Fraction of the weight whose target is among the first ``k`` guesses: whose ``rank`` is below ``k``.

        Of equal logits, the lower class is guessed first. ``k`` has to be one of ``top_k``.
        """
        k = _options.as_count(k)
        if k not in self.top_k:
            raise ValueError(f"accuracy({k}) was not counted: these totals have top_k={self.top_k}")
        return self._of_class(ExactSum(self.sums.hits[self.top_k.index(k)]))

    @property
    def expected_calibration_error(self) -> float | None:
        """``sum(weight * abs(accuracy - confidence)) / sum(weight)`` over the bins of ``reliability``."""
        if not self.sums.confidence.is_finite:
            return self._of_class(self.sums.confidence)
        gaps = zip(self.sums.bin_hits, self.sums.bin_confidence, strict=True)
        return self._of_class(ExactSum(sum((abs(hits - confidence) for hits, confidence in gaps), Fraction(0))))

    @property
    def reliability(self) -> Reliability | None:
        """Weight, mean confidence and accuracy in bins of confidence.

        The bins are equally wide: the first has confidences c with 0 < c <= 1 / bins, the last those up to 1; in exact
        terms, bin ``ceil(c * bins) - 1``, where the product is rounded to float64. Rows without probabilities are in
        none.
        """
        if self.targets == CLASS_PROBABILITIES:
            return None

        def means(sums: tuple[Fraction, ...]) -> NDArray[np.float64]:
            pairs = zip(sums, self.sums.bin_weight, strict=True)
            return np.array([ExactSum(total).over(weight) for total, weight in pairs])

        return Reliability(
            np.arange(self.bins + 1) / self.bins,
            np.array([nearest_float(weight) for weight in self.sums.bin_weight]),
            means(self.sums.bin_confidence),
            means(self.sums.bin_hits),
        )

    @property
    def mean_confidence(self) -> float:
        """Mean probability of the predicted class."""
        return self._mean(self.sums.confidence)

    @property
    def mean_entropy(self) -> float:
        """Mean entropy of the predicted probabilities, in nats."""
        return self._mean(self.sums.entropy)

    @property
    def brier_score(self) -> float | None:
        """Mean of ``sum((p - y)**2)``, with y 1 for the target and 0 for the other classes: from 0 to 2.

        For each row it is ``sum(p * p) + (1 - 2 * exp(-loss))``, in float64.
        """
        return self._of_class(self.sums.brier)

    @property
    def mean_divergence(self) -> float | None:
        """Mean Kullback-Leibler divergence of the predictions from the target probabilities, in nats."""
        return None if self.targets == CLASS_INDICES else self._mean(self.sums.divergence)

    @property
    def class_counts(self) -> NDArray[np.int64] | None:
        """How many scored rows have each class as their target: shape (classes,)."""
        return self._count(self.sums.targets.dense(self.classes))

    @property
    def predicted_counts(self) -> NDArray[np.int64]:
        """How many scored rows are predicted to be of each class: shape (classes,)."""
        return self.sums.predicted.dense(self.classes)

    @property
    def correct_counts(self) -> NDArray[np.int64] | None:
        """How many scored rows of each class are predicted to be of it: shape (classes,)."""
        return self._count(self.sums.correct.dense(self.classes))

    @property
    def class_accuracy(self) -> NDArray[np.float64] | None:
        """``correct_counts / class_counts``, the recall of each class; nan for classes that no target is of."""
        if self.class_counts is None or self.correct_counts is None:
            return None
        with np.errstate(invalid="ignore"):
            return self.correct_counts / self.class_counts

    @property
    def confusion(self) -> NDArray[np.int64] | None:
        """How many rows of the class of the row are predicted to be of the class of the column: (classes, classes).

        None beyond 1000 classes.
        """
        if self.classes > CONFUSION_CLASSES:
            return None
        return self._count(self.sums.pairs.dense(self.classes**2).reshape(self.classes, self.classes))

    def _mean(self, total: ExactSum) -> float:
        return total.over(self.sums.weight)

    def _of_class(self, total: ExactSum) -> float | None:
        return None if self.targets == CLASS_PROBABILITIES else self._mean(total)

    def _count(self, counts: NDArray[Any]) -> NDArray[np.int64] | None:
        return None if self.targets == CLASS_PROBABILITIES else counts
