"""Peak memory beyond the result: O(positions) and 1 MiB a thread, whatever the layout, so nothing is ever copied.

Measured by the kernel as the growth of resident memory in a fresh process; arrays of 34 MiB are beyond what malloc
keeps for reuse, so that a copy of one can't hide.
"""

import json
import subprocess
import sys
from pathlib import Path

import cases
import pytest
from crossent import _core

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's memory accounting")

MEASURE = """
import json, sys
from pathlib import Path
import cases, crossent, numpy as np

dtype = cases.DTYPES[sys.argv[1]].dtype
threads = 2
crossent.set_num_threads(threads)
elements = 34 * 2**20 // dtype.itemsize


def status(field):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def growth(function):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    result = function()
    return status("VmHWM") - before


def made(shape):
    return np.ones(shape, dtype)


side = 64
pixels = elements // (side * side * 16)
layouts = {
    "rows": (made((elements // 1000, 1000)), 1),
    "few classes": (made((elements // 10, 10)), 1),
    "one row": (made((1, elements)), 1),
    "shifted view": (made((elements // 100_000, 100, 1000))[:, :-1], -1),
    "reversed rows": (made((elements // 1000, 1000))[::-1], 1),
    "class by class": (made((1000, elements // 1000)).T, 1),
    "every second class": (made((elements // 1000, 1000))[:, ::2], 1),
    "(N, C, H, W)": (made((16, pixels, side, side)), 1),
    "cropped (N, C, H, W)": (made((16, pixels, side, side))[:, :, 1:-1, 1:-1], 1),
    "channels last": (made((16, side, side, pixels)).transpose(0, 3, 1, 2), 1),
    "class axis first": (made((20, elements // 20)), 0),
    "broadcast row": (np.broadcast_to(made(1000), (elements // 1000, 1000)), 1),
}
result = {}
for name, (x, axis) in layouts.items():
    positions = tuple(np.delete(x.shape, axis))
    allowed = 24 * int(np.prod(positions)) + threads * 2**20 + 2**20  # the last one for the interpreter
    target = np.zeros(positions, np.int64)
    out = np.ones_like(x) if 0 not in x.strides else np.ones(x.shape, dtype)
    classes = x.shape[axis]
    weight = np.ones(classes)
    chosen = {"axis": axis, "weight": weight, "label_smoothing": 0.1}
    allowed += 3 * weight.nbytes if classes > 10_000 else 0
    calls = {
        "loss": (lambda: crossent.cross_entropy(x, target, axis=axis), 0),
        "weights and smoothing": (lambda: crossent.cross_entropy(x, target, **chosen), 0),
        "losses": (lambda: crossent.cross_entropy(x, target, axis=axis, reduction="none"), 8 * target.size),
        "probabilities": (lambda: crossent.cross_entropy(x, out, axis=axis), 0),
        "nll_loss": (lambda: crossent.nll_loss(x, target, axis=axis), 0),
        "logsumexp": (lambda: crossent.logsumexp(x, axis=axis), 8 * target.size),
        "gradient": (lambda: crossent.cross_entropy_with_grad(x, target, axis=axis), x.size * x.itemsize),
        "gradient into out": (lambda: crossent.cross_entropy_with_grad(x, target, axis=axis, out=out), 0),
        "softmax into out": (lambda: crossent.softmax(x, axis=axis, out=out), 0),
        "binary loss": (lambda: crossent.binary_cross_entropy_with_logits(x, out), 0),
        "binary gradient into out":
            (lambda: crossent.binary_cross_entropy_with_logits_with_grad(x, 1, weight=0.5, out=out), 0),
    }
    if 0 not in x.strides:
        calls["gradient in place"] = (lambda: crossent.cross_entropy_with_grad(x, target, axis=axis, out=x), 0)
    for call, (function, own) in calls.items():
        result[f"{call}, {name}"] = (growth(function), own + allowed)
    del x, out, calls
    layouts[name] = None
print(json.dumps(result))
"""


@pytest.mark.parametrize("name", cases.DTYPES)
def test_peak(name: str, python_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, name], env=python_environment, capture_output=True, text=True, check=True
    )
    measured = json.loads(done.stdout)
    assert len(measured) > 100
    excess = {
        case: f"{grown / 2**20:.1f} MiB where {allowed / 2**20:.1f} are allowed"
        for case, (grown, allowed) in measured.items()
        if grown > allowed
    }
    assert not excess


def test_a_copy_would_be_seen(python_environment: dict[str, str]) -> None:
    """The measurement itself: the strided values of a byte-swapped array have to be converted, which takes a copy."""
    program = MEASURE[: MEASURE.index("side = ")] + (
        "x = np.ones((elements // 1000, 1000), '>f4')\n"
        "print(growth(lambda: crossent.cross_entropy(x, np.zeros(len(x), int))) / x.nbytes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "float32"], env=python_environment, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) > 0.9


LARGE = (
    MEASURE[: MEASURE.index("side = ")]
    + """
rows = 4096 // np.dtype(sys.argv[1]).itemsize
x, out = made((rows, 128_256)), made((rows, 128_256))
target = np.zeros(rows, np.int64)
result = {
    "loss": growth(lambda: crossent.cross_entropy(x, target)),
    "gradient into out": growth(lambda: crossent.cross_entropy_with_grad(x, target, out=out)),
    "gradient in place": growth(lambda: crossent.cross_entropy_with_grad(x, target, out=x)),
}
del out
before = status("VmRSS")
result["gradient"] = growth(lambda: crossent.cross_entropy_with_grad(x, target)) - x.nbytes
result["next gradient"] = growth(lambda: crossent.cross_entropy_with_grad(x, target))  # where the last one was
result["kept"] = status("VmRSS") - before
released = crossent.release_memory()
result["not given back"] = status("VmRSS") - before
print(json.dumps([result, released, x.nbytes]))
"""
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_peak_of_a_large_vocabulary(dtype: str, python_environment: dict[str, str]) -> None:
    """1024 × 128,256, or half of it in float64: nothing but the result, whose memory is kept and given back."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE, dtype], env=python_environment, capture_output=True, text=True, check=True
    )
    grown, released, gradient_bytes = json.loads(done.stdout)
    allowed = 24 * 1024 + 2 * 2**20 + 2**20  # rows, two threads, the interpreter
    kept = grown.pop("kept")
    assert gradient_bytes <= released <= _core.kept_memory_limit
    assert kept <= _core.kept_memory_limit + allowed
    assert {call: bytes_ for call, bytes_ in grown.items() if bytes_ > allowed} == {}
