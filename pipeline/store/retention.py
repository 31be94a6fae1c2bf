"""Collects what is too old to keep: partitions by their day, artifacts by the runs that still name them.

Every age is counted back from the newest landed day, never from the clock, so that a shop that stands still loses
nothing. Bundles, runs' folders and the ledger are not touched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import UsageError
from pipeline.core.run import Layout
from pipeline.store.leases import leased
from pipeline.store.ledger import Ledger
from pipeline.store.lineage import DERIVED, artifacts_of, drop, stage_of
from pipeline.store.partitions import STAGE, Partitions

if TYPE_CHECKING:
    from pipeline.core.settings import Settings

LEDGER_ENTRIES = 20
"""So many of the ledger's last entries keep what their runs refer to."""


@dataclass(frozen=True)
class Collected:
    """What goes.

    Attributes:
        days: whose records go.
        artifacts: by stage, with their bytes.
        torn: folders a killed removal left.
    """

    newest: date | None
    days: tuple[date, ...] = ()
    artifacts: tuple[tuple[Artifact, int], ...] = ()
    torn: tuple[Path, ...] = ()

    def bytes_of(self, stage: str) -> tuple[int, int]:
        """Returns how many artifacts of a stage go, and their bytes."""
        sizes = [size for artifact, size in self.artifacts if stage_of(artifact) == stage]
        return len(sizes), sum(sizes)

    def told(self, dry_run: bool) -> list[str]:
        """Says what goes, the same whether or not it does."""
        if self.newest is None:
            return ["No day has landed, so nothing is too old."]
        head = f"{'Would collect' if dry_run else 'Collected'}, as of {self.newest}, the newest landed day:"
        days = f" ({self.days[0]} … {self.days[-1]})" if self.days else ""
        lines = [head, f"  {len(self.days)} days' records, landed and published{days}"]
        for stage in (STAGE, *DERIVED):
            count, size = self.bytes_of(stage)
            lines.append(f"  {count} artifacts of {stage}, {size:,} bytes")
        return [*lines, f"  {sum(size for _, size in self.artifacts):,} bytes in all"]


def collect(settings: Settings, dry_run: bool = False) -> Collected:
    """Removes, or only finds, what `store.retention_days` and `store.artifact_days` no longer keep.

    Raises: BusyError: a run is at work on one of the days.
    """
    if settings.store.shared:
        raise UsageError("collect works on a store below store.root; unset store.shared, or collect where it lies.")
    found = _found(settings)
    if not dry_run:
        for day in found.days:
            _drop_day(settings, day)
        for artifact, _ in found.artifacts:
            drop(artifact)
        for folder in found.torn:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _found(settings: Settings) -> Collected:
    root, store = settings.store.root.resolve(), settings.store
    records = {kind: Partitions.open(settings, kind) for kind in ("landed", "published")}
    newest = max(records["landed"].days(), default=None)
    if newest is None:
        return Collected(None)
    oldest = newest - timedelta(days=store.retention_days) if store.retention_days else date.min
    known = {day for each in records.values() for day in each.days()}
    # Whatever a record in force names stays, whichever run made it.
    named = {
        r.ingest_key for each in records.values() for day in each.days() if day >= oldest and (r := each.read(day))
    }
    kept = named | _named_by_runs(settings, newest) if store.artifact_days else None
    going = [artifact for artifact in artifacts_of(root, STAGE) if _goes(artifact, oldest, named, kept)]
    if kept is not None:
        going += [a for stage in DERIVED for a in artifacts_of(root, stage) if a.key not in kept]
    torn = sorted((root / "store").glob("*/.*.old"))
    days = tuple(sorted(day for day in known if day < oldest))
    return Collected(newest, days, tuple((a, _bytes(a.path)) for a in going), tuple(torn))


def _goes(artifact: Artifact, oldest: date, named: set[str], kept: set[str] | None) -> bool:
    if artifact.key in named:
        return False
    too_old = date.fromisoformat(artifact.json("counts.json")["day"]) < oldest
    return too_old or (kept is not None and artifact.key not in kept)


def _named_by_runs(settings: Settings, newest: date) -> set[str]:
    """Returns the keys that runs young enough refer to, the newest that registered a version, and the ledger's last."""
    layout = Layout(settings.store.root.resolve())
    oldest = newest - timedelta(days=settings.store.artifact_days)
    runs = {path.parent.name: json.loads(path.read_text()) for path in sorted(layout.runs.glob("*/run.json"))}
    wanted = {run_id for run_id, run in runs.items() if _as_of(run).date() >= oldest}
    registered = [run_id for run_id in runs if (layout.runs / run_id / "register.json").exists()]
    wanted.update(sorted(registered, key=lambda run_id: _as_of(runs[run_id]))[-1:])
    ledger = Ledger.open(settings.store)
    standing = (ledger.champion(), ledger.previous(), *ledger.entries()[-LEDGER_ENTRIES:])
    wanted.update(entry.run_id for entry in standing if entry)
    return set(_refs(layout, wanted))


def _as_of(run: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(run["as_of"])


def _refs(layout: Layout, run_ids: Iterable[str]) -> Iterator[str]:
    for run_id in run_ids:
        for path in (layout.runs / run_id / "refs").glob("*.json") if run_id else ():
            yield from json.loads(path.read_text()).values()


def _drop_day(settings: Settings, day: date) -> None:
    """Removes a day's records, the published one first: nothing reads what is not landed."""
    root = settings.store.root.resolve()
    with leased(settings, f"{STAGE} {day}", "collect"):
        for kind in ("published", "landed"):
            (root / kind / f"{day}.json").unlink(missing_ok=True)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
