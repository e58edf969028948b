"""The public surface: names, signatures, types of results, documentation that runs, and what an import costs."""

import copy
import doctest
import inspect
import pickle
import pydoc
import re
import subprocess
import sys
import typing
import warnings
from importlib import metadata
from typing import Any

import crossent
import ml_dtypes
import numpy as np
import pytest

LOGITS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
TARGET = np.array([0, 2, 1, 2])

CROSS_ENTROPY = "weight=None, *, ignore_index=-100, reduction='mean', label_smoothing=0.0, axis=None"
SIGNATURES = {
    "cross_entropy": f"(logits, target, {CROSS_ENTROPY})",
    "cross_entropy_with_grad": f"(logits, target, {CROSS_ENTROPY}, grad_output=None, out=None)",
    "CrossEntropyLoss": f"({CROSS_ENTROPY}, size_average=None, reduce=None)",
    "nll_loss": "(log_probs, target, weight=None, *, ignore_index=-100, reduction='mean', axis=None)",
    "NLLLoss": "(weight=None, *, ignore_index=-100, reduction='mean', axis=None, size_average=None, reduce=None)",
    "softmax": "(x, axis=-1, *, out=None)",
    "log_softmax": "(x, axis=-1, *, out=None)",
    "logsumexp": "(x, axis=-1, *, keepdims=False)",
    "binary_cross_entropy": "(probabilities, target, weight=None, *, reduction='mean')",
    "binary_cross_entropy_with_logits": "(logits, target, weight=None, *, pos_weight=None, reduction='mean')",
    "binary_cross_entropy_with_logits_with_grad": (
        "(logits, target, weight=None, *, pos_weight=None, reduction='mean', grad_output=None, out=None)"
    ),
    "Totals": "(classes, top_k, bins, targets, sums)",
    "score": "(logits, target, *, ignore_index=-100, temperature=1.0, axis=None)",
    "Scores": (
        "(loss, predicted, confidence, log_sum_exp, entropy, sum_of_squares, valid, classes, "
        "target=None, rank=None, divergence=None)"
    ),
    "fit_temperature": "(logits, target, *, ignore_index=-100, axis=None)",
    "TemperatureFit": "(temperature, standard_error, before, after, left_out, passes)",
    "set_num_threads": "(n)",
    "get_num_threads": "()",
    "release_memory": "()",
    "show_config": "()",
}


class TestNames:
    def test_all(self) -> None:
        public = {name for name, value in vars(crossent).items() if not inspect.ismodule(value) and name[0] != "_"}
        assert set(crossent.__all__) == public | {"__version__"} == {*SIGNATURES, "__version__"}

    @pytest.mark.parametrize("name", SIGNATURES)
    def test_signature(self, name: str) -> None:
        signature = inspect.signature(getattr(crossent, name))
        bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
        assert str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)) == SIGNATURES[name]

    @pytest.mark.parametrize("name", SIGNATURES)
    def test_annotations_can_be_read(self, name: str) -> None:
        function = getattr(crossent, name)
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
        assert {"return", *inspect.signature(function).parameters} <= {*hints, "self"}

    @pytest.mark.parametrize("name", SIGNATURES)
    def test_help_is_for_readers(self, name: str) -> None:
        """What ArrayLike and NDArray stand for takes lines."""
        shown = pydoc.plain(pydoc.render_doc(getattr(crossent, name)))
        assert not re.search(r"numpy\.(_typing|ndarray\[|dtype\[)", shown)

    def test_with_grad_of_the_class(self) -> None:
        parameters = inspect.signature(crossent.CrossEntropyLoss().with_grad).parameters
        assert list(parameters) == ["logits", "target", "grad_output", "out"]

    def test_version(self) -> None:
        assert crossent.__version__ == metadata.version("crossent")


class TestDocumentation:
    @pytest.mark.parametrize("name", ["activations", "binary", "config", "losses", "modules", "totals", ""])
    def test_examples_run(self, name: str) -> None:
        module = sys.modules[f"crossent.{name}".rstrip(".")]
        results = doctest.testmod(module, raise_on_error=False)
        assert results.failed == 0
        assert results.attempted > 0

    @pytest.mark.parametrize("name", SIGNATURES)
    def test_every_name_has_an_example(self, name: str) -> None:
        assert ">>> " in inspect.getdoc(getattr(crossent, name))  # type: ignore[operator]  # fails if there is none

    @pytest.mark.parametrize("name", SIGNATURES)
    def test_every_parameter_is_described(self, name: str) -> None:
        function = getattr(crossent, name)
        described = inspect.getdoc(function) or ""
        for parameter in inspect.signature(function).parameters:
            assert f"{parameter}" in described.partition("Returns\n")[0]


