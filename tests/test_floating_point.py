"""Rounding modes and flushing of denormals that others have set change no bit of ours; nor do we change theirs."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="reads MXCSR from glibc's fenv_t"
)

PROGRAM = """
import ctypes, ctypes.util, hashlib, sys
import ml_dtypes, numpy as np, crossent

libm = ctypes.CDLL(ctypes.util.find_library("m"))
UPWARD, DOWNWARD, TOWARD_ZERO = 0x4000, 0x2000, 0x6000  # in MXCSR
FLUSH, TRAPS_OFF, FLAGS, INEXACT = 0x8040, 0x1F80, 0x1F, 0x20
CONTROLS = [TRAPS_OFF | FLUSH, *(TRAPS_OFF | mode for mode in (UPWARD, DOWNWARD, TOWARD_ZERO, UPWARD | FLUSH))]

class Environment(ctypes.Structure):
    _fields_ = [("x87", ctypes.c_uint32 * 7), ("mxcsr", ctypes.c_uint32)]

def get():
    environment = Environment()
    libm.fegetenv(ctypes.byref(environment))
    return environment

def put(mxcsr):
    environment = get()
    environment.mxcsr = mxcsr
    libm.fesetenv(ctypes.byref(environment))

def inputs():
    random = np.random.default_rng(0)
    for dtype in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16):
        for shape in [(5, 7), (3000, 100), (2, 200_000)]:
            x = (random.normal(size=shape) * 30).astype(dtype)
            x[:, 1] = np.finfo(np.float16).tiny / 8  # a denormal, as a float16
            x[0, 2] = -np.inf
            y = random.integers(shape[1], size=shape[0])
            yield x, y, random.uniform(1e-310, 1, size=shape[1]), random.dirichlet(np.ones(shape[1]), shape[0])

def calls(x, y, weight, probabilities):
    scale = 2e-39  # denormal gradients of float32
    yield True, lambda: crossent.cross_entropy(x, y)
    yield True, lambda: crossent.cross_entropy_with_grad(x, y)
    yield False, lambda: crossent.cross_entropy_with_grad(x, y, grad_output=scale, weight=weight, label_smoothing=0.1)
    yield False, lambda: crossent.cross_entropy_with_grad(x, probabilities, reduction="sum", weight=weight)
    yield False, lambda: crossent.cross_entropy(x, y, reduction="none")
    yield False, lambda: (crossent.softmax(x), crossent.log_softmax(x), crossent.logsumexp(x))
    binary = crossent.binary_cross_entropy_with_logits_with_grad
    yield False, lambda: binary(x, probabilities, weight, grad_output=1 / 3)

cases = list(inputs())  # in the default environment: how they are made is not what is tested

def digest(mxcsr):
    total = hashlib.sha256()
    for case in cases:
        for is_plain, call in calls(*case):
            put(mxcsr)
            result = call()
            after = get().mxcsr
            put(TRAPS_OFF)
            # NumPy's own functions clear the flags, so they are looked at where only the core computes.
            looked_at = ~0 if case[0].dtype.char in "fd" and is_plain else ~FLAGS & ~INEXACT
            assert after & looked_at == mxcsr & looked_at, (hex(mxcsr), hex(after))
            for part in result if isinstance(result, tuple) else (result,):
                total.update(np.asarray(part).tobytes())
    return total.hexdigest()

def start_pool(mxcsr):
    put(mxcsr)
    crossent.softmax(np.zeros((3000, 100)))
    put(TRAPS_OFF)

start_pool(eval(sys.argv[1]))
print(digest(TRAPS_OFF))
for control in CONTROLS:
    print(digest(control))
print(digest(TRAPS_OFF | FLAGS))
"""


def test_environments(python_environment: dict[str, str]) -> None:
    """Set before the call and before the threads were started; flags raised and lowered come back as they were."""
    digests = []
    for start in ("TRAPS_OFF", "TRAPS_OFF | FLUSH | UPWARD"):
        command = [sys.executable, "-c", PROGRAM, start]
        environment = python_environment | {"OMP_NUM_THREADS": "3"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digests += done.stdout.split()
    assert len(digests) == 14
    assert len(set(digests)) == 1
