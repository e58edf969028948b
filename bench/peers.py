"""The libraries in the table, each as one small class: ours, the frameworks, and the list of all peers."""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from library import GRADIENT, LOSS, OUT, Library
from numpy_peers import NumPy, ScikitLearn, SciPy
from problems import FIGURES, IGNORE_INDEX, Array, Problem
from timing import Call


class Crossent(Library):
    """Ours."""

    name = module = "crossent"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.library.set_num_threads(threads)

    def calls(self, problem: Problem, out: Array | None = None) -> dict[str, Call]:
        """Return the calls, one of them into ``out``."""
        function = problem.cell.function
        if function == "score":
            score, figures = self.library.score, operator.attrgetter(*FIGURES)
            return {LOSS: lambda: figures(score(problem.logits, problem.target))}
        if function != "cross_entropy":
            compute = partial(getattr(self.library, function), problem.logits, 1)
            return {LOSS: compute} if function == "logsumexp" else {LOSS: compute, OUT: partial(compute, out=out)}
        arguments = (problem.logits, problem.target, *([] if problem.weight is None else [problem.weight]))
        options = {"label_smoothing": problem.label_smoothing} if problem.label_smoothing else {}
        with_grad = partial(self.library.cross_entropy_with_grad, *arguments, **options)
        return {
            LOSS: partial(self.library.cross_entropy, *arguments, **options),
            GRADIENT: with_grad,
            OUT: partial(with_grad, out=out),
        }

    def rows(self, problem: Problem) -> tuple[Array, Array]:  # noqa: D102
        losses, gradient = self.library.cross_entropy_with_grad(
            problem.logits, problem.target, reduction="none", label_smoothing=problem.label_smoothing
        )
        return losses, gradient


class Torch(Library):
    """PyTorch, eager: forward without autograd; forward and backward."""

    name = module = "torch"
    # It sums in the dtype of the logits: rows in float16, many classes in a few lanes of float32.
    known_failings: ClassVar[tuple[str, ...]] = ("* float16*", "*x?0000000 float32", "*x100000000 float32")

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.library.set_num_threads(threads)

    def calls(self, problem: Problem) -> dict[str, Call]:  # noqa: D102
        torch = self.library
        logits = self._tensor(problem.logits)
        compute = self._prepare(self._function(problem))

        def forward() -> Any:
            with torch.no_grad():
                return compute(logits)

        if problem.cell.function != "cross_entropy":
            return {LOSS: forward}
        leaf = logits.detach().requires_grad_()

        def forward_and_backward() -> Any:
            leaf.grad = None
            loss = compute(leaf)
            loss.backward()
            return loss, leaf.grad

        return {LOSS: forward, GRADIENT: forward_and_backward}

    def rows(self, problem: Problem) -> tuple[Array, Array]:  # noqa: D102
        leaf = self._tensor(problem.logits).requires_grad_()
        losses = self._losses(leaf, self._tensor(problem.target), problem.label_smoothing)
        losses.backward(self.library.ones_like(losses))
        return self.as_numpy(losses), self.as_numpy(leaf.grad)

    @functools.cached_property
    def _losses(self) -> Any:
        cross_entropy = self.library.nn.functional.cross_entropy
        return lambda x, target, smoothing: cross_entropy(x, target, reduction="none", label_smoothing=smoothing)

    def as_numpy(self, result: Any) -> Array:  # noqa: D102
        tensor = result.detach()
        return np.asarray(tensor.float() if tensor.dtype == self.library.bfloat16 else tensor)

    def _function(self, problem: Problem) -> Call | Any:
        torch = self.library
        match problem.cell.function:
            case "cross_entropy":
                return partial(
                    torch.nn.functional.cross_entropy,
                    target=self._tensor(problem.target),
                    weight=None if problem.weight is None else self._tensor(problem.weight),
                    ignore_index=IGNORE_INDEX,
                    label_smoothing=problem.label_smoothing,
                )
            case "score":
                return partial(self._score, target=self._tensor(problem.target))
            case function:
                return partial(getattr(torch, function), dim=1)

    def _score(self, logits: Any, target: Any) -> Any:
        torch = self.library
        x = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        lse = torch.logsumexp(x, dim=1)
        own = x.gather(1, target.unsqueeze(1))
        p = torch.softmax(x, dim=1)
        confidence, predicted = p.max(dim=1)
        entropy, squares = lse - (p * x).sum(dim=1), (p * p).sum(dim=1)
        return lse - own.squeeze(1), lse, confidence, entropy, squares, predicted, (x > own).sum(dim=1)

    def _prepare(self, function: Any) -> Any:
        return function

    def _tensor(self, array: Array | None) -> Any:
        assert array is not None
        if array.dtype.name == "bfloat16":
            return self.library.from_numpy(array.view(np.int16)).view(self.library.bfloat16)
        return self.library.from_numpy(array)


