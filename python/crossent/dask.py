"""``score`` and ``Totals`` of Dask arrays, lazily and chunk by chunk: for logits larger than a machine's memory.

It needs Dask: ``pip install "crossent[dask]"``. Threads: every task uses as many as ``crossent.get_num_threads()``
says in its process. Dask's worker processes set ``OMP_NUM_THREADS`` to 1 unless told otherwise, so that their tasks
don't compete.

>>> import crossent.dask
>>> import dask
>>> import dask.array as da
>>> logits = da.random.default_rng(0).normal(size=(1000, 10), chunks=(300, 10))
>>> target = da.arange(1000, chunks=1000) % 10
>>> scores = crossent.dask.score(logits, target)
>>> scores.loss
dask.array<getattr, shape=(1000,), dtype=float64, chunksize=(300,), chunktype=numpy.ndarray>
>>> loss, rank = dask.compute(scores.loss, scores.rank)
>>> totals = crossent.dask.totals(logits, target).compute()
>>> totals.rows, totals.mean_loss == crossent.Totals.of(crossent.score(logits.compute(), target.compute())).mean_loss
(1000, True)
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _arrays, _explain, _options
from .scores import Scores
from .scores import score as score_in_memory
from .totals import Totals

try:
    import dask
    import dask.array as da
except ImportError as error:
    raise ImportError(f"crossent.dask needs Dask ({error}): pip install 'crossent[dask]'") from error

_MERGED_AT_ONCE = 16


def score(
    logits: Any,
    target: Any,
    *,
    ignore_index: int | None = -100,
    temperature: float = 1.0,
    axis: int | None = None,
) -> Scores:
    """Return the ``Scores`` of ``crossent.score``, whose arrays are lazy Dask arrays.

    ``dask.compute(scores)`` returns them in memory. Compute what you need of them together, in one ``dask.compute`` or
    ``dask.persist``: a chunk is then scored once.

    Parameters
    ----------
    logits : Dask array
        With all classes in one chunk and two axes or more; a NumPy array will do.
    target : Dask array
        Class indices or class probabilities; it is rechunked to the chunks of the logits.
    ignore_index, temperature, axis
        As for ``crossent.score``.

    Raises
    ------
    ValueError
        If the classes are in several chunks, chunks have unknown sizes, or shapes don't fit. Errors in values, such
        as a target out of range, are raised when computing, with positions that count from the start of a chunk.
    """
    blocks, row = _scored_blocks(logits, target, ignore_index=ignore_index, temperature=temperature, axis=axis)
    arrays: dict[str, Any] = {
        name: blocks.map_blocks(getattr, name, dtype=column.dtype, meta=_no_elements(blocks.ndim, column.dtype))
        for name, column in row.to_dict().items()
    }
    return replace(row, **arrays)


def totals(
    logits: Any,
    target: Any,
    *,
    sample_weight: Any = None,
    top_k: Sequence[int] = (1, 5),
    bins: int = 15,
    ignore_index: int | None = -100,
    temperature: float = 1.0,
    axis: int | None = None,
) -> Any:
    """Return the ``Totals`` of all rows as a Dask ``Delayed``: ``.compute()`` gives them.

    Each chunk is scored and summed where it lies, and the totals, which are small, are merged in a tree. They equal
    those of the whole arrays in memory to the last bit, whatever the chunks and the workers are.

    Parameters
    ----------
    logits, target, ignore_index, temperature, axis
        As for ``score``.
    sample_weight : array of numbers, optional
        One for each row; a Dask array is rechunked to the chunks of the logits.
    top_k, bins
        As for ``Totals.of``.

    Raises
    ------
    ValueError
        As for ``score`` and ``Totals.of``.
    """
    blocks, row = _scored_blocks(logits, target, ignore_index=ignore_index, temperature=temperature, axis=axis)
    empty = Totals.empty(row.classes, top_k=top_k, bins=bins)  # checks the options
    summed = functools.partial(Totals.of, top_k=empty.top_k, bins=empty.bins)
    kind = {"dtype": object, "meta": _no_elements(blocks.ndim, object)}
    if sample_weight is None:
        parts = blocks.map_blocks(summed, **kind)
    else:
        weight = da.asarray(sample_weight)
        if weight.shape != blocks.shape:
            raise ValueError(
                f"sample_weight must have the losses' shape {blocks.shape}, but its shape is {weight.shape}"
            )
        parts = da.map_blocks(_weighted_totals, blocks, weight.rechunk(blocks.chunks), summed=summed, **kind)
    merged = parts.to_delayed().ravel().tolist()
    while len(merged) > 1:
        groups = [merged[start : start + _MERGED_AT_ONCE] for start in range(0, len(merged), _MERGED_AT_ONCE)]
        merged = [dask.delayed(_merged)(group) for group in groups]
    return merged[0]


def _scored_blocks(logits: Any, target: Any, *, axis: int | None, **options: Any) -> tuple[Any, Scores]:
    """Return a Dask array whose chunks are the ``Scores`` of chunks, and the ``Scores`` of some row, for its dtypes."""
    x = logits if isinstance(logits, da.Array) else da.from_array(_arrays.as_values(logits, "logits"), chunks=-1)
    t = target if isinstance(target, da.Array) else da.from_array(_arrays.as_array(target, "target"), chunks=-1)
    if x.ndim < 2:
        raise ValueError(f"a Dask array of logits needs two axes or more, but its shape is {x.shape}")
    class_axis = _options.as_class_axis(axis, x.shape)
    for name, array in (("logits", x), ("target", t)):
        if any(np.isnan(extent) for extent in array.shape):
            raise ValueError(
                f"{name} of shape {array.shape} have chunks of unknown sizes: {name}.compute_chunk_sizes()"
            )
    if x.numblocks[class_axis] != 1:
        raise ValueError(
            f"all classes of a row must be in one chunk, but those on axis {class_axis} of the logits are in chunks of "
            f"{x.chunks[class_axis]}: logits.rechunk({{{class_axis}: -1}})"
        )
    axes = tuple(range(x.ndim))
    positions = axes[:class_axis] + axes[class_axis + 1 :]
    letter, is_indices = _arrays.kind(t.dtype), t.shape == tuple(x.shape[i] for i in positions)
    if not (letter in "iu" if is_indices else letter == "f" and t.shape == x.shape):
        raise _explain.unfit_target(t, letter, x.shape, class_axis, True)
    target_axes = positions if is_indices else axes
    one = functools.partial(score_in_memory, axis=class_axis, **options)
    row = one(
        *(
            np.zeros([x.shape[i] if i == class_axis else 1 for i in own], a.dtype)
            for own, a in ((axes, x), (target_axes, t))
        )
    )
    blocks = da.blockwise(
        functools.partial(_scored, one),
        positions,
        x,
        axes,
        t.rechunk(tuple(x.chunks[i] for i in target_axes)),
        target_axes,
        dtype=object,
        meta=_no_elements(len(positions), object),
        align_arrays=False,
    )
    return blocks, row


def _scored(one: Callable[[Any, Any], Scores], logits: Any, target: Any) -> Scores:
    """Score one chunk. What has a class axis comes in a list, with one element for each chunk on that axis."""
    (logits,), (target,) = logits, target if isinstance(target, list) else [target]
    return one(logits, target)


def _weighted_totals(scores: Scores, weight: Any, *, summed: Callable[..., Totals]) -> Totals:
    return summed(scores, sample_weight=weight)


def _merged(parts: list[Totals]) -> Totals:
    return functools.reduce(Totals.merge, parts)


def _no_elements(axes: int, dtype: Any) -> NDArray[Any]:
    return np.empty((0,) * axes, dtype)
