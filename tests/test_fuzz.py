"""Calls that hypothesis makes up, good and bad, against the oracle; ``tests/long/fuzz.py`` runs a million of them."""

from random import Random

import fuzzed
from hypothesis import given
from hypothesis import strategies as st


@given(st.randoms(use_true_random=False))
def test_shrinkable(random: Random) -> None:
    fuzzed.try_call(random)


def test_by_number(instruction_set: str) -> None:
    for number in range(500):
        try:
            fuzzed.try_call(Random(number))
        except AssertionError as error:
            raise AssertionError(f"case {number}: {error}") from error
