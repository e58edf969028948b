"""In one process with PyTorch, whose OpenMP runtime may become ours: forks and foreign teams change nothing."""

import subprocess
import sys

import pytest

pytest.importorskip("torch")

PROGRAM = """
import os, signal, sys
import numpy as np
{imports}

x = np.random.default_rng(0).standard_normal((12_000, 100), dtype=np.float32)
y = np.arange(12_000) % 100

def compute():
    loss, grad = crossent.cross_entropy_with_grad(x, y)
    return loss, grad.tobytes()

def theirs():
    logits = torch.from_numpy(x.copy()).requires_grad_()
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)).backward()

crossent.set_num_threads(1)
expected = compute()
crossent.set_num_threads(4)
for first, second in [(compute, theirs), (theirs, compute)]:
    for _ in range(10):
        first()
        second()
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            os._exit(0 if compute() == expected else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert compute() == expected
theirs()
print("right")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs os.fork on Linux")
@pytest.mark.parametrize("imports", ["import crossent, torch", "import torch, crossent"])
def test_forks(python_environment: dict[str, str], imports: str) -> None:
    """Both have computed in parallel, in either order: our call in the child gets the same bits."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(imports=imports)]
    environment = python_environment | {"OMP_NUM_THREADS": "4"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "right\n")
