"""Calls made up at random, good and bad ones, and the check of one of them against the oracle.

``try_call(random)`` makes all its choices through a ``random.Random``, so that a number is a case, and hypothesis can
stand in for it. Values are hidden in memory as awkwardly as NumPy allows (any strides, order of axes, alignment, byte
order); a bad call is a good one with one thing wrong, and has to raise that error and leave ``out`` alone.
"""

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple, TypeAlias

import cases
import crossent
import ml_dtypes
import numpy as np
import reference
from cases import Array

Options: TypeAlias = dict[str, Any]
SLACK = 1.5  # so much more than the tables' errors a million cases may find
ELEMENTWISE_DTYPES = ("float32", "float64", "float16", ml_dtypes.bfloat16, "longdouble", "bool", *cases.INTEGERS)


class Mistake(NamedTuple):
    """What makes a good call bad, and the error that says so."""

    error: type[Exception]
    make: Callable[[Random, Options], None]  # changes the arguments


def chance(random: Random, one_in: int) -> bool:
    return random.randrange(one_in) == 0


def disguised(random: Random, values: Array, *, as_output: bool = False) -> Array:
    """Return the values with other strides, in another order of axes, perhaps unaligned, byte-swapped, read-only."""
    dtype = values.dtype
    if not as_output and chance(random, 8) and dtype.isbuiltin == 1:
        dtype = dtype.newbyteorder()
    order = random.sample(range(values.ndim), values.ndim)
    steps = [random.choice((1, 1, 1, 1, 2, 3, -1, -2)) for _ in order]
    pads = [random.choice((0, 0, 0, 1, 2)) for _ in order]
    extents = [values.shape[axis] * abs(step) + pad for axis, step, pad in zip(order, steps, pads, strict=True)]
    count = int(np.prod(extents, dtype=int))
    shift = 1 if not as_output and chance(random, 8) else 0
    memory = np.full(count * dtype.itemsize + shift, 0xA5, np.uint8)
    view: Array = memory[shift:].view(dtype).reshape(extents)
    slices = tuple(
        slice(None, values.shape[axis] * step, step) if step > 0 else slice(None, -values.shape[axis] * -step - 1, step)
        for axis, step in zip(order, steps, strict=True)
    )
    view = view[slices].transpose(np.argsort(order)) if values.ndim else view
    assert view.shape == values.shape
    view[...] = values
    if not as_output and chance(random, 6):
        view.flags.writeable = False
    return view


def some_shape(random: Random) -> tuple[int, ...]:
    """Return a shape of some hundred elements at most."""
    shape = [random.choice((1, 2, 3, 5, 8, 17)) for _ in range(random.choice((1, 2, 2, 2, 3, 4)))]
    longest = random.choice((1, 2, 3, 7, 8, 9, 16, 17, 31, 33, 63, 64, 65, 100, 129, 200))
    while np.prod(shape) > 20:
        shape.pop()
    shape.insert(random.randrange(len(shape) + 1), longest)
    if chance(random, 40):
        shape[random.randrange(len(shape))] = 0
    return tuple(shape)


