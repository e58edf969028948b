"""The same bits for every number of threads, split and position in the batch, layout and axis of the same numbers."""

import itertools
import subprocess
import sys
from typing import Any, Literal

import cases
import crossent
import numpy as np
import pytest
from cases import Array
from crossent import _core

THREADS = """
import hashlib, itertools
import cases, crossent, numpy as np

random = np.random.default_rng(0)
SHAPES = [(1500, 257), (30_000, 10), (3, 100_000), (1, 300_000), (2, 21, 100, 100), (5, 1000, 80)]
SHAPES += [(4097, 600), (40, 21, 60, 60)]  # so large that a thread takes several blocks in a row
hashes = {n: hashlib.sha256() for n in range(1, 9)}
for shape, name in itertools.product(SHAPES, cases.DTYPES):
    x = (random.standard_normal(size=shape, dtype=np.float32) * 3).astype(cases.DTYPES[name].dtype)
    positions, classes = shape[:1] + shape[2:], shape[1]
    target = random.integers(classes, size=positions)
    weight = random.uniform(size=classes)
    options = [{"label_smoothing": 0.1, "weight": weight}, {}]
    reductions = ["none", "mean", "sum"]
    runs = [(target, {**o, "reduction": r}) for o, r in itertools.product(options, reductions)]
    runs = runs if name == "float32" else runs[-2:]
    probabilities = random.random(size=shape, dtype=np.float32)
    runs += [(probabilities, {"weight": weight})]
    for (y, chosen), n in itertools.product(runs, hashes):
        crossent.set_num_threads(n)
        loss, grad = crossent.cross_entropy_with_grad(x, y, **chosen)
        hashes[n].update(cases.bits(loss) + cases.bits(crossent.cross_entropy(x, y, **chosen)))
        hashes[n].update(grad.tobytes())
for digest in hashes.values():
    print(digest.hexdigest())
print(crossent.get_num_threads())
"""


def test_number_of_threads(python_environment: dict[str, str]) -> None:
    """1 to 8 of them, for many rows and for rows so long that threads share one."""
    environment = python_environment | {"OMP_NUM_THREADS": "8", "OMP_DYNAMIC": "false"}
    done = subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, check=True)
    *digests, threads = done.stdout.split()
    assert len(digests) == 8
    assert len(set(digests)) == 1
    if crossent.show_config()["openmp"] is not None:
        assert threads == "8"


def rows(dtype: cases.Tolerance, classes: int, count: int = 100) -> tuple[Array, Array, Array]:
    """Return logits, class indices and probabilities."""
    random = np.random.default_rng(classes)
    logits = (random.normal(size=(count, classes)) * 4).astype(dtype.dtype)
    return logits, random.integers(classes, size=count), random.dirichlet(np.ones(classes), size=count)


