"""Which kernels are chosen, how to force others, and what ``show_config`` says about it."""

import subprocess
import sys

import crossent
import numpy as np
import pytest
from crossent import _core

LOSS = """
import crossent, numpy as np
x = np.random.default_rng(0).normal(size=(100, 50)).astype(np.float32)
loss = crossent.cross_entropy(x, np.arange(100) % 50)
print(crossent.show_config()["instruction_set"], loss.hex())
"""


def run(program: str, environment: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], env=environment | variables, capture_output=True, text=True, check=False
    )


def test_the_best_is_chosen(python_environment: dict[str, str]) -> None:
    assert run(LOSS, python_environment).stdout.split()[0] == _core.instruction_sets()[0]


@pytest.mark.parametrize("name", _core.instruction_sets())
def test_each_can_be_forced(python_environment: dict[str, str], name: str) -> None:
    chosen, loss = run(LOSS, python_environment, CROSSENT_ISA=name).stdout.split()
    _, best = run(LOSS, python_environment).stdout.split()
    assert chosen == name
    assert float.fromhex(loss) == pytest.approx(float.fromhex(best), rel=1e-6)


@pytest.mark.parametrize("name", ["sse9", "AVX2 ", "avx2,avx512", "\N{SNOWMAN}"])
def test_an_unknown_name_is_an_error_that_lists_the_valid_ones(python_environment: dict[str, str], name: str) -> None:
    done = run("import crossent", python_environment, CROSSENT_ISA=name)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    for valid in _core.instruction_sets():
        assert valid in last


def test_one_that_the_cpu_lacks_is_an_error(python_environment: dict[str, str]) -> None:
    lacking = [name for name in _core.build_info()["instruction_sets"] if name not in _core.instruction_sets()]
    for name in lacking:
        done = run("import crossent", python_environment, CROSSENT_ISA=name)
        assert done.returncode == 1
        assert name in done.stderr


def test_forcing_within_a_process() -> None:
    before = _core.get_instruction_set()
    with pytest.raises(ValueError, match="sse9"):
        _core.set_instruction_set("sse9")
    assert _core.get_instruction_set() == before


def test_every_instruction_set_of_the_build_is_known() -> None:
    """Those that this CPU runs are some of those compiled, and the one that every CPU runs comes last."""
    compiled, usable = _core.build_info()["instruction_sets"], _core.instruction_sets()
    assert [name for name in compiled if name in usable] == usable
    assert usable[-1] == compiled[-1]
    assert len(set(compiled)) == len(compiled)


def test_show_config() -> None:
    config = crossent.show_config()
    assert config["version"] == crossent.__version__
    assert config["instruction_set"] in config["instruction_sets"]
    assert config["instruction_sets"] == _core.instruction_sets()
    assert config["threads"] == crossent.get_num_threads()
    assert config["numpy"] == np.__version__
    assert config["compiler"]
    assert config["openmp"] is None or config["openmp"]