class TorchCompile(Torch):
    """PyTorch, compiled for each shape."""

    name = "torch.compile"
    known_failings = ("* float16*",)

    def _prepare(self, function: Any) -> Any:
        return self.library.compile(function, dynamic=False, fullgraph=True)

    @functools.cached_property
    def _losses(self) -> Any:
        return self.library.compile(super()._losses, dynamic=True, fullgraph=True)

    def release(self) -> None:  # noqa: D102
        self.library.compiler.reset()


class Jax(Library):
    """JAX under jit: the log-sum-exp less the target's logit, which is the fastest of the usual forms."""

    name = module = "jax"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.library.config.update("jax_enable_x64", True)

    def calls(self, problem: Problem) -> dict[str, Call]:  # noqa: D102
        jax = self.library
        logits = jax.numpy.asarray(problem.logits)
        if problem.cell.function == "score":
            return {LOSS: self._jit(self._score, logits, jax.numpy.asarray(problem.target))}
        if problem.cell.function != "cross_entropy":
            return {LOSS: self._jit(partial(getattr(jax.nn, problem.cell.function), axis=1), logits)}
        assert problem.target is not None
        target = problem.target if problem.has_probabilities else problem.target.astype(np.int32)
        weight = None if problem.weight is None else jax.numpy.asarray(problem.weight)
        arguments = (logits, jax.numpy.asarray(target), weight)
        loss = partial(self._loss, variant=problem.cell.variant, smoothing=problem.label_smoothing)
        return {LOSS: self._jit(loss, *arguments), GRADIENT: self._jit(jax.value_and_grad(loss), *arguments)}

    def rows(self, problem: Problem) -> tuple[Array, Array]:  # noqa: D102
        arguments = (problem.logits, problem.target, problem.cell.variant, problem.label_smoothing)
        (_, losses), gradient = self._rows(*arguments)
        return self.as_numpy(losses), self.as_numpy(gradient)

    @functools.cached_property
    def _rows(self) -> Any:
        def total(logits: Any, target: Any, variant: str, smoothing: float) -> Any:
            losses = self._losses(logits, target, variant, smoothing)
            return losses.sum(), losses

        return self.library.jit(self.library.value_and_grad(total, has_aux=True), static_argnums=(2, 3))

    def _jit(self, function: Any, *arguments: Any) -> Call:
        compiled, wait = self.library.jit(function), self.library.block_until_ready
        return lambda: wait(compiled(*arguments))

    def _score(self, logits: Any, target: Any) -> Any:
        jax, jnp = self.library, self.library.numpy
        x = logits if logits.dtype == jnp.float64 else logits.astype(jnp.float32)
        lse = jax.nn.logsumexp(x, axis=1)
        own = jnp.take_along_axis(x, jnp.expand_dims(target, 1), axis=1)
        p = jax.nn.softmax(x, axis=1)
        entropy, squares = lse - (p * x).sum(axis=1), (p * p).sum(axis=1)
        return lse - own.squeeze(1), lse, p.max(axis=1), entropy, squares, x.argmax(axis=1), (x > own).sum(axis=1)

    def _loss(self, logits: Any, target: Any, weight: Any, variant: str, smoothing: float) -> Any:
        jnp = self.library.numpy
        valid = target != IGNORE_INDEX if variant == "ignored" else None
        index = target if valid is None else jnp.where(valid, target, 0)
        losses = self._losses(logits, index, variant, smoothing)
        if weight is not None:
            return jnp.average(losses, weights=weight[index])
        return losses.mean(where=valid)

    def _losses(self, logits: Any, target: Any, variant: str, smoothing: float) -> Any:
        jax, jnp = self.library, self.library.numpy
        lse = jax.nn.logsumexp(logits, axis=1)
        if variant == "probabilities":
            return lse * target.sum(axis=1) - (target * logits).sum(axis=1)
        losses = lse - (1 - smoothing) * jnp.take_along_axis(logits, target[:, None], axis=1)[:, 0]
        return losses - smoothing * logits.mean(axis=1) if smoothing else losses

    def release(self) -> None:  # noqa: D102
        self.library.clear_caches()


