"""What one process of a step took of the machine: wall time, and CPU time of itself and the processes it started."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.core.artifacts import HOST


@dataclass(frozen=True)
class Spent:
    """One process of one step.

    Attributes:
        began: ISO time, UTC.
        cpu_seconds: user and system time since the process began, its ended children included.
        cores: how many of the machine's it may use.
        end: `done`; `cached`, an artifact with its key existed; or `failed`.
    """

    step: str
    began: str
    wall_seconds: float
    cpu_seconds: float
    cores: int
    host: str
    end: str


@dataclass
class Watch:
    """What is still to be said while it runs."""

    end: str = "failed"


@contextmanager
def stopwatch(step: str, note: Callable[[Spent], None]) -> Iterator[Watch]:
    """Hands over what the block took, however it ends; a full disk must not turn a step that is done into a failure."""
    began, at, watch = datetime.now(UTC).isoformat(), time.monotonic(), Watch()
    try:
        yield watch
    finally:
        # A process killed outright says nothing: what it took is missing from the night's account.
        spent = sum(os.times()[:4])
        wall = time.monotonic() - at
        with suppress(OSError):
            note(Spent(step, began, round(wall, 3), round(spent, 3), cores(), HOST, watch.end))


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
