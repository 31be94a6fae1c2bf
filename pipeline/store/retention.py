"""Collects what is too old to keep: partitions by their day, artifacts by the runs that still name them, bundles.

Every age is counted back from the newest landed day, never from the clock, so that a shop that stands still loses
nothing. Runs' folders and the ledger are not touched. What machines share goes by its day alone: the runs that name it
lie on those machines.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.artifacts import HOST, Artifact, place_beside
from pipeline.core.locks import CHAMPION_HELD, only_one
from pipeline.core.run import Layout
from pipeline.store.bundles import SharedBundles
from pipeline.store.leases import leased
from pipeline.store.ledger import Ledger
from pipeline.store.lineage import DERIVED, artifacts_of, drop, stage_of
from pipeline.store.partitions import STAGE, Partitions, Record
from pipeline.store.shared import SharedStore, open_shared

if TYPE_CHECKING:
    from pipeline.core.settings import Settings

LEDGER_ENTRIES = 20
"""So many of the ledger's last entries keep what their runs refer to."""
LEFT_SECONDS = 7 * 86_400
"""A folder untouched for so long is nobody's, whatever process it names; so is a half upload."""


@dataclass(frozen=True)
class Collected:
    """What goes.

    Attributes:
        days: whose records go.
        artifacts: under the root, by stage, with their bytes.
        shared: keys of partitions in the store machines share, with their bytes; None where there is no such store.
        halves: stage and key of what killed runs left there without a manifest, with its bytes.
        torn: folders that killed runs left beside artifacts, with their bytes.
        bundles, shared_bundles: digests of former champions and of what never stood, with their bytes.
    """

    newest: date | None
    days: tuple[date, ...] = ()
    artifacts: tuple[tuple[Artifact, int], ...] = ()
    shared: tuple[tuple[str, int], ...] | None = None
    halves: tuple[tuple[tuple[str, str], int], ...] = ()
    torn: tuple[tuple[Path, int], ...] = ()
    bundles: tuple[tuple[str, int], ...] = ()
    shared_bundles: tuple[tuple[str, int], ...] = ()

    def bytes_of(self, stage: str) -> tuple[int, int]:
        """Returns how many artifacts of a stage go, and their bytes."""
        sizes = [size for artifact, size in self.artifacts if stage_of(artifact) == stage]
        return len(sizes), sum(sizes)

    def told(self, dry_run: bool) -> list[str]:
        """Says what goes, the same whether or not it does."""
        would = "Would collect" if dry_run else "Collected"
        if self.newest is None:
            return ["No day has landed, so nothing is too old.", *([f"{would}:", self._torn()] if self.torn else [])]
        days = f" ({self.days[0]} … {self.days[-1]})" if self.days else ""
        lines = [f"{would}, as of {self.newest}, the newest landed day:"]
        lines.append(f"  {len(self.days)} days' records, landed and published{days}")
        for stage in (STAGE, *DERIVED):
            count, size = self.bytes_of(stage)
            lines.append(f"  {count} artifacts of {stage}, {size:,} bytes")
        lines.append(_line(self.bundles, "bundles that stand no more"))
        if self.shared is not None:
            lines.append(_line(self.shared, f"artifacts of {STAGE} in the shared store"))
            lines.append(_line(self.shared_bundles, "bundles there that stand no more"))
            lines.append(_line(self.halves, "artifacts that killed runs left there unfinished"))
        everything = (self.artifacts, self.bundles, self.shared or (), self.shared_bundles, self.halves, self.torn)
        size = sum(size for each in everything for _, size in each)
        return [*lines, self._torn(), f"  {size:,} bytes in all"]

    def _torn(self) -> str:
        return _line(self.torn, "folders that killed runs left")


def _line(sized: Sequence[tuple[Any, int]], what: str) -> str:
    return f"  {len(sized)} {what}, {sum(size for _, size in sized):,} bytes"


def collect(settings: Settings, dry_run: bool = False) -> Collected:
    """Removes, or only finds, what `store.retention_days`, `artifact_days` and `bundle_days` no longer keep.

    Raises: BusyError: a run is at work on one of the days, or moves the champion.
    """
    layout = Layout(settings.store.root.resolve())
    if dry_run or not settings.store.bundle_days:
        return _collect(settings, layout, dry_run)
    with only_one(layout.champion_lock, CHAMPION_HELD):
        return _collect(settings, layout, dry_run)


