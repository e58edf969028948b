"""``Totals`` as text: exact, with a version and a checksum."""

import hashlib
import json
import re
from dataclasses import astuple, fields
from fractions import Fraction
from typing import Any

import numpy as np

from ._counts import Counts
from ._exact_sum import ExactSum
from ._sums import Sums

FORMAT, VERSION = "crossent totals", 1
_CHECKSUM = "sha256"
_DYADIC = re.compile(r"(-?0x[0-9a-f]+)p-([0-9]{1,4})")


def dumps(settings: dict[str, Any], sums: Sums) -> str:
    """Return settings and sums as one line of JSON."""
    encoded = {field.name: _encode(getattr(sums, field.name)) for field in fields(Sums)}
    body = {"format": FORMAT, "version": VERSION, **settings, "sums": encoded}
    return json.dumps(body | {_CHECKSUM: _checksum(body)})


def loads(text: str | bytes) -> tuple[dict[str, Any], Sums]:
    """Return the settings and the sums that ``dumps`` was given, or raise a ``ValueError`` that says what is there."""
    try:
        body = json.loads(text)
    except ValueError as error:
        raise ValueError(f"this is no JSON of {FORMAT}: {error}; it begins {text[:40]!r}") from None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        found = f"an object with format {body.get('format')!r}" if isinstance(body, dict) else type(body).__name__
        raise ValueError(f"this is no JSON of {FORMAT}, but {found}")
    if body.get("version") != VERSION:
        raise ValueError(f"{FORMAT} of version {body.get('version')!r} can't be read: this crossent knows {VERSION}")
    stated = body.pop(_CHECKSUM, None)
    if stated != (found := _checksum(body)):
        raise ValueError(f"these {FORMAT} are damaged: their {_CHECKSUM} is {found}, but they say {stated!r}")
    settings = {name: body[name] for name in ("classes", "top_k", "bins", "targets")}
    settings["top_k"] = tuple(settings["top_k"])
    default = Sums()
    values = {field.name: _decode(body["sums"][field.name], getattr(default, field.name)) for field in fields(Sums)}
    return settings, Sums(**values)


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _encode(value: Any) -> Any:
    if isinstance(value, Fraction):
        return f"{value.numerator:#x}p-{value.denominator.bit_length() - 1}"
    if isinstance(value, Counts):
        return [value.numbers.tolist(), value.counts.tolist()]
    if isinstance(value, ExactSum):
        return [_encode(part) for part in astuple(value)]
    return [_encode(part) for part in value] if isinstance(value, tuple) else value


def _decode(value: Any, like: Any) -> Any:
    """Return a value of the type of ``like``."""
    if isinstance(like, Fraction):
        numerator, places = re.fullmatch(_DYADIC, value).groups()  # type: ignore[union-attr]
        return Fraction(int(numerator, 16), 2 ** int(places))
    if isinstance(like, Counts):
        return Counts(*(np.array(part, np.int64) for part in value))
    if isinstance(like, ExactSum):
        return ExactSum(_decode(value[0], Fraction(0)), *value[1:])
    return tuple(_decode(part, Fraction(0)) for part in value) if isinstance(like, tuple) else value
