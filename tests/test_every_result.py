"""No result has changed, on this machine's every instruction set, to the bit."""

import platform

import every_result
from crossent import _core

#: All but x86's baseline have fused multiply-add. When the results change on purpose (a better polynomial, another
#: order of a sum, new cases in every_result.py): see what has changed with ``diff`` of what ``python
#: tests/every_result.py`` prints before and after, put the new digests here, and say so in CHANGELOG.md. That AVX2,
#: AVX-512 and NEON agree is not to be given up.
WITH_FMA = "9ad7d9b52f186ce10b6875a320193ffb07429dc1736c3ea651152cfadb44dbb0"
X86_BASELINE = "7d7243f4d0c6852b4cf6fd485a8c461686e9d6ccac797f120612a370b3ac5a28"


def test_the_digest_of_every_result(instruction_set: str) -> None:
    is_x86_baseline = instruction_set == _core.instruction_sets()[-1] and platform.machine() in ("x86_64", "AMD64")
    expected = X86_BASELINE if is_x86_baseline else WITH_FMA
    assert every_result.digest(every_result.checksums()) == expected

