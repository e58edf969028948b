"""Dask arrays: the same figures as in memory, to the bit, for any chunks, on other processes."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import crossent
import numpy as np
import pytest
from crossent import Scores, Totals
from numpy.typing import NDArray

pytest.importorskip("dask.array")

import crossent.dask
import dask
import dask.array as da

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(600, 10)).astype(np.float32)
TARGET = RNG.integers(10, size=600)
TARGET[::50] = -100
WEIGHT = RNG.exponential(size=600)

CHUNKS = [(600, 10), (150, 10), ((1, 0, 399, 200), 10)]


def assert_same(scores: Scores, expected: Scores) -> None:
    assert scores.to_dict().keys() == expected.to_dict().keys()
    assert scores.classes == expected.classes
    for name, array in expected.to_dict().items():
        np.testing.assert_array_equal(scores.to_dict()[name], array, err_msg=name, strict=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two worker processes on this machine."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    timeouts = {f"distributed.comm.timeouts.{what}": "300s" for what in ("connect", "tcp")}  # for a busy machine
    with (
        dask.config.set({"distributed.admin.tick.limit": "1h", **timeouts}),
        distributed.LocalCluster(**options, silence_logs=50) as workers,
        distributed.Client(workers, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("target_chunks", [600, 70])
def test_scores(chunks: Any, target_chunks: int) -> None:
    lazy = crossent.dask.score(da.from_array(LOGITS, chunks), da.from_array(TARGET, target_chunks), temperature=2.0)
    (scores,) = dask.compute(lazy)
    expected = crossent.score(LOGITS, TARGET, temperature=2.0)
    assert_same(scores, expected)
    for name, array in expected.to_dict().items():
        assert (getattr(lazy, name).shape, getattr(lazy, name).dtype) == (array.shape, array.dtype)


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("weight", [None, WEIGHT, da.from_array(WEIGHT, 90)])
def test_totals(chunks: Any, weight: Any) -> None:
    options: Any = {"top_k": (1, 3), "bins": 7}
    totals = crossent.dask.totals(da.from_array(LOGITS, chunks), TARGET, sample_weight=weight, **options).compute()
    expected = Totals.of(crossent.score(LOGITS, TARGET), sample_weight=None if weight is None else WEIGHT, **options)
    assert totals == expected


def test_on_worker_processes(cluster: Any) -> None:
    logits = da.from_array(LOGITS, (40, 10)).map_blocks(np.negative)
    target = da.from_array(TARGET, 100)
    in_memory = crossent.score(-LOGITS, TARGET)
    totals = cluster.compute(crossent.dask.totals(logits, target)).result()
    assert totals == Totals.of(in_memory)
    assert totals.to_json() == Totals.of(in_memory).to_json()
    (scores,) = dask.compute(crossent.dask.score(logits, target), scheduler=cluster)
    assert_same(scores, in_memory)


def test_threads_of_workers(cluster: Any) -> None:
    """One each, as Dask's workers want it."""
    assert set(cluster.run(crossent.get_num_threads).values()) == {1}


def test_class_axis_and_more_axes() -> None:
    logits, target = RNG.normal(size=(6, 5, 4, 3)), RNG.integers(3, size=(6, 5, 4))
    for axis in (-1, 1):
        x = np.moveaxis(logits, -1, axis)
        lazy_x = da.moveaxis(da.from_array(logits, (2, 3, 4, 3)), -1, axis)
        (scores,) = dask.compute(crossent.dask.score(lazy_x, target, axis=axis))
        assert_same(scores, crossent.score(x, target, axis=axis))
        totals = crossent.dask.totals(lazy_x, target, axis=axis).compute()
        assert totals == Totals.of(crossent.score(x, target, axis=axis))


def test_class_probabilities() -> None:
    logits, target = RNG.normal(size=(20, 4)), RNG.dirichlet(np.ones(4), 20)
    lazy_x, lazy_t = da.from_array(logits, (6, 4)), da.from_array(target, (20, 2))
    (scores,) = dask.compute(crossent.dask.score(lazy_x, lazy_t))
    assert_same(scores, crossent.score(logits, target))
    assert crossent.dask.totals(lazy_x, lazy_t).compute() == Totals.of(crossent.score(logits, target))


