"""The peers that work on NumPy arrays: NumPy itself, SciPy and scikit-learn."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from library import GRADIENT, LOSS, Library
from problems import IGNORE_INDEX, Array, Problem
from timing import Call


class NumPy(Library):
    """NumPy as it is written by hand, each pass in place; half precision by way of float32."""

    name = module = "numpy"

    def calls(self, problem: Problem) -> dict[str, Call]:  # noqa: D102
        if problem.cell.function == "score":
            return {LOSS: partial(self._score, problem)}
        if problem.cell.function != "cross_entropy":
            return {LOSS: partial(self._activation, problem.logits, problem.cell.function)}
        rows = _RowWeights(problem)
        return {LOSS: partial(self._loss, problem, rows), GRADIENT: partial(self._loss_and_gradient, problem, rows)}

    def rows(self, problem: Problem) -> tuple[Array, Array]:  # noqa: D102
        rows, x = _RowWeights(problem), _single_or_double(problem.logits)
        rows.weights = 1.0
        lse, probabilities = self.logsumexp_and_softmax(x)
        return rows.losses(x, lse), rows.gradient(probabilities).astype(problem.logits.dtype, copy=False)

    def _loss(self, problem: Problem, rows: _RowWeights) -> Any:
        x = _single_or_double(problem.logits)
        return rows.loss(x, self.logsumexp(x))

    def _loss_and_gradient(self, problem: Problem, rows: _RowWeights) -> tuple[Any, Array]:
        x = _single_or_double(problem.logits)
        lse, probabilities = self.logsumexp_and_softmax(x)
        return rows.loss(x, lse), rows.gradient(probabilities).astype(problem.logits.dtype, copy=False)

    def _score(self, problem: Problem) -> tuple[Array, ...]:
        assert problem.target is not None
        x = _single_or_double(problem.logits)
        lse, p = self.logsumexp_and_softmax(x)
        own = np.take_along_axis(x, np.expand_dims(problem.target, 1), axis=1)
        confidence, predicted, rank = p.max(axis=1), x.argmax(axis=1), (x > own).sum(axis=1)
        entropy, squares = lse - np.einsum("nc...,nc...->n...", p, x), np.einsum("nc...,nc...->n...", p, p)
        return lse - own.squeeze(1), lse, confidence, entropy, squares, predicted, rank

    def _activation(self, x: Array, function: str) -> Array:
        return {"softmax": self.softmax, "log_softmax": self.log_softmax, "logsumexp": self.logsumexp}[function](x)

    def logsumexp_and_softmax(self, x: Array) -> tuple[Array, Array]:
        """Return both from one exp."""
        largest = x.max(axis=1, keepdims=True)
        exps = x - largest
        np.exp(exps, out=exps)
        sums = exps.sum(axis=1, keepdims=True)
        exps /= sums
        return (np.log(sums) + largest)[:, 0], exps

    def logsumexp(self, x: Array) -> Array:
        """Return log(sum(exp(x))) along axis 1."""
        largest = x.max(axis=1, keepdims=True)
        exps = x - largest
        np.exp(exps, out=exps)
        result: Array = np.log(exps.sum(axis=1)) + largest[:, 0]
        return result

    def softmax(self, x: Array) -> Array:
        """Return exp(x) / sum(exp(x)) along axis 1."""
        return self.logsumexp_and_softmax(x)[1]

    def log_softmax(self, x: Array) -> Array:
        """Return x - logsumexp(x) along axis 1."""
        result: Array = x - self.logsumexp(x)[:, None]
        return result


class SciPy(NumPy):
    """SciPy's log-sum-exp and softmax, the rest in NumPy."""

    name = "scipy"
    module = "scipy.special"

    def logsumexp_and_softmax(self, x: Array) -> tuple[Array, Array]:  # noqa: D102
        return self.logsumexp(x), self.softmax(x)

    def logsumexp(self, x: Array) -> Array:  # noqa: D102
        result: Array = self.library.logsumexp(x, axis=1)
        return result

    def softmax(self, x: Array) -> Array:  # noqa: D102
        result: Array = self.library.softmax(x, axis=1)
        return result

    def log_softmax(self, x: Array) -> Array:  # noqa: D102
        result: Array = self.library.log_softmax(x, axis=1)
        return result


