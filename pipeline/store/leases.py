"""Leases: the right of one run to work on one thing, such as a day, while it lives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.core.locks import only_one

if TYPE_CHECKING:
    from pipeline.core.settings import Settings


@dataclass(frozen=True)
class Lease:
    """What a holder shows when it writes.

    Attributes:
        name: what it is the right to, such as `ingest 2011-12-08`.
        holder: the run.
        token: grows with every holder; 0 on one machine, where the lock goes with its process.
    """

    name: str
    holder: str
    token: int = 0


@contextmanager
def leased(settings: Settings, name: str, holder: str) -> Iterator[Lease]:
    """Holds a lease while the block runs.

    Raises: BusyError: another run holds it; the sentence names that run.
    """
    folder = settings.store.root.resolve() / "leases"
    with only_one(folder / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}.lock", f"`{name}`", f"run {holder}"):
        yield Lease(name, holder)
