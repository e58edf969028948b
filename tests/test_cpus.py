"""The default number of threads: affinity and control groups, read from a directory that stands for the system's."""

import os
import subprocess
import sys
from pathlib import Path

import crossent
import pytest
from crossent import _cpus

V1 = "31 23 0:28 {mounted} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "29 23 0:26 {mounted} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
OTHERS = "24 1 8:1 / / rw - ext4 /dev/sda1 rw\n32 31 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"


def system(root: Path, *, version: int, path: str, mounted: str = "/", files: dict[str, str]) -> str:
    """Write what ``/proc`` and ``/sys`` hold; the keys of ``files`` are below the mount point."""
    process = root / "proc/self"
    process.mkdir(parents=True)
    controllers = "cpu,cpuacct" if version == 1 else ""
    process.joinpath("cgroup").write_text(f"12:cpuset:/elsewhere\n{2 - version}:{controllers}:{path}\n")
    process.joinpath("mountinfo").write_text(OTHERS + {1: V1, 2: V2}[version].format(mounted=mounted))
    mount = root / ("sys/fs/cgroup/cpu,cpuacct" if version == 1 else "sys/fs/cgroup")
    for name, text in files.items():
        file = mount / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return str(root)


class TestVersion2:
    @pytest.mark.parametrize(
        ("text", "threads"),
        [
            ("200000 100000", 2),
            ("150000 100000", 2),  # rounded up
            ("100001 100000", 2),
            ("1000 100000", 1),
            ("50000", 1),  # the period is 100 ms unless it says otherwise
            ("6400000 50000", 128),
            ("max 100000", None),
            ("max", None),
            ("0 100000", None),
            ("100000 0", None),
            ("-1", None),
            ("nonsense", None),
            ("", None),
        ],
    )
    def test_quota(self, tmp_path: Path, text: str, threads: int | None) -> None:
        root = system(tmp_path, version=2, path="/a", files={"a/cpu.max": text})
        limit = _cpus.cgroup_quota(root)
        assert (limit and limit.threads) == threads

    @pytest.mark.parametrize(
        ("files", "threads", "where"),
        [
            ({"a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"}, 3, "/sys/fs/cgroup/a"),
            ({"a/b/cpu.max": "200000 100000", "a/cpu.max": "300000 100000"}, 2, "/sys/fs/cgroup/a/b"),
            ({"a/b/cpu.max": "max 100000", "a/cpu.max": "max 100000", "cpu.max": "400000 100000"}, 4, "/sys/fs/cgroup"),
            ({"a/b/c/cpu.max": "100000 100000", "d/cpu.max": "100000 100000", "cpu.max": "500000 100000"}, 5, "cgroup"),
        ],
    )
    def test_the_least_along_the_path(self, tmp_path: Path, files: dict[str, str], threads: int, where: str) -> None:
        limit = _cpus.cgroup_quota(system(tmp_path, version=2, path="/a/b", files=files))
        assert limit is not None
        assert limit.threads == threads
        assert limit.source.endswith(f"{where})")


class TestVersion1:
    @pytest.mark.parametrize(
        ("quota", "period", "threads"), [("250000", "100000", 3), ("-1", "100000", None), ("50000", "", None)]
    )
    def test_quota(self, tmp_path: Path, quota: str, period: str, threads: int | None) -> None:
        files = {"a/cpu.cfs_quota_us": quota, "a/cpu.cfs_period_us": period, "cpu.cfs_quota_us": "-1"}
        limit = _cpus.cgroup_quota(system(tmp_path, version=1, path="/a", files=files))
        assert (limit and limit.threads) == threads

    def test_the_least_along_the_path(self, tmp_path: Path) -> None:
        files = {"a/b/cpu.cfs_quota_us": "400000", "a/b/cpu.cfs_period_us": "100000"}
        files |= {"a/cpu.cfs_quota_us": "75000", "a/cpu.cfs_period_us": "50000"}
        limit = _cpus.cgroup_quota(system(tmp_path, version=1, path="/a/b", files=files))
        assert limit == (2, "cgroup quota of 1.5 CPUs (/sys/fs/cgroup/cpu,cpuacct/a)")


