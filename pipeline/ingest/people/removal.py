"""Takes a person out of a day's artifact: the same artifact under another key, with every row still accounted for."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact
from pipeline.core.run import REPORT
from pipeline.ingest import writing
from pipeline.ingest.accounts import report_of, require_equation
from pipeline.ingest.judging.rules import OUTCOMES
from pipeline.ingest.people.traces import REFUSED, Person
from pipeline.ingest.writing import stored_events, stored_rows

RULE = "erased"
EVENTS, ROUTED, COUNTS = "events.parquet", "routed.parquet", "counts.json"
_OTHER_DAY = "other_day"


@dataclass
class Removed:
    """What was taken out of one artifact.

    Attributes:
        types: events of each type, late ones included.
        late: source day → events that had come late from its files.
        own, routed: rows of the day's own files.
        routed_days: day → rows routed to it.
        refused: rule → quarantined rows.
    """

    types: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    own: int = 0
    routed: int = 0
    routed_days: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


def key_without(artifact: Artifact, person: Person) -> str:
    """Returns the key of the artifact that is left when a person is taken out of this one."""
    return artifacts.digest_of([artifact.key, RULE, sorted(person.names), sorted(person.sessions)])[:32]


def without(
    artifact: Artifact, person: Person, shop_zone: str, late: Mapping[str, str], fresh: Mapping[str, Artifact]
) -> Artifact:
    """Makes the artifact without the person beside the old one, unless it is there already.

    Args:
        late: event id → day of the files it came from, for the person's events that came late.
        fresh: key → what took its place already; a settled artifact then names that one as its own.
    """
    final = artifact.path.with_name(key_without(artifact, person))
    if (final / artifacts.MANIFEST).exists():
        return Artifact(final)

    def fill(folder: Path) -> None:
        for path in artifact.path.iterdir():
            if path.name not in (artifacts.MANIFEST, EVENTS, ROUTED, REFUSED, COUNTS, REPORT):
                shutil.copytree(path, folder / path.name) if path.is_dir() else shutil.copyfile(
                    path, folder / path.name
                )
        removed = _filtered(artifact, person, folder, ZoneInfo(shop_zone), late)
        counts = adjusted(artifact.json(COUNTS), removed)
        (folder / COUNTS).write_text(json.dumps(counts, indent=1))
        (folder / REPORT).write_text(json.dumps(report_of(counts).to_dict(), indent=1))

    # Its inputs are those of the old one: what was made from that is gone, and what is made from this stands on it.
    kept = {name: value for name, value in artifact.manifest.items() if name not in ("files", "digest")}
    inputs = kept.get("inputs", {})
    if inputs.get("own") in fresh:
        kept["inputs"] = {**inputs, "own": fresh[inputs["own"]].key}
    return artifacts.build(final, fill, {**kept, "key": final.name, "without_erased": artifact.key})


def _filtered(artifact: Artifact, person: Person, folder: Path, zone: ZoneInfo, late: Mapping[str, str]) -> Removed:
    removed = Removed()

    def kept(name: str, note: Any) -> Iterator[pa.RecordBatch]:
        for batch in (stored_rows if name == REFUSED else stored_events)(artifact.file(name)):
            gone = person.refused(batch) if name == REFUSED else person.rows(batch)
            note(batch.filter(gone))
            yield batch.filter(pc.invert(gone))

    def note_event(gone: pa.RecordBatch) -> None:
        removed.types.update(gone.column("event_type").to_pylist())
        sources = [late.get(event_id) for event_id in gone.column("event_id").to_pylist()]
        removed.late.update(source for source in sources if source)
        removed.own += sources.count(None)

    def note_routed(gone: pa.RecordBatch) -> None:
        days = [at.replace(tzinfo=UTC).astimezone(zone).date() for at in gone.column("event_time").to_pylist()]
        removed.routed_days.update(map(str, days))
        removed.routed += len(days)

    def note_refused(gone: pa.RecordBatch) -> None:
        removed.refused.update(gone.column("rule").to_pylist())

    writing.write_rows(folder / EVENTS, kept(EVENTS, note_event), writing.EVENT_SCHEMA)
    writing.write_rows(folder / ROUTED, kept(ROUTED, note_routed), writing.EVENT_SCHEMA)
    writing.write_rows(folder / REFUSED, kept(REFUSED, note_refused), writing.QUARANTINE_SCHEMA)
    return removed


def adjusted(counts: Mapping[str, Any], removed: Removed) -> dict[str, Any]:
    """Returns the counts as if the rule `erased` had taken the rows.

    What came late is counted with the day whose files held it; it only leaves `late` here.
    """
    refused = sum(removed.refused.values())
    rules = Counter(counts["rules"])
    rules.subtract(removed.refused)
    rules[_OTHER_DAY] -= removed.routed
    rules[RULE] += removed.own + removed.routed + refused
    outcomes = {name: counts[name] for name in OUTCOMES}
    outcomes["clean"] -= removed.own
    outcomes["routed"] -= removed.routed
    outcomes["quarantined"] -= refused
    outcomes["excluded"] += removed.own + removed.routed + refused
    late = dict(counts["late"])
    late["from"] = _less(late["from"], removed.late)
    late["rows"] -= sum(removed.late.values())
    require_equation(counts["day"], counts["rows"], outcomes, rules)
    return {
        **counts,
        **outcomes,
        "rules": {name: rules[name] for name in dict.fromkeys([*counts["rules"], RULE])},
        "event_types": _less(counts["event_types"], removed.types),
        "routed_days": _less(counts["routed_days"], removed.routed_days),
        "late": late,
    }


def _less(counts: Mapping[str, int], removed: Mapping[str, int]) -> dict[str, int]:
    left = {name: rows - removed.get(name, 0) for name, rows in counts.items()}
    return {name: rows for name, rows in left.items() if rows}


def late_events(stored: Collection[Artifact], person: Person) -> dict[str, str]:
    """Returns the person's routed events: event id → day of the file; the earliest wins, as it does in settling."""
    found: dict[str, str] = {}
    for artifact in stored:
        day = artifact.json(COUNTS)["day"]
        for batch in stored_rows(artifact.file(ROUTED)):
            for event_id in batch.filter(person.rows(batch)).column("event_id").to_pylist():
                found[event_id] = min(day, found.get(event_id, day))
    return found


def own_events(artifact: Artifact, person: Person) -> set[str]:
    """Returns the ids of the person's events in one artifact."""
    found: set[str] = set()
    for batch in stored_rows(artifact.file(EVENTS)):
        found.update(batch.filter(person.rows(batch)).column("event_id").to_pylist())
    return found
