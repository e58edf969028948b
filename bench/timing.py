"""Contenders that run in turn: A B C, A B C, …, so that whatever the machine does meanwhile hits all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, TypeAlias

Call: TypeAlias = Callable[[], Any]

# Quick calls are repeated until they fill a turn.
TURN_SECONDS = 4e-3
# What takes less is called once untimed: workers wake up, caches fill.
WARM_UP_SECONDS = 20e-3
# Workers of the one before may still spin for a few milliseconds after their work is done.
PAUSE_SECONDS = 6e-3
# A peer so many times slower than the fastest one has nothing to add, unless its turns cost nothing.
HOPELESS_FACTOR = 4.0
HOPELESS_SECONDS = 50e-3


@dataclass
class Contender:
    """One call that is timed, and its times in seconds a call, one of each round."""

    name: str
    operation: str
    call: Call
    may_rest: bool = False
    seconds: list[float] = field(default_factory=list)
    calls_a_turn: int = 1

    @property
    def minimum(self) -> float:
        """Least time of all rounds."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """Median time of all rounds."""
        return statistics.median(self.seconds)

    def run_first_turn(self) -> None:
        """Find out how many calls fill a turn."""
        time.sleep(PAUSE_SECONDS)
        count = 1
        while (seconds := _time_calls(self.call, count)) * count < TURN_SECONDS / 4:
            count *= 4
        self.seconds.append(seconds)
        self.calls_a_turn = max(1, round(TURN_SECONDS / seconds))

    def run_turn(self) -> None:
        """Time the calls of one turn."""
        time.sleep(PAUSE_SECONDS)
        if self.minimum < WARM_UP_SECONDS:
            self.call()
        self.seconds.append(_time_calls(self.call, self.calls_a_turn))


def measure(contenders: list[Contender], *, rounds: int, seconds: float) -> None:
    """Let the contenders run in turn for at least so many rounds and seconds, without garbage collection.

    A contender that cannot win rests; its first turn remains.
    """
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for contender in contenders:
            contender.run_first_turn()
        done = 1
        while done < rounds or time.perf_counter() - start < seconds:
            for contender in _with_hope(contenders):
                contender.run_turn()
            done += 1
    finally:
        gc.enable()


def _time_calls(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in repeat(None, count):
        call()
    return (time.perf_counter() - start) / count


def _with_hope(contenders: list[Contender]) -> list[Contender]:
    best: dict[str, float] = {}
    for contender in contenders:
        if contender.may_rest:
            best[contender.operation] = min(contender.minimum, best.get(contender.operation, contender.minimum))

    def has_hope(contender: Contender) -> bool:
        seconds = contender.minimum
        return seconds < HOPELESS_SECONDS or seconds <= HOPELESS_FACTOR * best[contender.operation]

    return [contender for contender in contenders if not contender.may_rest or has_hope(contender)]
