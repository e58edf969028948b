"""What the scoring command writes: refused where it would do harm, before any work; nothing stays that nobody wants."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import crossent
import numpy as np
import pytest
from crossent import cli
from crossent.files import DataError, OutputError, ScoreOptions, score_files

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(40, 6)).astype(np.float32)
TARGETS = RNG.integers(6, size=40)


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lay out a file of each, and the same in two shards."""
    monkeypatch.chdir(tmp_path)
    np.save("logits.npy", LOGITS)
    np.save("targets.npy", TARGETS)
    Path("shards").mkdir()
    for i, part in enumerate(np.split(LOGITS, 2)):
        np.save(f"shards/logits-{i}.npy", part)


class TestRefused:
    @pytest.mark.parametrize("logits", ["shards", "shards/logits-*.npy", "./shards/", "shards/../shards"])
    @pytest.mark.parametrize("option", ["--per-sample", "--resume"])
    def test_among_the_shards(self, logits: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
        out = "shards/logits-2.npy"
        assert cli.main(["score", logits, "targets.npy", option, out]) == 1
        assert f"{option} {out} would be one of the files of {logits} the next time" in capsys.readouterr().err
        assert len(list(Path("shards").iterdir())) == 2

    def test_beside_a_pattern_is_allowed(self) -> None:
        assert cli.main(["score", "shards/logits-*.npy", "targets.npy", "--per-sample", "shards/rows.npy"]) == 0
        assert cli.main(["score", "shards/logits-*.npy", "targets.npy"]) == 0

    @pytest.mark.parametrize("option", ["--per-sample", "--resume", "--report"])
    @pytest.mark.parametrize("place", ["/proc/self/x.npy", "nowhere/x.npy"])
    def test_where_nothing_can_be_written(self, option: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
        if place.startswith("/proc") and not Path("/proc/self").exists():
            pytest.skip("no such place")
        place = place.replace(".npy", ".html") if option == "--report" else place
        assert cli.main(["score", "logits.npy", "targets.npy", option, place]) == 1
        found = capsys.readouterr()
        assert (found.out, f"{option} {place} can't be written" in found.err) == ("", True)

    @pytest.mark.parametrize("field", ["per_sample", "resume"])
    def test_from_python_too(self, field: str) -> None:
        before = Path("logits.npy").read_bytes()
        outputs: dict[str, Any] = {field: Path("logits.npy")}
        with pytest.raises(OutputError, match=r"logits\.npy is a file that is read"):
            score_files(ScoreOptions("logits.npy", "targets.npy", **outputs), print)
        assert Path("logits.npy").read_bytes() == before

    def test_nothing_is_left_of_the_attempt(self) -> None:
        before = sorted(Path().iterdir())
        assert cli.main(["score", "logits.npy", "targets.npy", "--resume", "checkpoint"]) == 0
        assert sorted(Path().iterdir()) == before


def test_no_row_no_partial_file() -> None:
    """An error before the first row leaves no figures of no rows."""
    np.save("targets.npy", np.full(40, 9))
    before = sorted(Path().iterdir())
    with pytest.raises(DataError, match=r"row 0 of targets\.npy is class 9"):
        score_files(ScoreOptions("logits.npy", "targets.npy", per_sample=Path("rows.npy")), print)
    assert sorted(Path().iterdir()) == before


def test_a_closed_stdout_is_an_error() -> None:
    """There is nowhere to show the figures."""
    shown = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m crossent score logits.npy targets.npy >&-"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert (shown.returncode, shown.stderr) == (1, "crossent: stdout is closed: what was found could not be shown\n")


class TestArguments:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["logits.npy", "--worst", "3", "targets.npy", "--json"],
            ["--worst", "3", "logits.npy", "targets.npy", "--json"],
            ["logits.npy", "targets.npy", "--json", "--worst=3"],
            ["--json", "logits.npy", "--worst", "3", "--", "targets.npy"],
        ],
    )
    def test_options_between_the_files(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["score", *arguments]) == 0
        found = capsys.readouterr().out
        assert cli.main(["score", "logits.npy", "targets.npy", "--json", "--worst", "3"]) == 0
        assert found == capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "found"),
        [
            ([], "a command is needed: score, fit-temperature, demo"),
            (["scroe"], "invalid choice: 'scroe'"),
            (["score"], "the following arguments are required: LOGITS"),
            (["score", "logits.npy", "targets.npy", "third.npy"], "third.npy"),
            (["score", "logits.npy", "--bins", "1001"], "more than 1000 bins: '1001'"),
            (["score", "logits.npy", "--max-memory", "1MB"], "takes 104,857,600 bytes before it reads anything: '1MB'"),
            (["score", "logits.npy", "--per-sample", "out.txt"], "out.txt: figures of each row are written as .npy or"),
            (["score", "logits.npy", "--report", "out.txt"], "a report ends in .html, .png or .pdf, not in '.txt'"),
        ],
    )
    def test_wrong(self, arguments: list[str], found: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert (stopped.value.code, found in capsys.readouterr().err) == (2, True)


def test_the_worst_rows_without_probabilities_predict_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    logits = LOGITS.copy()
    logits[7, 2] = np.nan
    np.save("logits.npy", logits)
    assert cli.main(["score", "logits.npy", "targets.npy", "--worst", "1", "--json"]) == 0
    assert f'"row": [7], "target": {TARGETS[7]}, "predicted": null, "loss": "NaN"' in capsys.readouterr().out
    assert cli.main(["score", "logits.npy", "targets.npy", "--worst", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["7", "nan", str(TARGETS[7]), "nan"]


class TestScores:
    """Rough edges of the arrays behind it."""

    scores = crossent.score(LOGITS, TARGETS)

    def test_worst(self) -> None:
        with pytest.raises(TypeError, match=r"k must be an integer, not 1\.5"):
            self.scores.worst(1.5)  # type: ignore[arg-type]

    def test_concatenate(self) -> None:
        with pytest.raises(TypeError, match=r"concatenate takes Scores, but scores\[1\] is 1"):
            crossent.Scores.concatenate([self.scores, 1])  # type: ignore[list-item]

    def test_compare_and_hash(self) -> None:
        """By identity: arrays have no one answer."""
        other = crossent.score(LOGITS, TARGETS)
        assert self.scores == self.scores
        assert self.scores != other
        assert len({self.scores, other}) == 2

    @pytest.mark.parametrize("text", [None, 3, ["{}"]])
    def test_totals_from_something_else(self, text: Any) -> None:
        with pytest.raises(TypeError, match=f"not {type(text).__name__}"):
            crossent.Totals.from_json(text)

    @pytest.mark.parametrize(("dtype", "temperature"), [(np.float64, 1e-320), (np.float32, 1e-40)])
    def test_temperature_without_an_inverse(self, dtype: Any, temperature: float) -> None:
        with pytest.raises(ValueError, match=rf"must be positive and finite, as .* on, not {temperature}"):
            crossent.score(LOGITS.astype(dtype), TARGETS, temperature=temperature)
        smallest = float(np.finfo(dtype).tiny)
        assert np.isfinite(crossent.score(np.zeros((2, 3), dtype), [0, 1], temperature=smallest).loss).all()
