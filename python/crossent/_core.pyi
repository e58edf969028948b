"""The compiled core. Every array is checked here and none is converted: that is ``_arrays.py``'s work.

``_Values`` are float16, float32, float64, or bfloat16 seen as ``V2`` (two opaque bytes, which is how NumPy
itself knows bfloat16), native byte order, aligned, with strides that are multiples of the item size.
The classes are the last axis of every ``(*positions, classes)`` array, whatever the strides are.
"""

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Values: TypeAlias = NDArray[Any]

def cross_entropy(
    logits: _Values,  # (*positions, classes)
    target: NDArray[np.int64] | _Values,  # (*positions) C-contiguous, or probabilities (*positions, classes)
    weight: NDArray[np.float64] | None,  # (classes,), C-contiguous
    ignore_index: int | None,
    label_smoothing: float,
    reduction: Literal["none", "mean", "sum"],
    grad_output: float | NDArray[np.float64],  # a scalar, or (*positions) with any strides
    losses: NDArray[np.float32] | NDArray[np.float64] | None,  # out, (*positions)
    grad: _Values | None,  # out, (*positions, classes), any strides
    /,
) -> float: ...
def score(  # one result each, (*positions), C-contiguous; figures have the dtype of losses
    logits: _Values,  # (*positions, classes)
    target: NDArray[np.int64] | _Values,  # (*positions), C-contiguous, or probabilities (*positions, classes)
    ignore_index: int | None,
    temperature: float,
    losses: NDArray[np.float32] | NDArray[np.float64],
    predicted: NDArray[np.int64],
    rank: NDArray[np.int64] | None,  # None for probabilities
    confidence: NDArray[Any],
    log_sum_exp: NDArray[Any],
    entropy: NDArray[Any],
    sum_of_squares: NDArray[Any],
    /,
) -> None: ...
def plain_cross_entropy(  # the mean; None where it takes a closer look
    logits: object, target: object, ignore_index: object, /
) -> float | None: ...
def plain_cross_entropy_with_grad(
    logits: object, target: object, ignore_index: object, out: object, /
) -> tuple[float, NDArray[Any]] | None: ...
def softmax(x: _Values, out: _Values, logarithm: bool, /) -> None: ...
def logsumexp(
    x: _Values,
    out: NDArray[np.float32] | NDArray[np.float64],  # (*positions)
    /,
) -> None: ...
def binary_cross_entropy(
    x: _Values,  # logits, or probabilities
    target: NDArray[Any],  # broadcast to x's shape; _Values, bool or any integer
    weight: NDArray[Any] | None,  # likewise
    pos_weight: NDArray[Any] | None,  # likewise
    from_logits: bool,
    is_mean: bool,  # of the losses; grad_output is divided by their number too
    grad_output: float | NDArray[np.float64],  # a scalar, or x's shape
    losses: NDArray[np.float32] | NDArray[np.float64] | None,  # out, x's shape
    grad: _Values | None,  # out, x's shape
    /,
) -> float: ...  # the sum of the losses, or their mean
def add_rows(  # columns of one axis, contiguous; a bad row, or -1
    columns: tuple[
        NDArray[Any] | None, ...
    ],  # valid, weight, loss, entropy, confidence, further, predicted, target, rank
    results: tuple[NDArray[np.int64] | None, ...],  # sums, not_finite, tallies, targets, predicted, correct, pairs
    classes: int,
    guesses: NDArray[np.int64],
    bins: int,
    /,
) -> int: ...
def add_by_group(  # finite values into the sums of their groups; a bad group, or -1
    values: NDArray[np.float32] | NDArray[np.float64],
    group: NDArray[np.int64] | None,
    sums: NDArray[np.int64],  # (groups, exact_sum_digits)
    /,
) -> int: ...

exact_sum_digits: int
most_bins: int

def kept_bytes(count: int, /) -> NDArray[np.uint8]: ...
def release_memory() -> int: ...  # bytes

kept_memory_smallest: int
kept_memory_limit: int

def set_num_threads(count: int, /) -> None: ...
def get_num_threads() -> int: ...
def get_thread_limit() -> int: ...  # what set_num_threads was told last
def compute_alone() -> None: ...  # the calling thread, from now on
def instruction_sets() -> list[str]: ...  # those this CPU runs, best first
def get_instruction_set() -> str: ...
def set_instruction_set(name: str, /) -> None: ...
def build_info() -> dict[str, Any]: ...  # version, compiler, openmp (str | None), instruction_sets (compiled)