class TestResults:
    """The assignments to annotated names are checked by mypy: the overloads follow the reduction."""

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
    def test_reductions(self, dtype: Any) -> None:
        logits = LOGITS.astype(dtype)
        per_sample = np.float64 if dtype == "float64" else np.float32
        mean: float = crossent.cross_entropy(logits, TARGET)
        total: float = crossent.cross_entropy(logits, TARGET, reduction="sum")
        losses: crossent.losses.Losses = crossent.cross_entropy(logits, TARGET, reduction="none")
        assert type(mean) is type(total) is float
        assert type(losses) is np.ndarray
        assert losses.dtype == per_sample
        single = crossent.cross_entropy(logits[0], TARGET[0], reduction="none")
        assert type(single) is per_sample
        assert type(crossent.cross_entropy(logits[0], TARGET[0])) is float

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
    def test_reductions_of_the_others(self, dtype: Any) -> None:
        x, per_sample = abs(LOGITS.astype(dtype)), np.float64 if dtype == "float64" else np.float32
        nll: float = crossent.nll_loss(x, TARGET)
        binary: float = crossent.binary_cross_entropy(x, 1)
        with_logits: float = crossent.binary_cross_entropy_with_logits(x, 1, reduction="sum")
        assert type(nll) is type(binary) is type(with_logits) is float
        assert crossent.nll_loss(x, TARGET, reduction="none").dtype == per_sample
        assert type(crossent.nll_loss(x[0], 2, reduction="none")) is per_sample
        assert crossent.binary_cross_entropy(x, 1, reduction="none").dtype == per_sample
        assert type(crossent.binary_cross_entropy(x[0, 0], 1, reduction="none")) is per_sample
        assert crossent.binary_cross_entropy_with_logits(x, 1, reduction="none").dtype == per_sample

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
    @pytest.mark.parametrize("weight", [np.float16, np.float64])
    def test_gradients(self, dtype: Any, weight: Any) -> None:
        """Weights and probabilities never change a dtype."""
        logits = LOGITS.astype(dtype)
        loss: float
        loss, grad = crossent.cross_entropy_with_grad(logits, np.eye(3, dtype=weight)[TARGET], np.ones(3, weight))
        assert type(loss) is float
        assert (type(grad), grad.dtype, grad.shape) == (np.ndarray, logits.dtype, logits.shape)
        loss, grad = crossent.binary_cross_entropy_with_logits_with_grad(logits, np.ones(3, weight))
        assert type(loss) is float
        assert (type(grad), grad.dtype, grad.shape) == (np.ndarray, logits.dtype, logits.shape)

    def test_gradient_has_the_logits_layout(self) -> None:
        images = np.zeros((2, 3, 4, 5), np.float32)
        for logits in (images, images.transpose(0, 3, 1, 2), np.asfortranarray(images), images[:, :, ::2]):
            grad = crossent.cross_entropy_with_grad(logits, np.zeros((2, *logits.shape[2:]), int))[1]
            assert np.argsort(grad.strides).tolist() == np.argsort(logits.strides).tolist()

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
    @pytest.mark.parametrize("function", [crossent.softmax, crossent.log_softmax, crossent.logsumexp])
    def test_activations(self, function: Any, dtype: Any) -> None:
        x = LOGITS.astype(dtype)
        assert type(function(x)) is np.ndarray
        assert function(x).dtype == x.dtype
        assert type(function(x[0, 0])) is x.dtype.type
        assert type(function(x[0, 0], None)) is x.dtype.type

    def test_logsumexp_shapes(self) -> None:
        x = np.zeros((2, 3, 4))
        for axis, shape, kept in (
            (-1, (2, 3), (2, 3, 1)),
            (0, (3, 4), (1, 3, 4)),
            ((0, 2), (3,), (1, 3, 1)),
            ((), (2, 3, 4), (2, 3, 4)),
            (None, (), (1, 1, 1)),
        ):
            assert crossent.logsumexp(x, axis).shape == shape
            assert crossent.logsumexp(x, axis, keepdims=True).shape == kept
        assert type(crossent.logsumexp(x, None)) is np.float64
        assert crossent.logsumexp(np.zeros((2, 0)), keepdims=True).tolist() == [[-np.inf], [-np.inf]]
        assert crossent.softmax(x, ()).tolist() == np.ones_like(x).tolist()


