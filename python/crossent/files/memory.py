"""Amounts of memory: how they are written, and what this process takes."""

import re
from fractions import Fraction
from pathlib import Path

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(text: str) -> int:
    """Return the number of bytes that a text such as ``512MB``, ``1.5 GiB`` or ``200000000`` names.

    Examples
    --------
    >>> parse_bytes("512MB"), parse_bytes("1GiB")
    (512000000, 1073741824)
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if found is None or found[2] not in UNITS:
        raise ValueError(f"not an amount of memory such as 512MB or 1GiB: {text!r}")
    return int(Fraction(found[1]) * UNITS[found[2]])


def resident_bytes() -> int:
    """Return the memory that this process takes now; a guess where the system doesn't tell."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
        return int(re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[0]) * 1024
    except (OSError, IndexError):
        return 100 * 2**20
