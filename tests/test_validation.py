"""Bad arguments: a clear error that quotes what was found and helps, before anything is written, and never a crash."""

import copy
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import crossent
import ml_dtypes
import numpy as np
import pytest

LOGITS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
TARGET = np.array([0, 2, 1, 2])
ONE_HOT = np.eye(3, dtype=np.int64)[TARGET]
IMAGES = np.zeros((2, 3, 4, 5), np.float32)
NAN = float("nan")


class Mistake(NamedTuple):
    """Arguments that differ from correct ones, and what the error has to be and to say."""

    arguments: dict[str, Any]
    error: type[Exception]
    words: tuple[str, ...]


class RequiresGrad:
    """Refuses NumPy as a PyTorch tensor does that takes part in automatic differentiation."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


class TorchBfloat16:
    """Refuses NumPy as a PyTorch tensor of bfloat16 does."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Got unsupported ScalarType BFloat16")


# What cross_entropy and nll_loss have in common, in the names of cross_entropy's arguments.
CLASS_INDEX_MISTAKES = {
    "index too large": Mistake({"target": [0, 2, 7, 9]}, IndexError, ("position 2 ", "is 7", "3 classes")),
    "index negative": Mistake({"target": [0, -1, 1, 2]}, IndexError, ("position 1 ", "is -1", "3 classes")),
    "index equals an ignore_index that isn't set": Mistake(
        {"target": [0, -100, 1, 2], "ignore_index": None}, IndexError, ("position 1 ", "is -100")
    ),
    "index of a single sample": Mistake({"logits": LOGITS[0], "target": 3}, IndexError, ("is 3", "3 classes")),
    "index in an image": Mistake(
        {"logits": IMAGES, "target": np.full((2, 4, 5), 3)}, IndexError, ("position (0, 0, 0)", "is 3")
    ),
    "index beyond int64": Mistake(
        {"target": np.array([0, 2**63 + 5, 1, 2], np.uint64)}, IndexError, ("position 1 ", f"is {2**63 + 5}")
    ),
    "index beyond int64 after a smaller bad one": Mistake(
        {"target": np.array([5, 2**63 + 5, 1, 2], np.uint64)}, IndexError, ("position 0 ", "is 5")
    ),
    "too few targets": Mistake({"target": [0, 1]}, ValueError, ("(4,)", "(2,)", "(4, 3)")),
    "target as a column": Mistake({"target": TARGET[:, None]}, ValueError, ("(4, 1)", "target.squeeze(1)")),
    "target of a single sample in a list": Mistake(
        {"logits": LOGITS[0], "target": [1]}, ValueError, ("(3,)", "(1,)", "target.squeeze(0)")
    ),
    "classes last": Mistake(
        {"logits": np.zeros((2, 5, 7), np.float32), "target": np.zeros((2, 5), int)},
        ValueError,
        ("(2, 5, 7)", "(2, 5)", "axis=-1?"),
    ),
    "classes first": Mistake(
        {"logits": np.zeros((7, 2, 5), np.float32), "target": np.zeros((2, 5), int)}, ValueError, ("axis=0?",)
    ),
    "axis out of range": Mistake({"axis": 2}, ValueError, ("axis 2", "(4, 3)")),
    "axis no integer": Mistake({"axis": 1.0}, TypeError, ("axis", "1.0")),
    "axis a bool": Mistake({"axis": True}, TypeError, ("axis", "True")),
    "logits a number": Mistake({"logits": 1.5, "target": 0}, ValueError, ("()", "class axis")),
    "no classes": Mistake({"logits": np.zeros((4, 0), np.float32)}, ValueError, ("(4, 0)", "no classes", "axis 1")),
    "float labels": Mistake(
        {"target": TARGET.astype(np.float64)}, TypeError, ("float64", "(4,)", "target.astype(np.int64)")
    ),
    "bool labels": Mistake({"target": TARGET > 0}, TypeError, ("bool", "(4,)", "target.astype(np.int64)")),
    "integer one-hot": Mistake({"target": ONE_HOT}, TypeError, ("int64", "(4, 3)", "target.argmax(axis=1)")),
    "bool one-hot": Mistake({"target": ONE_HOT > 0}, TypeError, ("bool", "(4, 3)", "target.argmax(axis=1)")),
    "complex target": Mistake({"target": TARGET + 0j}, TypeError, ("complex128",)),
    "object target": Mistake({"target": TARGET.astype(object)}, TypeError, ("object",)),
    "text target": Mistake({"target": ["a", "b", "c", "d"]}, TypeError, ("<U1",)),
    "date target": Mistake({"target": TARGET.astype("datetime64[D]")}, TypeError, ("datetime64[D]",)),
    "masked target": Mistake(
        {"target": np.ma.masked_array(TARGET)},
        TypeError,
        ("target is a masked array", "target.filled(value), such as ignore_index"),
    ),
    "weight too short": Mistake({"weight": [1.0, 2.0]}, ValueError, ("weight", "(3,)", "(2,)")),
    "weight a number": Mistake({"weight": 1.0}, ValueError, ("weight", "(3,)", "()")),
    "weight of two axes": Mistake({"weight": np.ones((1, 3))}, ValueError, ("weight", "(3,)", "(1, 3)")),
    "weight complex": Mistake({"weight": [1j, 1, 1]}, TypeError, ("weight", "complex128")),
    "weight of objects": Mistake({"weight": np.array([1, 2, None])}, TypeError, ("weight", "object")),
    "weight masked": Mistake({"weight": np.ma.masked_array([1.0, 2, 3])}, TypeError, ("weight is a masked array",)),
    "reduction unknown": Mistake({"reduction": "average"}, ValueError, ("'none', 'mean' or 'sum'", "'average'")),
    "reduction None": Mistake({"reduction": None}, ValueError, ("'none', 'mean' or 'sum'", "None")),
    "ignore_index a float": Mistake({"ignore_index": -100.0}, TypeError, ("ignore_index", "-100.0", "None")),
    "ignore_index a bool": Mistake({"ignore_index": False}, TypeError, ("ignore_index", "False", "None")),
}

