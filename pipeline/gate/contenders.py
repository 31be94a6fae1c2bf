"""Who meets whom: the challenger, the champion the ledger names, and the anchor of the last days."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.core.errors import CorruptArtifactError, PipelineError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.gate.held_out import moment
from pipeline.model.bundle import Bundle, open_bundle
from pipeline.model.retriever import Retriever
from pipeline.store.bundles import SharedBundles, fetch_missing
from pipeline.store.ledger import Entry, Ledger, stood

REGISTER = "register.json"


@dataclass(frozen=True)
class Contender:
    """One side.

    Attributes:
        retriever: None where the bundle cannot be read; `fault` says why.
        version: of the registered model; None where it was not registered.
        sequence: of the ledger entry that made it champion; 0 for a challenger.
    """

    folder: Path
    digest: str
    version: str | None
    data_end: datetime | None
    retriever: Retriever | None
    fault: str = ""
    sequence: int = 0

    def named(self) -> dict[str, Any]:
        return {"version": self.version, "digest": self.digest}


def find_challenger(run: Run) -> Contender:
    """Returns this run's release bundle; one that is not whole is a finding, not an error."""
    folder = run.artifact("optimize").path / "bundle"
    bundle, retriever, fault = _open(folder)
    digest = bundle.digest if bundle else _stated_digest(folder)
    data_end = moment(bundle.data_end) if bundle else None
    return Contender(folder, digest, _version(run, digest), data_end, retriever, fault)


def _version(run: Run, digest: str) -> str | None:
    path = run.folder / REGISTER
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    if record["digest"] != digest:
        raise CorruptArtifactError(
            f"{path}: registered bundle {record['digest'][:12]}, but this run's bundle is {digest[:12]}; "
            f"run `python -m pipeline register --run {run.run_id}` again."
        )
    return None if record["version"] is None else str(record["version"])


def _stated_digest(folder: Path) -> str:
    try:
        return str(json.loads((folder / "manifest.json").read_text())["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def find_champion(settings: Settings, run: Run) -> Contender | None:
    """Returns what the ledger says is served, None before the first promotion.

    Raises: PipelineError: the ledger cannot be read.
    """
    entry = Ledger.open(settings.store).champion()
    return _from_entry(settings, run, entry) if entry else None


def find_anchors(settings: Settings, run: Run, champion: Contender) -> list[Contender]:
    """Returns every bundle promoted on data of the last `gate.anchor_days`, and not taken back, that still loads."""
    since = run.as_of - timedelta(days=settings.gate.anchor_days)
    recent = [entry for entry in stood(Ledger.open(settings.store).entries()) if _is_recent(entry, since)]
    others = {entry.to_digest: entry for entry in recent if entry.to_digest != champion.digest}
    return [anchor for entry in others.values() if (anchor := _from_entry(settings, run, entry)).retriever]


def _is_recent(entry: Entry, since: datetime) -> bool:
    return bool(entry.data_end and moment(entry.data_end) >= since)


def _from_entry(settings: Settings, run: Run, entry: Entry) -> Contender:
    folder = run.layout.bundle(entry.to_digest)
    with suppress(CorruptArtifactError):
        fetch_missing(SharedBundles.open(settings), folder)
    bundle, retriever, fault = _open(folder, entry.to_digest)
    stated = entry.data_end or (bundle.data_end if bundle else "")
    data_end = moment(stated) if stated else None
    return Contender(folder, entry.to_digest, entry.version or None, data_end, retriever, fault, entry.sequence)


def _open(folder: Path, digest: str | None = None) -> tuple[Bundle | None, Retriever | None, str]:
    try:
        bundle = open_bundle(folder, digest)
    except PipelineError as error:
        return None, None, str(error)
    try:
        return bundle, Retriever(folder, bundle), ""
    except PipelineError as error:
        return bundle, None, str(error)


def is_backfill(run: Run, challenger: Contender, champion: Contender | None) -> bool:
    """Returns whether this run may only report: marked so, or its data ends no later than the champion's."""
    if run.backfill or champion is None or champion.digest == challenger.digest:
        return run.backfill
    ends: Sequence[datetime | None] = (challenger.data_end, champion.data_end)
    return all(ends) and ends[0] <= ends[1]  # type: ignore[operator]
