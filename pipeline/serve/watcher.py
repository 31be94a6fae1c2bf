"""A thread that follows what the store says is to be served: the champion's pointer, and the journal of new items."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.core.errors import MissingInputError, PipelineError, UnavailableError
from pipeline.model.breath import giving_way
from pipeline.serve.champion import Champion, LowerSequenceError, Pointer, Rehearse, load
from pipeline.serve.mirror import Pointing
from pipeline.serve.new_items import NewItems, sentence_of

MAX_PAUSE_SECONDS = 60.0
TAKEN_SECONDS = 0.005

log = logging.getLogger("serve")


class Watcher:
    """Follows them, every few moments."""

    def __init__(
        self,
        champion: Champion,
        new_items: NewItems,
        pointer: Pointing,
        folder_of: Callable[[str], Path],
        rehearse: Rehearse,
        poll_seconds: float,
    ) -> None:
        self._champion, self._new_items = champion, new_items
        self._pointer, self._folder_of = pointer, folder_of
        self._rehearse, self._poll_seconds = rehearse, poll_seconds
        self._refused: tuple[object, float, float] = (None, 0.0, poll_seconds)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="champion-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        with giving_way():
            while not self._stop.wait(self._poll_seconds):
                self.look()

    def look(self) -> None:
        """Reads both once, and follows the pointer if it may."""
        self._new_items.look()
        wanted: object = None
        try:
            wanted = pointer = Pointer.read(self._pointer)
            if pointer and self._is_news(pointer):
                self._check_order(pointer)
                folder = self._folder_of(pointer.digest)
                served = load(folder, self._rehearse, pointer.digest, pointer.version, pointer.sequence)
                self._new_items.take(served)
                while self._champion.current is not served and not self._stop.wait(TAKEN_SECONDS):
                    pass
        except Exception as error:
            self._refuse(wanted, error)

    def _is_news(self, pointer: Pointer) -> bool:
        current = self._champion.current
        if current and (current.sequence, current.digest) == (pointer.sequence, pointer.digest):
            if self._champion.problem:
                self._champion.problem = ""
            return False
        refused, again_at, _ = self._refused
        return refused != pointer or time.monotonic() >= again_at

    def _check_order(self, pointer: Pointer) -> None:
        current = self._champion.current
        if current and pointer.sequence <= current.sequence:
            raise LowerSequenceError(
                f"{self._pointer}: points to sequence {pointer.sequence} (bundle {pointer.digest[:12]}) while "
                f"{current.sequence} (bundle {current.digest[:12]}) is served; a server never goes back to a lower or "
                "equal number, roll back with `python -m pipeline rollback`."
            )

    def _refuse(self, wanted: object, error: Exception) -> None:
        known = _known(error)
        why = str(known) if known else f"an unexpected {type(error).__name__}; see the server's log"
        if not known:
            log.exception("the pointer's bundle could not be loaded")
        before, _, pause = self._refused
        pause = min(MAX_PAUSE_SECONDS, pause * 2) if before == wanted else self._poll_seconds
        self._refused = (wanted, time.monotonic() + pause, pause)
        current = self._champion.current
        kept = f"Still serving bundle {current.digest[:12]}" if current else "Nothing is served"
        self._champion.keep(f"{kept}: {why}", known or error)


def _known(error: Exception) -> PipelineError | None:
    if isinstance(error, OSError):
        kind = MissingInputError if isinstance(error, FileNotFoundError) else UnavailableError
        return kind(sentence_of(error))
    return error if isinstance(error, PipelineError) else None
