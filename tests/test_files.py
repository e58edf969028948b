"""Every format of file gives what the arrays in memory give; a damaged file gives a message that names it."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crossent
import ml_dtypes
import numpy as np
import pytest
from crossent import Totals
from crossent.files import DataError, MissingLibraryError, ScoreOptions, Unfinished, score_files, stream
from crossent.files.formats import open_source

RNG = np.random.default_rng(0)
ROWS, CLASSES = 1000, 7
LOGITS = RNG.normal(size=(ROWS, CLASSES)).astype(np.float32) * 3
TARGETS = RNG.integers(CLASSES, size=ROWS)
TARGETS[5] = -100
LOGITS.flags.writeable = TARGETS.flags.writeable = False


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Many pieces and slabs even of small files, in a directory of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stream, "PIECE_BYTES", 1000)
    monkeypatch.setattr(stream, "SLAB_BYTES", 5000)
    monkeypatch.setattr(stream, "RUN_BYTES", 64)


def options_of(files: list[str], **options: Any) -> ScoreOptions:
    return ScoreOptions(files[0], files[1] if len(files) > 1 else None, **options)


def totals(logits: str, targets: str | None = None, **options: Any) -> Totals:
    advice: list[str] = []
    found = score_files(ScoreOptions(logits, targets, **options), advice.append)
    assert advice == []
    return found.totals


def in_memory(logits: Any = LOGITS, targets: Any = TARGETS, **options: Any) -> Totals:
    return Totals.of(crossent.score(logits, targets, **options))


def save_npy(**arrays: Any) -> list[str]:
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    return [f"{name}.npy" for name in arrays]


def save_npz(**arrays: Any) -> list[str]:
    np.savez("both.npz", **arrays)
    return ["both.npz"]


def save_npz_compressed(**arrays: Any) -> list[str]:
    np.savez_compressed("both.npz", **arrays)
    return ["both.npz"]


def save_safetensors(**arrays: Any) -> list[str]:
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({name: np.array(array) for name, array in arrays.items()}, "both.safetensors")
    return ["both.safetensors"]


def table(lists: str = "fixed", **arrays: Any) -> Any:
    pa = pytest.importorskip("pyarrow")

    def column(array: Any) -> Any:
        if array.ndim == 1:
            return pa.array(array)
        values = pa.array(array.ravel())
        if lists == "fixed":
            return pa.FixedSizeListArray.from_arrays(values, array.shape[1])
        offsets = np.arange(0, array.size + 1, array.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(offsets, values)

    return pa.table({name: column(array) for name, array in arrays.items()})


def save_parquet(**arrays: Any) -> list[str]:
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(table(**arrays), "both.parquet", row_group_size=333, write_page_checksum=True)
    return ["both.parquet"]


def save_parquet_of_lists(**arrays: Any) -> list[str]:
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(table("lists", **arrays), "both.parquet", row_group_size=333, write_page_checksum=True)
    return ["both.parquet"]


def save_zarr(version: int = 3, **arrays: Any) -> list[str]:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group("both.zarr", mode="w", zarr_format=version)
    for number, (name, array) in enumerate(arrays.items()):
        chunks = (128 + 49 * number, *array.shape[1:])
        group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=chunks)[:] = array
    return ["both.zarr"]


def save_zarr_2(**arrays: Any) -> list[str]:
    return save_zarr(2, **arrays)


def save_shards(**arrays: Any) -> list[str]:
    for name, array in arrays.items():
        Path(name).mkdir()
        cuts = [100, 101, 500, 500, 730] if name == "logits" else range(90, ROWS, 90)
        for number, part in enumerate(np.split(array, cuts)):
            np.save(f"{name}/{name}-{number}.npy", part)
    return list(arrays)


def save_shards_of_parquet(**arrays: Any) -> list[str]:
    pq = pytest.importorskip("pyarrow.parquet")
    whole = table(**arrays)
    for number, start in enumerate(range(0, ROWS, 90)):
        pq.write_table(whole.slice(start, 90), f"part-{number}.parquet")
    return ["part-*.parquet"]


FORMATS: list[Callable[..., list[str]]] = [
    save_npy,
    save_npz,
    save_npz_compressed,
    save_safetensors,
    save_parquet,
    save_parquet_of_lists,
    save_zarr,
    save_zarr_2,
    save_shards,
    save_shards_of_parquet,
]


@pytest.mark.parametrize("save", FORMATS)
class TestFormats:
    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
    def test_the_totals_are_those_of_the_arrays(self, save: Callable[..., list[str]], dtype: str) -> None:
        logits = LOGITS.astype(dtype)
        files = save(logits=logits, labels=TARGETS.astype(np.int32))
        assert totals(*files) == in_memory(logits)

    def test_class_probabilities(self, save: Callable[..., list[str]]) -> None:
        files = save(logits=LOGITS, targets=crossent.softmax(LOGITS[::-1], axis=1))
        assert totals(*files) == in_memory(LOGITS, crossent.softmax(LOGITS[::-1], axis=1))

    def test_no_result_depends_on_threads_or_memory(self, save: Callable[..., list[str]]) -> None:
        files = save(logits=LOGITS, labels=TARGETS)
        results = [
            score_files(options_of(files, threads=threads, max_memory=memory, worst=20), print)
            for threads, memory in [(1, 10**9), (2, 10**9), (5, 3 * 10**8)]
        ]
        assert results[0] == results[1] == results[2]
        loss = crossent.cross_entropy(LOGITS, TARGETS, reduction="none")
        order = np.argsort(-loss, kind="stable")[:20]
        assert [row.row for row in results[0].worst] == [(row,) for row in order]
        assert [row.loss for row in results[0].worst] == loss[order].tolist()

    def test_a_name_picks_an_array(self, save: Callable[..., list[str]]) -> None:
        if save in (save_npy, save_shards):
            pytest.skip("one array a file")
        (path,) = save(first=LOGITS, second=-LOGITS, y=TARGETS)
        assert totals(f"{path}:second", path) == in_memory(-LOGITS)
        with pytest.raises(DataError, match="there are: first, second, y"):
            totals(f"{path}:third", path)
        with pytest.raises(DataError, match="which array"):
            totals(path)


class TestArrays:
    @pytest.mark.parametrize("save", [save_npy, save_npz, save_npz_compressed, save_safetensors, save_zarr])
    @pytest.mark.parametrize(("shape", "axis"), [((5, 4, 10, 5, 7), -1), ((5, 4, 10, 5, 7), 1), ((40, 7, 25), 0)])
    def test_axes(self, save: Callable[..., list[str]], shape: tuple[int, ...], axis: int) -> None:
        rows = LOGITS.reshape(*(extent for extent in shape if extent != 7), 7)
        logits = np.ascontiguousarray(np.moveaxis(rows, -1, axis))
        files = save(logits=logits, targets=TARGETS.reshape(rows.shape[:-1]))
        assert totals(*files, axis=axis) == in_memory()

    @pytest.mark.parametrize("save", [save_npy, save_npz])
    def test_fortran_order(self, save: Callable[..., list[str]]) -> None:
        assert totals(*save(logits=np.asfortranarray(LOGITS), labels=TARGETS)) == in_memory()

    def test_bfloat16(self) -> None:
        logits = LOGITS.astype(ml_dtypes.bfloat16)
        for saved_as in ("V2", "u2"):
            assert totals(*save_npy(logits=logits.view(saved_as), labels=TARGETS), bfloat16=True) == in_memory(logits)
        save_safetensors(logits=logits, labels=TARGETS)
        assert totals("both.safetensors") == in_memory(logits)

    @pytest.mark.parametrize("save", FORMATS)
    @pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
    def test_class_indices_of_any_width(self, save: Callable[..., list[str]], dtype: str) -> None:
        """Those in uint16, too, which is bfloat16 only where floats are expected."""
        targets = np.abs(TARGETS) % CLASSES
        assert totals(*save(logits=LOGITS, labels=targets.astype(dtype))) == in_memory(targets=targets)

    def test_class_indices_as_wide_as_bfloat16(self) -> None:
        logits, targets = LOGITS.astype(ml_dtypes.bfloat16), (np.abs(TARGETS) % CLASSES).astype(np.uint16)
        files = save_npy(logits=logits.view(np.uint16), labels=targets)
        assert totals(*files, bfloat16=True) == in_memory(logits, targets)

    def test_bfloat16_without_ml_dtypes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logits = LOGITS.astype(ml_dtypes.bfloat16)
        files = save_npy(logits=logits.view("V2"), labels=TARGETS)
        monkeypatch.setitem(sys.modules, "ml_dtypes", None)
        assert totals(*files, bfloat16=True) == in_memory(logits.astype(np.float32))

    def test_sample_weights(self) -> None:
        weight = RNG.random(ROWS)
        files = save_npy(logits=LOGITS, labels=TARGETS, weight=weight)
        expected = Totals.of(crossent.score(LOGITS, TARGETS), sample_weight=weight)
        assert totals(*files[:2], sample_weight="weight.npy") == expected

    @pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
    def test_bad_sample_weights(self, bad: float) -> None:
        files = save_npy(logits=LOGITS, labels=TARGETS, weight=np.where(np.arange(ROWS) == 10, bad, 1.0))
        with pytest.raises(DataError, match=rf"row 10 of weight\.npy is a weight of {bad}"):
            totals(*files[:2], sample_weight="weight.npy")
        np.save("weight.npy", np.ones(ROWS - 1))
        with pytest.raises(DataError, match=r"weight.npy must hold .*\(1000,\)"):
            totals(*files[:2], sample_weight="weight.npy")

    def test_temperature(self) -> None:
        files = save_npy(logits=LOGITS, labels=TARGETS)
        assert totals(*files, temperature=2.5) == in_memory(temperature=2.5)

    def test_no_rows(self) -> None:
        files = save_npy(logits=LOGITS[:0], labels=TARGETS[:0])
        assert score_files(options_of(files), lambda _: None).totals.rows == 0

    def test_a_colon_in_a_file_name(self) -> None:
        np.save("a:b.npy", LOGITS)
        np.save("labels.npy", TARGETS)
        assert totals("a:b.npy", "labels.npy") == in_memory()

    def test_a_file_of_the_other_byte_order(self) -> None:
        assert totals(*save_npy(logits=LOGITS.astype(">f4"), labels=TARGETS.astype(">i2"))) == in_memory()


class TestPerSample:
    @pytest.mark.parametrize("probabilities", [False, True])
    def test_npy(self, probabilities: bool) -> None:
        logits = LOGITS.reshape(10, 100, 7)
        targets = crossent.softmax(logits[::-1]) if probabilities else TARGETS.reshape(10, 100)
        files = save_npy(logits=logits, targets=targets)
        totals(*files, axis=-1, per_sample=Path("out.npy"))
        found = np.load("out.npy")
        expected = crossent.score(logits, targets, axis=-1)
        assert found.shape == (10, 100)
        for name in found.dtype.names:
            np.testing.assert_array_equal(found[name], getattr(expected, name), err_msg=name)
        assert ({"target", "rank"} <= set(found.dtype.names)) is not probabilities
        assert [path.name for path in Path().iterdir() if "partial" in path.name] == []

    def test_parquet(self) -> None:
        pq = pytest.importorskip("pyarrow.parquet")
        totals(*save_npy(logits=LOGITS, targets=TARGETS), per_sample=Path("out.parquet"))
        found = pq.read_table("out.parquet")
        expected = crossent.score(LOGITS, TARGETS)
        np.testing.assert_array_equal(found["row"], np.arange(ROWS))
        np.testing.assert_array_equal(found["loss"], expected.loss)
        np.testing.assert_array_equal(found["rank"], expected.rank)

    def test_another_suffix(self) -> None:
        with pytest.raises(DataError, match=r"out\.csv"):
            totals(*save_npy(logits=LOGITS, targets=TARGETS), per_sample=Path("out.csv"))

    def test_an_error_before_the_first_row_leaves_nothing(self) -> None:
        files = save_npy(logits=LOGITS, targets=np.where(np.arange(ROWS) == 700, 9, TARGETS).astype(np.int8))
        with pytest.raises(DataError, match=r"row 700 of targets\.npy is class 9"):
            totals(*files, per_sample=Path("out.npy"))
        assert sorted(path.name for path in Path().iterdir()) == sorted(files)

    def test_an_error_leaves_what_was_finished(self) -> None:
        files = save_npy(logits=LOGITS.astype("f8"), targets=np.where(np.arange(ROWS) == 700, 9, TARGETS))
        with pytest.raises(Unfinished) as stopped:
            totals(*files, per_sample=Path("out.npy"))
        assert "row 700 of targets.npy is class 9" in str(stopped.value.cause)
        found = np.load("out.npy.partial")
        assert 600 < len(found) == stopped.value.rows <= 700
        np.testing.assert_array_equal(found["loss"], crossent.score(LOGITS.astype("f8"), TARGETS).loss[: len(found)])


class TestShards:
    def save(self, names: list[str]) -> None:
        for name, part in zip(names, np.split(LOGITS, len(names)), strict=True):
            np.save(name, part)
        np.save("labels.npy", TARGETS)

    def test_natural_order(self) -> None:
        self.save([f"logits-{number}.npy" for number in range(20)])
        assert totals("logits-*.npy", "labels.npy") == in_memory()

    def test_a_missing_one_in_the_middle(self) -> None:
        self.save([f"logits-{number}.npy" for number in range(20)])
        Path("logits-9.npy").unlink()
        with pytest.raises(DataError, match=r"between logits-8\.npy and logits-10\.npy"):
            totals("logits-*.npy", "labels.npy")

    def test_a_missing_one_at_the_end(self) -> None:
        self.save([f"logits-{number:05}-of-00020.npy" for number in range(20)])
        assert totals("logits-*.npy", "labels.npy") == in_memory()
        Path("logits-00019-of-00020.npy").unlink()
        with pytest.raises(DataError, match="one of 20 files, but there are 19"):
            totals("logits-*.npy", "labels.npy")

    def test_steps_of_training_are_no_gaps(self) -> None:
        self.save([f"step-{number}.npy" for number in (100, 200, 300, 400)])
        assert totals("step-*.npy", "labels.npy") == in_memory()

    def test_that_do_not_fit_each_other(self) -> None:
        self.save(["logits-0.npy", "logits-1.npy"])
        np.save("logits-1.npy", LOGITS[:, :5])
        with pytest.raises(DataError, match=r"logits-1.npy.*\(1000, 5\).*logits-0.npy"):
            totals("logits-*.npy", "labels.npy")

    def test_none(self) -> None:
        Path("empty").mkdir()
        for spec, words in [("nothing-*.npy", "no file matches"), ("empty", "empty directory")]:
            with pytest.raises(DataError, match=words):
                open_source(spec)

    def test_errors_name_the_file(self) -> None:
        self.save(["logits-0.npy", "logits-1.npy"])
        np.save("labels-0.npy", TARGETS[:600])
        bad = TARGETS[600:].copy()
        bad[3] = 77
        np.save("labels-1.npy", bad)
        assert "row 3 of labels-1.npy is class 77" in cause(["logits-?.npy", "labels-?.npy"])


def cause(files: list[str]) -> str:
    """Score files that can't be, and return the message."""
    with pytest.raises((DataError, Unfinished)) as found:
        score_files(options_of(files), print)
    error = found.value.cause if isinstance(found.value, Unfinished) else found.value
    assert isinstance(error, DataError)
    return str(error)


