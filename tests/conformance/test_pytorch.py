"""PyTorch's own samples: ModuleInfo's with their reference functions, OpInfo's with the operators themselves.

Each sample is tried in four dtypes. What is expected is PyTorch's result on the same numbers in float64, and its
gradient by autograd; what may differ is float32's last places, or a half's rounding of the gradient.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import cases
import crossent
import ml_dtypes
import numpy as np
import pytest
from cases import Array

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal import common_modules
    from torch.testing._internal.common_methods_invocations import op_db

functional = torch.nn.functional

DTYPES = {name: getattr(torch, name) for name in cases.DTYPES}
RTOL = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-6, "bfloat16": 2e-6}
GRAD_RTOL = {"float64": 1e-12, "float32": 2e-6, "float16": 2.0**-11 * 1.01, "bfloat16": 2.0**-8 * 1.01}


def to_numpy(value: Any) -> Any:
    """Return a tensor as an array, bfloat16 included; anything else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach()
    if value.dtype == torch.bfloat16:
        return value.contiguous().view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


def to_double(value: Any) -> Any:
    """Return a tensor of floats in float64."""
    return value.detach().double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def close(actual: Any, expected: Any, rtol: float) -> None:
    expected = to_numpy(expected)
    assert np.shape(actual) == expected.shape
    scale = float(np.max(np.abs(expected), initial=0, where=np.isfinite(expected)))
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=rtol, atol=rtol * min(scale, 1.0) + 1e-45)


def grad_close(actual: Array, expected: Any, name: str) -> None:
    """A half's gradient is rounded, near 0 to a multiple of its smallest denormal."""
    expected = to_numpy(expected)
    atol = float(cases.finfo(cases.DTYPES[name].dtype).smallest_subnormal) + 1e-6 * np.abs(expected).max(initial=0)
    if name == "float64":
        atol = 1e-14
    assert actual.dtype == cases.DTYPES[name].dtype
    np.testing.assert_allclose(actual.astype(np.float64), expected, rtol=GRAD_RTOL[name], atol=atol)


