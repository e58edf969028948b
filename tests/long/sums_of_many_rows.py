"""For the record: `mean` and `sum` of 2^28 rows, on each instruction set, are as right as float64 can be.

Four rows over and over, without their memory, so that what they add up to is known.
"""

import itertools
import math
import time

import crossent
import numpy as np
from crossent import _core

TIMES = 2**26
LOGITS = np.array([[1.5, -2.25], [0.3, 0.7], [-5, 1.1], [9, 0]])
TARGET = np.array([0, 1, 0, 0], np.int8)


def main() -> None:
    """Compare with the sum of the four rows' own losses, and stop at the first that is off by more than 2e-16."""
    for instruction_set, kind in itertools.product(_core.instruction_sets(), (np.float32, np.float64)):
        _core.set_instruction_set(instruction_set)
        logits = LOGITS.astype(kind)
        many, target = np.broadcast_to(logits, (TIMES, *LOGITS.shape)), np.broadcast_to(TARGET, (TIMES, 4))
        rows = [crossent.cross_entropy(*row, reduction="sum") for row in zip(logits, TARGET, strict=True)]
        start = time.perf_counter()
        mean = crossent.cross_entropy(many, target, axis=-1)
        total = crossent.cross_entropy(many, target, axis=-1, reduction="sum")
        seconds = time.perf_counter() - start
        errors = [abs(mean / (math.fsum(rows) / 4) - 1), abs(total / (TIMES * math.fsum(rows)) - 1)]
        print(
            f"{instruction_set}, {kind.__name__}: relative errors {errors[0]:.1e}, {errors[1]:.1e} in {seconds:.0f} s"
        )
        assert max(errors) <= 2e-16 + 1e-17, errors


if __name__ == "__main__":
    main()
