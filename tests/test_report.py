"""Reports: data that merge to the bit, and a page that is whole, self-contained and safe for whatever is scored."""

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import crossent
import matplotlib as mpl
import numpy as np
import pytest
from crossent import cli, report
from crossent.report import ReportData
from crossent.report.data import LOSS_EDGES
from numpy.typing import NDArray

Array = NDArray[Any]
VOID = {"meta", "br", "link", "img", "hr", "input"}
HOSTILE = "<script>alert(1)</script> & \"quotes\" 'single' $5 ${title} 好 \udcff.npy"


@dataclass(frozen=True)
class WorstRow:
    row: tuple[int, ...]
    target: int | None
    predicted: int
    loss: float
    confidence: float


@dataclass(frozen=True)
class Results:
    totals: crossent.Totals
    data: ReportData
    worst: list[WorstRow]


def results(logits: Array, target: Array) -> Results:
    scores = crossent.score(logits, target)
    shape, flat = scores.loss.shape, scores.select((slice(None),) * scores.loss.ndim)
    worst = [
        WorstRow(
            tuple(map(int, np.unravel_index(row, shape))),
            None if flat.target is None else int(flat.target.flat[row]),
            int(flat.predicted.flat[row]),
            float(flat.loss.flat[row]),
            float(flat.confidence.flat[row]),
        )
        for row in scores.worst(5).tolist()
    ]
    return Results(crossent.Totals.of(scores), ReportData.of(scores, 0, scores.loss.size), worst)


def labelled(rows: int, classes: int) -> tuple[Array, Array]:
    generator = np.random.default_rng(rows + classes)
    target = generator.integers(0, classes, rows)
    logits = generator.normal(size=(rows, classes)).astype(np.float32)
    logits[np.arange(rows), target] += 2
    return 2 * logits, target


def with_extremes() -> tuple[Array, Array]:
    """Losses of nan and infinity, below 1e-6 and above 1000, and an ignored row."""
    logits, target = labelled(300, 4)
    logits[0, 0] = np.nan
    logits[1, target[1]] = -np.inf
    logits[2, target[2]] = 100
    logits[3, target[3]] = -2000
    target[4] = -100
    return logits, target


@cache
def case(name: str) -> Results:
    match name:
        case "2 classes":
            return results(*labelled(500, 2))
        case "10 classes":
            return results(*labelled(500, 10))
        case "30 classes":
            return results(*labelled(1000, 30))
        case "600 classes":
            return results(*labelled(1500, 600))
        case "50,000 classes":
            return results(*labelled(100, 50_000))
        case "one row":
            return results(*labelled(1, 10))
        case "two rows of one class":
            return results(np.zeros((2, 1)), np.zeros(2, int))
        case "all ignored":
            return results(labelled(20, 10)[0], np.full(20, -100))
        case "no rows":
            return results(np.zeros((0, 10)), np.zeros(0, int))
        case "extremes":
            return results(*with_extremes())
        case "all nan":
            return results(np.full((20, 10), np.nan), np.zeros(20, int))
        case "all confident":
            return results(200 * np.eye(4), np.arange(4))
        case "all infinite":
            return results(np.where(np.eye(4) == 1, -np.inf, 0), np.arange(4))
        case "probabilities":
            logits, _ = labelled(300, 10)
            return results(logits, crossent.softmax(logits / 3))
        case "image":
            logits, target = labelled(48, 5)
            return results(np.moveaxis(logits.reshape(3, 4, 4, 5), -1, 1), target.reshape(3, 4, 4))
    raise KeyError(name)


CHARTS = {
    "2 classes": ["losses", "reliability", "drift", "confusion"],
    "10 classes": ["losses", "reliability", "drift", "confusion"],
    "30 classes": ["losses", "reliability", "drift", "confusion"],
    "600 classes": ["losses", "reliability", "drift", "confusion", "class-accuracy"],
    "50,000 classes": ["losses", "reliability", "drift", "class-accuracy"],
    "one row": ["losses", "reliability", "confusion"],
    "two rows of one class": ["losses", "reliability", "drift"],
    "all ignored": [],
    "no rows": [],
    "extremes": ["losses", "reliability", "drift", "confusion"],
    "all nan": [],
    "all confident": ["losses", "reliability", "drift", "confusion"],
    "all infinite": ["reliability", "confusion"],
    "probabilities": ["losses", "drift"],
    "image": ["losses", "reliability", "drift", "confusion"],
}


