"""The errors that ``exp.h`` and ``log.h`` promise are kept, measured by a C++ program on every instruction set."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from crossent import _core

SOURCE = Path(__file__).parent / "cpp" / "math_error.cpp"
FLAGS = {"avx512": ["-march=x86-64-v4"], "avx2": ["-march=x86-64-v3"], "baseline": []}
#: Every STEP-th float is tried; 1 tries all and takes minutes.
STEP = 1009

compiler = shutil.which("c++") or shutil.which("g++")


@pytest.mark.skipif(compiler is None or not SOURCE.exists(), reason="needs a C++ compiler and the source tree")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the reference uses x87's long double")
@pytest.mark.parametrize("instruction_set", _core.instruction_sets())
def test_errors_are_within_what_the_headers_promise(instruction_set: str, tmp_path: Path) -> None:
    """Exp of floats and doubles, exp of a sum, log of a sum."""
    program = tmp_path / "math_error"
    flags = [
        "-std=gnu++20",
        "-O2",
        "-ffp-contract=off",
        "-w",
        f"-DCROSSENT_ISA={instruction_set}",
        *FLAGS[instruction_set],
    ]
    subprocess.run([str(compiler), *flags, str(SOURCE), "-o", str(program)], check=True)
    result = subprocess.run([str(program), str(STEP)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
