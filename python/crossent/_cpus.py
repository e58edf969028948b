"""How many CPUs this process may use: those it is bound to, and the quota of its control groups.

A container's quota stops all threads of a process for the rest of a period once they have used it up, so a thread more
than the quota allows makes a call slower, not faster. Read once, when the package is imported.
"""

import math
import os
import posixpath
from typing import NamedTuple


class Limit(NamedTuple):
    """A number of threads, and where it comes from."""

    threads: int
    source: str


def default_limit(root: str = "/") -> Limit | None:
    """Return the least of affinity and quota; None where OMP_NUM_THREADS says how many, or the system doesn't."""
    if omp_num_threads() is not None:
        return None
    return min(filter(None, (_affinity(), cgroup_quota(root))), default=None)


def omp_num_threads() -> int | None:
    """Return the number for the outermost level, as OpenMP takes it; None if it isn't set or isn't understood."""
    words = [word.strip().removeprefix("+") for word in os.environ.get("OMP_NUM_THREADS", "").split(",")]
    numbers = [int(word) if word.isascii() and word.isdecimal() else 0 for word in words]
    return numbers[0] if all(0 < number < 2**63 for number in numbers) else None


def _affinity() -> Limit | None:
    if not hasattr(os, "sched_getaffinity"):
        return None
    return Limit(len(os.sched_getaffinity(0)), "CPU affinity")


def cgroup_quota(root: str = "/") -> Limit | None:
    """Return the least quota along the path of this process's control group, in whole CPUs, rounded up.

    ``root`` is the directory that holds ``proc`` and ``sys``. Version 1, version 2 and both at once are understood.
    """
    limits = []
    try:
        mounts = _cpu_mounts(root)
    except ValueError:  # a form that isn't known: no reason to fail
        return None
    for mount in mounts:
        for group in _with_parents(mount.group):
            path = posixpath.join(mount.point, group).rstrip("/")
            directory = f"{root.rstrip('/')}{path}"
            cpus = _quota_v2(directory) if mount.version == 2 else _quota_v1(directory)
            if cpus is not None:
                limits.append(Limit(math.ceil(cpus), f"cgroup quota of {cpus:g} CPUs ({path})"))
    return min(limits, default=None)


class _Mount(NamedTuple):
    """A hierarchy of control groups, and the group of this process below the mount point."""

    version: int
    point: str
    group: str  # relative to it


def _cpu_mounts(root: str) -> list[_Mount]:
    """Return the hierarchies that may limit the use of CPUs."""
    groups = {}  # by version
    for line in _lines(f"{root}/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            groups[2] = path
        elif "cpu" in controllers.split(","):
            groups[1] = path

    mounts = []
    for line in _lines(f"{root}/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        mounted, point = before.split(" ")[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            version = 2
        elif kind == "cgroup" and "cpu" in options.split(","):
            version = 1
        else:
            continue
        if version in groups:
            mounts.append(_Mount(version, point, _below(groups[version], mounted)))
    return mounts


def _below(path: str, mounted: str) -> str:
    """Return a group relative to the one that is mounted: that one, if the path is outside of it."""
    mounted = mounted.rstrip("/")
    is_below = path.startswith(f"{mounted}/") and ".." not in path.split("/")
    return path[len(mounted) :].strip("/") if is_below else ""


def _with_parents(group: str) -> list[str]:
    """Return a/b/c, a/b, a and the empty path."""
    names = group.split("/") if group else []
    return ["/".join(names[:count]) for count in range(len(names), -1, -1)]


def _quota_v2(directory: str) -> float | None:
    quota, _, period = _first_line(f"{directory}/cpu.max").partition(" ")
    return _ratio(quota, period or "100000")


def _quota_v1(directory: str) -> float | None:
    return _ratio(_first_line(f"{directory}/cpu.cfs_quota_us"), _first_line(f"{directory}/cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """Return None for anything but two positive numbers: "max", -1, no such file."""
    if not (quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0):
        return None
    return int(quota) / int(period)


def _first_line(path: str) -> str:
    return next(iter(_lines(path)), "")


def _lines(path: str) -> list[str]:
    """Return the lines of a file; none if it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
