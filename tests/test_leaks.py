"""Nothing is left behind by calls, good or failing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's memory accounting")
def test_memory_and_references(python_environment: dict[str, str]) -> None:
    program = [sys.executable, str(Path(__file__).parent / "long/leaks.py"), "--calls", "10800"]
    done = subprocess.run(program, env=python_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["failed"] == 5200
    assert measured["growth"] < 1_000_000
    assert not measured["changed"]