def _collect(settings: Settings, layout: Layout, dry_run: bool) -> Collected:
    shared, bundles = open_shared(settings), SharedBundles.open(settings)
    found = _found(settings, shared, bundles)
    if not dry_run:
        for day in found.days:
            _drop_day(settings, day)
        for key, _ in found.shared or ():
            shared.remove(STAGE, key)
        for (stage, key), _ in found.halves:
            shared.remove(stage, key)
        for artifact, _ in found.artifacts:
            drop(artifact)
        for folder, _ in found.torn:
            shutil.rmtree(folder, ignore_errors=True)
        for digest, _ in found.bundles:
            beside = place_beside(layout.bundle(digest), "old")
            layout.bundle(digest).rename(beside)
            shutil.rmtree(beside)
        for digest, _ in found.shared_bundles:
            bundles.remove(digest)
    return found


def _found(settings: Settings, shared: SharedStore | None, bundles: SharedBundles | None) -> Collected:
    root, store = settings.store.root.resolve(), settings.store
    torn = tuple((folder, _bytes(folder)) for folder in _left(root))
    records = {kind: Partitions.open(settings, kind).read_all() for kind in ("landed", "published")}
    newest = max(records["landed"], default=None)
    if newest is None:
        return Collected(None, torn=torn)
    oldest = newest - timedelta(days=store.retention_days) if store.retention_days else date.min
    named = _named_by_records(settings, [r for each in records.values() for day, r in each.items() if day >= oldest])
    kept = named | _named_by_runs(settings, newest) if store.artifact_days else None
    going = [artifact for artifact in artifacts_of(root, STAGE) if _goes(artifact, oldest, named, kept)]
    if kept is not None:
        going += [a for stage in DERIVED for a in artifacts_of(root, stage) if a.key not in kept]
    days = tuple(sorted({day for each in records.values() for day in each if day < oldest}))
    sized = tuple((a, _bytes(a.path)) for a in going)
    layout = Layout(root)
    stale = tuple((digest, _bytes(layout.bundle(digest))) for digest in _stale_here(settings, layout, newest))
    here = Collected(newest, days, sized, torn=torn, bundles=stale)
    if shared is None:
        return here
    gone = tuple((digest, bundles.weigh(digest)) for digest in _stale(settings, newest, bundles.digests()))
    return replace(here, shared=_too_old(shared, oldest, named), halves=_unfinished(shared), shared_bundles=gone)


def _stale_here(settings: Settings, layout: Layout, newest: date) -> list[str]:
    """Returns the bundles under the root that stand no more, and those that never stood and nobody touched for long."""
    lying = {path.name for path in layout.bundles.glob("*") if path.is_dir() and not path.name.startswith(".")}
    known = {entry.to_digest for entry in Ledger.open(settings.store).entries()}
    never = [digest for digest in lying - known if settings.store.bundle_days and _untouched(layout.bundle(digest))]
    return sorted([*_stale(settings, newest, lying), *never])


def _stale(settings: Settings, newest: date, lying: set[str]) -> list[str]:
    """Returns which of these stood once, and until a day older than is kept.

    Champion, previous and what the ledger's last entries name always are.
    """
    days = settings.store.bundle_days
    if not days:
        return []
    oldest = newest - timedelta(days=max(days, settings.gate.anchor_days))
    ledger = Ledger.open(settings.store)
    moved = [entry for entry in ledger.entries() if entry.to_digest]
    kept = {entry.to_digest for entry in moved[-LEDGER_ENTRIES:]}
    # What a young entry replaced stood until then.
    young = [entry for entry in moved if not entry.data_end or _day(entry.data_end) >= oldest]
    kept.update(digest for entry in young for digest in (entry.from_digest, entry.to_digest))
    kept.update(entry.to_digest for entry in (ledger.champion(), ledger.previous()) if entry)
    return sorted(lying & {entry.to_digest for entry in moved} - kept)


def _day(text: str) -> date:
    return datetime.fromisoformat(text).date()


def _named_by_records(settings: Settings, in_force: Iterable[Record]) -> set[str]:
    """Returns the keys that records in force name, and the newest vocabulary's, whichever runs made them."""
    named = {key for record in in_force for key in (record.ingest_key, record.get("validated_by")) if key}
    vocabularies = Partitions.open(settings, "vocabulary")
    newest = [record for day in vocabularies.days()[-1:] if (record := vocabularies.read(day))]
    return named | {record["prepare_key"] for record in newest}