class TestContainers:
    """What ``/proc/self/cgroup`` names may not be what is mounted."""

    @pytest.mark.parametrize("version", [1, 2])
    @pytest.mark.parametrize(
        ("path", "mounted"), [("/docker/abc", "/docker/abc"), ("/docker/abc", "/docker/xyz"), ("/../../up", "/")]
    )
    def test_the_mounted_group_is_the_outermost(self, tmp_path: Path, version: int, path: str, mounted: str) -> None:
        v1 = {"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"}
        files = v1 if version == 1 else {"cpu.max": "300000 100000"}
        root = system(tmp_path, version=version, path=path, mounted=mounted, files=files)
        limit = _cpus.cgroup_quota(root)
        assert limit is not None
        assert limit.threads == 3

    def test_both_versions_at_once(self, tmp_path: Path) -> None:
        """A hybrid system: version 2 without the CPU controller, version 1 with it."""
        files = {"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"}
        root = system(tmp_path, version=1, path="/", files=files)
        for name, text in [("cgroup", "0::/user.slice\n"), ("mountinfo", V2.format(mounted="/"))]:
            with (tmp_path / "proc/self" / name).open("a") as file:
                file.write(text)
        assert _cpus.cgroup_quota(root) == (1, "cgroup quota of 1 CPUs (/sys/fs/cgroup/cpu,cpuacct)")


class TestUnknownSystems:
    def test_no_files(self, tmp_path: Path) -> None:
        assert _cpus.cgroup_quota(str(tmp_path)) is None

    @pytest.mark.parametrize("name", ["cgroup", "mountinfo"])
    @pytest.mark.parametrize("text", ["", "\n", "0:\n", "a b c - d\n", "\xff"])
    def test_unknown_forms(self, tmp_path: Path, name: str, text: str) -> None:
        root = system(tmp_path, version=2, path="/", files={"cpu.max": "100000 100000"})
        (tmp_path / "proc/self" / name).write_text(text, encoding="latin-1")
        assert _cpus.cgroup_quota(root) is None


class TestDefault:
    @pytest.fixture(autouse=True)
    def no_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)

    def test_the_least(self, tmp_path: Path) -> None:
        assert _cpus.default_limit(str(tmp_path)) == (8, "CPU affinity")
        root = system(tmp_path, version=2, path="/", files={"cpu.max": "200000 100000"})
        assert _cpus.default_limit(root) == (2, "cgroup quota of 2 CPUs (/sys/fs/cgroup)")
        (tmp_path / "sys/fs/cgroup/cpu.max").write_text("900000 100000")
        assert _cpus.default_limit(root) == (8, "CPU affinity")

    @pytest.mark.parametrize("text", ["3", " 4,2", "+5"])
    def test_omp_num_threads(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert _cpus.default_limit(str(tmp_path)) is None

    @pytest.mark.parametrize("text", ["", "0", "-1", "a", "1_0", "0x2", "9" * 19, "4,", "4,0", "4,a", "٣"])
    def test_what_openmp_refuses(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        root = system(tmp_path, version=2, path="/", files={"cpu.max": "200000 100000"})
        assert _cpus.default_limit(root) == (2, "cgroup quota of 2 CPUs (/sys/fs/cgroup)")


SHOW = """
import os
{before}
import crossent
{after}
config = crossent.show_config()
print(config["threads"], config["threads_from"], sep=":")
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux's affinity")
@pytest.mark.skipif(crossent.show_config()["openmp"] is None, reason="a serial build has one thread")
@pytest.mark.parametrize(
    ("before", "after", "variables", "expected"),
    [
        ("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})", "", {}, "1:CPU affinity"),
        ("", "crossent.set_num_threads(1)", {}, "1:set_num_threads"),
        ("", "", {"OMP_NUM_THREADS": "3"}, "3:OMP_NUM_THREADS"),
        ("", "crossent.set_num_threads(3)", {"OMP_NUM_THREADS": "3"}, "3:set_num_threads"),
        ("", "crossent.set_num_threads(9)", {"OMP_NUM_THREADS": "3"}, "3:OMP_NUM_THREADS"),
    ],
)
def test_show_config(
    python_environment: dict[str, str], before: str, after: str, variables: dict[str, str], expected: str
) -> None:
    program = SHOW.format(before=before, after=after)
    environment = python_environment | variables
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
