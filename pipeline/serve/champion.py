"""Which bundle is served, and how the next one takes its place."""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.errors import CorruptArtifactError, MissingInputError, UnavailableError
from pipeline.model.breath import breathe
from pipeline.model.bundle import Bundle
from pipeline.model.live_items import LiveItem, LiveItems
from pipeline.model.retriever import Retriever
from pipeline.serve.metrics import Metrics, Model
from pipeline.serve.mirror import Pointing

log = logging.getLogger("serve")
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

    @cached_property
    def live(self) -> LiveItems:
        """What was put into its retriever since the bundle was made."""
        return LiveItems(self.bundle.path, self.retriever)

    def counts(self, item: LiveItem) -> bool:
        """Returns whether what was put is newer than what the bundle knows of that item, if it knows it at all."""
        return not self.live.knows(item.item_id) or item.at > datetime.fromisoformat(self.bundle.data_end).timestamp()


@dataclass(frozen=True)
class Pointer:
    """Where the ledger's champion is projected for servers."""

    sequence: int
    digest: str
    version: Any

    @classmethod
    def read(cls, path: Pointing) -> Pointer | None:
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
    breathe()
    rehearse(served)
    _give_back()
    return replace(served, load_seconds=time.perf_counter() - began)


def _give_back() -> None:
    """Returns to the system what loading took and no longer needs, where the C library can: more than a third."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


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
    """Holds what is served now; `current` changes by one assignment.

    Attributes: do: runs a change where requests are answered, so that none sees half of it; at once until that is said.
    """

    def __init__(self, metrics: Metrics, current: Served | None = None) -> None:
        self.do: Callable[[Callable[[], None]], object] = lambda change: change()
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
