"""What a library in the table is: a class that turns a problem into calls without arguments.

What can be done once is done before the call (arrays of the library's own kind, compilation, weights of rows), a
gradient is allocated within it. Each does what its users do.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from problems import Array, Problem
from timing import Call

# The columns of the table. The softmax family has its values under LOSS, and under OUT when it writes into out=.
LOSS = "loss"
GRADIENT = "loss+grad"
OUT = "loss+grad out="


class Library(ABC):
    """A library that is installed; raises ImportError when it is not."""

    name: ClassVar[str]
    module: ClassVar[str]
    # Cells in which it is known to return a wrong loss or gradient: patterns of their names.
    known_failings: ClassVar[tuple[str, ...]] = ()

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.library: Any = importlib.import_module(self.module)

    @property
    def version(self) -> str:
        """The installed version."""
        package = importlib.import_module(self.module.partition(".")[0])
        return str(package.__version__)

    @abstractmethod
    def calls(self, problem: Problem) -> dict[str, Call]:
        """Return a call for each operation that it knows; none if it can't do this problem."""

    @abstractmethod
    def rows(self, problem: Problem) -> tuple[Array, Array | None] | None:
        """Return each row's loss and gradient of (rows, classes) without weights; None for what it doesn't have."""

    def as_numpy(self, result: Any) -> Array:
        """Return an array or scalar of the library as an array of NumPy's."""
        return np.asarray(result)

    def release(self) -> None:  # noqa: B027
        """Forget what was compiled for the last problem."""