class Page(HTMLParser):
    """A page's elements, attributes and text; whether its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def values(self, attribute: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == attribute]


@cache
def page(name: str, folder: Path) -> tuple[str, Page]:
    given = case(name)
    path = folder / f"{name}.html"
    report.write_report(path, totals=given.totals, data=given.data, worst=given.worst, title=name)
    text = path.read_text("utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.mark.parametrize("name", CHARTS)
def test_a_page_has_the_charts_that_have_something_to_show(name: str, folder: Path) -> None:
    _, parsed = page(name, folder)
    assert [value for tag, key, value in parsed.attributes if (tag, key) == ("figure", "id")] == CHARTS[name]
    assert parsed.texts["h1"] == parsed.texts["title"] == [name]
    assert ("There are no rows" in str(parsed.texts)) == (name == "no rows")
    assert ("All 20 rows are ignored" in str(parsed.texts)) == (name == "all ignored")
    assert ("a loss that is infinite or nan" in str(parsed.texts)) == (name in ("extremes", "all nan", "all infinite"))


@pytest.mark.parametrize("name", CHARTS)
def test_a_page_is_self_contained_and_described(name: str, folder: Path) -> None:
    text, parsed = page(name, folder)
    assert parsed.tags["script"] == parsed.tags["link"] == parsed.tags["iframe"] == 0
    assert not [key for _, key, _ in parsed.attributes if key.startswith("on")]
    references = [value for key in ("src", "href", "xlink:href") for value in parsed.values(key)]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in references)
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in references if value[0] == "#"} <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)
    assert parsed.tags["svg"] == parsed.tags["figcaption"] == len(CHARTS[name])
    labels = [value for tag, key, value in parsed.attributes if (tag, key) == ("svg", "aria-label")]
    assert len(labels) == len(CHARTS[name])
    assert all(len(label) > 20 for label in labels)
    assert parsed.values("lang") == ["en"]


def test_the_colours_of_charts_are_those_of_the_page(folder: Path) -> None:
    """No colour stays behind that a dark theme couldn't exchange, but those in the heat map's picture."""
    for name in ("10 classes", "600 classes", "extremes"):
        text, _ = page(name, folder)
        drawn = "".join(re.findall(r"<svg .*?</svg>", text, re.DOTALL))
        assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r'"data:[^"]*"', "", drawn))


def test_text_has_enough_contrast_in_light_and_dark() -> None:
    """WCAG's 4.5 to 1 for text and coloured marks."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    template = resources.files("crossent.report").joinpath("page.html").read_text("utf-8")
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", rule)) for rule in re.findall(r":root \{[^}]*\}", template)]
    assert len(themes) == 3  # light, dark, printed
    assert themes[0] == themes[2] == report_colours()
    for theme in themes:
        for name in ("ink", "muted", "accent", "warning"):
            high, low = sorted((luminance(theme[name]), luminance(theme["surface"])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, theme)


def report_colours() -> dict[str, str]:
    from crossent.report.style import COLOURS

    return COLOURS


def test_nothing_that_comes_from_outside_is_markup(tmp_path: Path) -> None:
    given = case("10 classes")
    path = tmp_path / "report.html"
    report.write_report(
        path, totals=given.totals, data=given.data, worst=given.worst, title=HOSTILE, details={HOSTILE: HOSTILE}
    )
    parsed = Page(path.read_text("utf-8"))
    shown = HOSTILE.replace("\udcff", "\\udcff")
    assert parsed.tags["script"] == 0
    assert parsed.texts["h1"] == [shown]
    assert shown in parsed.texts["dt"]
    assert shown in parsed.texts["dd"]


def test_the_figures_are_those_of_the_totals(folder: Path) -> None:
    given = case("10 classes")
    text, parsed = page("10 classes", folder)
    figures = dict(zip(parsed.texts["dt"][2:], parsed.texts["b"], strict=True))
    assert float(figures["Mean loss"]) == pytest.approx(given.totals.mean_loss, abs=given.totals.standard_error / 10)
    assert figures["Accuracy"] == f"{given.totals.accuracy():.2%}"
    assert figures["Calibration error (ECE)"] == f"{given.totals.expected_calibration_error:.2%}"
    assert "Brier score" in figures
    worst = re.findall(r"<td>(.*?)</td>", text)
    assert [int(cell) for cell in worst[0::6]] == [one.row[0] for one in given.worst]
    assert float(worst[4]) == pytest.approx(given.worst[0].loss, rel=1e-3)


def test_probability_targets_have_no_figures_of_classes(folder: Path) -> None:
    _, parsed = page("probabilities", folder)
    names = parsed.texts["dt"]
    assert "Divergence" in names
    assert not {"Accuracy", "Calibration error (ECE)", "Brier score"} & set(names)
    assert parsed.texts["th"] == ["row", "predicted", "confidence", "loss"]


def test_positions_in_an_image_have_all_coordinates(folder: Path) -> None:
    text, _ = page("image", folder)
    assert ", ".join(map(str, case("image").worst[0].row)) in re.findall(r"<td>(.*?)</td>", text)


@pytest.mark.parametrize("name", ["10 classes", "all ignored", "extremes", "probabilities", "600 classes"])
@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG\r\n"), (".PDF", b"%PDF-")])
def test_pictures(name: str, suffix: str, magic: bytes, tmp_path: Path) -> None:
    given = case(name)
    path = tmp_path / f"report{suffix}"
    title = HOSTILE.replace("\udcff", "") if name == "10 classes" else name
    report.write_report(path, totals=given.totals, data=given.data, worst=given.worst, title=title)
    assert path.read_bytes().startswith(magic)


def test_the_same_results_give_the_same_page(tmp_path: Path, folder: Path) -> None:
    given = case("2 classes")
    report.write_report(tmp_path / "a.html", totals=given.totals, data=given.data, worst=given.worst, title="2 classes")
    assert (tmp_path / "a.html").read_text("utf-8") == page("2 classes", folder)[0]


def test_matplotlib_is_left_as_it_was(tmp_path: Path) -> None:
    """A user's own settings are neither used nor changed, nor is a backend chosen."""
    given = case("2 classes")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        before = dict(mpl.rcParams)
        report.write_report(tmp_path / "a.html", totals=given.totals, data=given.data, title="own")
        assert dict(mpl.rcParams) == before
    report.write_report(tmp_path / "b.html", totals=given.totals, data=given.data, title="own")
    assert (tmp_path / "a.html").read_text("utf-8") == (tmp_path / "b.html").read_text("utf-8")


def test_another_suffix_is_refused_before_the_work() -> None:
    with pytest.raises(ValueError, match=r"ends in \.html, \.png or \.pdf, not in '\.doc'"):
        report.check_path(Path("report.doc"))
    report.check_path(Path("report.HTML"))


def test_without_matplotlib_the_message_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "crossent\[report\]"'):
        report.check_path(Path("report.html"))


def test_the_command_draws_a_report(tmp_path: Path) -> None:
    logits, target = labelled(500, 2)
    names = [str(tmp_path / name) for name in ("logits <b>.npy", "targets.npy", "report.html")]
    np.save(names[0], logits)
    np.save(names[1], target)
    assert cli.main(["score", *names[:2], "--report", names[2], "--json"]) == 0
    parsed = Page(Path(names[2]).read_text("utf-8"))
    assert parsed.texts["h1"] == ["logits <b>.npy"]
    assert parsed.tags["svg"] == 4


# --- The data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 199, 200, 201, 1003])
def test_merging_is_associative_and_commutative_to_the_bit(rows: int) -> None:
    logits, target = labelled(rows, 3)
    logits[rows // 2, 0] = np.nan
    target[rows // 3] = -100
    scores = crossent.score(logits, target)
    whole = ReportData.of(scores, 0, rows)
    generator = np.random.default_rng(rows)
    cuts = [0, *sorted(generator.integers(0, rows + 1, 4).tolist()), rows]
    parts = [ReportData.of(scores.select(slice(a, b)), a, rows) for a, b in pairwise(cuts)]
    a, b, c, d, e = parts
    assert a + b + c + d + e == a.merge(b.merge(c.merge(d.merge(e)))) == e + c + a + d + b == whole
    assert whole + ReportData.empty(rows) == whole
    assert sum(whole.part_rows) + sum(whole.part_non_finite) == np.count_nonzero(scores.valid)


def test_json_is_exact() -> None:
    for name in CHARTS:
        data = case(name).data
        assert ReportData.from_json(data.to_json()) == data
        json.loads(data.to_json(), parse_constant=pytest.fail)


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"format": "crossent report data", "version": 2}', "half of"])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting|no JSON of crossent report data"):
        ReportData.from_json(text)


def test_data_of_other_files_are_refused() -> None:
    with pytest.raises(ValueError, match="500 rows and of 300 rows"):
        case("10 classes").data.merge(case("probabilities").data)
    scores = crossent.score(*labelled(5, 3))
    with pytest.raises(ValueError, match="5 rows from row 6 don't lie within 10 rows"):
        ReportData.of(scores, 6, 10)


def test_bins_are_half_open_and_everything_has_a_place() -> None:
    scores = crossent.score(np.zeros((8, 2)), np.zeros(8, int))
    loss = np.array([0.0, 1e-7, LOSS_EDGES[0], 1.0, 1000.0, 1e300, np.inf, np.nan])
    data = ReportData.of(replace(scores, loss=loss), 0, 8)
    assert (data.histogram[0], data.histogram[1], data.histogram[-1]) == (2, 1, 2)
    assert data.histogram[LOSS_EDGES.index(1.0) + 1] == 1
    assert (data.infinite, data.undefined, data.finite) == (1, 1, 6)
    assert LOSS_EDGES[0] == 1e-6
    assert LOSS_EDGES[-1] == 1e3


def test_quantiles_are_good_to_a_bin() -> None:
    loss = np.random.default_rng(0).lognormal(0, 2, 1001)
    scores = crossent.score(np.zeros((1001, 2)), np.zeros(1001, int))
    data = ReportData.of(replace(scores, loss=loss), 0, 1001)
    for share in (0.1, 0.5, 0.9):
        assert data.quantile(share) == pytest.approx(np.quantile(loss, share), rel=0.06)
    assert math.isnan(ReportData.empty(0).quantile(0.5))


@pytest.mark.parametrize(("rows", "most"), [(100, 200), (450, 200), (450, 40)])
def test_the_drift_has_each_parts_mean_and_standard_error(rows: int, most: int) -> None:
    scores = crossent.score(*labelled(rows, 3))
    course = ReportData.of(scores, 0, rows).drift(most)
    assert len(course.mean) == min(rows, most)
    for i, (start, stop) in enumerate(pairwise(course.starts)):
        loss = scores.loss[start:stop].astype(np.float64)
        assert course.mean[i] == pytest.approx(loss.mean(), rel=1e-14)
        if loss.size > 1:
            assert course.error[i] == pytest.approx(loss.std(ddof=1) / math.sqrt(loss.size), rel=1e-12)
        else:
            assert math.isnan(course.error[i])


def test_enormous_losses_have_a_drift_too() -> None:
    scores = crossent.score(np.array([[0.0, 1e200], [0.0, 1e200]]), np.zeros(2, int))
    data = ReportData.of(scores, 0, 2)
    assert data.part_sums == (Fraction(1e200), Fraction(1e200))
    assert np.isfinite(data.drift(1).error).all()
