"""One command, one table: cell × (ours, each installed peer, this machine's limits in the same run).

Every number of threads has a process of its own, confined to so many CPUs, with an environment that no library
can misread; in it the contenders of a cell run in turn. See README.md for how to read the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from cells import CELLS, Cell, select
from peers import PEERS
from report import Report, join, table
from worker import usable_cpus, work

# They tell OpenBLAS to take this machine for another one.
SLOWING_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def main() -> int:
    """Run the bench; returns 1 if a result was wrong that nobody knew of."""
    arguments = _parse()
    cells = _cells(arguments)
    if arguments.list:
        print("\n".join(cell.name for cell in cells))
        return 0
    if arguments.worker is not None:
        threads, file = arguments.worker
        report = work(cells, arguments.peers, int(threads), arguments.rounds, arguments.seconds)
        Path(file).write_text(json.dumps(asdict(report)))
        return 0
    report = join([_run_worker(threads) for threads in arguments.threads])
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(asdict(report), indent=1) + "\n")
    for key, value in report.machine.items():
        print(f"{key}: {value}")
    print("versions: " + ", ".join(f"{name} {version}" for name, version in report.versions.items()))
    print(f"times: {arguments.statistic}, microseconds a call; peers: loss / loss and gradient\n")
    print(table(report, arguments.statistic, markdown=arguments.markdown))
    for line in report.surprises:
        print(f"WRONG: {line}", file=sys.stderr)
    return 1 if report.surprises else 0


def _parse() -> argparse.Namespace:
    peers = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", metavar="GLOB", help="only the cells whose name matches, of all there are")
    parser.add_argument("--all", action="store_true", help="all cells, not the default ones")
    parser.add_argument("--quick", action="store_true", help="few cells and rounds: does it work at all?")
    parser.add_argument("--list", action="store_true", help="print the names of the cells and stop")
    parser.add_argument("--peers", type=_names, metavar="LIST", help=f"some of {','.join(peers)}; or none")
    parser.add_argument("--threads", type=_numbers, metavar="LIST", help="such as 2,1 (default: all cores)")
    parser.add_argument("--rounds", type=int, help="rounds of a cell, at least (default 7, quick 3)")
    parser.add_argument("--seconds", type=float, help="seconds of measuring a cell, at least (default 3, quick 0.5)")
    parser.add_argument("--statistic", choices=("minimum", "median"), default="minimum", help="over the rounds")
    parser.add_argument("--json", metavar="FILE", help="also write everything that was measured, in seconds")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cores = len(usable_cpus())
    arguments.threads = arguments.threads or [cores]
    if not all(1 <= threads <= cores for threads in arguments.threads):
        parser.error(f"--threads: this process may use 1 to {cores} CPUs, got {arguments.threads}")
    if arguments.peers is not None and not set(arguments.peers) <= set(peers):
        parser.error(f"--peers: got {arguments.peers}; there are {peers}")
    if not _cells(arguments):
        parser.error(f"--cells: {arguments.cells!r} matches none; --list --all prints the {len(CELLS)} there are")
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 7)
    arguments.seconds = arguments.seconds or (0.5 if arguments.quick else 3.0)
    return arguments


def _cells(arguments: argparse.Namespace) -> list[Cell]:
    return select(arguments.cells, "all" if arguments.all else "quick" if arguments.quick else "default")


def _names(text: str) -> list[str]:
    return [] if text == "none" else text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _run_worker(threads: int) -> Report:
    """Run this command again with so many threads, and return what it measured."""
    environment = {key: value for key, value in os.environ.items() if key not in SLOWING_VARIABLES}
    environment |= {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "NPROC": str(threads),  # the size of XLA's pool
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
        "JAX_PLATFORMS": "cpu",
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", str(threads), str(file)]
        if status := subprocess.run(command, env=environment, check=False).returncode:
            sys.exit(status)  # it has said why
        report = Report.from_json(json.loads(file.read_text()))
    report.machine["unset for this run"] = ", ".join(sorted(set(SLOWING_VARIABLES) & set(os.environ))) or "nothing"
    return report


if __name__ == "__main__":
    sys.exit(main())
