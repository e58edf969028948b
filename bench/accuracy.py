"""One command, two tables: how far ours and each installed peer are from the true loss and gradient, on the same rows.

The rows are the same every time. The command fails where ours breaks a promise of its own. See README.md.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import numpy as np
from families import Batch, Family, batches, families_of
from library import GRADIENT, LOSS, Library
from oracle import Worst, lost_elements, relative_error, sum_in_eps, true_rows
from peers import Crossent
from problems import Array, Problem
from report import aligned
from worker import installed_peers, usable_cpus

# What ours promises, in units in the last place: the loss of class indices without smoothing, and every gradient, that
# of other targets measured by the greater of p W and t.
LOSS_ULPS = {"float32": 2.0, "float64": 4.0}
GRADIENT_ULPS = {"float32": 4.0, "float64": 8.0}
# A row's gradient sums to 0, as part of eps times the sum of its absolute values.
SUM_EPS = 4.0
# The mean of many rows, relative: far below the error of one.
MEAN_ERROR = 1e-7
NOTHING = "-"


def main() -> int:
    """Print the tables; returns 1 if ours breaks a promise."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    start = time.perf_counter()
    threads = len(usable_cpus())
    libraries: list[Library] = [Crossent(threads), *installed_peers(None, threads)]
    names = [library.name for library in libraries]
    errors, means = [["ulp: loss / gradient", *names]], [["mean: relative error / gradient lost", *names]]
    broken: list[str] = []

    def progress(line: list[str]) -> None:
        print(f"{time.perf_counter() - start:.0f} s: {line[0]}", file=sys.stderr)

    for dtype in ("float32", "float64", "float16", "bfloat16"):
        for family in families_of(dtype):
            errors.append([f"{dtype} {family.name}", *_family_cells(family, dtype, libraries, broken)])
            progress(errors[-1])
        for library in libraries:
            library.release()
    for batch in batches():
        means.append([batch.name, *(_batch_cell(batch, library, broken) for library in libraries)])
        progress(means[-1])
    print("versions: " + ", ".join(f"{library.name} {library.version}" for library in libraries) + "\n")
    print(aligned(errors, markdown=True) + "\n")
    print(aligned(means, markdown=True))
    for line in broken:
        print(f"BROKEN: {line}", file=sys.stderr)
    return 1 if broken else 0


def _family_cells(family: Family, dtype: str, libraries: list[Library], broken: list[str]) -> Iterator[str]:
    """Yield each library's worst errors in these rows; promises that ours breaks are added to the list."""
    losses = {library.name: Worst() for library in libraries}
    gradients = {library.name: Worst() for library in libraries}
    for problem in family.problems(dtype):
        truth = true_rows(problem)
        kind = problem.logits.dtype
        for library in libraries:
            found = library.rows(problem)
            if found is None:
                continue
            where = f"{family.name}, {problem.cell.name}"
            losses[library.name].add(found[0], truth.loss, truth.loss, kind, where)
            if found[1] is not None:
                gradients[library.name].add(found[1], truth.grad, truth.magnitude, kind, where)
            if isinstance(library, Crossent):
                broken += [f"{where}: {line}" for line in _broken_by_rows(library, problem)]
    broken += _broken_by_errors(family, dtype, losses[Crossent.name], gradients[Crossent.name])
    for name, loss in losses.items():
        yield _pair(*(str(worst) if worst.count else "" for worst in (loss, gradients[name])))


def _broken_by_errors(family: Family, dtype: str, loss: Worst, gradient: Worst) -> Iterator[str]:
    if dtype in LOSS_ULPS and not family.variant and not loss.ulps <= LOSS_ULPS[dtype]:
        yield f"the loss has an error of {LOSS_ULPS[dtype]} ulp at most; {loss.place}"
    if dtype in GRADIENT_ULPS and not gradient.ulps <= GRADIENT_ULPS[dtype]:
        yield f"the gradient has an error of {GRADIENT_ULPS[dtype]} ulp at most; {gradient.place}"


def _broken_by_rows(ours: Crossent, problem: Problem) -> Iterator[str]:
    losses, gradient = ours.rows(problem)
    if problem.logits.dtype.itemsize == 2:
        single_losses, single_gradient = ours.rows(problem.upcast())
        if not np.array_equal(losses, single_losses):
            yield "the losses are not those of the logits in float32"
        if gradient.tobytes() != single_gradient.astype(gradient.dtype).tobytes():
            yield "the gradient is not that of the logits in float32, rounded once"
    elif not problem.cell.variant and not (sums := sum_in_eps(gradient)).max() <= SUM_EPS:
        yield f"the gradient of row {sums.argmax()} sums to {sums.max():.3g} eps of its size, {SUM_EPS} are allowed"


def _batch_cell(batch: Batch, library: Library, broken: list[str]) -> str:
    """Return the error of a library's mean, and how much of the gradient it loses."""
    calls = library.calls(batch.problem)
    if LOSS not in calls:
        return NOTHING
    found = float(library.as_numpy(calls[LOSS]()))
    lost: int | None = None
    if batch.gradient is not None and GRADIENT in calls:
        gradient: Array = library.as_numpy(calls[GRADIENT]()[1])
        lost = lost_elements(gradient, batch.gradient)
    if isinstance(library, Crossent) and (lost or not abs(found - batch.loss) <= MEAN_ERROR * batch.loss):
        broken.append(f"{batch.name}: mean {found!r} instead of {batch.loss!r}, {lost} elements of the gradient lost")
    library.release()
    return _pair(relative_error(found, batch.loss), "" if lost is None else f"{lost:,}")


def _pair(left: str, right: str) -> str:
    return f"{left} / {right or NOTHING}" if left else NOTHING


if __name__ == "__main__":
    sys.exit(main())