class TestClasses:
    def test_keep_their_options(self) -> None:
        options: dict[str, Any] = {"ignore_index": 2, "reduction": "none", "label_smoothing": 0.25, "axis": -1}
        criterion = crossent.CrossEntropyLoss([1, 2, 3], **options)
        assert {name: getattr(criterion, name) for name in options} == options
        expected = crossent.cross_entropy_with_grad(LOGITS, TARGET, [1, 2, 3], **options)
        np.testing.assert_array_equal(criterion(LOGITS, TARGET), expected[0])
        out = np.zeros_like(LOGITS)
        loss, grad = criterion.with_grad(LOGITS, TARGET, grad_output=[1, 1, 1, 2], out=out)
        np.testing.assert_array_equal(loss, expected[0])
        assert grad is out
        np.testing.assert_array_equal(grad, expected[1] * [[1], [1], [1], [2]])

    def test_types_follow_the_reduction(self) -> None:
        mean: float = crossent.CrossEntropyLoss()(LOGITS, TARGET)
        total: float = crossent.NLLLoss(reduction="sum")(LOGITS, TARGET)
        losses: crossent.losses.Losses = crossent.CrossEntropyLoss(reduction="none").with_grad(LOGITS, TARGET)[0]
        assert type(mean) is type(total) is float
        assert losses.shape == (4,)

    def test_subscribed_like_its_type(self) -> None:
        assert type(crossent.CrossEntropyLoss[float]()(LOGITS, TARGET)) is float

    def test_weight_is_their_own(self) -> None:
        weight = np.ones(3)
        criterion = crossent.NLLLoss(weight)
        before = criterion(LOGITS, TARGET)
        weight[:] = [1, 10, 100]
        assert criterion(LOGITS, TARGET) == before
        assert criterion.weight is not None
        with pytest.raises(ValueError, match="read-only"):
            criterion.weight[0] = 1

    @pytest.mark.parametrize("criterion", [crossent.CrossEntropyLoss(axis=1), crossent.NLLLoss([1, 2, 3])])
    def test_dont_change(self, criterion: Any) -> None:
        for name in ("reduction", "weight", "something"):
            with pytest.raises(AttributeError, match="can't be changed"):
                setattr(criterion, name, None)
        with pytest.raises(AttributeError, match="can't be changed"):
            del criterion.reduction
        assert not hasattr(criterion, "__dict__")

    def test_repr(self) -> None:
        assert repr(crossent.CrossEntropyLoss(reduction="sum")) == (
            "CrossEntropyLoss(weight=None, ignore_index=-100, reduction='sum', label_smoothing=0.0, axis=None)"
        )
        assert repr(crossent.NLLLoss([1, 2])).startswith("NLLLoss(weight=array([1., 2.]), ignore_index=-100, ")

    def test_copies(self) -> None:
        criterion = crossent.CrossEntropyLoss([1, 2, 3], label_smoothing=0.5)
        for copied in (copy.copy(criterion), copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
            assert repr(copied) == repr(criterion)
            assert copied(LOGITS, TARGET) == criterion(LOGITS, TARGET)
            assert copied.weight is not None
            assert not copied.weight.flags.writeable

    @pytest.mark.parametrize(
        ("size_average", "reduce", "reduction"),
        [
            (True, None, "mean"),
            (False, None, "sum"),
            (None, True, "mean"),
            (None, False, "none"),
            (True, True, "mean"),
            (True, False, "none"),
            (False, True, "sum"),
            (False, False, "none"),
        ],
    )
    @pytest.mark.parametrize("criterion", [crossent.CrossEntropyLoss, crossent.NLLLoss])
    def test_deprecated_options(self, criterion: Any, size_average: Any, reduce: Any, reduction: str) -> None:
        """They override ``reduction``, as in PyTorch, and the warning points at the caller."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            made = criterion(reduction="sum", size_average=size_average, reduce=reduce)
        assert made.reduction == reduction
        (warning,) = caught
        assert warning.category is DeprecationWarning
        assert warning.filename == __file__
        assert f"reduction={reduction!r}" in str(warning.message)


class TestConfig:
    def test_show_config(self) -> None:
        config = crossent.show_config()
        assert list(config) == [
            *(
                "version",
                "instruction_set",
                "instruction_sets",
                "compiler",
                "openmp",
                "threads",
                "threads_from",
                "numpy",
            )
        ]
        assert config["version"] == crossent.__version__
        assert config["instruction_set"] in config["instruction_sets"]
        assert config["instruction_sets"][-1] == "baseline"
        assert config["compiler"]
        assert config["threads"] == crossent.get_num_threads() >= 1
        assert config["numpy"] == np.__version__

    @pytest.mark.usefixtures("num_threads")
    def test_threads(self) -> None:
        crossent.set_num_threads(1)
        assert crossent.get_num_threads() == crossent.show_config()["threads"] == 1


class TestImport:
    def test_brings_nothing_but_numpy(self) -> None:
        """Besides itself, what NumPy and dataclasses import, and small parts of the standard library."""
        code = (
            "import sys, numpy, dataclasses; before = set(sys.modules); import crossent; "
            "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
        )
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        imported = set(output.split()) - {"crossent", "numpy"}
        assert not imported - set(sys.stdlib_module_names)
        assert not imported & {"argparse", "asyncio", "ctypes", "email", "importlib", "json", "logging", "subprocess"}
