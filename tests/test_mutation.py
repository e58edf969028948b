"""What other threads do to the arrays of a call in progress; ``tests/long/mutation.py`` takes longer."""

import subprocess
import sys
import threading
from pathlib import Path

import crossent
import numpy as np
import pytest


def test_labels_and_logits_rewritten(python_environment: dict[str, str]) -> None:
    """In a process of its own, which would not outlive a stray access."""
    program = [sys.executable, str(Path(__file__).parent / "long/mutation.py"), "--seconds", "1.5"]
    done = subprocess.run(program, env=python_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 0


def test_arrays_in_use_cannot_be_resized() -> None:
    logits, target = np.zeros((20_000, 1000), np.float32), np.zeros(20_000, np.int64)
    started = threading.Event()

    def score() -> None:
        x, y = logits, target
        started.set()
        crossent.cross_entropy_with_grad(x, y)

    thread = threading.Thread(target=score)
    thread.start()
    started.wait()
    for array in (logits, target):
        with pytest.raises(ValueError, match="cannot resize"):
            array.resize(10)
    thread.join()