# A value that isn't floating point, whatever it is called.
DTYPE_MISTAKES = {
    "integers": Mistake({"logits": TARGET}, TypeError, ("int64", "(4,)", "swapped?", "astype(np.float32)")),
    "bools": Mistake({"logits": LOGITS > 0}, TypeError, ("bool", "(4, 3)")),
    "long double": Mistake({"logits": LOGITS.astype(np.longdouble)}, TypeError, ("astype(np.float64)",)),
    "float8": Mistake({"logits": LOGITS.astype(ml_dtypes.float8_e4m3fn)}, TypeError, ("float8_e4m3fn", "astype")),
    "complex": Mistake({"logits": LOGITS + 0j}, TypeError, ("complex64",)),
    "objects": Mistake({"logits": LOGITS.astype(object)}, TypeError, ("object",)),
    "text": Mistake({"logits": "logits"}, TypeError, ("<U6",)),
    "times": Mistake({"logits": LOGITS.astype("timedelta64[s]")}, TypeError, ("timedelta64[s]",)),
    "records": Mistake({"logits": np.zeros(4, [("a", "f4"), ("b", "f4")])}, TypeError, ("'a'",)),
    "bfloat16 from a file": Mistake(
        {"logits": LOGITS.astype(ml_dtypes.bfloat16).view("V2")}, TypeError, (".view(ml_dtypes.bfloat16)",)
    ),
    "nothing": Mistake({"logits": None}, TypeError, ("not NoneType",)),
    "nothing in a list": Mistake({"logits": [[1.0, None]]}, TypeError, ("objects of shape (1, 2)", "first", "float")),
    "masked": Mistake(
        {"logits": np.ma.masked_array(LOGITS)}, TypeError, ("is a masked array", ".data", ".filled(value)")
    ),
    "ragged": Mistake({"logits": [[1.0, 2.0], [3.0]]}, ValueError, ("can't be seen as an array", "inhomogeneous")),
    "a tensor with gradient": Mistake({"logits": RequiresGrad()}, TypeError, ("detach()",)),
    "a tensor of bfloat16": Mistake({"logits": TorchBfloat16()}, TypeError, (".view(torch.uint16).numpy()",)),
}