class TestDamagedFiles:
    @pytest.mark.parametrize(
        "save", [save_npy, save_npz, save_npz_compressed, save_safetensors, save_parquet, save_parquet_of_lists]
    )
    @pytest.mark.parametrize("kept", [0.002, 0.3, 0.9, 0.999])
    def test_cut_short(self, save: Callable[..., list[str]], kept: float) -> None:
        files = save(logits=LOGITS, labels=TARGETS)
        os.truncate(files[0], int(kept * Path(files[0]).stat().st_size))
        assert files[0] in cause(files)

    @pytest.mark.parametrize("save", [save_npz_compressed, save_parquet, save_zarr])
    def test_overwritten_in_the_middle(self, save: Callable[..., list[str]]) -> None:
        """Formats with redundancy notice; the others have none."""
        files = save(logits=LOGITS, labels=TARGETS)
        path = Path(files[0])
        if path.is_dir():
            path = max((entry for entry in path.rglob("*") if entry.is_file()), key=lambda entry: entry.stat().st_size)
        data = bytearray(path.read_bytes())
        middle = len(data) // 3
        data[middle : middle + 200] = bytes(200)
        path.write_bytes(data)
        assert files[0] in cause(files)

    def test_rows_inflated_before_the_damage_showed_are_not_vouched_for(self) -> None:
        """A changed byte of what is stored within the stream inflates to other values; the checksum comes last."""
        files = save_npz_compressed(logits=LOGITS, labels=TARGETS)
        data = bytearray(Path("both.npz").read_bytes())
        data[len(data) // 3] ^= 0xFF
        Path("both.npz").write_bytes(data)
        assert "rows before it may be wrong as well" in cause(files)

    @pytest.mark.parametrize(
        "save", [save_npy, save_npz, save_npz_compressed, save_safetensors, save_parquet, save_zarr, save_shards]
    )
    def test_any_byte_of_the_header(self, save: Callable[..., list[str]]) -> None:
        """Whatever a damaged header says, the answer is a result or a message."""
        files = save(logits=LOGITS[:50], labels=TARGETS[:50])
        path = Path(files[0])
        if path.is_dir():
            path = min((entry for entry in path.rglob("*") if entry.is_file()), key=lambda entry: entry.stat().st_size)
        data = path.read_bytes()
        places = {*range(0, min(len(data), 130), 7), *range(max(0, len(data) - 150), len(data), 11)}
        for place, value in itertools.product(sorted(places), (0, 0x39, 0xFF)):
            path.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
            with contextlib.suppress(DataError, Unfinished):
                score_files(options_of(files), lambda _: None)

    def test_shrinking_while_it_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        files = save_npy(logits=LOGITS, labels=TARGETS)
        preadv = os.preadv

        def shrinking(descriptor: int, buffers: Any, offset: int) -> int:
            if offset > 20_000:
                os.truncate("logits.npy", 24_128)
            return preadv(descriptor, buffers, offset)

        monkeypatch.setattr(os, "preadv", shrinking)
        assert "logits.npy was cut short while it was read: it ends at byte 24128, in row 857" in cause(files)

    def test_a_shard_that_goes_away(self) -> None:
        files = save_shards_of_parquet(logits=LOGITS, labels=TARGETS)
        part = Path("part-7.parquet")
        with pytest.raises(Unfinished) as stopped:
            score_files(options_of(files), print, lambda *_: part.unlink(missing_ok=True))
        assert "part-7.parquet" in str(stopped.value.cause)

    def test_nulls_and_ragged_lists(self) -> None:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        rows = [row.tolist() for row in LOGITS]
        for bad, words in [(None, "row 400 of p.parquet:logits is null"), ([1.0], "row 400 of p.parquet:logits has 1")]:
            changed = [*rows[:400], bad, *rows[401:]]
            pq.write_table(pa.table({"logits": changed, "labels": TARGETS}), "p.parquet")
            assert words in cause(["p.parquet"])
        pq.write_table(pa.table({"logits": rows, "labels": [None, *TARGETS[1:].tolist()]}), "p.parquet")
        assert "row 0 of p.parquet:labels is null" in cause(["p.parquet"])
        pq.write_table(pa.table({"logits": ["a"] * ROWS, "labels": TARGETS}), "p.parquet")
        assert "p.parquet:logits holds string" in cause(["p.parquet"])

    def test_a_missing_chunk_is_told(self) -> None:
        files = save_zarr(logits=LOGITS, labels=TARGETS)
        next(path for path in Path("both.zarr/logits/c").rglob("*") if path.is_file()).unlink()
        advice: list[str] = []
        score_files(options_of(files), advice.append)
        assert advice == ["note: 1 chunks of both.zarr:logits have no file and were read as its fill value"]

    def test_a_member_with_more_than_its_header_says(self) -> None:
        save_npz_compressed(logits=LOGITS, labels=TARGETS)
        with zipfile.ZipFile("both.npz") as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile("both.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data[:-8] if name == "labels.npy" else data)
        assert "labels" in cause(["both.npz"])

    @pytest.mark.parametrize(("module", "extra"), [("pyarrow", "parquet"), ("zarr", "zarr")])
    def test_a_missing_library(self, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
        files = {"parquet": save_parquet, "zarr": save_zarr}[extra](logits=LOGITS, labels=TARGETS)
        for name in [
            name for name in sys.modules if name.startswith(("crossent.files.parquet", "crossent.files.zarr"))
        ]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingLibraryError, match=rf'pip install "crossent\[{extra}\]"'):
            open_source(files[0])


def sparse_npy(path: str, dtype: str, shape: tuple[int, ...]) -> None:
    """Write zeros that take no room on the disk."""
    with Path(path).open("wb") as file:
        header = {"descr": dtype if dtype == "|V2" else np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(dtype).itemsize)


PEAK = (
    "import sys; from crossent.cli import main; code = main(sys.argv[1:]);"
    "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'));"
    "print(peak.split()[1]); sys.exit(code)"
)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
class TestMemory:
    def peak_in_mb(self, *arguments: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, "score", *arguments], capture_output=True, text=True, check=True
        )
        found, peak = done.stdout.splitlines()
        assert json.loads(found)["rows"] > 1
        return int(peak) * 1024 / 1e6

    @pytest.mark.parametrize(
        ("dtype", "classes", "axis"),
        [("f4", 1000, 1), ("f4", 1000, 0), ("f2", 10, 1), ("|V2", 1000, 1), ("f4", 250_000, 1)],
    )
    def test_of_a_file_several_times_larger(self, dtype: str, classes: int, axis: int) -> None:
        rows = 250_000_000 // np.dtype(dtype).itemsize // classes
        rows = min(rows, 1_000_000)
        sparse_npy("logits.npy", dtype, (rows, classes) if axis == 1 else (classes, rows))
        np.save("targets.npy", np.zeros(rows, np.int8))
        options = ["--dtype", "bfloat16"] if dtype == "|V2" else []
        peak = self.peak_in_mb(
            "logits.npy", "targets.npy", "--json", "--axis", str(axis), "--max-memory", "100MB", *options
        )
        assert peak < 100

    @pytest.mark.parametrize("save", [save_npz_compressed, save_parquet, save_zarr])
    @pytest.mark.parametrize("dtype", ["f2", "f4"])
    def test_of_a_compressed_one(self, save: Callable[..., list[str]], dtype: str) -> None:
        """Parts of rows in float16 end in the middle of blocks, those in float32 with them."""
        files = save(logits=np.zeros((120_000, 500), dtype), labels=np.zeros(120_000, np.int64))
        assert self.peak_in_mb(*files, "--json", "--max-memory", "200MB", "--per-sample", "out.npy") < 200

    def test_too_little(self) -> None:
        files = save_npy(logits=LOGITS, labels=TARGETS)
        with pytest.raises(DataError, match="--max-memory"):
            score_files(options_of(files, max_memory=10), print)
