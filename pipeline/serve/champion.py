"""Which bundle is served, and how the next one takes its place."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.core.errors import (
    CorruptArtifactError,
    MissingInputError,
    PipelineError,
    UnavailableError,
    from_os_error,
)
from pipeline.model.bundle import Bundle
from pipeline.model.retriever import Retriever
from pipeline.serve.metrics import Metrics, Model

log = logging.getLogger("serve")
MAX_PAUSE_SECONDS = 60.0
_REMEDY = "write it again with `python -m pipeline reconcile`"


class WrongAnswerError(CorruptArtifactError):
    """A bundle does not answer as it did when it was sealed."""


class LowerSequenceError(CorruptArtifactError):
    """The pointer asks a server to go back."""


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (WrongAnswerError, "goldens"),
    (LowerSequenceError, "sequence"),
    (CorruptArtifactError, "corrupt"),
    (MissingInputError, "missing"),
    (UnavailableError, "unavailable"),
    (Exception, "unexpected"),
)
"""What a refusal is counted as: the first that fits."""


@dataclass(frozen=True)
class Served:
    """One bundle ready to answer; everything in an answer comes from one of these.

    Attributes:
        sequence: of the ledger entry that made it champion; 0 when a bundle is served by hand.
        load_seconds: what it took to verify, load and rehearse.
    """

    retriever: Retriever
    version: Any
    sequence: int
    load_seconds: float = 0.0

    @property
    def bundle(self) -> Bundle:
        return self.retriever.bundle

    @property
    def digest(self) -> str:
        return self.bundle.digest


@dataclass(frozen=True)
class Pointer:
    """Where the ledger's champion is projected for servers."""

    sequence: int
    digest: str
    version: Any

    @classmethod
    def read(cls, path: Path) -> Pointer | None:
        """Returns None where there is no pointer yet.

        Raises: CorruptArtifactError: the file is not a pointer.
        """
        try:
            raw = json.loads(path.read_text())
            pointer = cls(raw["sequence"], raw["digest"], raw["version"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise CorruptArtifactError(f"{path}: is not a champion's pointer; {_REMEDY}.") from None
        if not (isinstance(pointer.sequence, int) and _is_digest(pointer.digest)):
            raise CorruptArtifactError(f"{path}: lacks a whole sequence number or a digest; {_REMEDY}.")
        return pointer


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


Rehearse = Callable[[Served], None]
"""Checks a bundle's goldens and warms it up; raises PipelineError when it may not serve."""


def load(folder: Path, rehearse: Rehearse, digest: str | None = None, version: Any = None, sequence: int = 0) -> Served:
    """Verifies, loads and rehearses a bundle.

    Raises: PipelineError: it is not there, not whole, not the digest promised, or answers its goldens wrongly.
    """
    began = time.perf_counter()
    served = Served(Retriever.load(folder, digest), version, sequence)
    rehearse(served)
    return replace(served, load_seconds=time.perf_counter() - began)


def _told(served: Served) -> Model:
    bundle = served.bundle
    return Model(
        version=served.version,
        digest=bundle.digest,
        recipe=bundle.recipe,
        sequence=served.sequence,
        items=len(served.retriever.catalogue),
        data_end=datetime.fromisoformat(bundle.data_end).timestamp(),
        since=time.time(),
        load_seconds=served.load_seconds,
    )


class Champion:
    """Holds what is served now; `current` changes by one assignment."""

    def __init__(self, metrics: Metrics, current: Served | None = None) -> None:
        self._metrics = metrics
        self.current: Served | None = None
        self.problem = "No champion yet: nothing was promoted so far; run a night, or serve a bundle with --bundle."
        if current:
            self.take(current)

    def take(self, served: Served) -> None:
        """Puts a rehearsed bundle into service."""
        self.current = served
        self.problem = ""
        self._metrics.swapped(_told(served))
        log.info("serving bundle %s, version %s, sequence %s", served.digest[:12], served.version, served.sequence)

    def keep(self, problem: str, error: Exception) -> None:
        """Stays with what is served and remembers why."""
        if problem != self.problem:
            log.error("%s", problem)
        self.problem = problem
        self._metrics.refused(next(reason for kind, reason in _REASONS if isinstance(error, kind)))


class Watcher:
    """A thread that follows the champion's pointer."""

    def __init__(
        self,
        champion: Champion,
        pointer: Path,
        folder_of: Callable[[str], Path],
        rehearse: Rehearse,
        poll_seconds: float,
    ) -> None:
        self._champion, self._pointer, self._folder_of = champion, pointer, folder_of
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
        while not self._stop.wait(self._poll_seconds):
            self.look()

    def look(self) -> None:
        """Reads the pointer once and follows it if it may."""
        wanted: object = None
        try:
            wanted = pointer = Pointer.read(self._pointer)
            if pointer and self._is_news(pointer):
                self._check_order(pointer)
                folder = self._folder_of(pointer.digest)
                self._champion.take(load(folder, self._rehearse, pointer.digest, pointer.version, pointer.sequence))
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
        known = error if isinstance(error, PipelineError) else isinstance(error, OSError) and from_os_error(error)
        why = str(known) if known else f"an unexpected {type(error).__name__}; see the server's log"
        if not known:
            log.exception("the pointer's bundle could not be loaded")
        before, _, pause = self._refused
        pause = min(MAX_PAUSE_SECONDS, pause * 2) if before == wanted else self._poll_seconds
        self._refused = (wanted, time.monotonic() + pause, pause)
        current = self._champion.current
        kept = f"Still serving bundle {current.digest[:12]}" if current else "Nothing is served"
        self._champion.keep(f"{kept}: {why}", known or error)
