"""CrossEntropyLoss and NLLLoss: the functions with their options kept, and PyTorch's deprecated arguments."""

import itertools
import warnings
from typing import Any

import cases
import crossent
import numpy as np
import pytest
import reference

LOGITS = np.array([[1.0, 2.0, 3.0], [0.5, -0.5, 0.0], [2.0, 0.0, -1.0], [0.1, 0.2, 0.3]])
TARGET = np.array([0, 2, 1, 2])
WEIGHT = np.array([0.5, 2.0, 3.0])


def test_the_class_holds_the_options() -> None:
    options: dict[str, Any]
    for w, ignore_index, reduction, smoothing in itertools.product(
        [None, WEIGHT], [-100, 2], cases.REDUCTIONS, [0.0, 0.2]
    ):
        options = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": smoothing}
        criterion = crossent.CrossEntropyLoss(w, **options)
        loss, grad = crossent.cross_entropy_with_grad(LOGITS, TARGET, w, **options)
        assert cases.bits(criterion(LOGITS, TARGET)) == cases.bits(loss)
        again = criterion.with_grad(LOGITS, TARGET)
        assert (cases.bits(again[0]), cases.bits(again[1])) == (cases.bits(loss), cases.bits(grad))
        options.pop("label_smoothing")
        log_p = crossent.log_softmax(LOGITS)
        nll = crossent.NLLLoss(w, **options)(log_p, TARGET)
        assert cases.bits(nll) == cases.bits(crossent.nll_loss(log_p, TARGET, w, **options))


@pytest.mark.parametrize("loss", [crossent.CrossEntropyLoss, crossent.NLLLoss])
@pytest.mark.parametrize(
    ("size_average", "reduce", "reduction"),
    [(True, None, "mean"), (False, None, "sum"), (None, True, "mean"), (None, False, "none"),
     (True, True, "mean"), (False, True, "sum"), (True, False, "none"), (False, False, "none")],
)  # fmt: skip
def test_deprecated_arguments(
    loss: Any, size_average: bool | None, reduce: bool | None, reduction: reference.Reduction
) -> None:
    """They override the reduction, with a warning."""
    with pytest.warns(DeprecationWarning, match="reduction"):
        criterion = loss(size_average=size_average, reduce=reduce)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = loss(reduction=reduction)(LOGITS, TARGET)
        np.testing.assert_array_equal(criterion(LOGITS, TARGET), expected)