def test_nothing_is_computed_before_and_each_chunk_once() -> None:
    seen: list[int] = []

    def recorded(block: NDArray[Any]) -> NDArray[Any]:
        seen.append(len(block))
        return block

    logits = da.from_array(LOGITS, (200, 10)).map_blocks(recorded, meta=LOGITS[:0])
    scores, totals = crossent.dask.score(logits, TARGET), crossent.dask.totals(logits, TARGET)
    assert not seen
    dask.compute(scores.loss, scores.rank, scores.entropy)
    assert seen == [200] * 3
    totals.compute()
    assert seen == [200] * 6


def test_functions_of_arrays_in_map_blocks() -> None:
    """Dask finds out the dtype by a call without any rows."""
    logits, target = da.from_array(LOGITS, (100, 10)), TARGET[:100]
    lazy = da.map_blocks(crossent.cross_entropy, logits, target, reduction="none", drop_axis=1, dtype=np.float32)
    assert lazy.compute().shape == (600,)
    assert crossent.score(LOGITS[:0], TARGET[:0]).loss.shape == (0,)


@pytest.mark.parametrize(
    ("logits", "target", "options", "found"),
    [
        (da.from_array(LOGITS, (600, 5)), TARGET, {}, r"of \(5, 5\): logits.rechunk\(\{1: -1\}\)"),
        (da.from_array(LOGITS, 600), TARGET[:9], {}, r"target must have shape \(600,\).*int64 of shape \(9,\)"),
        (da.from_array(LOGITS[0], 10), np.int64(3), {}, r"two axes or more, .* shape is \(10,\)"),
        (da.from_array(LOGITS, 600)[da.from_array(TARGET, 600) > 3], TARGET, {}, r"nan, 10.*compute_chunk_sizes"),
        (LOGITS, TARGET, {"axis": 2}, "axis 2 is out of range"),
    ],
)  # fmt: skip
def test_errors_before_computing(logits: Any, target: Any, options: dict[str, Any], found: str) -> None:
    for function in (crossent.dask.score, crossent.dask.totals):
        with pytest.raises(ValueError, match=found):
            function(logits, target, **options)


def test_errors_of_options_of_totals() -> None:
    with pytest.raises(ValueError, match="bins must be 1 to 1000, not 0"):
        crossent.dask.totals(LOGITS, TARGET, bins=0)
    with pytest.raises(ValueError, match=r"losses' shape \(600,\), but its shape is \(9,\)"):
        crossent.dask.totals(LOGITS, TARGET, sample_weight=WEIGHT[:9])
    with pytest.raises(TypeError, match="if they are whole"):
        crossent.dask.totals(LOGITS, TARGET.astype(np.float32))


def test_totals_of_what_is_not_computed_yet() -> None:
    with pytest.raises(TypeError, match=r"not of dask.array.core.Array; for Dask: crossent.dask.totals"):
        Totals.of(crossent.dask.score(LOGITS, TARGET))


def test_errors_of_values() -> None:
    totals = crossent.dask.totals(da.from_array(LOGITS, (100, 10)), np.full(600, 10))
    with pytest.raises(IndexError, match="is 10, but there are 10 classes"):
        totals.compute()


def test_examples_run() -> None:
    import doctest

    results = doctest.testmod(sys.modules["crossent.dask"], raise_on_error=False)
    assert results.failed == 0
    assert results.attempted > 0


def test_without_dask(python_environment: dict[str, str]) -> None:
    code = "import sys; sys.modules['dask'] = None; import crossent.dask"
    result = subprocess.run(
        [sys.executable, "-c", code], env=python_environment, capture_output=True, text=True, check=False
    )
    assert "ImportError: crossent.dask needs Dask" in result.stderr
    assert "pip install 'crossent[dask]'" in result.stderr
