"""The measuring process: one number of threads, all cells, every contender checked before it is timed."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell
from library import GRADIENT, LOSS, OUT, Library
from limits import CYCLES_A_CALL, Limits
from peers import PEERS, Crossent
from problems import Array, Disagreement, Problem, make_problem
from report import BESIDE, MACHINE, Derived, Report, Result, Timing
from timing import Call, Contender, measure


def usable_cpus() -> list[int]:
    """Return the CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def work(cells: list[Cell], peer_names: list[str] | None, threads: int, rounds: int, seconds: float) -> Report:
    """Confine this process to so many CPUs and measure the cells."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, usable_cpus()[:threads])
    machine = _machine()
    ours = Crossent(threads)
    peers = list(installed_peers(peer_names, threads))
    limits = Limits(threads)
    report = Report(machine, {library.name: library.version for library in (ours, *peers)})
    for cell in cells:
        start = time.perf_counter()
        result = _run_cell(cell, ours, peers, limits, report.surprises, rounds, seconds)
        report.results.append(result)
        ratios = [Derived(result, "minimum").ratio_to_best_peer(operation) for operation in (LOSS, GRADIENT)]
        figures = ", ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
        took = time.perf_counter() - start
        print(f"{cell.name}, threads {threads}: {took:.1f} s; best peer / ours: {figures}", file=sys.stderr)
    return report


def installed_peers(names: list[str] | None, threads: int) -> Iterator[Library]:
    """Yield the peers that are installed, of all or of some names, and say which aren't."""
    for peer in PEERS:
        if names is None or peer.name in names:
            try:
                yield peer(threads)
            except ImportError as error:
                print(f"{peer.name} is left out: {error}", file=sys.stderr)


def _run_cell(
    cell: Cell, ours: Crossent, peers: list[Library], limits: Limits, surprises: list[str], rounds: int, seconds: float
) -> Result:
    """Check every contender's results, then time all of them in turn."""
    result = Result(cell.name, limits.threads, cell.rows, cell.classes, cycles_a_machine_call=CYCLES_A_CALL)
    problem = make_problem(cell)
    out = np.zeros_like(problem.logits)
    contenders = _machine_contenders(problem, out, limits)

    def add(name: str, library: Library, asked: Problem, operations: dict[str, Any]) -> None:
        for operation, call in operations.items():
            try:
                _check(asked, library, call())
            except Disagreement as error:
                result.wrong.append([name, operation])
                if not any(fnmatchcase(cell.name, pattern) for pattern in library.known_failings):
                    surprises.append(f"{name}, {operation}: {error}")
            except Exception as error:  # a peer that breaks down is no reason to lose the other figures
                if library is ours:
                    raise
                print(f"{cell.name}: {name}, {operation}, is left out: {str(error)[:200]}", file=sys.stderr)
            else:
                contenders.append(Contender(name, operation, call, may_rest=library is not ours))

    add(ours.name, ours, problem, ours.calls(problem, out))
    if cell.beside is not None:
        result.beside, easier = cell.beside
        result.beside_rows = easier.rows
        asked = make_problem(easier)
        calls = ours.calls(asked, np.zeros_like(asked.logits))
        compared = (LOSS,) if cell.function == "score" else (LOSS, OUT)
        add(BESIDE, ours, asked, {operation: calls[operation] for operation in compared})
    for peer in peers:
        add(peer.name, peer, problem, peer.calls(problem))

    measure(contenders, rounds=rounds, seconds=seconds)
    for c in contenders:
        result.timings.setdefault(c.name, {})[c.operation] = Timing(
            minimum=c.minimum, median=c.median, rounds=len(c.seconds)
        )
    for peer in peers:
        peer.release()
    return result


def _machine_contenders(problem: Problem, out: Array, limits: Limits) -> list[Contender]:
    arrays = [problem.logits]
    if problem.target is not None and problem.has_probabilities:
        arrays.append(problem.target)
    calls: dict[str, Call] = {}
    if problem.cell.exceeds_caches and problem.cell.function in ("cross_entropy", "logsumexp", "score"):
        calls |= limits.read(*arrays)
    if problem.cell.exceeds_caches and problem.cell.function not in ("logsumexp", "score"):
        calls |= limits.copy(*arrays, out=out)
    if problem.cell.counts_cycles:
        calls |= limits.cycles()
    return [Contender(MACHINE, operation, call) for operation, call in calls.items()]


def _check(problem: Problem, library: Library, found: Any) -> None:
    """Raise Disagreement unless a call's result is right."""
    if problem.cell.function == "score":
        problem.check_figures([library.as_numpy(figure) for figure in found])
        return
    if problem.cell.function != "cross_entropy":
        problem.check_values(library.as_numpy(found))
        return
    loss, gradient = found if isinstance(found, tuple) else (found, None)
    problem.check_loss(library.as_numpy(loss))
    if gradient is not None:
        problem.check_values(library.as_numpy(gradient))


def _machine() -> dict[str, str]:
    """Describe what the figures depend on."""
    cpu = platform.processor() or platform.machine()
    if (file := Path("/proc/cpuinfo")).exists():
        models = [line.partition(":")[2].strip() for line in file.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "load before the run": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "huge pages": pages.read_text().strip() if pages.exists() else "unknown",
        "python": platform.python_version(),
    }