def some_values(random: Random, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return ordinary numbers, some of them special now and then; the same along an axis at times."""
    generator = np.random.default_rng(random.randrange(2**32))
    values: Array = (generator.normal(size=shape) * random.choice((0, 1, 3, 10, 40))).astype(dtype)
    if values.size and chance(random, 5):
        info = cases.finfo(dtype)
        special = [
            np.nan,
            np.inf,
            -np.inf,
            0.0,
            -0.0,
            float(info.max) / 2**12,
            -float(info.max) / 2**12,
        ]  # a sum of them is finite
        special.append(float(info.smallest_subnormal))
        for _ in range(random.randrange(1, 6)):
            values[tuple(random.randrange(extent) for extent in shape)] = random.choice(special)
    return values


def some_logits(random: Random, shape: tuple[int, ...]) -> tuple[Array, cases.Tolerance]:
    tolerance = cases.DTYPES[random.choice(list(cases.DTYPES))]
    values = some_values(random, shape, tolerance.dtype)
    if shape and chance(random, 8):  # the same along an axis, in the memory of one
        axis = random.randrange(len(shape))
        values = values[tuple(slice(1) if i == axis else slice(None) for i in range(len(shape)))]
        return np.broadcast_to(disguised(random, values), shape), tolerance
    return disguised(random, values), tolerance


def some_ignore_index(random: Random, classes: int) -> int | None:
    return random.choice((-100, -100, None, random.randrange(max(classes, 1)), -1, 255, 2**63 - 1, -(2**63), 2**64))


def some_target(random: Random, shape: tuple[int, ...], axis: int, ignore_index: int | None) -> Array:
    """Return class indices of any integer dtype that holds them, with some that are ignored."""
    positions, classes = shape[:axis] + shape[axis + 1 :], shape[axis]
    generator = np.random.default_rng(random.randrange(2**32))
    integer = np.dtype(random.choice(cases.INTEGERS))
    limits = np.iinfo(integer)
    target = generator.integers(min(classes, int(limits.max)) or 1, size=positions).astype(integer)
    if ignore_index is not None and limits.min <= ignore_index <= limits.max:
        target[generator.integers(4, size=positions) == 0] = ignore_index
    return disguised(random, target)


def some_weight(random: Random, classes: int) -> Array:
    generator = np.random.default_rng(random.randrange(2**32))
    weight = generator.integers(0, 4, size=classes) if chance(random, 2) else generator.uniform(0, 2, size=classes)
    return disguised(random, weight.astype(random.choice(("float64", "float32", "float16"))))


def add_out(random: Random, arguments: Options, logits: str, tolerance: cases.Tolerance) -> None:
    """Give the call an output of its own, or its input's memory, or none."""
    x = arguments[logits]
    choice = random.randrange(3)
    if choice == 0:
        half = tolerance.dtype.itemsize == 2
        dtype = np.dtype(np.float32) if half and chance(random, 2) else tolerance.dtype
        arguments["out"] = disguised(random, np.zeros(x.shape, dtype), as_output=True)
    elif choice == 1 and x.flags.writeable and x.flags.aligned and x.dtype == tolerance.dtype:
        arguments["out"] = x


def bad_label(random: Random, arguments: Options) -> None:
    target = arguments["target"]
    classes = arguments["logits"].shape[arguments["axis"]]
    limits = np.iinfo(target.dtype)
    values = [-(2**63), -1, classes, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, int(limits.max), int(limits.min)]
    fitting = [
        v for v in values
        if limits.min <= v <= limits.max and not 0 <= v < classes and v != arguments["ignore_index"]
    ]  # fmt: skip
    if not fitting:
        return wrong_shape(random, arguments)
    changed = target.copy()
    changed[tuple(random.randrange(extent) for extent in target.shape)] = random.choice(fitting)
    arguments["target"] = disguised(random, changed)
    return None


def wrong_shape(_: Random, arguments: Options) -> None:
    arguments["target"] = np.zeros((*arguments["target"].shape, 1, 1, 1, 1), arguments["target"].dtype)


def replace(name: str, value: Any) -> Callable[[Random, Options], None]:
    return lambda _, arguments: arguments.__setitem__(name, value)


def convert(name: str, dtype: str) -> Callable[[Random, Options], None]:
    return lambda _, arguments: arguments.__setitem__(name, np.zeros(arguments[name].shape, dtype))


def masked(name: str) -> Callable[[Random, Options], None]:
    return lambda _, arguments: arguments.__setitem__(name, np.ma.masked_array(arguments[name]))


LOSS_MISTAKES = (
    Mistake(IndexError, bad_label),
    Mistake(ValueError, wrong_shape),
    Mistake(TypeError, convert("target", "complex64")),
    Mistake(TypeError, convert("target", "bool")),
    Mistake(TypeError, convert("target", "datetime64[s]")),
    Mistake(TypeError, convert("logits", "int32")),
    Mistake(TypeError, convert("logits", "longdouble")),
    Mistake(TypeError, convert("logits", "i4,f4")),
    Mistake(TypeError, convert("logits", "object")),
    Mistake(TypeError, masked("logits")),
    Mistake(TypeError, masked("target")),
    Mistake(ValueError, replace("weight", np.ones(999))),
    Mistake(TypeError, replace("weight", np.array(["a"]))),
    Mistake(ValueError, replace("axis", 9)),
    Mistake(TypeError, replace("axis", 0.5)),
    Mistake(TypeError, replace("ignore_index", 1.0)),
    Mistake(ValueError, replace("reduction", "median")),
)
SCORE_MISTAKES = (
    *LOSS_MISTAKES[:11],
    *LOSS_MISTAKES[13:16],
    Mistake(ValueError, replace("temperature", 0.0)),
    Mistake(ValueError, replace("temperature", np.nan)),
    Mistake(TypeError, replace("temperature", "2")),
)
OUT_MISTAKES: dict[str, tuple[type[Exception], Callable[[Array], Any]]] = {
    "shape": (ValueError, lambda x: np.zeros((*x.shape, 1), x.dtype.newbyteorder("="))),
    "dtype": (TypeError, lambda x: np.zeros(x.shape, np.int64)),
    "read-only": (ValueError, lambda x: np.broadcast_to(np.zeros((), x.dtype.newbyteorder("=")), x.shape)),
    "list": (TypeError, lambda x: [0.0] * x.size),
    "overlap": (ValueError, np.flip),
}


def try_call(random: Random) -> str:
    """Make a call up, make the call, check what it returns or raises; return a name for what was done."""
    kinds = (try_cross_entropy, try_cross_entropy, try_cross_entropy, try_score, try_activation, try_binary)
    return random.choice(kinds)(random)


def outcome(function: Callable[..., Any], arguments: Options, error: type[Exception] | None) -> Any:
    """Return the result, or None for the right error; in any case no input may have changed, nor ``out`` on error."""
    arrays = {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}
    before = {name: cases.bits(value) for name, value in arrays.items()}
    result = None
    try:
        result = function(**arguments)
    except (TypeError, ValueError, IndexError) as raised:
        assert type(raised) is error, f"{raised!r} where {error} was expected"  # noqa: PT017
    else:
        assert error is None, f"no {error}"
    for name, value in arrays.items():
        if error is not None or (name != "out" and value is not arguments.get("out")):
            assert cases.bits(value) == before[name], f"{name} was changed"
    return result


def spoil(random: Random, arguments: Options, mistakes: tuple[Mistake, ...], logits: str) -> type[Exception] | None:
    """Put one mistake in ten calls; return its error."""
    if not chance(random, 8) or arguments[logits].size == 0:
        return None
    out = arguments.get("out")
    if out is not None and chance(random, 2):
        x = arguments[logits]
        error, make = OUT_MISTAKES[random.choice(list(OUT_MISTAKES))]
        arguments["out"] = make(x)
        overlaps = isinstance(arguments["out"], np.ndarray) and np.may_share_memory(arguments["out"], x)
        if not overlaps or (x.size > 1 and x.flags.writeable and x.flags.aligned and 0 not in x.strides):
            if overlaps and (not x.dtype.isnative or max(x.shape) == x.size):
                arguments["out"] = out  # a palindrome of strides, or a copy inside: nothing wrong
                return None
            return error
        arguments["out"] = out
        return None
    mistake = random.choice(mistakes)
    if out is arguments[logits]:
        arguments["out"] = out.copy()
    mistake.make(random, arguments)
    return mistake.error


def some_class_axis(random: Random) -> tuple[tuple[int, ...], int]:
    """Return a shape and one of its axes, which has classes if there are positions."""
    shape = some_shape(random)
    axis = random.randrange(len(shape))
    if shape[axis] == 0 and 0 not in shape[:axis] + shape[axis + 1 :]:
        shape = (*shape[:axis], 3, *shape[axis + 1 :])
    return shape, axis


def try_cross_entropy(random: Random) -> str:
    shape, axis = some_class_axis(random)
    classes = shape[axis]
    x, tolerance = some_logits(random, shape)
    reduction = random.choice(cases.REDUCTIONS)
    arguments: Options = {"logits": x, "weight": None, "axis": axis, "reduction": reduction, "ignore_index": -100}
    by_index = not chance(random, 4)
    if by_index:
        arguments["ignore_index"] = some_ignore_index(random, classes)
        arguments["target"] = some_target(random, shape, axis, arguments["ignore_index"])
    else:
        generator = np.random.default_rng(random.randrange(2**32))
        probabilities = generator.dirichlet(np.ones(classes or 1), size=shape[:axis] + shape[axis + 1 :])
        probabilities = np.moveaxis(probabilities[..., :classes], -1, axis)
        kind = random.choice(("float32", "float64", "float16", ml_dtypes.bfloat16, "longdouble"))
        arguments["target"] = disguised(random, probabilities.astype(kind))
    if chance(random, 3):
        arguments["weight"] = some_weight(random, classes)
    if by_index and chance(random, 6):
        error = spoil(random, arguments, LOSS_MISTAKES, "logits")
        arguments["log_probs"] = arguments.pop("logits")
        right = None if error else reference.nll_loss(**arguments)
        loss = outcome(crossent.nll_loss, arguments, error)
        if right is not None:
            size = reference.nll_loss(
                **(arguments | {"log_probs": -np.abs(x)})
            )  # they are no logarithms, and may cancel
            ulps = 8.0 if tolerance.result == np.float64 else 1.0
            cases.assert_close(loss, right, tolerance.result, ulps, "nll_loss", size)
        return "nll_loss"
    if chance(random, 3):
        arguments["label_smoothing"] = random.choice((0.1, 0.5, 1.0))
    if chance(random, 3):
        positions = shape[:axis] + shape[axis + 1 :]
        generator = np.random.default_rng(random.randrange(2**32))
        scale = generator.normal(size=positions if reduction == "none" else ())
        arguments["grad_output"] = disguised(random, scale) if scale.ndim else float(scale)
    add_out(random, arguments, "logits", tolerance)
    error = spoil(random, arguments, LOSS_MISTAKES if by_index else LOSS_MISTAKES[5:10], "logits")
    expected = None if error else reference.cross_entropy(**{k: v for k, v in arguments.items() if k != "out"})
    result = outcome(crossent.cross_entropy_with_grad, arguments, error)
    if expected is None or result is None:
        return "a mistake"
    loss, grad = result
    ulps = tolerance.loss if by_index and not arguments.get("label_smoothing") else tolerance.soft_loss
    cases.assert_close(loss, expected.loss, tolerance.result, SLACK * ulps, "loss")
    cases.assert_close(grad, expected.grad, grad.dtype, gradient_ulps(tolerance, grad), "gradient", expected.magnitude)
    return "cross_entropy"


@np.errstate(invalid="ignore")
def try_score(random: Random) -> str:
    shape, axis = some_class_axis(random)
    x, tolerance = some_logits(random, shape)
    ignore_index = some_ignore_index(random, shape[axis])
    target = some_target(random, shape, axis, ignore_index)
    temperature = random.choice((1.0, 1.0, 0.5, 3.0))
    arguments: Options = {"logits": x, "target": target, "axis": axis, "ignore_index": ignore_index}
    arguments["temperature"] = temperature
    error = spoil(random, arguments, SCORE_MISTAKES, "logits")
    scores = outcome(crossent.score, arguments, error)
    if scores is None or x.size == 0:
        return "score"
    kind = tolerance.result
    divided = np.moveaxis(x.astype(kind) / kind.type(temperature), axis, -1)
    labels = target if ignore_index is None else np.where(target == ignore_index, -100, target.astype(np.int64))
    expected = reference.scores(divided, labels.astype(np.int64))
    right = reference.cross_entropy(divided, labels, axis=-1, reduction="none", ignore_index=-100)
    cases.assert_close(scores.loss, right.loss, kind, SLACK * tolerance.loss, "loss of a score")
    np.testing.assert_array_equal(scores.predicted, expected.predicted)
    np.testing.assert_array_equal(scores.rank, expected.rank)
    for name in ("confidence", "log_sum_exp", "entropy", "sum_of_squares"):
        figure = getattr(scores, name)
        magnitude = np.maximum(np.abs(figure), np.abs(divided.max(axis=-1))) if name == "log_sum_exp" else None
        cases.assert_close(figure, getattr(expected, name), kind, SLACK * 4, name, magnitude)
    return "score"


def gradient_ulps(tolerance: cases.Tolerance, grad: Array) -> float:
    """Return the tolerance for a gradient, which may be the float32 one of half logits."""
    return SLACK * (cases.DTYPES[grad.dtype.name].grad if grad.dtype != tolerance.dtype else tolerance.grad)


def try_activation(random: Random) -> str:
    shape = some_shape(random)
    x, tolerance = some_logits(random, shape)
    name = random.choice(("softmax", "log_softmax", "logsumexp"))
    axes = random.sample(range(len(shape)), random.randrange(1, len(shape) + 1))
    axis = random.choice((None, axes[0], axes[0], tuple(axes)))
    arguments: Options = {"x": x, "axis": axis}
    if name != "logsumexp":
        add_out(random, arguments, "x", tolerance)
    mistakes = (
        Mistake(TypeError, convert("x", "complex64")),
        Mistake(TypeError, convert("x", "datetime64[s]")),
        Mistake(TypeError, convert("x", "longdouble")),
        Mistake(TypeError, masked("x")),
        Mistake(ValueError, replace("axis", 9)),
    )
    error = spoil(random, arguments, mistakes, "x")
    expected = None if error else getattr(reference, name)(x, axis)
    result = outcome(getattr(crossent, name), arguments, error)
    if expected is not None:
        kind = np.dtype(result.dtype)
        size = expected
        if name == "logsumexp" and x.size:  # the largest plus a logarithm, which may cancel
            with np.errstate(invalid="ignore"):
                size = np.maximum(np.abs(expected), np.abs(reference.as_long_double(x).max(axis)))
        cases.assert_close(result, expected, kind, SLACK * cases.DTYPES[kind.name].activation, name, size)
    return name


def try_binary(random: Random) -> str:
    shape = some_shape(random)
    x, tolerance = some_logits(random, shape)
    generator = np.random.default_rng(random.randrange(2**32))
    arguments: Options = {"logits": x, "reduction": random.choice(cases.REDUCTIONS)}
    for name in ("target", "weight", "pos_weight"):
        if name == "target" or chance(random, 3):
            some = tuple(1 if chance(random, 4) else extent for extent in shape)[random.choice((0, 0, 1)) :]
            values = generator.integers(2, size=some).astype(random.choice(ELEMENTWISE_DTYPES))
            arguments[name] = disguised(random, values)
    add_out(random, arguments, "logits", tolerance)
    mistakes = (
        Mistake(TypeError, convert("logits", "complex64")),
        Mistake(TypeError, convert("logits", "int32")),
        Mistake(TypeError, masked("target")),
        Mistake(TypeError, convert("target", "object")),
        Mistake(ValueError, replace("target", np.zeros(999))),
        Mistake(ValueError, replace("pos_weight", np.zeros((2, 1, 1, 1, 1, 1, 1)))),
    )
    error = spoil(random, arguments, mistakes, "logits")
    expected = None
    if error is None:
        expected = reference.binary_cross_entropy_with_logits(**{k: v for k, v in arguments.items() if k != "out"})
    result = outcome(crossent.binary_cross_entropy_with_logits_with_grad, arguments, error)
    if expected is not None:
        loss, grad = result
        cases.assert_close(loss, expected.loss, tolerance.result, 8, "binary loss")
        cases.assert_close(
            grad, expected.grad, grad.dtype, gradient_ulps(tolerance, grad), "binary gradient", expected.magnitude
        )
    return "binary"
