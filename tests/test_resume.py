"""An interrupted run goes on where it stood, and ends with the same figures to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import crossent
import numpy as np
import pytest
from crossent.files import DataError, Result, ScoreOptions, Unfinished, per_sample, score_files, scoring, stream

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(1000, 7)).astype(np.float32) * 3
TARGETS = RNG.integers(7, size=1000)
OPTIONS = ScoreOptions("logits.npy", "targets.npy", worst=5, resume=Path("checkpoint"))


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stream, "PIECE_BYTES", 1000)
    monkeypatch.setattr(stream, "SLAB_BYTES", 5000)
    np.save("logits.npy", LOGITS)
    np.save("targets.npy", TARGETS)


def interrupt_at(rows: int) -> Any:
    def on_progress(done: int, *_: int) -> None:
        if done >= rows:
            raise KeyboardInterrupt

    return on_progress


def run(options: ScoreOptions, **kwargs: Any) -> Result:
    return score_files(options, print, **kwargs)


@pytest.mark.parametrize("report", [False, True])
@pytest.mark.parametrize("out", [None, "out.npy", "out.parquet"])
def test_the_same_to_the_bit(report: bool, out: str | None) -> None:
    options = replace(OPTIONS, report=report, per_sample=None if out is None else Path(out))
    expected = run(replace(options, resume=None))
    content = None if out is None else Path(out).read_bytes()
    for rows in (1, 300, 301, 900):
        with pytest.raises(Unfinished) as stopped:
            run(options, on_progress=interrupt_at(rows))
        assert rows <= stopped.value.rows
        assert stopped.value.checkpoint == Path("checkpoint")
    assert run(options) == expected
    assert not Path("checkpoint").exists()
    if out is not None:
        assert Path(out).read_bytes() == content


def test_while_the_figures_of_each_row_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all rows are scored, and nothing but the Parquet file is missing."""
    parquet = pytest.importorskip("pyarrow.parquet")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    options = replace(OPTIONS, per_sample=Path("out.parquet"))
    with monkeypatch.context() as patch:
        patch.setattr(per_sample, "to_parquet", interrupted)
        with pytest.raises(Unfinished) as stopped:
            run(options)
    assert stopped.value.rows == stopped.value.rows_in_all
    assert run(options) == run(replace(OPTIONS, resume=None))
    np.testing.assert_array_equal(parquet.read_table("out.parquet")["loss"], crossent.score(LOGITS, TARGETS).loss)


def test_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed leaves the last checkpoint."""
    monkeypatch.setattr(scoring, "CHECKPOINT_SECONDS", 0)
    expected = run(replace(OPTIONS, resume=None))

    class Killed(BaseException):
        pass

    def kill(rows: int, *_: int) -> None:
        if rows > 500:
            raise Killed

    with pytest.raises(Killed):
        run(replace(OPTIONS, per_sample=Path("out.npy")), on_progress=kill)
    rows = json.loads(Path("checkpoint").read_text())["rows"]
    assert 300 < rows <= 500
    begun = []
    result = run(replace(OPTIONS, per_sample=Path("out.npy")), on_progress=lambda rows, *_: begun.append(rows))
    assert result == expected
    assert begun[0] == rows
    assert begun[1] > rows
    np.testing.assert_array_equal(np.load("out.npy")["loss"], crossent.score(LOGITS, TARGETS).loss)


class TestAnotherRun:
    @pytest.fixture(autouse=True)
    def interrupted(self) -> None:
        with pytest.raises(Unfinished):
            run(replace(OPTIONS, per_sample=Path("out.npy")), on_progress=interrupt_at(300))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"temperature": 2.0}, "temperature was 1.0 and is 2.0"),
            ({"worst": 6}, "worst was 5 and is 6"),
            ({"ignore_index": None}, "ignore_index was -100 and is null"),
            ({"per_sample": None}, "per_sample was .*out.npy"),
            ({"top_k": (1, 2)}, "top_k"),
        ],
    )
    def test_with_other_options(self, change: dict[str, Any], words: str) -> None:
        with pytest.raises(DataError, match=f"checkpoint is a checkpoint of another run: .*{words}"):
            run(replace(OPTIONS, **{"per_sample": Path("out.npy"), **change}))

    def test_with_a_changed_file(self) -> None:
        os.utime("targets.npy", ns=(0, 0))
        with pytest.raises(DataError, match=r"targets was .*targets.npy"):
            run(replace(OPTIONS, per_sample=Path("out.npy")))

    def test_without_the_figures_of_each_row(self) -> None:
        os.truncate("out.npy.partial", 2000)
        with pytest.raises(DataError, match=r"out\.npy\.partial"):
            run(replace(OPTIONS, per_sample=Path("out.npy")))

    def test_with_fewer_threads_and_less_memory(self) -> None:
        again = run(replace(OPTIONS, per_sample=Path("out.npy"), threads=1, max_memory=10**9))
        assert again == run(replace(OPTIONS, resume=None))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"crossent_checkpoint": 1}', '{"crossent_checkpoint": 99}', "\x00"])
def test_something_else(text: str) -> None:
    Path("checkpoint").write_text(text)
    with pytest.raises(DataError, match="checkpoint: not a checkpoint"):
        run(OPTIONS)


def test_a_checkpoint_that_was_damaged() -> None:
    with pytest.raises(Unfinished):
        run(OPTIONS, on_progress=interrupt_at(300))
    found = json.loads(Path("checkpoint").read_text())
    found["totals"] = found["totals"].replace("1", "2", 1)
    Path("checkpoint").write_text(json.dumps(found))
    with pytest.raises(DataError, match="checkpoint"):
        run(OPTIONS)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(number: int, code: int) -> None:
    """A process stops soon, says how to go on, and its words hold."""
    program = (
        "import signal, sys, time; from crossent import cli, _printing\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell's background jobs don't have
        "def show(rows):\n    if rows: print('on', flush=True); time.sleep(5)\n"
        "_printing.Progress.show = lambda self, rows, *_: show(rows)\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    large = np.zeros((400_000, 100), np.float32)
    large[:, 0] = np.arange(400_000) % 7
    np.save("logits.npy", large)
    np.save("targets.npy", np.zeros(400_000, np.int8))
    command = ["score", "logits.npy", "targets.npy", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    started = time.monotonic()
    process.send_signal(number)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == code
    assert time.monotonic() - started < 30
    assert "interrupted" in shown
    assert "Traceback" not in shown
    resume = shown.split("with ")[-1].split()
    assert resume[0] == "--resume"
    again = [
        subprocess.run(
            [sys.executable, "-m", "crossent", *command, *more], capture_output=True, text=True, check=True
        ).stdout
        for more in (resume, [])
    ]
    assert again[0] == again[1]
    assert not Path(resume[1]).exists()
