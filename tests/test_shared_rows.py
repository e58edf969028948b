"""Few positions of many classes are shared out among threads, with the bits of one that a thread has to itself."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import crossent
import numpy as np
import pytest

CLASSES = 200_003
RANDOM = np.random.default_rng(11)
LOGITS = RANDOM.normal(0, 3, (1, CLASSES)).astype(np.float32)
PROBABILITIES = RANDOM.dirichlet(np.ones(CLASSES), 1)
WEIGHT = RANDOM.uniform(0, 2, CLASSES)
COLUMNS = RANDOM.normal(0, 3, (CLASSES, 2, 5)).astype(np.float32)  # classes first: positions lie side by side
PLACES = np.array([[0, CLASSES - 1, -100, 16_384, 65_535], [65_536, 131_072, 7, 8, 131_071]])
STRIDED = np.repeat(LOGITS, 2, axis=1)[:, ::2]
LAST, FIRST = np.array([CLASSES - 1]), np.array([0])


def in_place(logits: np.ndarray, target: np.ndarray, axis: int = 1) -> tuple[float, np.ndarray]:
    copy = logits.copy()
    return crossent.cross_entropy_with_grad(copy, target, out=copy, axis=axis)


def scores(logits: np.ndarray, target: np.ndarray, axis: int = 0) -> tuple[np.ndarray, ...]:
    return tuple(crossent.score(logits, target, axis=axis).to_dict().values())


CALLS: dict[str, Callable[[], Any]] = {
    "loss": lambda: crossent.cross_entropy(LOGITS, LAST),
    "losses": lambda: crossent.cross_entropy(LOGITS, LAST, reduction="none"),
    "gradient": lambda: crossent.cross_entropy_with_grad(LOGITS, FIRST),
    "in place": lambda: in_place(LOGITS, LAST),
    "the greatest is the target": lambda: in_place(LOGITS, LOGITS.argmax(1)),
    "float64": lambda: crossent.cross_entropy_with_grad(LOGITS.astype(np.float64), LAST),
    "float16": lambda: crossent.cross_entropy_with_grad(LOGITS.astype(np.float16), LAST),
    "smoothing and weights": lambda: crossent.cross_entropy_with_grad(LOGITS, LAST, WEIGHT, label_smoothing=0.1),
    "probabilities": lambda: crossent.cross_entropy_with_grad(LOGITS, PROBABILITIES, WEIGHT, label_smoothing=0.1),
    "ignored": lambda: crossent.cross_entropy_with_grad(LOGITS, LAST, ignore_index=CLASSES - 1, reduction="sum"),
    "strided classes": lambda: crossent.cross_entropy_with_grad(STRIDED, LAST),
    "columns": lambda: crossent.cross_entropy_with_grad(COLUMNS, PLACES, axis=0, reduction="none"),
    "columns, float64": lambda: crossent.cross_entropy_with_grad(COLUMNS.astype(np.float64), PLACES, axis=0),
    "columns, float16": lambda: crossent.cross_entropy_with_grad(COLUMNS.astype(np.float16), PLACES, axis=0),
    "columns in place": lambda: in_place(COLUMNS, PLACES, axis=0),
    "columns, smoothing and weights": lambda: crossent.cross_entropy_with_grad(
        COLUMNS, PLACES, WEIGHT, label_smoothing=0.1, axis=0
    ),
    "columns, probabilities": lambda: crossent.cross_entropy_with_grad(
        COLUMNS[:, 0], np.repeat(PROBABILITIES.T, 5, axis=1), WEIGHT, axis=0
    ),
    "columns to rows": lambda: crossent.cross_entropy_with_grad(
        COLUMNS[:, 1], PLACES[1], axis=0, out=np.empty((5, CLASSES), np.float32).T
    ),
    "columns in two lines": lambda: crossent.cross_entropy_with_grad(COLUMNS[..., :3], PLACES[:, :3], axis=0),
    "columns, score": lambda: scores(COLUMNS, PLACES),
    "score": lambda: scores(LOGITS, LAST, axis=1),
    "columns, softmax": lambda: crossent.softmax(COLUMNS, axis=0),
    "single sample": lambda: crossent.cross_entropy_with_grad(LOGITS[0], CLASSES // 2),
    "nan": lambda: crossent.cross_entropy_with_grad(np.where(LOGITS < 9, LOGITS, np.nan), LAST),
    "large offset": lambda: crossent.cross_entropy_with_grad(LOGITS + np.float32(1e7), LAST),
    "softmax": lambda: crossent.softmax(LOGITS),
    "log_softmax": lambda: crossent.log_softmax(LOGITS),
    "logsumexp": lambda: crossent.logsumexp(LOGITS, axis=None),
}


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = crossent.get_num_threads()
    yield crossent.set_num_threads
    crossent.set_num_threads(before)


def bits(result: Any) -> list[bytes]:
    return [np.asarray(part).tobytes() for part in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize("name", CALLS)
def test_one_position_after_another(name: str, threads: Callable[[int], None]) -> None:
    threads(1)
    expected = bits(CALLS[name]())
    threads(3)
    assert bits(CALLS[name]()) == expected


SEVERAL_ROWS = """
import numpy as np, crossent
x = np.random.default_rng(0).normal(0, 3, (3, 150_000)).astype(np.float32)
y = np.array([7, -100, 149_999])
for logits in (x, np.asfortranarray(x)):
    loss, grad = crossent.cross_entropy_with_grad(logits, y, reduction="sum")
    crossent.set_num_threads(1)
    assert (loss, grad.tobytes()) == (lambda l, g: (l, g.tobytes()))(
        *crossent.cross_entropy_with_grad(logits, y, reduction="sum"))
    crossent.set_num_threads(4)
"""


def test_several_rows(python_environment: dict[str, str]) -> None:
    environment = {**python_environment, "OMP_NUM_THREADS": "4"}
    subprocess.run([sys.executable, "-c", SEVERAL_ROWS], env=environment, check=True, timeout=120)


def test_bad_target_in_a_long_row() -> None:
    with pytest.raises(IndexError, match="position 0 is 200003"):
        crossent.cross_entropy_with_grad(LOGITS, LAST + 1)
