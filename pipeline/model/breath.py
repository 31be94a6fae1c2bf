"""Long work beside a server's event loop, done so that requests do not wait for it.

One interpreter runs one thread at a time. Whoever prepares the next bundle beside the one that is served breathes
between small pieces of work; everybody else does the same work without a pause.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

PAUSE_SECONDS, MOST_SECONDS = 0.002, 5.0
"""Between two pieces, and of all pauses in one sequence: a server busy for half of the time stays below two thirds, and
a million items are still loaded well before a promotion stops waiting for its servers."""
ROWS = 256
"""Of a piece of work, which should take a quarter of a millisecond."""

_here = threading.local()


@contextmanager
def giving_way() -> Iterator[None]:
    """Makes this thread pause at every `breathe` while the block runs."""
    _here.gives_way = True
    try:
        yield
    finally:
        _here.gives_way = False


def breathe(seconds: float = PAUSE_SECONDS) -> None:
    """Lets others have the interpreter, in a thread that gives way."""
    if getattr(_here, "gives_way", False):
        time.sleep(seconds)


def breaths(rows: Sequence[Any], size: int = ROWS) -> Iterator[Sequence[Any]]:
    """Yields a sequence in pieces, and breathes behind each."""
    pause = min(PAUSE_SECONDS, MOST_SECONDS * size / max(len(rows), 1))
    for at in range(0, len(rows), size):
        yield rows[at : at + size]
        breathe(pause)