CROSS_ENTROPY_MISTAKES = {
    "integer one-hot, the other way": Mistake({"target": ONE_HOT}, TypeError, ("target.astype(np.float32)",)),
    "probabilities of another shape": Mistake(
        {"target": np.full((4, 2), 0.5)}, ValueError, ("(4, 2)", "(4,) for class indices or (4, 3) for class prob")
    ),
    "probabilities and a class to ignore": Mistake(
        {"target": ONE_HOT.astype(np.float32), "ignore_index": 0}, ValueError, ("ignore_index=0", "probabilities")
    ),
    "label_smoothing above 1": Mistake({"label_smoothing": 1.5}, ValueError, ("label_smoothing", "1.5")),
    "label_smoothing below 0": Mistake({"label_smoothing": -0.1}, ValueError, ("label_smoothing", "-0.1")),
    "label_smoothing nan": Mistake({"label_smoothing": NAN}, ValueError, ("label_smoothing", "nan")),
    "label_smoothing huge": Mistake({"label_smoothing": 10**400}, ValueError, ("label_smoothing",)),
    "label_smoothing text": Mistake({"label_smoothing": "0.1"}, TypeError, ("label_smoothing", "'0.1'")),
    "label_smoothing a bool": Mistake({"label_smoothing": True}, TypeError, ("label_smoothing", "True")),
    "label_smoothing None": Mistake({"label_smoothing": None}, TypeError, ("label_smoothing", "None")),
}

GRAD_OUTPUT_MISTAKES = {
    "an array for the mean": Mistake({"grad_output": np.ones(4)}, ValueError, ("a number", "(4,)")),
    "one element for the mean": Mistake({"grad_output": [1.0]}, ValueError, ("a number", "(1,)")),
    "the logits' shape": Mistake({"grad_output": np.ones((4, 3)), "reduction": "none"}, ValueError, ("(4,)", "(4, 3)")),
    "too short": Mistake({"grad_output": np.ones(1), "reduction": "none"}, ValueError, ("(4,)", "(1,)")),
    "complex": Mistake({"grad_output": 1j}, TypeError, ("grad_output", "complex128")),
    "text": Mistake({"grad_output": "1"}, TypeError, ("grad_output",)),
    "masked": Mistake({"grad_output": np.ma.masked_array(1.0)}, TypeError, ("grad_output is a masked array",)),
}


def check(function: Callable[..., Any], arguments: dict[str, Any], mistake: Mistake) -> str:
    """Return the message."""
    with pytest.raises(mistake.error) as caught:
        function(**arguments)
    assert type(caught.value) is mistake.error
    for words in mistake.words:
        assert words in str(caught.value)
    return str(caught.value)


def named(*tables: dict[str, Mistake]) -> pytest.MarkDecorator:
    """Make one test for each mistake."""
    mistakes = list(itertools.chain.from_iterable(table.items() for table in tables))
    return pytest.mark.parametrize("mistake", [pytest.param(mistake, id=name) for name, mistake in mistakes])


@named(CLASS_INDEX_MISTAKES, DTYPE_MISTAKES, CROSS_ENTROPY_MISTAKES)
def test_cross_entropy(mistake: Mistake) -> None:
    check(crossent.cross_entropy, {"logits": LOGITS, "target": TARGET} | mistake.arguments, mistake)


@named(CLASS_INDEX_MISTAKES, DTYPE_MISTAKES, CROSS_ENTROPY_MISTAKES, GRAD_OUTPUT_MISTAKES)
@pytest.mark.parametrize("in_place", [False, True])
def test_cross_entropy_with_grad_writes_nothing(mistake: Mistake, in_place: bool) -> None:
    arguments = {"logits": LOGITS, "target": TARGET} | mistake.arguments
    logits = arguments["logits"]
    usable = isinstance(logits, np.ndarray) and logits.dtype == np.float32 and not np.ma.isMaskedArray(logits)
    out = logits.copy() if usable else LOGITS.copy()
    before = out.copy()
    if in_place and usable:
        arguments["logits"] = out
    check(crossent.cross_entropy_with_grad, arguments | {"out": out}, mistake)
    np.testing.assert_array_equal(out, before)


