"""One writer at a time on one machine; a lock dies with its holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import BusyError

CHAMPION_HELD = "A promotion, review, rollback, reconcile or collection of bundles"
"""What may hold the lock of the champion, for the sentence the next one gets."""


@contextmanager
def only_one(path: Path, doing: str, holder: str = "") -> Iterator[None]:
    """Holds a file lock while the block runs.

    Args:
        doing: what the holder does, for the sentence the second one gets.
        holder: who it is, for the same sentence; the process where not said.

    Raises: BusyError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = file.read().strip() or "process unknown"
            raise BusyError(f"{doing} is already under way ({other}); wait for it to end or stop it.") from None
        file.truncate(0)
        file.write(f"{holder}, process {os.getpid()}" if holder else f"process {os.getpid()}")
        file.flush()
        yield


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Waits for a file lock and holds it while the block runs; for blocks of milliseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
