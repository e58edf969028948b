"""No result has changed, on this machine's every instruction set, to the bit."""

import platform

import every_result
from crossent import _core

#: All but x86's baseline have fused multiply-add. When the results change on purpose (a better polynomial, another
#: order of a sum, new cases in every_result.py): see what has changed with ``diff`` of what ``python
#: tests/every_result.py`` prints before and after, put the new digests here, and say so in CHANGELOG.md. That AVX2,
#: AVX-512 and NEON agree is not to be given up.
WITH_FMA = "6b1eb8b322cc67a8b13923c0d2d2bb95cd0f9c45c52faaa7772aef14118996c5"
X86_BASELINE = "ebbb8eb03f204d99d23635744a1dc3b21f3fe8f6ac0b7106de2e1773951db0c9"


def test_the_digest_of_every_result(instruction_set: str) -> None:
    is_x86_baseline = instruction_set == _core.instruction_sets()[-1] and platform.machine() in ("x86_64", "AMD64")
    expected = X86_BASELINE if is_x86_baseline else WITH_FMA
    assert every_result.digest(every_result.checksums()) == expected
