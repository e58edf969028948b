"""``python -m crossent score``: its results, its messages and exit codes, the memory it takes."""

import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import crossent
import ml_dtypes
import numpy as np
import pytest
from crossent import cli


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
KEYS = ["rows", "ignored", "classes", "mean_loss", "standard_error", "perplexity", "accuracy"]


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
    assert list(parsed) == KEYS
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
        loss = math.log(math.exp(2) + 2) - 4 / 3
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.rsplit(maxsplit=1) for line in done.stdout.splitlines()] == [
            ["rows", "3"],
            ["ignored", "0"],
            ["mean loss", f"{loss:.6g}"],
            ["standard error", f"{2 / 3:.2g}"],
            ["perplexity", f"{math.exp(loss):.6g}"],
            ["accuracy", "66.67%"],
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


class TestAdvice:
    """What looks wrong is said on stderr; stdout holds the result alone."""

    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
    def test_probabilities_taken_for_logits(self, dtype: str, score: Run) -> None:
        done = score(SOFTMAX.astype(dtype), TARGETS, "--json")
        assert done.returncode == 0
        assert "logits.npy" in done.stderr
        assert "--input probabilities" in done.stderr
        json.loads(done.stdout)

    @pytest.mark.parametrize("kind", ["probabilities", "log-probabilities"])
    def test_logits_taken_for_probabilities(self, kind: str, score: Run) -> None:
        done = score(LOGITS, TARGETS, "--input", kind)
        assert done.returncode == 0
        assert f"don't look like {kind}" in done.stderr

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
            (b"\x93NUMPY\x01\x00", "can't be mapped"),
            (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'\n", "can't be mapped"),
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
            ["score", "logits.npy"],
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

    @pytest.mark.parametrize("command", [[], ["score"], ["demo"]])
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
        assert not loaded & {"scipy", "sklearn", "threadpoolctl", "tqdm", "ml_dtypes", "torch"}

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

        monkeypatch.setattr("crossent.scoring.losses", interrupt)
        assert score(LOGITS, TARGETS) == (130, "", "crossent: interrupted\n")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(("dtype", "axis"), [("float32", "1"), ("float32", "0"), ("float16", "1"), ("bfloat16", "1")])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, dtype: str, axis: str) -> None:
    """The peak of all memory, mapped pages included, over 512 MiB of logits stays near that over 4 KB of them.

    The files are sparse: zeros that take no room on the disk.
    """
    itemsize, classes = (4 if dtype == "float32" else 2), 1000
    descr = "|V2" if dtype == "bfloat16" else np.dtype(dtype).str
    program = (
        "import sys; from crossent.cli import main; code = main(sys.argv[1:]);"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'));"
        "print(peak.split()[1]); sys.exit(code)"
    )
    peaks_in_kib = {}
    for rows in (1, 512 * 2**20 // itemsize // classes):
        shape = (rows, classes) if axis == "1" else (classes, rows)
        with (tmp_path / "logits.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
            file.truncate(file.tell() + rows * classes * itemsize)
        np.save(tmp_path / "targets.npy", np.zeros(rows, np.int64))
        options = ["--json", "--axis", axis, *(["--dtype", "bfloat16"] if dtype == "bfloat16" else [])]
        done = subprocess.run(
            [sys.executable, "-c", program, "score", "logits.npy", "targets.npy", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        found, peak = done.stdout.splitlines()
        assert json.loads(found)["mean_loss"] == pytest.approx(math.log(classes), rel=1e-6)
        peaks_in_kib[rows] = int(peak)
    growth_in_mib = (max(peaks_in_kib.values()) - min(peaks_in_kib.values())) / 1024
    assert growth_in_mib < 5 * 32, "a slab of 32 MiB, the pages around it, a copy for NumPy's argmax"