@pytest.mark.parametrize("classes", [1, 2, 5, 10, 17, 63, 64, 65, 97, 100, 128, 1000, 20_000])
class TestRowsAreIndependent:
    """What else is in the batch, and where, has no bearing on a row."""

    def test_split(self, instruction_set: str, dtype: cases.Tolerance, classes: int) -> None:
        logits, target, probabilities = rows(dtype, classes, 40 if classes > 1000 else 200)
        for y, smoothing in itertools.product([target, probabilities], [0.0, 0.1]):
            options: dict[str, Any] = {"reduction": "none", "label_smoothing": smoothing}
            losses, grad = crossent.cross_entropy_with_grad(logits, y, **options)
            for start, stop in [(0, 1), (1, 4), (3, 20), (7, 39), (17, 18), (5, len(y))]:
                part, part_grad = crossent.cross_entropy_with_grad(logits[start:stop], y[start:stop], **options)
                assert cases.bits(part) == cases.bits(losses[start:stop])
                assert cases.bits(part_grad) == cases.bits(grad[start:stop])
            single, single_grad = crossent.cross_entropy_with_grad(logits[9], y[9], **options)
            assert cases.bits(single) == cases.bits(losses[9])
            assert cases.bits(single_grad) == cases.bits(grad[9])

    def test_position(self, instruction_set: str, dtype: cases.Tolerance, classes: int) -> None:
        logits, target, _ = rows(dtype, classes, 40 if classes > 1000 else 200)
        order = np.random.default_rng(0).permutation(len(target))
        losses, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none")
        moved, moved_grad = crossent.cross_entropy_with_grad(logits[order], target[order], reduction="none")
        assert cases.bits(moved) == cases.bits(losses[order])
        assert cases.bits(moved_grad) == cases.bits(grad[order])

    @pytest.mark.parametrize("neighbour", [np.nan, np.inf, -np.inf, 6e4, -6e4, "ignored"])
    @pytest.mark.parametrize("layout", ["rows", "class by class"])
    def test_neighbours(
        self, instruction_set: str, dtype: cases.Tolerance, classes: int, neighbour: Any, layout: str
    ) -> None:
        logits, target, _ = rows(dtype, classes, 40)
        if layout == "class by class":
            logits = np.asfortranarray(logits)
        losses, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none")
        others = np.arange(40) % 5 == 2
        if neighbour == "ignored":
            target[others] = -100
        else:
            logits[others, classes // 2] = neighbour
        again, again_grad = crossent.cross_entropy_with_grad(logits, target, reduction="none")
        assert cases.bits(again[~others]) == cases.bits(losses[~others])
        assert cases.bits(again_grad[~others]) == cases.bits(grad[~others])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("classes", [2, 3, 10, 64, 81, 128, 300, 1000])
def test_factors_beside_it(
    instruction_set: str, dtype: cases.Tolerance, classes: int, order: Literal["C", "F"]
) -> None:
    """A row whose gradient's factor is vast, tiny or special is computed another way, which shows in no neighbour."""
    logits, target, _ = rows(dtype, classes)
    logits[::7, 0] = np.inf
    logits[::11] = np.nan
    logits = np.asarray(logits, order=order)
    target[::5] = -100
    factors = np.resize([1.0, 1e-3, 1e30, -1e-37, 1e-42, 0.0, 1e300, np.inf, np.nan, 2.0, -3.0], len(target))
    with np.errstate(all="ignore"):
        for chosen in (factors, np.ones(len(target))):
            _, grad = crossent.cross_entropy_with_grad(logits, target, reduction="none", grad_output=chosen)
            for i in range(len(target)):
                one = slice(i, i + 1)
                _, alone = crossent.cross_entropy_with_grad(
                    logits[one], target[one], reduction="none", grad_output=chosen[one]
                )
                assert cases.bits(alone) == cases.bits(grad[one])


@pytest.mark.parametrize("classes", [1, 2, 7, 19, 64, 65, 300, 9000])
def test_layouts(instruction_set: str, dtype: cases.Tolerance, classes: int) -> None:
    """Contiguous classes, strided ones, reversed ones, on any axis: loss and gradient have the bits of plain rows."""
    random = np.random.default_rng(classes)
    positions = (2, 3) if classes > 1000 else (3, 150) if classes < 100 else (3, 23)
    x = (random.normal(size=(*positions, classes)) * 4).astype(dtype.dtype)
    target = random.integers(classes, size=positions)
    probabilities = random.random(size=(*positions, classes))
    weight = random.uniform(size=classes)
    runs: list[tuple[Array, dict[str, Any]]] = [
        (target, {}),
        (target, {"reduction": "none"}),
        (target, {"weight": weight, "label_smoothing": 0.1}),
        (probabilities, {"weight": weight}),
    ]
    for y, options in runs:
        loss, grad = crossent.cross_entropy_with_grad(x, y, axis=-1, **options)
        for name, layout in cases.LAYOUTS.items():
            logits, axis = layout(x)
            moved = y if y.ndim == 2 else np.moveaxis(y, -1, axis)
            again, again_grad = crossent.cross_entropy_with_grad(logits, moved, axis=axis, **options)
            assert cases.bits(again) == cases.bits(loss), (name, options)
            assert cases.bits(np.moveaxis(again_grad, axis, -1)) == cases.bits(grad), (name, options)
            alone = crossent.cross_entropy(logits, moved, axis=axis, **options)
            assert cases.bits(alone) == cases.bits(loss), (name, options)


@pytest.mark.parametrize("classes", [2, 3, 9, 21, 40, 64, 65, 100, 101, 128, 129])
@pytest.mark.parametrize("apart", [150, 256, 1024, 4096, 6144])
def test_columns_any_distance_apart(instruction_set: str, dtype: cases.Tolerance, classes: int, apart: int) -> None:
    """Classes that crowd a part of the caches, beside classes that don't: all the bits of rows, also in place."""
    random = np.random.default_rng(classes)
    rows = (random.normal(size=(150, classes)) * 4).astype(dtype.dtype)
    target = random.integers(classes, size=150)
    options: dict[str, Any] = {"reduction": "none"}
    losses, grad = crossent.cross_entropy_with_grad(rows, target, **options)
    softmax = crossent.softmax(rows, axis=1)
    columns = np.zeros((classes, apart), dtype.dtype)[:, :150].T
    for out in (np.zeros((classes, apart), dtype.dtype)[:, :150].T, np.empty_like(rows), columns):
        columns[:] = rows
        again, _ = crossent.cross_entropy_with_grad(columns, target, out=out, **options)
        assert cases.bits(again) == cases.bits(losses)
        assert cases.bits(out) == cases.bits(grad)
        columns[:] = rows
        crossent.softmax(columns, axis=1, out=out)
        assert cases.bits(out) == cases.bits(softmax)
    crossent.cross_entropy_with_grad(rows, target, out=columns, **options)
    assert cases.bits(columns) == cases.bits(grad)


def test_the_loss_alone_has_the_bits_of_the_loss_with_its_gradient(
    instruction_set: str, dtype: cases.Tolerance
) -> None:
    for classes, reduction, smoothing in itertools.product([2, 10, 100, 3000], cases.REDUCTIONS, [0.0, 0.1]):
        logits, target, probabilities = rows(dtype, classes)
        for y in (target, probabilities):
            options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
            loss, _ = crossent.cross_entropy_with_grad(logits, y, **options)
            assert cases.bits(crossent.cross_entropy(logits, y, **options)) == cases.bits(loss)


def test_instruction_sets_with_fma() -> None:
    """All but x86's baseline have fused multiply-add, and they agree to the bit."""
    before = _core.get_instruction_set()
    results = set()
    for name in [name for name in _core.instruction_sets() if name != "baseline"]:
        _core.set_instruction_set(name)
        result = b""
        for classes, kind in itertools.product([1, 3, 17, 64, 100, 5000], cases.DTYPES.values()):
            logits, target, probabilities = rows(kind, classes)
            for y, smoothing in itertools.product([target, probabilities], [0.0, 0.1]):
                loss, grad = crossent.cross_entropy_with_grad(logits, y, label_smoothing=smoothing)
                result += cases.bits(loss) + cases.bits(grad)
        results.add(result)
    _core.set_instruction_set(before)
    assert len(results) <= 1


def test_the_same_call_twice(instruction_set: str, dtype: cases.Tolerance) -> None:
    logits, target, _ = rows(dtype, 100, 5000)
    first = crossent.cross_entropy_with_grad(logits, target)
    for _ in range(5):
        loss, grad = crossent.cross_entropy_with_grad(logits, target)
        assert loss == first[0]
        assert cases.bits(grad) == cases.bits(first[1])


def test_activations(instruction_set: str, dtype: cases.Tolerance) -> None:
    """Softmax and its kin keep the same promise."""
    for classes in (1, 5, 19, 64, 65, 300):
        random = np.random.default_rng(classes)
        x = (random.normal(size=(6, 30, classes)) * 4).astype(dtype.dtype)
        for function in (crossent.softmax, crossent.log_softmax, crossent.logsumexp):
            expected = function(x)
            assert cases.bits(function(x[1:2, 3:9])) == cases.bits(expected[1:2, 3:9])
            for name, layout in cases.LAYOUTS.items():
                values, axis = layout(x)
                result = function(values, axis=axis)
                if function is not crossent.logsumexp:
                    result = np.moveaxis(result, axis, -1)
                assert cases.bits(result) == cases.bits(expected), (name, function.__name__)
