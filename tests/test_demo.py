"""The demo learns: its gradient is right, its accuracy high, and a seed gives the same run again."""

import fcntl
import importlib.util
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import crossent
import numpy as np
import pytest
from crossent import demo

COMMAND = [sys.executable, "-W", "error", "-m", "crossent", "demo"]


def test_accuracy_and_files(tmp_path: Path) -> None:
    done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == "", "no progress bar where there is no terminal"
    logits = np.load(tmp_path / "crossent-demo" / "logits.npy")
    labels = np.load(tmp_path / "crossent-demo" / "labels.npy")
    assert (logits.dtype, logits.shape) == (np.float32, (360, 10))
    accuracy = np.mean(logits.argmax(axis=1) == labels)
    assert accuracy >= 0.97
    loss = crossent.cross_entropy(logits, labels)
    shown = {line[:18].rstrip(): line[18:].split()[0] for line in done.stdout.splitlines() if line[18:].strip()}
    assert shown["accuracy"] == f"{accuracy:.2%}"
    assert float(shown["mean loss"]) == pytest.approx(loss, rel=1e-5)
    assert float(shown["perplexity"]) == pytest.approx(np.exp(loss), rel=1e-5)
    if importlib.util.find_spec("matplotlib") is not None:
        assert "--report" in done.stdout
        assert "<svg" in (tmp_path / "crossent-demo" / "report.html").read_text("utf-8")


def test_a_seed_gives_the_same_run(tmp_path: Path) -> None:
    logits = []
    for number, seed in enumerate(["5", "5", "6"]):
        output = tmp_path / str(number)
        subprocess.run([*COMMAND, "--epochs", "2", "--seed", seed, "--output", output], check=True)
        logits.append((output / "logits.npy").read_bytes())
    assert logits[0] == logits[1] != logits[2]


def test_gradients_against_central_differences() -> None:
    rng = np.random.default_rng(0)
    model = demo.Classifier(rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=(4, 5)), rng.normal(size=5))
    x, labels = rng.normal(size=(6, 3)), rng.integers(5, size=6)
    keep = (rng.random((6, 4)) < 0.5) * 2.0

    def loss() -> float:
        return model.loss_and_gradients(x, labels, keep)[0]

    _, gradients = model.loss_and_gradients(x, labels, keep)
    for parameter, gradient in zip(model.parameters, gradients, strict=True):
        for index in np.ndindex(parameter.shape):
            value = parameter[index]
            parameter[index] = value + 1e-6
            above = loss()
            parameter[index] = value - 1e-6
            below = loss()
            parameter[index] = value
            assert gradient[index] == pytest.approx((above - below) / 2e-6, abs=1e-8)


def test_a_progress_bar_on_a_terminal(tmp_path: Path) -> None:
    terminal, stderr = os.openpty()
    fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # tqdm draws nothing in 0 columns
    done = subprocess.run(
        [*COMMAND, "--epochs", "3", "--output", tmp_path], stdout=subprocess.PIPE, stderr=stderr, check=True
    )
    os.set_blocking(terminal, False)
    shown = b""
    try:
        while part := os.read(terminal, 10_000):
            shown += part
    except BlockingIOError:  # all read
        pass
    os.close(terminal)
    os.close(stderr)
    assert b"training" in shown
    assert b"3/3" in shown
    assert b"training:" not in done.stdout


@pytest.mark.parametrize("missing", ["sklearn", "threadpoolctl", "tqdm"])
def test_a_missing_dependency(missing: str, tmp_path: Path) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from crossent.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "crossent[demo]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [*COMMAND, "--epochs", "100000", "--output", tmp_path / "file" / "deeper"],  # it fails before training
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert str(tmp_path / "file" / "deeper") in done.stderr
    assert "Traceback" not in done.stderr
