"""``python -m crossent score``: its results, its messages and exit codes, the memory it takes."""

import fcntl
import io
import json
import math
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import crossent
import ml_dtypes
import numpy as np
import pytest
from crossent import _printing, cli


class Done(NamedTuple):
    """What a run of the command line leaves behind."""

    returncode: int | str | None
    stdout: str
    stderr: str


Run = Callable[..., Done]

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(40, 6)).astype(np.float32) * 3
TARGETS = RNG.integers(6, size=40)
LOGITS.flags.writeable = TARGETS.flags.writeable = False
SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
LOSS = crossent.cross_entropy(LOGITS, TARGETS)
KEYS = [
    "rows",
    "ignored",
    "non_finite",
    "classes",
    "mean_loss",
    "standard_error",
    "perplexity",
    "bits",
    "accuracy",
    "top_k",
    "expected_calibration_error",
    "brier_score",
    "mean_confidence",
    "mean_entropy",
    "mean_divergence",
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in a directory of its own, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> Done:
        try:
            code: int | str | None = cli.main(arguments)
        except SystemExit as exit:
            code = exit.code
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def score(tmp_path: Path, run: Run) -> Run:
    """Save two arrays and score them."""

    def score(logits: Any, targets: Any, *options: str) -> Done:
        np.save(tmp_path / "logits.npy", logits)
        np.save(tmp_path / "targets.npy", targets)
        return run("score", "logits.npy", "targets.npy", *options)

    return score


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Save two arrays for a process of their own, started in their directory."""
    np.save(tmp_path / "logits.npy", LOGITS)
    np.save(tmp_path / "targets.npy", TARGETS)
    return ["score", "logits.npy", "targets.npy"]


def results(done: Done) -> dict[str, Any]:
    """Parse ``--json`` strictly."""

    def reject(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    assert (done.returncode, done.stderr) == (0, "")
    parsed: dict[str, Any] = json.loads(done.stdout, parse_constant=reject)
    assert [key for key in parsed if key != "worst"] == KEYS
    assert done.stdout.count("\n") == 1
    return parsed


class TestResults:
    def test_json(self, score: Run) -> None:
        targets = np.where(np.arange(40) < 3, -100, TARGETS)
        loss = crossent.cross_entropy(LOGITS[3:], TARGETS[3:], reduction="none")
        found = results(score(LOGITS, targets, "--json"))
        assert (found["rows"], found["ignored"], found["classes"]) == (40, 3, 6)
        assert found["mean_loss"] == pytest.approx(loss.mean(), rel=1e-6)
        assert found["standard_error"] == pytest.approx(loss.std(ddof=1) / math.sqrt(37), rel=1e-6)
        assert found["perplexity"] == pytest.approx(math.exp(loss.mean()), rel=1e-6)
        assert found["accuracy"] == np.mean(LOGITS[3:].argmax(axis=1) == TARGETS[3:])

    def test_table(self, score: Run) -> None:
        done = score(2 * np.eye(3), np.array([0, 1, 0]))
        p, q = np.exp([2, 0]) / (math.exp(2) + 2)
        loss = math.log(math.exp(2) + 2) - 4 / 3
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.rsplit(maxsplit=1) for line in done.stdout.splitlines()] == [
            ["rows", "3"],
            ["ignored", "0"],
            [f"mean loss         {loss:.6g} ±", f"{2 / 3:.2g}"],
            ["perplexity", f"{math.exp(loss):.6g}"],
            ["accuracy", "66.67%"],
            ["calibration error", f"{p - 2 / 3:.2%}"],
            ["brier score", f"{(2 * ((1 - p) ** 2 + 2 * q**2) + p**2 + (1 - q) ** 2 + q**2) / 3:.4g}"],
            ["confidence", f"{p:.2%}"],
            ["entropy", f"{-p * math.log(p) - 2 * q * math.log(q):.4g}"],
        ]

    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "<f8"])
    def test_dtypes_of_logits(self, dtype: str, score: Run) -> None:
        logits = LOGITS.astype(dtype)
        expected = crossent.cross_entropy(logits.astype(np.float64), TARGETS)
        assert results(score(logits, TARGETS, "--json"))["mean_loss"] == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("saved_as", ["V2", "u2"])
    def test_bfloat16(self, saved_as: str, score: Run) -> None:
        logits = LOGITS.astype(ml_dtypes.bfloat16)
        found = results(score(logits.view(saved_as), TARGETS, "--dtype", "bfloat16", "--json"))
        assert found["mean_loss"] == pytest.approx(crossent.cross_entropy(logits, TARGETS), rel=1e-6)
        assert found["accuracy"] == np.mean(logits.argmax(axis=1) == TARGETS)

    @pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u4", "i8", "u8", ">i4"])
    def test_dtypes_of_targets(self, dtype: str, score: Run) -> None:
        found = results(score(LOGITS, TARGETS.astype(dtype), "--json"))
        assert found["mean_loss"] == pytest.approx(LOSS, rel=1e-6)

    @pytest.mark.parametrize(
        ("logits", "targets", "axis"),
        [
            (np.asfortranarray(LOGITS), TARGETS, None),
            (LOGITS.T, TARGETS, "0"),
            (np.ascontiguousarray(LOGITS.T), TARGETS, "-2"),
            (LOGITS.reshape(8, 5, 6), TARGETS.reshape(8, 5), "-1"),
            (np.moveaxis(LOGITS.reshape(2, 4, 5, 6), -1, 1), TARGETS.reshape(2, 4, 5), None),
            (np.ascontiguousarray(np.moveaxis(LOGITS.reshape(2, 4, 5, 6), -1, 1)), TARGETS.reshape(2, 4, 5), "1"),
        ],
    )
    def test_layouts(self, logits: Any, targets: Any, axis: str | None, score: Run) -> None:
        options = [] if axis is None else ["--axis", axis]
        found = results(score(logits, targets, "--json", *options))
        assert (found["rows"], found["classes"]) == (40, 6)
        assert found["mean_loss"] == pytest.approx(LOSS, rel=1e-6)
        assert found["accuracy"] == np.mean(LOGITS.argmax(axis=1) == TARGETS)

    def test_a_single_sample(self, score: Run) -> None:
        found = results(score(LOGITS[0], TARGETS[0], "--json"))
        assert (found["rows"], found["standard_error"]) == (1, "NaN")
        assert found["mean_loss"] == pytest.approx(crossent.cross_entropy(LOGITS[0], TARGETS[0]), rel=1e-6)

    @pytest.mark.parametrize(
        ("kind", "values"),
        [("logits", LOGITS), ("log-probabilities", np.log(SOFTMAX)), ("probabilities", SOFTMAX)],
    )
    def test_kinds_of_input(self, kind: str, values: Any, score: Run) -> None:
        targets = np.where(np.arange(40) < 3, -100, TARGETS)
        found = results(score(values, targets, "--input", kind, "--json"))
        assert found["mean_loss"] == pytest.approx(crossent.cross_entropy(LOGITS, targets), rel=1e-5)
        assert found["ignored"] == 3

    def test_a_probability_of_0_is_not_clipped(self, score: Run) -> None:
        found = results(score(np.eye(2), np.array([0, 0]), "--input", "probabilities", "--json"))
        assert found["mean_loss"] == found["perplexity"] == "Infinity"

    def test_ignore_index(self, score: Run) -> None:
        found = results(score(LOGITS, TARGETS, "--ignore-index", "2", "--json"))
        assert found["ignored"] == np.count_nonzero(TARGETS == 2)
        assert found["mean_loss"] == pytest.approx(crossent.cross_entropy(LOGITS, TARGETS, ignore_index=2), rel=1e-6)

    def test_a_perplexity_beyond_float64(self, score: Run) -> None:
        found = results(score(np.array([[0.0, 1e4]]), np.array([0]), "--json"))
        assert (found["mean_loss"], found["perplexity"]) == (1e4, "Infinity")

    @pytest.mark.parametrize("command", [[sys.executable, "-W", "error", "-m", "crossent"], ["crossent"]])
    def test_as_a_module_and_as_a_command(self, command: list[str], score: Run, tmp_path: Path) -> None:
        expected = score(LOGITS, TARGETS)
        program = shutil.which(command[0], path=str(Path(sys.executable).parent))
        assert program is not None
        done = subprocess.run(
            [program, *command[1:], "score", "logits.npy", "targets.npy"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == expected == (0, done.stdout, "")


class TestOutput:
    def test_worst_rows(self, score: Run) -> None:
        loss = crossent.cross_entropy(LOGITS, TARGETS, reduction="none")
        order = np.argsort(-loss)[:3].tolist()
        found = results(score(LOGITS, TARGETS, "--worst", "3", "--json"))["worst"]
        assert [row["row"] for row in found] == [[row] for row in order]
        assert list(found[0]) == ["row", "target", "predicted", "loss", "confidence"]
        shown = score(LOGITS, TARGETS, "--worst", "3").stdout.splitlines()[-4:]
        assert shown[0].split() == ["worst", "row", "loss", "target", "predicted", "confidence"]
        assert [int(line.split()[0]) for line in shown[1:]] == order

    def test_top_k(self, score: Run) -> None:
        rank = crossent.score(LOGITS, TARGETS).rank
        assert rank is not None
        found = results(score(LOGITS, TARGETS, "--top-k", "3,2", "--json"))["top_k"]
        assert found == {str(k): np.mean(rank < k) for k in (1, 2, 3)}
        lines = [line.split()[:2] for line in score(LOGITS, TARGETS, "--top-k", "2,6").stdout.splitlines()]
        assert ["top", "2"] in lines
        assert ["top", "6"] in lines
        lines = [line.split()[:2] for line in score(LOGITS[:, :5], TARGETS % 5).stdout.splitlines()]
        assert ["top", "5"] not in lines, "nobody asked for it, and every target is among all five classes"

    @pytest.mark.parametrize("k", [6, 7, 10**30])
    def test_top_k_of_all_classes(self, k: int, score: Run) -> None:
        """It is 1, but for rows with nan, which are never right."""
        for logits, share in ((LOGITS, 1.0), (with_nan(LOGITS), 39 / 40)):
            shown = score(logits, TARGETS, "--top-k", str(k)).stdout
            assert f"top {k} {share:.2%}" in " ".join(shown.split())
            assert json.loads(score(logits, TARGETS, "--top-k", str(k), "--json").stdout)["top_k"][str(k)] == share

    def test_class_probabilities(self, score: Run) -> None:
        found = results(score(LOGITS, SOFTMAX, "--json"))
        assert found["mean_divergence"] == pytest.approx(0, abs=1e-6)
        assert found["accuracy"] is None
        shown = score(LOGITS, SOFTMAX).stdout
        assert "divergence" in shown
        assert "accuracy" not in shown

    def test_both_in_one_file(self, run: Run) -> None:
        np.savez("both.npz", logits=LOGITS, labels=TARGETS)
        assert results(run("score", "both.npz", "--json"))["mean_loss"] == pytest.approx(LOSS, rel=1e-6)

    @pytest.mark.parametrize("name", ["out.npy", "out.parquet"])
    def test_figures_of_each_row(self, name: str, score: Run) -> None:
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow")
        assert score(LOGITS, TARGETS, "--per-sample", name).returncode == 0
        assert Path(name).exists()
        done = score(LOGITS, TARGETS, "--per-sample", f"missing/{name}")
        assert (done.returncode, done.stdout) == (1, "")
        assert "missing" in done.stderr

    def test_report(self, score: Run) -> None:
        pytest.importorskip("matplotlib")
        done = score(LOGITS, TARGETS, "--report", "report.html")
        assert (done.returncode, done.stderr) == (0, "")
        assert "<svg" in Path("report.html").read_text("utf-8")
        done = score(LOGITS, TARGETS, "--report", "missing/report.html")
        assert (done.returncode, done.stdout) == (1, "")
        assert "missing/report.html" in done.stderr

    def test_a_missing_library(self, score: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.startswith("pyarrow")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        done = score(LOGITS, TARGETS, "--per-sample", "out.parquet")
        assert (done.returncode, done.stdout) == (1, "")
        assert 'pip install "crossent[parquet]"' in done.stderr

    def test_a_temperature(self, run: Run, score: Run) -> None:
        pytest.importorskip("scipy")
        targets = np.where(np.arange(40) % 3 == 0, TARGETS, LOGITS.argmax(axis=1))
        score(LOGITS, targets)
        done = run("fit-temperature", "logits.npy", "targets.npy", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        fitted = json.loads(done.stdout)
        expected = crossent.fit_temperature(LOGITS, targets)
        assert fitted["temperature"] == expected.temperature
        assert "temperature" in run("fit-temperature", "logits.npy", "targets.npy").stdout
        again = results(score(LOGITS, targets, "--temperature", str(fitted["temperature"]), "--json"))
        assert again["mean_loss"] == expected.after.mean_loss

    @pytest.mark.parametrize(("targets", "words"), [(LOGITS.argmax(axis=1), "no best"), (TARGETS + 3, "is class")])
    def test_no_temperature(self, targets: Any, words: str, run: Run, score: Run) -> None:
        pytest.importorskip("scipy")
        score(LOGITS, targets)
        done = run("fit-temperature", "logits.npy", "targets.npy")
        assert (done.returncode, done.stdout) == (3, "")
        assert words in done.stderr

    def test_completion(self, run: Run) -> None:
        pytest.importorskip("shtab")
        done = run("--print-completion", "bash")
        assert done.returncode == 0
        assert "--per-sample" in done.stdout

    def test_the_bar_of_a_resumed_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The rate counts what this run has done."""
        pytest.importorskip("tqdm")
        stderr = io.StringIO()
        monkeypatch.setattr(stderr, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stderr", stderr)
        with _printing.Progress() as progress:
            for rows in (900, 910):
                progress.show(rows, 1000, 0)
            assert (progress._bar.initial, progress._bar.n) == (900, 910)

    def test_a_progress_bar_on_a_terminal(self, files: list[str], tmp_path: Path) -> None:
        terminal, stderr = os.openpty()
        fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        command = [sys.executable, "-m", "crossent", *files]
        done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=stderr, check=True)
        os.close(stderr)
        shown = os.read(terminal, 10_000)
        os.close(terminal)
        assert b"40.0/40.0" in shown
        assert b"GB/s" in shown
        assert b"scoring" not in done.stdout


class TestAdvice:
    """What looks wrong is said on stderr; stdout holds the result alone."""

    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
    def test_probabilities_taken_for_logits(self, dtype: str, score: Run) -> None:
        done = score(SOFTMAX.astype(dtype), TARGETS, "--json")
        assert done.returncode == 0
        assert "logits.npy" in done.stderr
        assert "--input probabilities" in done.stderr
        json.loads(done.stdout)

    def test_logits_taken_for_log_probabilities(self, score: Run) -> None:
        done = score(LOGITS, TARGETS, "--input", "log-probabilities")
        assert done.returncode == 0
        assert "don't look like log-probabilities" in done.stderr

    @pytest.mark.parametrize(
        ("row", "found"), [(LOGITS[3], "has a probability of -"), (2 * SOFTMAX[3], "sums to 2, not 1")]
    )
    def test_targets_that_are_no_probabilities(self, row: Any, found: str, score: Run) -> None:
        """They are scored as they are, as everywhere."""
        targets = SOFTMAX.copy()
        targets[3] = row
        done = score(LOGITS, targets, "--json")
        assert done.returncode == 0
        assert f"warning: row 3 of targets.npy {found}" in done.stderr
        assert json.loads(done.stdout)["mean_loss"] == pytest.approx(crossent.cross_entropy(LOGITS, targets), rel=1e-6)

    def test_a_nan_is_located(self, score: Run) -> None:
        logits = LOGITS.reshape(8, 5, 6).copy()
        logits[3, 1, 2] = np.nan
        done = score(logits, TARGETS.reshape(8, 5), "--axis", "-1", "--json")
        assert "row (3, 1)" in done.stderr
        assert json.loads(done.stdout)["mean_loss"] == "NaN"

    @pytest.mark.parametrize("rows", [0, 3])
    def test_nothing_to_score(self, rows: int, score: Run) -> None:
        done = score(LOGITS[:rows], np.full(rows, -100))
        assert done.returncode == 0
        assert "no row is left" in done.stderr
        assert "nan" in done.stdout


def with_nan(values: Any) -> Any:
    changed = values.copy()
    changed[31, 2] = np.nan
    return changed


def one_bad(value: int, at: Any = 17, shape: tuple[int, ...] = (40,)) -> Any:
    targets = TARGETS.reshape(shape).copy()
    targets[at] = value
    return targets


class TestBadFiles:
    """Exit code 3, a message that names the file, and nothing on stdout."""

    @pytest.mark.parametrize(
        ("logits", "targets", "options", "words"),
        [
            (LOGITS, one_bad(6), "", ["row 17 of targets.npy", "class 6", "6 classes, 0 to 5"]),
            (LOGITS, one_bad(-1), "", ["row 17", "class -1", "-100"]),
            (LOGITS, one_bad(-100), "--ignore-index none", ["row 17", "class -100"]),
            (LOGITS, one_bad(-100).astype("u8"), "", ["row 17", str(2**64 - 100)]),
            (LOGITS.reshape(8, 5, 6), one_bad(6, (2, 3), (8, 5)), "--axis -1", ["row (2, 3)", "class 6"]),
            (LOGITS[0], np.array(6), "", ["the only row", "class 6"]),
            (LOGITS.reshape(8, 5, 6), TARGETS.reshape(8, 5), "", ["(8, 5, 6)", "(8, 5)", "axis=-1"]),
            (LOGITS.T, TARGETS, "", ["(6, 40)", "(40,)", "axis=0"]),
            (LOGITS, TARGETS[:39], "", ["(40, 6)", "(39,)"]),
            (LOGITS, TARGETS.reshape(40, 1), "", ["(40, 1)"]),
            (LOGITS, np.eye(6, dtype=int)[TARGETS], "", ["argmax"]),
            (LOGITS, TARGETS.astype("f4"), "", ["integers", "float32"]),
            (TARGETS, LOGITS, "", ["swapped"]),
            (LOGITS.astype("c8"), TARGETS, "", ["complex64"]),
            (LOGITS, TARGETS, "--axis 2", ["axis 2", "(40, 6)"]),
            (np.float32(1), np.array(0), "", ["single number"]),
            (np.empty((40, 0), "f4"), TARGETS, "", ["no classes"]),
            (LOGITS.astype(ml_dtypes.bfloat16), TARGETS, "", ["|V2", "--dtype bfloat16"]),
            (LOGITS, TARGETS, "--dtype bfloat16", ["float32", "|V2"]),
            (LOGITS, TARGETS, "--input probabilities", ["row 0 of logits.npy", "-1.6", "leave --input"]),
            (np.abs(LOGITS), TARGETS, "--input probabilities", ["row 0 of logits.npy", "sums to 5.70127"]),
            (with_nan(SOFTMAX), TARGETS, "--input probabilities", ["row 31 of logits.npy", "probability of nan"]),
        ],
    )
    def test_that_do_not_fit(self, logits: Any, targets: Any, options: str, words: list[str], score: Run) -> None:
        done = score(logits, targets, *options.split())
        assert (done.returncode, done.stdout) == (3, "")
        assert "Traceback" not in done.stderr
        assert all(word in done.stderr for word in ["logits.npy", *words]), done.stderr

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "No such file"),
            (b"", "not an .npy file"),
            (b"0.1,0.2\n", "not an .npy file"),
            (b"PK\x03\x04", ".npz archive"),
            (b"PAR1", "Parquet"),
            (b"\x08\0\0\0\0\0\0\0{{{{{{{{", "safetensors"),
            (b"\x93NUMPY\x01\x00", "can't be read"),
            (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'\n", "can't be read"),
        ],
    )
    def test_that_are_not_arrays(self, content: bytes | None, words: str, tmp_path: Path, run: Run) -> None:
        np.save(tmp_path / "targets.npy", TARGETS)
        if content is not None:
            (tmp_path / "other.npy").write_bytes(content)
        for files in (["other.npy", "targets.npy"], ["targets.npy", "other.npy"]):
            done = run("score", *files)
            assert (done.returncode, done.stdout) == (3, "")
            assert "Traceback" not in done.stderr
            assert "other.npy" in done.stderr
            assert words in done.stderr

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
    def test_that_are_pipes(self, tmp_path: Path, run: Run) -> None:
        """Nobody writes to them: to open one would take for ever."""
        np.save(tmp_path / "targets.npy", TARGETS)
        os.mkfifo("pipe")
        for files in (["pipe", "targets.npy"], ["targets.npy", "pipe"], ["pip*", "targets.npy"]):
            done = run("score", *files)
            assert (done.returncode, done.stdout) == (3, "")
            assert "pipe is a pipe, but a regular file is needed" in done.stderr
        done = run("score", "targets.npy", "targets.npy", "--resume", "pipe")
        assert (done.returncode, done.stdout) == (1, "")
        assert "--resume pipe is a pipe" in done.stderr
        done = run("score", os.devnull, "targets.npy")
        assert (done.returncode, done.stdout) == (3, "")
        assert f"{os.devnull} is a device" in done.stderr

    def test_cut_short(self, tmp_path: Path, run: Run) -> None:
        for name, array in (("logits.npy", LOGITS), ("targets.npy", TARGETS)):
            np.save(tmp_path / name, array)
        os.truncate(tmp_path / "logits.npy", 500)
        done = run("score", "logits.npy", "targets.npy")
        assert done.returncode == 3
        assert "logits.npy" in done.stderr

    @pytest.mark.parametrize("plain", [True, False])
    def test_a_pickle_is_never_loaded(self, plain: bool, tmp_path: Path, run: Run) -> None:
        """Neither a bare one nor one inside an ``.npy`` file: loading this one would make a directory."""

        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "sprung"),)

        with (tmp_path / "trap.npy").open("wb") as file:
            if plain:
                pickle.dump(Trap(), file)
            else:
                np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
        np.save(tmp_path / "targets.npy", TARGETS)
        done = run("score", "trap.npy", "targets.npy")
        assert done.returncode == 3
        assert "trap.npy" in done.stderr
        assert not (tmp_path / "sprung").exists()