def value_and_grad(loss: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """Return PyTorch's result in float64, and the gradient of its sum with respect to the first argument."""
    first, *rest = (to_double(argument) for argument in arguments)
    first = first.requires_grad_()
    value = loss(first, *rest, **{key: to_double(option) for key, option in options.items()})
    (grad,) = torch.autograd.grad(value.sum(), first)
    return value, grad


def module_inputs(module: str, name: str) -> list[Any]:
    make = getattr(common_modules, f"module_inputs_torch_nn_{module}")
    torch.manual_seed(0)
    return list(make(None, device="cpu", dtype=DTYPES[name], requires_grad=True, training=True))


def check_reference(result: Any, sample: Any, module: Any, name: str) -> None:
    """Compare with PyTorch's reference function, which computes in the sample's own dtype: too coarse for halves."""
    if name in ("float32", "float64"):
        arguments = [argument.detach() for argument in sample.forward_input.args]
        expected = sample.reference_fn(module.to(DTYPES[name]), *arguments)
        close(result, expected, 1e-10 if name == "float64" else 1e-4)


@pytest.mark.parametrize("name", DTYPES)
def test_cross_entropy_module(name: str) -> None:
    samples = module_inputs("CrossEntropyLoss", name)
    assert len(samples) >= 105
    for sample in samples:
        logits, target = sample.forward_input.args
        options = dict(sample.constructor_input.kwargs)
        ours = crossent.CrossEntropyLoss(**{key: to_numpy(value) for key, value in options.items()})
        loss, grad = ours.with_grad(to_numpy(logits), to_numpy(target))
        expected, expected_grad = value_and_grad(functional.cross_entropy, logits, target, **options)
        close(loss, expected, RTOL[name])
        grad_close(grad, expected_grad, name)
        check_reference(loss, sample, torch.nn.CrossEntropyLoss(**options), name)


@pytest.mark.parametrize("name", DTYPES)
def test_nll_module(name: str) -> None:
    samples = module_inputs("NLLLoss", name)
    assert len(samples) >= 28
    for sample in samples:
        log_probs, target = sample.forward_input.args
        options = dict(sample.constructor_input.kwargs)
        ours = crossent.NLLLoss(**{key: to_numpy(value) for key, value in options.items()})
        loss = ours(to_numpy(log_probs), to_numpy(target))
        doubles = {key: to_double(value) for key, value in options.items()}
        close(loss, functional.nll_loss(to_double(log_probs), target, **doubles), RTOL[name])
        check_reference(loss, sample, torch.nn.NLLLoss(**options), name)


@pytest.mark.parametrize("name", DTYPES)
def test_log_softmax_module(name: str) -> None:
    samples = module_inputs("LogSoftmax", name)
    assert len(samples) >= 4
    for sample in samples:
        (x,) = sample.forward_input.args
        (axis,) = sample.constructor_input.args
        result = crossent.log_softmax(to_numpy(x), axis=axis if x.ndim else None)
        activation_close(result, torch.log_softmax(to_double(x), axis), name)
        check_reference(result, sample, torch.nn.LogSoftmax(axis), name)


def op_samples(operator: str, variant: str, name: str) -> Iterator[Any]:
    (op,) = (op for op in op_db if op.name == operator and op.variant_test_name == variant)
    torch.manual_seed(0)
    yield from op.sample_inputs("cpu", DTYPES[name], requires_grad=False)


def activation_close(actual: Any, expected: Any, name: str) -> None:
    kind = cases.DTYPES[name]
    assert actual.dtype == kind.dtype
    expected = to_numpy(expected)
    size = np.maximum(np.abs(expected), 1)  # logarithms cancel by nature
    cases.assert_close(actual, expected, kind.dtype, kind.activation + 1, magnitude=size)


@pytest.mark.parametrize("name", DTYPES)
def test_cross_entropy_operator(name: str) -> None:
    samples = list(op_samples("nn.functional.cross_entropy", "", name))
    assert len(samples) >= 21
    for sample in samples:
        arguments = (sample.input, *sample.args)
        options = {key: to_numpy(value) for key, value in sample.kwargs.items()}
        loss, grad = crossent.cross_entropy_with_grad(*map(to_numpy, arguments), **options)
        expected, expected_grad = value_and_grad(functional.cross_entropy, *arguments, **sample.kwargs)
        close(loss, expected, RTOL[name])
        if np.isnan(to_numpy(expected)).any():  # a mean of nothing: the gradient is 0 here and there
            assert not grad.any()
        grad_close(grad, expected_grad, name)


@pytest.mark.parametrize("name", DTYPES)
def test_nll_operator(name: str) -> None:
    samples = list(op_samples("nn.functional.nll_loss", "", name))
    assert len(samples) >= 61
    for sample in samples:
        arguments = (sample.input, *sample.args)
        options = {key: to_numpy(value) for key, value in sample.kwargs.items()}
        loss = crossent.nll_loss(*map(to_numpy, arguments), **options)
        doubles = {key: to_double(value) for key, value in sample.kwargs.items()}
        close(loss, functional.nll_loss(*map(to_double, arguments), **doubles), RTOL[name])


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("variant", ["", "with_dtype"])
@pytest.mark.parametrize("operator", ["softmax", "log_softmax"])
def test_softmax_operators(operator: str, variant: str, name: str) -> None:
    """The second variant converts the input first, to float64."""
    samples = list(op_samples(operator, variant, name))
    assert len(samples) >= 7
    for sample in samples:
        x, axis = sample.input, sample.args[0]
        expected = getattr(torch, operator)(to_double(x), axis)
        if variant == "with_dtype":
            assert sample.kwargs == {"dtype": torch.float64}
            x = x.double()
        values = to_numpy(x)
        result = getattr(crossent, operator)(values, axis=axis if values.ndim else None)
        activation_close(result, expected, "float64" if variant == "with_dtype" else name)


@pytest.mark.parametrize(("name", "count"), [("float64", 15), ("float32", 15), ("float16", 5), ("bfloat16", 5)])
def test_logsumexp_operator(name: str, count: int) -> None:
    samples = list(op_samples("logsumexp", "", name))
    assert len(samples) >= count
    for sample in samples:
        axis, *keepdims = sample.args
        keepdim = keepdims[0] if keepdims else sample.kwargs.get("keepdim", False)
        expected = torch.logsumexp(to_double(sample.input), axis, keepdim)
        values = to_numpy(sample.input)
        result = crossent.logsumexp(values, axis=axis if values.ndim else None, keepdims=keepdim)
        activation_close(result, expected, name)


@pytest.mark.parametrize("name", DTYPES)
def test_binary_with_logits_operator(name: str) -> None:
    samples = list(op_samples("nn.functional.binary_cross_entropy_with_logits", "", name))
    assert len(samples) >= 26
    for sample in samples:
        arguments = (sample.input, *sample.args)
        options = {key: to_numpy(value) for key, value in sample.kwargs.items()}
        loss, grad = crossent.binary_cross_entropy_with_logits_with_grad(*map(to_numpy, arguments), **options)
        expected, expected_grad = value_and_grad(
            functional.binary_cross_entropy_with_logits, *arguments, **sample.kwargs
        )
        close(loss, expected, RTOL[name])
        grad_close(grad, expected_grad, name)


@pytest.mark.parametrize("name", DTYPES)
def test_binary_operator(name: str) -> None:
    samples = list(op_samples("nn.functional.binary_cross_entropy", "", name))
    assert len(samples) >= 11
    for sample in samples:
        arguments = (sample.input, *sample.args)
        options = {key: to_numpy(value) for key, value in sample.kwargs.items()}
        loss = crossent.binary_cross_entropy(*map(to_numpy, arguments), **options)
        doubles = {key: to_double(value) for key, value in sample.kwargs.items()}
        close(loss, functional.binary_cross_entropy(*map(to_double, arguments), **doubles), RTOL[name])
