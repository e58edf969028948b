"""The demo: a classifier of handwritten digits, trained in plain NumPy with crossent's loss and gradient.

Linear, ReLU, dropout, linear; Adam on mini-batches. Logits for held-out digits go to ``.npy`` files, which
``python -m crossent score`` scores.
"""

import importlib.util
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .losses import cross_entropy_with_grad

Array: TypeAlias = NDArray[np.floating[Any]]
Labels: TypeAlias = NDArray[np.int64]

HIDDEN_UNITS = 256
DROPOUT = 0.5
BATCH_SIZE = 64
HELD_OUT = 360  # a fifth of the 1797 digits


@dataclass
class Classifier:
    """Logits of ``x`` are ``relu(x @ weight1 + bias1) @ weight2 + bias2``."""

    weight1: Array
    bias1: Array
    weight2: Array
    bias2: Array

    @classmethod
    def random(cls, inputs: int, classes: int, rng: np.random.Generator) -> "Classifier":
        """Weights that keep the variance of what passes through them (He et al., 2015)."""

        def normal(rows: int, columns: int, gain: float) -> Array:
            weight: Array = rng.standard_normal((rows, columns), np.float32) * np.float32(np.sqrt(gain / rows))
            return weight

        return cls(
            normal(inputs, HIDDEN_UNITS, gain=2),
            np.zeros(HIDDEN_UNITS, np.float32),
            normal(HIDDEN_UNITS, classes, gain=1),
            np.zeros(classes, np.float32),
        )

    @property
    def parameters(self) -> list[Array]:
        """The arrays that training changes, in the order of the gradients."""
        return [self.weight1, self.bias1, self.weight2, self.bias2]

    def logits(self, x: Array) -> Array:
        """Logits (rows, classes) of ``x`` (rows, inputs), without dropout."""
        hidden: Array = np.maximum(x @ self.weight1 + self.bias1, 0)
        return hidden @ self.weight2 + self.bias2

    def loss_and_gradients(self, x: Array, labels: Labels, keep: Array) -> tuple[float, list[Array]]:
        """Mean loss of a batch and its gradient for each parameter.

        ``keep`` (rows, hidden units) is 0 where dropout silences a unit and 1 / (1 - DROPOUT) elsewhere.
        """
        hidden = np.maximum(x @ self.weight1 + self.bias1, 0) * keep
        loss, grad_logits = cross_entropy_with_grad(hidden @ self.weight2 + self.bias2, labels)
        grad_hidden = grad_logits @ self.weight2.T * keep * (hidden > 0)
        return loss, [x.T @ grad_hidden, grad_hidden.sum(0), hidden.T @ grad_logits, grad_logits.sum(0)]


@dataclass
class Adam:
    """Adam (Kingma and Ba, 2015), with the paper's settings."""

    parameters: list[Array]
    step_size: float = 1e-3
    steps: int = 0
    means: list[Array] = field(init=False)
    squares: list[Array] = field(init=False)

    def __post_init__(self) -> None:
        self.means = [np.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [np.zeros_like(parameter) for parameter in self.parameters]

    def step(self, gradients: list[Array]) -> None:
        """Move the parameters, in place."""
        self.steps += 1
        mean_correction = 1 - 0.9**self.steps
        square_correction = 1 - 0.999**self.steps
        for parameter, gradient, mean, square in zip(self.parameters, gradients, self.means, self.squares, strict=True):
            mean[...] += 0.1 * (gradient - mean)
            square[...] += 0.001 * (gradient * gradient - square)
            parameter[...] -= self.step_size * (mean / mean_correction) / (np.sqrt(square / square_correction) + 1e-8)


def train(model: Classifier, x: Array, labels: Labels, *, epochs: int, rng: np.random.Generator) -> None:
    """Train in place, with a progress bar on stderr if that is a terminal."""
    optimizer = Adam(model.parameters)
    with tqdm(range(epochs), desc="training", unit="epoch", file=sys.stderr, disable=None) as progress:
        for _ in progress:
            order = rng.permutation(len(x))
            losses = []
            for start in range(0, len(x), BATCH_SIZE):
                batch = order[start : start + BATCH_SIZE]
                kept = rng.random((len(batch), HIDDEN_UNITS), np.float32) >= DROPOUT
                loss, gradients = model.loss_and_gradients(x[batch], labels[batch], kept / np.float32(1 - DROPOUT))
                optimizer.step(gradients)
                losses.append(loss)
            progress.set_postfix(loss=f"{np.mean(losses):.4f}")


def run(output: Path, *, epochs: int, seed: int) -> int:
    """Train, write ``logits.npy`` and ``labels.npy`` of the held-out digits to `output`, score them, draw a report.

    Returns the exit code of the scoring command.
    """
    # Opened before the training, which an output that can't be written shouldn't have to wait for.
    output.mkdir(parents=True, exist_ok=True)
    logits_path, labels_path = output / "logits.npy", output / "labels.npy"
    for path in (logits_path, labels_path):
        path.open("ab").close()

    pixels, digits = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pixels))
    x, labels = (pixels[order] / 16).astype(np.float32), digits[order].astype(np.int64)
    print(f"{len(x) - HELD_OUT} handwritten digits of 8 x 8 pixels to train on, {HELD_OUT} held out", flush=True)

    model = Classifier.random(inputs=x.shape[1], classes=10, rng=rng)
    with threadpool_limits(1, user_api="blas"):  # the matrices are too small for a second thread to help
        train(model, x[HELD_OUT:], labels[HELD_OUT:], epochs=epochs, rng=rng)

    np.save(logits_path, model.logits(x[:HELD_OUT]))
    np.save(labels_path, labels[:HELD_OUT])

    command = ["-m", "crossent", "score", str(logits_path), str(labels_path), "--worst", "5"]
    if importlib.util.find_spec("matplotlib") is not None:
        command += ["--report", str(output / "report.html")]
    print(f"\n$ python {shlex.join(command)}", flush=True)
    return subprocess.call([sys.executable, *command])
