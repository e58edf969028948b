"""Cross-entropy for NumPy arrays on the CPU: the loss and its gradient in one pass over the logits.

>>> import numpy as np, crossent
>>> logits = np.array([[2.0, -1.0, 0.0], [0.5, 0.5, 0.5]], np.float32)
>>> target = np.array([0, 2])
>>> loss, grad = crossent.cross_entropy_with_grad(logits, target)
>>> round(loss, 4)
0.6342
>>> grad.shape, grad.dtype
((2, 3), dtype('float32'))

How a call flows: the function (in ``losses``, ``binary``, ``activations``) takes its arguments through ``_options``
(numbers and names) and ``_arrays`` (arrays, converted there and nowhere else), gets room for results from ``_outputs``,
and calls the compiled ``_core`` once. ``_explain`` has the texts of the errors, ``modules`` the classes, ``config`` the
threads.
"""

from .activations import log_softmax, logsumexp, softmax
from .binary import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_with_grad,
)
from .config import __version__, get_num_threads, release_memory, set_num_threads, show_config
from .losses import cross_entropy, cross_entropy_with_grad, nll_loss
from .modules import CrossEntropyLoss, NLLLoss
from .scores import Scores, score
from .temperature import TemperatureFit, fit_temperature
from .totals import Totals

__all__ = [
    "CrossEntropyLoss",
    "NLLLoss",
    "Scores",
    "TemperatureFit",
    "Totals",
    "__version__",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_with_grad",
    "cross_entropy",
    "cross_entropy_with_grad",
    "fit_temperature",
    "get_num_threads",
    "log_softmax",
    "logsumexp",
    "nll_loss",
    "release_memory",
    "score",
    "set_num_threads",
    "show_config",
    "softmax",
]
