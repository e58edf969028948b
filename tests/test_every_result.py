"""No result has changed, on this machine's every instruction set, to the bit."""

import platform

import every_result
from crossent import _core

#: All but x86's baseline have fused multiply-add. When the results change on purpose (a better polynomial, another
#: order of a sum, new cases in every_result.py): see what has changed with ``diff`` of what ``python
#: tests/every_result.py`` prints before and after, put the new digests here, and say so in CHANGELOG.md. That AVX2,
#: AVX-512 and NEON agree is not to be given up.
WITH_FMA = "88e77fa9e9b3e65fd4725f4b916ff4702ba02d2f97a39b54f3ad5b4318ce3962"
X86_BASELINE = "4f524d24b6c1fc9861386f1ca625e4cd519c2bc0558bf6aaa5a3d541e2460e27"


def test_the_digest_of_every_result(instruction_set: str) -> None:
    is_x86_baseline = instruction_set == _core.instruction_sets()[-1] and platform.machine() in ("x86_64", "AMD64")
    expected = X86_BASELINE if is_x86_baseline else WITH_FMA
    assert every_result.digest(every_result.checksums()) == expected
