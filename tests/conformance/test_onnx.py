"""ONNX's own cases for the operators that crossent covers: all of them, values, and gradients of the cross-entropy."""

import warnings
from typing import Any, NamedTuple

import cases
import crossent
import numpy as np
import pytest
import reference
from cases import Array

onnx = pytest.importorskip("onnx")

# The operators, and how many cases there are at least.
OPERATORS = {
    "SoftmaxCrossEntropyLoss": 34,
    "NegativeLogLikelihoodLoss": 18,
    "LogSoftmax": 7,
    "Softmax": 7,
    "ReduceLogSumExp": 9,
}


class Case(NamedTuple):
    operator: str
    attributes: dict[str, Any]
    inputs: list[Array]
    outputs: list[Array]
    rtol: float
    atol: float


def collect() -> dict[str, Case]:
    """Return ONNX's cases by name, without those that spell an operator out in simpler ones."""
    from onnx.backend.test.case.node import collect_testcases

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's own arithmetic
        for case in collect_testcases(None):
            nodes = case.model.graph.node
            node = nodes[0]
            if node.op_type in OPERATORS and len(nodes) == 1 and not case.name.endswith("_expanded"):
                attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
                inputs, outputs = case.data_sets[0]
                found[case.name] = Case(node.op_type, attributes, inputs, outputs, case.rtol, case.atol)
    return found


CASES = collect()


def test_number_of_cases() -> None:
    for operator, count in OPERATORS.items():
        assert sum(case.operator == operator for case in CASES.values()) >= count


def agree(actual: Any, expected: Array, case: Case) -> None:
    assert np.shape(actual) == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=case.rtol, atol=case.atol)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    case = CASES[name]
    x = case.inputs[0]
    if case.operator in ("LogSoftmax", "Softmax"):
        function = crossent.log_softmax if case.operator == "LogSoftmax" else crossent.softmax
        agree(function(x, axis=case.attributes.get("axis", -1)), case.outputs[0], case)
    elif case.operator == "ReduceLogSumExp":
        axes = tuple(case.inputs[1].tolist()) if len(case.inputs) > 1 else tuple(case.attributes.get("axes", ()))
        keepdims = bool(case.attributes.get("keepdims", 1))
        agree(crossent.logsumexp(x, axis=axes or None, keepdims=keepdims), case.outputs[0], case)
    else:
        options: dict[str, Any] = {
            "weight": case.inputs[2] if len(case.inputs) > 2 else None,
            "reduction": case.attributes["reduction"].decode(),
            "ignore_index": case.attributes.get("ignore_index"),  # absent, nothing is ignored
        }
        if case.operator == "NegativeLogLikelihoodLoss":
            agree(crossent.nll_loss(x, case.inputs[1], **options), case.outputs[0], case)
            return
        loss, grad = crossent.cross_entropy_with_grad(x, case.inputs[1], **options)
        agree(loss, case.outputs[0], case)
        expected = reference.cross_entropy(x, case.inputs[1], **options)
        cases.assert_close(grad, expected.grad, np.float32, cases.DTYPES["float32"].grad)
        if len(case.outputs) > 1:
            agree(crossent.log_softmax(x, axis=1), case.outputs[1], case)
