"""Calls made up at random against the oracle: case n of ``tests/fuzzed.py`` for n from FIRST on, in worker processes.

``python tests/long/fuzz.py --first 0 --count 1000000 --processes 2``. Every case is its number alone, so a run can be
continued, shared out, or one case repeated with ``--first N --count 1``. Each process goes through the instruction
sets of the CPU in turn, one a thousand cases.
"""

import argparse
import collections
import concurrent.futures
import sys
import time
import traceback
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

import fuzzed
from crossent import _core

BLOCK = 1000


def run_block(first: int, count: int) -> tuple[dict[str, int], list[str]]:
    """Run cases first … first + count - 1; return how many there were of each kind, and what went wrong."""
    kinds: dict[str, int] = collections.Counter()
    failures = []
    sets = _core.instruction_sets()
    for number in range(first, first + count):
        _core.set_instruction_set(sets[number // BLOCK % len(sets)])
        try:
            kinds[fuzzed.try_call(Random(number))] += 1
        except Exception:
            failures.append(f"case {number}, {_core.get_instruction_set()}:\n{traceback.format_exc()}")
    return kinds, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no block after this time")
    options = parser.parse_args()
    end, started = options.first + options.count, time.monotonic()
    kinds: dict[str, int] = collections.Counter()
    failures: list[str] = []
    with concurrent.futures.ProcessPoolExecutor(options.processes) as pool:
        pending: set[concurrent.futures.Future[tuple[dict[str, int], list[str]]]] = set()
        following = options.first
        while pending or (following < end and time.monotonic() - started < options.seconds):
            while len(pending) < 2 * options.processes and following < end:
                pending.add(pool.submit(run_block, following, min(BLOCK, end - following)))
                following += BLOCK
            done, pending = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                some, wrong = future.result()
                for kind, count in some.items():
                    kinds[kind] += count
                failures += wrong
                for text in wrong:
                    print(text, flush=True)
            if time.monotonic() - started >= options.seconds:
                following = end
    print(f"{sum(kinds.values())} cases from {options.first} on, {len(failures)} failures: {dict(kinds)}")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