@named(CLASS_INDEX_MISTAKES, DTYPE_MISTAKES)
def test_nll_loss(mistake: Mistake) -> None:
    arguments = {"logits": LOGITS, "target": TARGET} | mistake.arguments
    arguments["log_probs"] = arguments.pop("logits")
    assert "logits" not in check(crossent.nll_loss, arguments, mistake), "it has log_probs"


def test_nll_loss_has_no_probability_targets() -> None:
    with pytest.raises(TypeError, match=r"target must be class indices, integers of shape \(4,\)") as caught:
        crossent.nll_loss(LOGITS, ONE_HOT.astype(np.float32))
    assert "target.argmax(axis=1)" in str(caught.value)
    with pytest.raises(ValueError, match=r"target must have shape \(4,\) for class indices: "):
        crossent.nll_loss(LOGITS, np.zeros((4, 2)))


@named(CLASS_INDEX_MISTAKES, CROSS_ENTROPY_MISTAKES)
def test_classes_raise_the_same(mistake: Mistake) -> None:
    """Options when the object is made, arrays when it is called."""
    arguments = {"logits": LOGITS, "target": TARGET} | mistake.arguments
    arrays = {name: arguments.pop(name) for name in ("logits", "target")}
    with pytest.raises(mistake.error) as caught:
        crossent.CrossEntropyLoss(**arguments)(**arrays)
    assert type(caught.value) is mistake.error


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"weight": np.ones((2, 2))}, ValueError),
        ({"weight": [1j]}, TypeError),
        ({"ignore_index": 0.5}, TypeError),
        ({"reduction": "max"}, ValueError),
        ({"axis": "last"}, TypeError),
    ],
)
@pytest.mark.parametrize("criterion", [crossent.CrossEntropyLoss, crossent.NLLLoss])
def test_classes_check_when_made(criterion: Any, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        criterion(**options)
    if criterion is crossent.CrossEntropyLoss:
        with pytest.raises(ValueError, match="label_smoothing"):
            criterion(label_smoothing=2.0)


BINARY_MISTAKES = {
    "target of another shape": Mistake({"target": np.zeros((4, 2))}, ValueError, ("target", "(4, 2)", "(4, 3)")),
    "target beyond the shape": Mistake({"target": np.zeros((2, 4, 3))}, ValueError, ("target", "(2, 4, 3)")),
    "target complex": Mistake({"target": 1j}, TypeError, ("target", "complex128")),
    "target of objects": Mistake({"target": np.array(None)}, TypeError, ("target", "NoneType")),
    "target masked": Mistake(
        {"target": np.ma.masked_array(ONE_HOT)}, TypeError, ("target is a masked array", "filled(value)")
    ),
    "weight of another shape": Mistake({"weight": np.zeros(4)}, ValueError, ("weight", "(4,)", "(4, 3)")),
    "weight complex": Mistake({"weight": 1j}, TypeError, ("weight", "complex128")),
    "reduction unknown": Mistake({"reduction": "median"}, ValueError, ("reduction", "'median'")),
}
WITH_LOGITS_MISTAKES = {
    "pos_weight of another shape": Mistake({"pos_weight": np.zeros(4)}, ValueError, ("pos_weight", "(4,)")),
    "pos_weight of text": Mistake({"pos_weight": "3"}, TypeError, ("pos_weight",)),
}
WITH_GRAD_MISTAKES = {
    "grad_output for the mean": Mistake({"grad_output": np.ones((4, 3))}, ValueError, ("a number", "(4, 3)")),
    "grad_output of another shape": Mistake(
        {"grad_output": np.ones(4), "reduction": "none"}, ValueError, ("(4, 3)", "(4,)")
    ),
}


class TestBinary:
    @named(BINARY_MISTAKES, WITH_LOGITS_MISTAKES, DTYPE_MISTAKES)
    def test_with_logits(self, mistake: Mistake) -> None:
        arguments = {"logits": LOGITS, "target": ONE_HOT} | mistake.arguments
        check(crossent.binary_cross_entropy_with_logits, arguments, mistake)

    @named(BINARY_MISTAKES, WITH_LOGITS_MISTAKES, WITH_GRAD_MISTAKES, DTYPE_MISTAKES)
    def test_with_logits_with_grad_writes_nothing(self, mistake: Mistake) -> None:
        out = LOGITS.copy()
        arguments = {"logits": LOGITS, "target": ONE_HOT, "out": out} | mistake.arguments
        check(crossent.binary_cross_entropy_with_logits_with_grad, arguments, mistake)
        np.testing.assert_array_equal(out, LOGITS)

    @named(BINARY_MISTAKES, DTYPE_MISTAKES)
    def test_probabilities(self, mistake: Mistake) -> None:
        arguments = {"logits": np.abs(LOGITS), "target": ONE_HOT} | mistake.arguments
        arguments["probabilities"] = arguments.pop("logits")
        check(crossent.binary_cross_entropy, arguments, mistake)

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
    @pytest.mark.parametrize("bad", [-0.5, 1.5, float("inf"), float("-inf")])
    def test_names_the_first_value_that_is_no_probability(self, dtype: Any, bad: float) -> None:
        probabilities = np.full((300, 400), 0.5, dtype)
        probabilities[0, 7] = NAN  # passes
        probabilities[250, 3] = bad
        probabilities[299, 0] = 2.0
        with pytest.raises(ValueError, match=rf"position \(250, 3\) is {bad};.*binary_cross_entropy_with_logits"):
            crossent.binary_cross_entropy(probabilities, 1)
        with pytest.raises(ValueError, match=rf"position \(3, 250\) is {bad};"):
            crossent.binary_cross_entropy(probabilities.T[:, :251], 1)


class TestActivations:
    @pytest.mark.parametrize("function", [crossent.softmax, crossent.log_softmax, crossent.logsumexp])
    @pytest.mark.parametrize(
        ("x", "axis", "error", "words"),
        [
            (LOGITS, 2, ValueError, "axis 2"),
            (LOGITS, (0, -3), ValueError, "axis -3"),
            (LOGITS, (1, -1), ValueError, "twice"),
            (LOGITS, 0.0, TypeError, "axis"),
            (LOGITS, "0", TypeError, "axis"),
            (1.0, 1, ValueError, "axis 1"),
            (LOGITS + 0j, 0, TypeError, "complex64"),
            (LOGITS.astype(np.longdouble), 0, TypeError, "astype"),
            (LOGITS.astype(object), 0, TypeError, "object"),
            (
                np.ma.masked_array(LOGITS),
                0,
                TypeError,
                r"masked array.*: pass x.data or x.filled\(value\), such as -np.inf$",
            ),
        ],
    )
    def test_errors(self, function: Any, x: Any, axis: Any, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            function(x, axis)

    @pytest.mark.parametrize("keepdims", ["no", None, np.array([True, False]), 1.0])
    def test_keepdims(self, keepdims: Any) -> None:
        with pytest.raises(TypeError, match="keepdims must be True or False, not"):
            crossent.logsumexp([1.0, 2.0], keepdims=keepdims)


class TestThreads:
    @pytest.mark.parametrize("count", [0, -1, -(10**30)])
    def test_too_few(self, count: int) -> None:
        with pytest.raises(ValueError, match=f"1 or more, not {count}"):
            crossent.set_num_threads(count)

    @pytest.mark.parametrize("count", [1.0, "2", None, True, np.array([1, 2]), np.array(2.5)])
    def test_no_integer(self, count: Any) -> None:
        with pytest.raises(TypeError, match="must be an integer"):
            crossent.set_num_threads(count)

    @pytest.mark.usefixtures("num_threads")
    @pytest.mark.parametrize("count", [10**6, 2**31, 2**64, 10**30])
    def test_any_upper_limit(self, count: int) -> None:
        crossent.set_num_threads(count)
        assert crossent.get_num_threads() >= 1


def test_a_check_leaves_other_threads_error_state() -> None:
    """What NumPy does about invalid operations is each thread's own; a check of probabilities changes its own alone."""
    p = np.full(300_000, 0.5)
    p[-1] = 2
    together = threading.Barrier(2)
    kept = dict.fromkeys(["raise", "call"], True)

    def check_again_and_again(state: Literal["raise", "call"]) -> None:
        with np.errstate(invalid=state):
            together.wait()
            for _ in range(100):
                with pytest.raises(ValueError, match="position 299999 is 2"):
                    crossent.binary_cross_entropy(p, p)
                kept[state] &= np.geterr()["invalid"] == state

    threads = [threading.Thread(target=check_again_and_again, args=(state,)) for state in kept]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == {"raise": True, "call": True}


class Raises:
    def __array__(self, *_: Any, **__: Any) -> Any:
        raise ValueError("no array today")


class ReturnsNonsense:
    def __array__(self, *_: Any, **__: Any) -> Any:
        return "nonsense"


def recursive_list() -> list[Any]:
    result: list[Any] = []
    result.append(result)
    return result


def weird_objects() -> Iterator[Any]:
    """Yield what nobody should pass; a few are legal somewhere."""
    yield from (None, True, 0, -1, 2**63, 10**400, 1.5, NAN, 1j, "text", b"bytes", (), [], {}, set(), object, print)
    yield from (object(), iter([1, 2]), Raises(), ReturnsNonsense(), recursive_list(), [[1], [2, 3]], [None, 1.0])
    yield from (np.float32(1), np.array(1), np.array(None), np.array("x"), np.array(NAN), np.datetime64("2000-01-01"))
    yield from (np.zeros((0,)), np.zeros((0, 0)), np.zeros((1,) * 32), np.zeros((4, 3)), np.zeros((4, 3), "i8"))
    yield from (np.zeros(3, "V0"), np.zeros(3, "V2"), np.zeros(3, "S0"), np.zeros(3, [("a", "f4")]), np.zeros(3, "O"))
    if hasattr(np.dtypes, "StringDType"):  # since NumPy 2.0
        yield np.array([["a", "b"]], np.dtypes.StringDType())
    yield np.broadcast_to(np.float32(0), (2**40, 3))
    yield np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (2**20, 2**20, 3), (0, 0, 0))
    yield np.zeros((0, 2**40), np.float32)
    yield np.zeros((2**40, 0), np.float32)


FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "cross_entropy": (
        crossent.cross_entropy_with_grad,
        {
            "logits": LOGITS,
            "target": TARGET,
            "weight": None,
            "ignore_index": -100,
            "reduction": "none",
            "label_smoothing": 0.0,
            "axis": None,
            "grad_output": None,
            "out": None,
        },
    ),
    "nll_loss": (
        crossent.nll_loss,
        {"log_probs": LOGITS, "target": TARGET, "weight": None, "ignore_index": -100, "axis": None},
    ),
    "softmax": (crossent.softmax, {"x": LOGITS, "axis": -1, "out": None}),
    "logsumexp": (crossent.logsumexp, {"x": LOGITS, "axis": -1}),
    "binary": (
        crossent.binary_cross_entropy_with_logits_with_grad,
        {
            "logits": LOGITS,
            "target": ONE_HOT,
            "weight": None,
            "pos_weight": None,
            "reduction": "none",
            "grad_output": None,
            "out": None,
        },
    ),
    "binary of probabilities": (crossent.binary_cross_entropy, {"probabilities": abs(LOGITS), "target": ONE_HOT}),
}


@pytest.mark.parametrize(
    ("function", "name"),
    [pytest.param(f, name, id=f"{f}-{name}") for f, (_, arguments) in FUNCTIONS.items() for name in arguments],
)
def test_weird_objects_raise_ordinary_errors(function: str, name: str) -> None:
    """Each argument takes each weird object: a result, or an error of the three kinds."""
    call, arguments = FUNCTIONS[function]
    for weird in weird_objects():
        huge = isinstance(weird, np.ndarray) and max(weird.size, *weird.shape, 0) > 10**6
        if huge and (name in ("x", "probabilities") or (function, name) == ("binary", "logits")):
            continue  # correct, and years of work
        fresh = copy.deepcopy(arguments)
        try:
            call(**(fresh | {name: weird}))
        except (TypeError, ValueError, IndexError) as error:
            assert str(error)  # noqa: PT017  # any of three kinds, or none