class TestManners:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["scroe"],
            ["score"],
            ["score", "a.npy", "b.npy", "--max-memory", "much"],
            ["score", "a.npy", "b.npy", "--max-memory", "1MB"],
            ["score", "a.npy", "b.npy", "--per-sample", "out.txt"],
            ["score", "a.npy", "b.npy", "--report", "report.txt"],
            ["score", "a.npy", "b.npy", "--top-k", "1,0"],
            ["score", "a.npy", "b.npy", "--temperature", "0"],
            ["score", "a.npy", "b.npy", "--threads", "0"],
            ["score", "a.npy", "b.npy", "--input", "softmax"],
            ["score", "a.npy", "b.npy", "--ignore-index", "x"],
            ["score", "a.npy", "b.npy", "--axis", "1.5"],
            ["demo", "--epochs", "-1"],
            ["demo", "--seed", "x"],
        ],
    )
    def test_usage_errors(self, arguments: list[str], run: Run) -> None:
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("usage: python -m crossent")

    @pytest.mark.parametrize("command", [[], ["score"], ["fit-temperature"], ["demo"]])
    def test_help(self, command: list[str], run: Run) -> None:
        done = run(*command, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_version(self, run: Run) -> None:
        assert run("--version").stdout == f"crossent {crossent.__version__}\n"

    def test_scoring_needs_numpy_alone(self, files: list[str], tmp_path: Path) -> None:
        program = "import sys; from crossent.cli import main; main(sys.argv[1:]); print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", program, *files], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
        assert {"crossent", "numpy"} <= loaded
        assert not loaded & {
            "scipy",
            "sklearn",
            "threadpoolctl",
            "tqdm",
            "ml_dtypes",
            "torch",
            "pyarrow",
            "zarr",
            "matplotlib",
        }

    @pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
    def test_a_reader_that_leaves_early(self, files: list[str], tmp_path: Path) -> None:
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, "-m", "crossent", *files],
            cwd=tmp_path,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
    def test_a_full_disk(self, files: list[str], tmp_path: Path) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "crossent", *files],
                cwd=tmp_path,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr

    def test_an_interrupt(self, score: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("crossent.files.scoring.score", interrupt)
        assert score(LOGITS, TARGETS) == (130, "", "crossent: interrupted\n")


class TestOutputs:
    """No file that is read is overwritten, and what can't be written is told before the work."""

    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        np.save("logits.npy", np.eye(3, dtype=np.float32))
        np.save("labels.npy", np.arange(3))
        np.save("weights.npy", np.ones(3))
        np.savez("both.npz", logits=np.eye(3), labels=np.arange(3))

    @pytest.mark.parametrize(
        "arguments",
        [
            ["logits.npy", "labels.npy", "--per-sample", "logits.npy"],
            ["logits.npy", "labels.npy", "--per-sample", "./labels.npy"],
            ["logits.npy", "labels.npy", "--sample-weight", "weights.npy", "--per-sample", "weights.npy"],
            ["logits.npy", "labels.npy", "--resume", "labels.npy"],
            ["both.npz:logits", "both.npz:labels", "--resume", "both.npz"],
            ["logits.npy", "labels.npy", "--per-sample", "out.npy", "--resume", "out.npy"],
            ["logits.npy", "labels.npy", "--resume", "nowhere/checkpoint"],
            ["logits.npy", "labels.npy", "--report", "nowhere/report.html"],
        ],
    )
    def test_are_checked_first(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        before = {path.name: path.read_bytes() for path in Path().iterdir()}
        assert cli.main(["score", *arguments]) == 1
        assert Path(arguments[-1]).name in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in Path().iterdir()} == before

    @pytest.mark.parametrize("arguments", [["logits.npy"], ["logits.npy", "logits.npy"], ["both.npz:logits"]])
    def test_logits_are_not_their_own_targets(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["score", *arguments]) == 3
        assert "both the logits and their targets" in capsys.readouterr().err

    def test_a_report_of_no_rows(self) -> None:
        np.save("none.npy", np.zeros((0, 3)))
        np.save("no_labels.npy", np.zeros(0, int))
        assert cli.main(["score", "none.npy", "no_labels.npy", "--report", "report.html"]) == 0
        assert Path("report.html").stat().st_size > 1000

    def test_what_was_scored_is_shown_if_its_report_is_interrupted(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = pytest.importorskip("crossent.report")

        def interrupted(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(report, "write_report", interrupted)
        assert cli.main(["score", "logits.npy", "labels.npy", "--json", "--report", "report.html"]) == 130
        shown = capsys.readouterr()
        assert json.loads(shown.out)["rows"] == 3
        assert "report.html is not written" in shown.err

    def test_a_report_that_fails_leaves_nothing(self) -> None:
        np.save("labels.npy", np.full(3, 7))
        assert cli.main(["score", "logits.npy", "labels.npy", "--report", "report.html"]) == 3
        assert not Path("report.html").exists()

    def test_a_terminal_without_the_sign(self, python_environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "crossent", "score", "logits.npy", "labels.npy"]
        environment = python_environment | {"PYTHONIOENCODING": "ascii"}
        assert (
            "mean loss" in subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        )