class ScikitLearn(Library):
    """scikit-learn's private fused loss and gradient, image by image where the classes are strided."""

    name = "sklearn"
    module = "sklearn._loss.loss"

    def calls(self, problem: Problem) -> dict[str, Call]:  # noqa: D102
        cell, dtype = problem.cell, problem.logits.dtype
        if not self._knows(problem):
            return {}
        rows = _RowWeights(problem)
        weights = np.broadcast_to(np.asarray(rows.weights, dtype), rows.index.shape)
        run = partial(
            self._run,
            self.library.HalfMultinomialLoss(n_classes=cell.classes),
            problem.logits,
            _positions_of_images(rows.index.astype(dtype)),
            _positions_of_images(weights.copy()),
        )
        return {LOSS: run, GRADIENT: partial(run, with_gradient=True)}

    def rows(self, problem: Problem) -> tuple[Array, Array] | None:  # noqa: D102
        if not self._knows(problem):
            return None
        assert problem.target is not None
        loss = self.library.HalfMultinomialLoss(n_classes=problem.cell.classes)
        labels = problem.target.astype(problem.logits.dtype)
        losses, gradient = loss.loss_gradient(labels, problem.logits, n_threads=self.threads)
        return losses, gradient

    def _knows(self, problem: Problem) -> bool:
        cell = problem.cell
        if cell.function != "cross_entropy" or cell.variant in ("smoothing", "probabilities"):
            return False
        # Labels have the type of the logits, and must be exact in it.
        return cell.dtype in ("float32", "float64") and cell.classes <= 2 ** (np.finfo(problem.logits.dtype).nmant + 1)

    def _run(
        self, loss: Any, x: Array, labels: list[Array], weights: list[Array], *, with_gradient: bool = False
    ) -> Any:
        gradient = np.empty_like(x) if with_gradient else None
        total = 0.0
        gradients = [None] * len(labels) if gradient is None else _rows_of_images(gradient)
        for rows, y, w, out in zip(_rows_of_images(x), labels, weights, gradients, strict=True):
            losses = np.empty_like(y)
            if out is None:
                loss.loss(y, rows, w, losses, n_threads=self.threads)
            else:
                loss.loss_gradient(y, rows, w, losses, out, n_threads=self.threads)
            total += float(losses.sum())
        return total if gradient is None else (total, gradient)


class _RowWeights:
    """What NumPy code prepares for a target: index and weight of each row, which sum to one."""

    def __init__(self, problem: Problem) -> None:
        target = problem.target
        assert target is not None
        self.smoothing = problem.label_smoothing
        self.probabilities = _single_or_double(target) if problem.has_probabilities else None
        self.index = np.zeros(0, np.int64)
        self.weights: Any = 1 / problem.cell.rows
        if self.probabilities is None:
            valid = target != IGNORE_INDEX
            self.index = np.where(valid, target, 0)
            if problem.weight is not None or not valid.all():
                weights = valid if problem.weight is None else problem.weight[self.index] * valid
                self.weights = (weights / weights.sum(dtype=np.float64)).astype(problem.logits.dtype)

    def loss(self, x: Array, lse: Array) -> Any:
        """Return the mean loss, from logits and log-sum-exp along axis 1."""
        losses = self.losses(x, lse)
        return losses.mean() if np.isscalar(self.weights) else (losses * self.weights).sum()

    def losses(self, x: Array, lse: Array) -> Array:
        """Return the loss of each row."""
        losses: Array
        if self.probabilities is not None:
            losses = lse * self.probabilities.sum(axis=1) - (self.probabilities * x).sum(axis=1)
            return losses
        at_target = np.take_along_axis(x, self.index[:, None], axis=1)[:, 0]
        losses = lse - (1 - self.smoothing) * at_target
        if self.smoothing:
            losses -= self.smoothing * x.mean(axis=1)
        return losses

    def gradient(self, p: Array) -> Array:
        """Turn probabilities into the gradient, in place."""
        if self.probabilities is not None:
            p *= self.probabilities.sum(axis=1, keepdims=True)
            p -= self.probabilities
            p *= self.weights
            return p
        if self.smoothing:
            p -= self.smoothing / p.shape[1]
        index = self.index[:, None]
        np.put_along_axis(p, index, np.take_along_axis(p, index, axis=1) - (1 - self.smoothing), axis=1)
        p *= self.weights if np.isscalar(self.weights) else self.weights[:, None]
        return p


def _rows_of_images(x: Array) -> list[Array]:
    """See each image's (classes, …) as rows of classes; a batch of rows is one image."""
    return [x] if x.ndim == 2 else [image.reshape(len(image), -1).T for image in x]


def _positions_of_images(x: Array) -> list[Array]:
    return [x] if x.ndim == 1 else [image.ravel() for image in x]


def _single_or_double(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x
