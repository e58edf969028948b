"""The cells of the table: what is computed, on which shape, dtype, layout and kind of target."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

Function: TypeAlias = Literal["cross_entropy", "softmax", "log_softmax", "logsumexp", "score"]
Variant: TypeAlias = Literal["", "smoothing", "weights", "ignored", "probabilities"]
Layout: TypeAlias = Literal["", "fortran"]
Group: TypeAlias = Literal["quick", "default", "all"]

# From here on no level of cache holds enough of an array to matter, and the memory limits mean something.
DRAM_BYTES = 250_000_000
FEW_CLASSES = 32
ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class Cell:
    """One line of the table; the classes are axis 1 of ``shape``, as in PyTorch."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    variant: Variant = ""
    function: Function = "cross_entropy"
    layout: Layout = ""
    group: Group = "all"

    @property
    def name(self) -> str:
        """What ``--cells`` matches: shape, dtype, then whatever is not the plain loss."""
        function = "" if self.function == "cross_entropy" else self.function
        words = ["x".join(map(str, self.shape)), self.dtype, self.layout, self.variant, function]
        return " ".join(filter(None, words))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.shape[1]

    @property
    def rows(self) -> int:
        """Number of rows: positions that have a loss of their own."""
        return math.prod(self.shape) // self.classes

    @property
    def logits_bytes(self) -> int:
        """Size of the logits."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    @property
    def exceeds_caches(self) -> bool:
        """Whether the logits come from memory, so that the machine's memory limits apply."""
        return self.logits_bytes >= DRAM_BYTES

    @property
    def counts_cycles(self) -> bool:
        """Whether the table gives cycles a row: many rows of few classes."""
        return self.function == "cross_entropy" and self.classes <= FEW_CLASSES and self.rows >= 100_000

    @property
    def beside(self) -> tuple[str, Cell] | None:
        """The easier problem that this one is held against, and its name in the table."""
        if self.function == "score":
            return "the loss", replace(self, function="cross_entropy")
        if self.function != "cross_entropy":
            return None
        if ITEM_BYTES[self.dtype] == 2:
            # The arithmetic is float32's: its limit is float32 that need not wait for memory, here 4 MiB in a cache.
            in_cache = max(1, 2**20 // self.classes)
            return "float32 in cache", Cell((in_cache, self.classes))
        if self.layout == "fortran" or len(self.shape) > 2:
            return "rows", Cell((self.rows, self.classes), self.dtype)
        if self.variant in ("smoothing", "weights", "ignored"):
            return "plain", replace(self, variant="")
        return None


def _cells() -> tuple[Cell, ...]:
    batch = (65_536, 1000)
    images = (32, 21, 512, 512)
    halves = ("float16", "bfloat16")
    activations: tuple[Function, ...] = ("softmax", "log_softmax", "logsumexp")
    return (
        # Calls: the cost of getting in and out.
        Cell((4, 10), group="default"),
        Cell((32, 10), group="quick"),
        # In cache.
        Cell((128, 1000), group="quick"),
        Cell((16_384, 100), group="default"),
        Cell((65_536, 100)),
        # Few classes.
        Cell((1_000_000, 2), group="default"),
        Cell((1_000_000, 3)),
        Cell((1_000_000, 10), group="quick"),
        Cell((1_000_000, 17)),
        Cell((1_000_000, 32), group="default"),
        # Rows from memory, float32.
        Cell((16_384, 1000)),
        Cell((1_000_000, 100), group="default"),
        Cell(batch, group="quick"),
        Cell((2048, 32_000)),
        Cell((4096, 32_000), group="default"),
        Cell((1024, 128_256), group="default"),
        # Fewer rows than threads.
        Cell((3, 30_000_000)),
        Cell((1, 100_000_000)),
        # Classes strided.
        Cell((32, 81, 8732), group="default"),
        Cell((8, 21, 512, 512), group="default"),
        Cell(images),
        Cell((1_000_000, 100), layout="fortran", group="default"),
        # float64: as many bytes in half the rows.
        Cell((16_384, 1000), "float64"),
        Cell((32_768, 1000), "float64"),
        Cell(batch, "float64", group="default"),
        Cell((2048, 32_000), "float64"),
        Cell((512, 128_256), "float64"),
        Cell((500_000, 100), "float64"),
        # Half precision.
        *(Cell(batch, dtype, group="default") for dtype in halves),
        *(Cell(shape, dtype) for dtype in halves for shape in ((16_384, 1000), (4096, 32_000), images)),
        # Other losses on the same rows.
        Cell(batch, variant="smoothing", group="default"),
        Cell(batch, variant="weights", group="default"),
        Cell(batch, variant="ignored", group="default"),
        Cell(batch, variant="probabilities", group="default"),
        Cell((16_384, 1000), variant="smoothing"),
        Cell((16_384, 1000), variant="probabilities"),
        # The softmax family, over axis 1.
        *(Cell(batch, function=function, group="default") for function in activations),
        *(Cell(images, function=function) for function in activations),
        # Everything about each row.
        Cell((1_000_000, 10), function="score"),
        Cell((1_000_000, 100), function="score"),
        Cell(batch, function="score", group="default"),
        Cell(batch, "float16", function="score"),
        Cell((1024, 128_256), function="score"),
        Cell((8, 21, 512, 512), function="score"),
    )


CELLS = _cells()


def select(pattern: str | None, group: Group) -> list[Cell]:
    """Return the cells of a group (each holds the smaller ones), or all whose name matches a pattern."""
    if pattern is not None:
        return [cell for cell in CELLS if fnmatchcase(cell.name, pattern)]
    groups = {"quick": ("quick",), "default": ("quick", "default"), "all": ("quick", "default", "all")}[group]
    return [cell for cell in CELLS if cell.group in groups]
