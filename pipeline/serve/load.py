"""How busy a server's one thread is."""

from __future__ import annotations

import time
from pathlib import Path

_SCHEDULER = Path("/proc/thread-self/schedstat")


class Load:
    """The share of time in which the thread that asks had something to do: it computed, or waited for a core to.

    Requests that wait in sockets are seen by nobody, so a count of those in work stays low until it is too late; and
    CPU time alone falls on a machine that has too much to do, just when more replicas are wanted.
    """

    def __init__(self) -> None:
        self._before = self._spent()

    def busy(self) -> float:
        """Returns the share since this was asked last, 0 to 1."""
        (work_before, wall_before), (work, wall) = self._before, self._spent()
        self._before = work, wall
        return min(1.0, (work - work_before) / max(wall - wall_before, 1e-9))

    @staticmethod
    def _spent() -> tuple[float, float]:
        """Returns seconds of work so far, and the time."""
        try:
            ran, waited, _ = _SCHEDULER.read_text().split()
        except (OSError, ValueError):
            return time.thread_time(), time.monotonic()
        return (int(ran) + int(waited)) / 1e9, time.monotonic()
