"""fit_temperature finds the temperature of the least loss, whatever the slabs; and says so when there is none."""

import json
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import crossent
import numpy as np
import pytest
from crossent import _printing, cli, temperature
from crossent.temperature import Slopes
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Array = NDArray[Any]


def drawn(rows: int, classes: int, scale: float = 1.0, seed: int = 0) -> tuple[Array, Array]:
    """Logits, and classes drawn from their softmax at temperature ``scale``."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(rows, classes))
    below = crossent.softmax(logits).cumsum(axis=1) < generator.random((rows, 1))
    return scale * logits, np.minimum(below.sum(axis=1), classes - 1)


@pytest.mark.parametrize("true_temperature", [0.04, 0.5, 1.0, 3.0, 200.0])
def test_a_known_temperature_is_found(true_temperature: float) -> None:
    fit = crossent.fit_temperature(*drawn(5000, 8, true_temperature))
    assert abs(fit.temperature - true_temperature) < 3.5 * fit.standard_error
    assert 0 < fit.standard_error < 0.05 * true_temperature
    assert fit.after.mean_loss <= fit.before.mean_loss
    assert fit.after.accuracy() == fit.before.accuracy()
    assert fit.passes <= 20


def test_the_standard_error_is_the_spread_over_samples() -> None:
    fits = [crossent.fit_temperature(*drawn(300, 4, 2.0, seed)) for seed in range(40)]
    spread = np.std([fit.temperature for fit in fits], ddof=1)
    assert np.mean([fit.standard_error for fit in fits]) == pytest.approx(spread, rel=0.35)


@pytest.mark.parametrize("kind", ["classes", "probabilities", "probabilities that sum to 3"])
def test_the_temperature_is_that_of_a_direct_minimisation(kind: str) -> None:
    logits, target = drawn(1000, 6, 2.5)
    if kind != "classes":
        target = crossent.softmax(logits / 2 + np.random.default_rng(1).normal(size=logits.shape))
        target *= 3 if kind.endswith("3") else 1
    direct = minimize_scalar(
        lambda t: crossent.cross_entropy(logits / t, target), bounds=(1, 10), method="bounded", options={"xatol": 1e-9}
    )
    fit = crossent.fit_temperature(logits, target)
    assert fit.temperature == pytest.approx(direct.x, rel=3e-6)
    assert fit.after.mean_loss == pytest.approx(direct.fun, rel=1e-12)


def test_slabs_give_the_bits_of_the_whole() -> None:
    logits, target = drawn(400, 5, 1.7)
    logits = logits.astype(np.float32)
    target[::7] = -100
    cuts = [0, 1, 150, 150, 399, 400]
    passes = 0

    def read(t: float, totals: bool) -> Slopes:
        nonlocal passes
        passes += 1
        parts = (slice(start, stop) for start, stop in pairwise(cuts))
        each = (crossent.score(logits[part], target[part], temperature=t) for part in parts)
        return sum((Slopes.of(scores, totals=totals) for scores in each), Slopes())

    fit = temperature.fit(read)
    assert fit == crossent.fit_temperature(logits, target)
    assert passes == fit.passes
    assert fit.after.scored == np.count_nonzero(target >= 0)


def test_any_axis_and_shape() -> None:
    logits, target = drawn(24, 5, 2.0)
    flat = crossent.fit_temperature(logits, target)
    image = crossent.fit_temperature(logits.reshape(2, 3, 4, 5), target.reshape(2, 3, 4), axis=-1)
    assert image == flat
    assert crossent.fit_temperature(np.moveaxis(logits.reshape(2, 3, 4, 5), -1, 1), target.reshape(2, 3, 4)) == flat


def test_rows_without_a_finite_loss_are_left_out_and_counted() -> None:
    logits, target = drawn(200, 5, 2.0)
    spoilt = logits.copy()
    spoilt[0, target[0]] = -np.inf  # an infinite loss
    spoilt[1, 0] = np.nan
    spoilt[2, 0] = np.inf
    fit = crossent.fit_temperature(spoilt, target)
    assert fit.left_out == 3
    assert fit.temperature == crossent.fit_temperature(logits[3:], target[3:]).temperature
    spoilt[:3] = logits[:3]
    spoilt[3, (target[3] + 1) % 5] = -np.inf  # a class that is masked, and right to be
    assert crossent.fit_temperature(spoilt, target).left_out == 0


LOGITS, TARGET = drawn(50, 4)


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (LOGITS, LOGITS.argmax(axis=1), "in all 50 rows the target has the largest logit"),
        (LOGITS, LOGITS.argmin(axis=1), "falls the higher it is, up to 10000"),
        (LOGITS, np.eye(4)[LOGITS.argmax(axis=1)], "no best temperature"),
        (LOGITS, np.full(50, -100), "no row counts"),
        (LOGITS[:0], TARGET[:0], "no row counts"),
        (np.full_like(LOGITS, np.nan), TARGET, "the loss of all 50 rows is infinite or nan"),
        (LOGITS[:, :1], np.zeros(50, int), "with one class"),
        (np.zeros_like(LOGITS), TARGET, "doesn't depend on it"),
        (np.tile([5.0, 5.0, 0.0, 0.0], (50, 1)), np.arange(50) % 2, "no best temperature"),
    ],
)
def test_where_there_is_no_best_temperature_a_message_says_so(logits: Array, target: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crossent.fit_temperature(logits, target)


def test_table_and_json() -> None:
    fit = crossent.fit_temperature(*drawn(500, 5, 2.0))
    table = _printing.fit_table(fit).splitlines()
    assert table[0].split() == ["before", "after"]
    assert table[1].split() == ["temperature", "1", f"{fit.temperature:.6g}"]
    assert len({len(line) for line in table}) == 1
    values = json.loads(_printing.fit_json(fit))
    assert values["temperature"] == fit.temperature
    assert values["after"]["mean_loss"] == fit.after.mean_loss
    soft = crossent.fit_temperature(LOGITS, crossent.softmax(LOGITS / 2))
    assert json.loads(_printing.fit_json(soft))["before"]["accuracy"] is None
    assert "accuracy" not in _printing.fit_table(soft)


def test_the_slope_that_is_searched_for_its_root_is_the_derivative() -> None:
    """d loss / d log(1/T) = loss - entropy."""
    logits, target = drawn(100, 5)
    step = 1e-5
    ahead, behind = (crossent.cross_entropy(logits * math.exp(u), target) for u in (step, -step))
    scores = crossent.score(logits, target)
    assert (ahead - behind) / (2 * step) == pytest.approx(float(np.mean(scores.loss - scores.entropy)), rel=1e-6)


def test_files_give_what_memory_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logits, target = drawn(3000, 5, 2.0)
    target[::9] = -100
    logits = logits.astype(np.float32)
    names = [str(tmp_path / name) for name in ("logits.npy", "targets.npy", "probabilities.npy")]
    for name, array in zip(names, (logits, target, crossent.softmax(logits / 2)), strict=True):
        np.save(name, array)
    for targets, array in ((names[1], target), (names[2], crossent.softmax(logits / 2))):
        assert cli.main(["fit-temperature", names[0], targets, "--json"]) == 0
        expected = _printing.fit_json(crossent.fit_temperature(logits, array))
        assert capsys.readouterr().out.strip() == expected
    assert cli.main(["fit-temperature", names[0], names[1]]) == 0
    assert "calibration error" in capsys.readouterr().out


def test_what_is_wrong_with_files_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logits, target = str(tmp_path / "logits.npy"), str(tmp_path / "targets.npy")
    np.save(logits, LOGITS)
    np.save(target, LOGITS.argmax(axis=1))
    assert cli.main(["fit-temperature", logits, target]) == 3
    assert "logits.npy: there is no best temperature: in all 50 rows" in capsys.readouterr().err
    np.save(target, np.full(50, 4))
    assert cli.main(["fit-temperature", logits, target]) == 3
    assert "is class 4, but" in capsys.readouterr().err


def test_without_scipy_the_message_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "crossent\[calibration\]"'):
        crossent.fit_temperature(LOGITS, TARGET)