class OnnxRuntime(Library):
    """ONNX Runtime: the operators of the standard, without gradients."""

    name = module = "onnxruntime"
    # It sums many classes in a few lanes of float32.
    known_failings = ("*x?0000000 float32", "*x100000000 float32", "1000000x2 float32")

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.onnx: Any = importlib.import_module("onnx")

    def calls(self, problem: Problem) -> dict[str, Call]:  # noqa: D102
        # Its CPU kernels know no bfloat16, the operators no smoothing and no probabilities.
        unknown = problem.cell.variant in ("smoothing", "probabilities") or problem.cell.function == "score"
        if problem.cell.dtype == "bfloat16" or unknown:
            return {}
        inputs = self._inputs(problem)
        run = self._session(problem, inputs, "mean").run
        return {LOSS: lambda: run(None, inputs)[0]}

    def rows(self, problem: Problem) -> tuple[Array, None] | None:  # noqa: D102
        # Its loss is that of float32 and float64 alone.
        if problem.cell.dtype not in ("float32", "float64") or problem.cell.variant in ("smoothing", "probabilities"):
            return None
        inputs = self._inputs(problem)
        return self._session(problem, inputs, "none").run(None, inputs)[0], None

    def _inputs(self, problem: Problem) -> dict[str, Array]:
        inputs = {"logits": problem.logits}
        if problem.target is not None:
            inputs["target"] = problem.target
        if problem.weight is not None:
            inputs["weight"] = problem.weight
        return inputs

    def _session(self, problem: Problem, inputs: Mapping[str, Array], reduction: str) -> Any:
        helper, runtime = self.onnx.helper, self.library
        operators: dict[str, tuple[str, dict[str, Any]]] = {
            "cross_entropy": (
                "SoftmaxCrossEntropyLoss",
                {"ignore_index": IGNORE_INDEX, "reduction": reduction},
            ),
            "softmax": ("Softmax", {"axis": 1}),
            "log_softmax": ("LogSoftmax", {"axis": 1}),
            "logsumexp": ("ReduceLogSumExp", {"axes": [1], "keepdims": 0}),
        }
        operator, attributes = operators[problem.cell.function]
        types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
        graph = helper.make_graph(
            [helper.make_node(operator, list(inputs), ["result"], **attributes)],
            "bench",
            [helper.make_tensor_value_info(name, types[name], array.shape) for name, array in inputs.items()],
            [helper.make_tensor_value_info("result", types["logits"], None)],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


PEERS: tuple[type[Library], ...] = (Torch, TorchCompile, Jax, ScikitLearn, OnnxRuntime, SciPy, NumPy)
