"""Fixtures: every instruction set this CPU runs, every dtype, thread counts restored; the hypothesis profiles."""

import os
import sys
from collections.abc import Callable, Iterator
from typing import cast

import cases
import crossent
import hypothesis
import pytest
from crossent import _core

slow = [hypothesis.HealthCheck.too_slow]  # a busy machine is no fault of a test
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50, suppress_health_check=slow)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=slow)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(params=_core.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Force each instruction set that this CPU runs, one after the other."""
    before = _core.get_instruction_set()
    _core.set_instruction_set(request.param)
    yield cast(str, request.param)
    _core.set_instruction_set(before)


@pytest.fixture
def each_instruction_set() -> Iterator[Callable[[], Iterator[str]]]:
    """Return what goes through the instruction sets in a loop, where it is the oracle that takes the time."""

    def each() -> Iterator[str]:
        for name in _core.instruction_sets():
            _core.set_instruction_set(name)
            yield name

    before = _core.get_instruction_set()
    yield each
    _core.set_instruction_set(before)


@pytest.fixture(params=cases.DTYPES)
def dtype(request: pytest.FixtureRequest) -> cases.Tolerance:
    """Return each dtype of logits with its tolerances."""
    return cases.DTYPES[request.param]


@pytest.fixture(autouse=True)
def small_process() -> Iterator[None]:
    """Commands that tests call as functions find the memory of a process of their own, not that of the whole suite.

    (Without the fixture monkeypatch, for which pytest-run-parallel would run every test in one thread.)
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crossent.files.memory.resident_bytes", lambda: 100 * 2**20)
        yield


@pytest.fixture
def num_threads() -> Iterator[None]:
    """Restore the number of threads after the test."""
    before = crossent.get_num_threads()
    yield
    crossent.set_num_threads(before)


@pytest.fixture
def python_environment() -> dict[str, str]:
    """Return the environment of a fresh interpreter that finds what this one does, with no limit on its threads."""
    ours = ("OMP_", "KMP_", "CROSSENT_")  # scikit-learn, too, sets some
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OPENBLAS_NUM_THREADS": "1"}
