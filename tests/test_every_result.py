"""No result has changed, on this machine's every instruction set, to the bit."""

import platform

import cases
import every_result
import numpy as np
from crossent import _core

#: All but x86's baseline have fused multiply-add. When the results change on purpose (a better polynomial, another
#: order of a sum, new cases in every_result.py): see what has changed with ``diff`` of what ``python
#: tests/every_result.py`` prints before and after, put the new digests here, and say so in CHANGELOG.md, once
#: there has been a release. That AVX2, AVX-512 and NEON agree is not to be given up.
WITH_FMA = "4ffb49c5f5de592d1ad8e1a545fd0fd8a6cd218e2e1c047986870e148c94c78c"
X86_BASELINE = "596309e852e60460ffa513b3cdf053d69b2e47f974ec07140d25570524949c7a"


def test_the_digest_of_every_result(instruction_set: str) -> None:
    is_x86_baseline = instruction_set == _core.instruction_sets()[-1] and platform.machine() in ("x86_64", "AMD64")
    expected = X86_BASELINE if is_x86_baseline else WITH_FMA
    assert every_result.digest(every_result.checksums()) == expected


def test_no_layout_changes_a_result(instruction_set: str, dtype: cases.Tolerance) -> None:
    """Down to the signs of zeros and nan, for factors that are special, vast or tiny."""
    with np.errstate(all="ignore"):
        results = {
            layout: [
                [cases.bits(part) for part in numbers]
                for _, numbers in every_result.awkward_factors(dtype.dtype, arrange)
            ]
            for layout, arrange in every_result.LAYOUTS.items()
        }
    assert results["columns"] == results["rows"]
    assert results["gathered"] == results["rows"]
