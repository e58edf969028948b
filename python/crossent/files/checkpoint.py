"""Where a run stands, in a file from which it can go on.

Written beside the old one and put into its place, so that there is always a whole one.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import DataError

FORMAT = 1


def replace_file(path: Path, text: str) -> None:
    """Write a file so that whoever reads it finds the old text or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@dataclass(frozen=True)
class Checkpoint:
    """What is known of the rows so far."""

    job: dict[str, Any]
    """Files (their sizes, times of change, shapes) and options: all that the figures depend on."""
    rows: int
    """How many are done, from the first one on."""
    plan: dict[str, int]
    totals: str
    worst: list[dict[str, Any]]
    report: str | None
    first_nan: int | None

    def write(self, path: Path) -> None:
        """Put it into a file."""
        replace_file(path, json.dumps({"crossent_checkpoint": FORMAT} | asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Read it; DataError if the file holds something else."""
        try:
            found = json.loads(path.read_text("utf-8"))
            if found.pop("crossent_checkpoint") != FORMAT:
                raise ValueError("written by another version")
            return cls(**found)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: not a checkpoint of crossent: {error}") from error

    def check(self, path: Path, job: dict[str, Any]) -> None:
        """DataError unless this is a checkpoint of the same job."""
        now = json.loads(json.dumps(job))
        for name in {**self.job, **now}:
            before, found = self.job.get(name), now.get(name)
            if before != found:
                raise DataError(
                    f"{path} is a checkpoint of another run: {name} was {describe(before)} and is {describe(found)}. "
                    "Give the same files and options, or delete it to start again"
                )


def describe(value: Any) -> str:
    """Show a value of a job in a message."""
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:200] + "…"
