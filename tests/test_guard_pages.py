"""No read or write beside an array: each flush against forbidden pages; ``tests/long/guard_pages.py`` has them all."""

import subprocess
import sys
from pathlib import Path

import pytest
from crossent import _core

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mprotect by its name in libc")


@pytest.mark.parametrize("name", _core.instruction_sets())
def test_every_operand(python_environment: dict[str, str], name: str) -> None:
    program = [sys.executable, str(Path(__file__).parent / "long/guard_pages.py"), "--quick"]
    done = subprocess.run(
        program, env=python_environment | {"CROSSENT_ISA": name}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"returncode {done.returncode}; the case: {' '.join(program)} --verbose\n{done.stderr}"
    assert done.stdout.startswith(f"{name}: ")


def test_a_stray_read_would_be_seen(python_environment: dict[str, str]) -> None:
    program = (
        "import numpy as np\nfrom guarded import Arena\n"
        "x = Arena(100).place((5,), 'f4', (1,), 'behind')\nprint(x[4], flush=True)\n"
        "print(np.lib.stride_tricks.as_strided(x, (6,))[5])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=python_environment, capture_output=True, text=True, check=False
    )
    assert done.returncode < 0
    assert len(done.stdout.split()) == 1
