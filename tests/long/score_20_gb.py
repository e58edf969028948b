"""Score 20 GB of float16 logits within ``--max-memory``: the figures are right, the peak of memory stays below it.

The file is sparse: zeros that take no room on the disk but are read like any others. Every loss is log(classes).
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CLASSES, GIGABYTES, LIMIT_MB = 1000, 20, 200
PROGRAM = (
    "import sys; from crossent.cli import main; code = main(sys.argv[1:]);"
    "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'));"
    "print(peak.split()[1]); sys.exit(code)"
)

with tempfile.TemporaryDirectory() as directory:
    rows = GIGABYTES * 10**9 // (2 * CLASSES)
    logits, targets = Path(directory, "logits.npy"), Path(directory, "targets.npy")
    with logits.open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (rows, CLASSES)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + GIGABYTES * 10**9)
    np.save(targets, np.arange(rows, dtype=np.int64) % CLASSES)
    started = time.monotonic()
    command = ["score", str(logits), str(targets), "--json", "--max-memory", f"{LIMIT_MB}MB"]
    shown = subprocess.run([sys.executable, "-c", PROGRAM, *command], stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.monotonic() - started
found, peak = shown.stdout.splitlines()
figures, peak_mb = json.loads(found), int(peak) * 1024 / 1e6
rate = GIGABYTES / seconds
print(f"{figures['rows']:,} rows in {seconds:.0f} s, {rate:.2f} GB/s; peak {peak_mb:.0f} MB of {LIMIT_MB}")
assert figures["rows"] == rows
assert math.isclose(figures["mean_loss"], math.log(CLASSES), rel_tol=1e-6)
assert abs(figures["accuracy"] - 1 / CLASSES) < 1e-12
assert peak_mb < LIMIT_MB