def _goes(artifact: Artifact, oldest: date, named: set[str], kept: set[str] | None) -> bool:
    if artifact.key in named:
        return False
    too_old = date.fromisoformat(artifact.json("counts.json")["day"]) < oldest
    return too_old or (kept is not None and artifact.key not in kept)


def _too_old(shared: SharedStore, oldest: date, named: set[str]) -> tuple[tuple[str, int], ...]:
    """Returns the partitions of the shared store whose day is too old, with their bytes."""
    going = []
    for key in shared.keys(STAGE) if oldest > date.min else ():
        counts = None if key in named else shared.objects.read(shared.at(STAGE, key) / "counts.json")
        if counts and date.fromisoformat(json.loads(counts[0])["day"]) < oldest:
            going.append((key, shared.weigh(STAGE, key)))
    return tuple(going)


def _unfinished(shared: SharedStore) -> tuple[tuple[tuple[str, str], int], ...]:
    """Returns what nobody can still be pushing; the store's clock tells."""
    left = time.time() - LEFT_SECONDS
    stages = (STAGE, *DERIVED)
    return tuple(
        ((stage, key), shared.weigh(stage, key))
        for stage in stages
        for key, touched in shared.halves(stage).items()
        if touched < left
    )


def _left(root: Path) -> list[Path]:
    """Returns the folders beside artifacts and bundles whose process is gone, or that nobody has touched for long.

    Machines and containers that share the root do not share processes: of theirs the age alone tells.
    """
    places = ("store/*", "bundles")
    beside = [path for end in ("tmp", "old") for place in places for path in sorted(root.glob(f"{place}/.*.{end}"))]
    return [path for path in beside if _ended(*path.name.split(".")[-3:-1]) or _untouched(path)]


def _ended(host: str, process: str) -> bool:
    return host == HOST and not _lives(process)


def _lives(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _untouched(folder: Path) -> bool:
    newest = max((found.st_mtime for found in _walked(folder)), default=time.time())
    return newest < time.time() - LEFT_SECONDS


def _named_by_runs(settings: Settings, newest: date) -> set[str]:
    """Returns the keys that runs young enough refer to, the newest that registered a version, and the ledger's last."""
    layout = Layout(settings.store.root.resolve())
    oldest = newest - timedelta(days=settings.store.artifact_days)
    runs = {path.parent.name: json.loads(path.read_text()) for path in sorted(layout.runs.glob("*/run.json"))}
    wanted = {run_id for run_id, run in runs.items() if _as_of(run).date() >= oldest}
    registered = [run_id for run_id in runs if (layout.runs / run_id / "register.json").exists()]
    wanted.update(sorted(registered, key=lambda run_id: _as_of(runs[run_id]))[-1:])
    ledger = Ledger.open(settings.store)
    entries = ledger.entries()
    standing = [entry for entry in (ledger.champion(), ledger.previous(), *entries[-LEDGER_ENTRIES:]) if entry]
    wanted.update(entry.run_id for entry in standing)
    digests = {entry.to_digest for entry in standing}
    wanted.update(entry.run_id for entry in entries if entry.kind == "promotion" and entry.to_digest in digests)
    return set(_refs(layout, wanted))


def _as_of(run: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(run["as_of"])


def _refs(layout: Layout, run_ids: Iterable[str]) -> Iterator[str]:
    for run_id in run_ids:
        for path in (layout.runs / run_id / "refs").glob("*.json") if run_id else ():
            yield from json.loads(path.read_text()).values()


def _drop_day(settings: Settings, day: date) -> None:
    """Removes a day's records, the published one first: nothing reads what is not landed."""
    with leased(settings, f"{STAGE} {day}", "collect"):
        for kind in ("published", "landed"):
            records = Partitions.open(settings, kind)
            records.remove(day, records.read(day))


def _bytes(folder: Path) -> int:
    return sum(found.st_size for found in _walked(folder) if stat.S_ISREG(found.st_mode))


def _walked(folder: Path) -> Iterator[os.stat_result]:
    """Yields what the disk says of a folder and all in it; what a live step takes away meanwhile is left out."""
    for place, _, names in os.walk(folder):
        for path in (Path(place), *(Path(place, name) for name in names)):
            with suppress(FileNotFoundError):
                yield path.lstat()
