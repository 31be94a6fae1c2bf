"""Settles days: own events, and the rows of other days' files that belong to them, in one partition."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.artifacts import Artifact
from pipeline.core.days import end_of_day, start_of_day
from pipeline.core.progress import progress
from pipeline.core.run import Run
from pipeline.core.schema import EVENT
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.ingest import writing
from pipeline.ingest.reading.batches import Counted
from pipeline.ingest.writing import stored_events
from pipeline.store.engine import Engine
from pipeline.store.leases import leased
from pipeline.store.partitions import STAGE, Partitions, Record

KEPT = ("routed.parquet", "quarantine.parquet", "catalogue.parquet")
LATE_SCHEMA = writing.EVENT_SCHEMA.append(pa.field("source", pa.string()))


@dataclass(frozen=True)
class Settled:
    """What became of the days a run had to settle.

    Attributes:
        keys: day → key of its partition, for every day of the run and every other one its files held rows for.
        reopened: day that is none of the run's → rows that the run's files gave it.
        waiting: day that never landed → rows that wait for it in the run's files.
        late_rows: taken into all these partitions from other days' files.
        cached: nothing was made.
    """

    keys: dict[str, str] = field(default_factory=dict)
    reopened: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    late_rows: int = 0
    cached: bool = True


class Settling:
    """Settles the days of one run."""

    def __init__(self, settings: Settings, run: Run, engine: Engine) -> None:
        self.settings, self.run, self.engine = settings, run, engine
        self.records = Partitions.open(settings, "landed")

    @cached_property
    def merge(self) -> Merge:
        return Merge(self.engine)

    def settle(self, landed: Mapping[date, Record]) -> Settled:
        """Makes the partitions of the days just landed, and of all landed days their files held rows for.

        Where nothing came late, the landed artifact is the partition.

        Args:
            landed: the records in force of the run's days.
        """
        named = {date.fromisoformat(day) for record in landed.values() for day in record["routed_days"]}
        addressed = {day for day in named if day in landed or self._may_see(day)}
        known = self._within_reach({*landed, *addressed}, landed)
        wanted = sorted(day for day in {*landed, *addressed} if day in known)
        sources = _sources(known.values())
        parts = self._parts(wanted, known, sources)
        reopened = {str(day): _given(landed, day) for day in wanted if day not in landed}
        waiting = {str(day): _given(landed, day) for day in sorted(addressed) if day not in known}
        return Settled(
            {str(day): key for day, (key, _) in parts.items()},
            reopened,
            {day: rows for day, rows in waiting.items() if rows},
            sum(report.counts.get("late", 0) for _, report in parts.values() if report),
            all(report.cached for _, report in parts.values() if report),
        )

    def _within_reach(self, days: set[date], landed: Mapping[date, Record]) -> dict[date, Record]:
        """Returns the records of these days and of all whose files may hold rows for them, each read once."""
        if not days:
            return {}
        # A file's own zone may carry it a day further on either side than its name says.
        first, last = min(days) - timedelta(days=2), max(days) + timedelta(days=self.settings.ingest.max_late_days + 2)
        known = self.records.read_all(first, last)
        return {**{day: record for day, record in known.items() if self._may_see(day)}, **landed}

    def _may_see(self, day: date) -> bool:
        return self.run.may_see(day, self.settings.shop.timezone)

    def _parts(
        self, wanted: Sequence[date], known: Mapping[date, Record], sources: Mapping[date, list[Record]]
    ) -> dict[date, tuple[str, Report | None]]:
        """Returns key and report of each day's partition."""
        changed = [day for day in wanted if sources.get(day)]
        parts: dict[date, tuple[str, Report | None]] = {day: (known[day].ingest_key, None) for day in wanted}
        if changed:
            with progress("settle", len(changed), "days") as shown:
                for day in changed:
                    parts[day] = self._part(known[day], sources[day])
                    shown.advance()
        return parts

    def _part(self, own: Record, sources: Sequence[Record]) -> tuple[str, Report]:
        """Makes the partition of a day that rows of other days' files belong to."""
        own_artifact = self.records.artifact(own)
        late = {str(source.day): self.records.artifact(source) for source in sources}
        digests = {
            f"late {day}": artifact.manifest["files"]["routed.parquet"]["sha256"] for day, artifact in late.items()
        }
        inputs = {"own": own.ingest_key, "day": str(own.day), "shop zone": self.settings.shop.timezone, **digests}
        with leased(self.settings, f"{STAGE} {own.day}", self.run.run_id):
            return self.run.make(STAGE, inputs, {}, lambda folder: self._fill(folder, own.day, own_artifact, late))

    def _fill(self, folder: Path, day: date, own: Artifact, late: Mapping[str, Artifact]) -> Report:
        zone = self.settings.shop.timezone
        begin, end = start_of_day(day, zone), end_of_day(day, zone)
        came = self.merge.load(own, late, begin, end)
        types = self.merge.write(folder / "events.parquet")
        for name in KEPT:
            shutil.copyfile(own.file(name), folder / name)
        counts = own.json("counts.json")
        taken = {name: sum(each.values()) for name, each in sorted(types.items())}
        rows = sum(taken.values())
        counts["late"] = {"rows": rows, "duplicate": came - rows, "from": taken}
        counts["event_types"] = _added(counts["event_types"], types.values())
        (folder / "counts.json").write_text(json.dumps(counts, indent=1))
        return Report(f"{day}: {rows:,} late rows from {len(late)} other days.", {"late": rows})


def _sources(records: Iterable[Record]) -> dict[date, list[Record]]:
    """Returns, by day, the records whose files hold rows for it, oldest file first."""
    found: dict[date, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.day):
        for day, rows in record["routed_days"].items():
            if rows:
                found[date.fromisoformat(day)].append(record)
    return found


def _given(landed: Mapping[date, Record], day: date) -> int:
    return sum(record["routed_days"].get(str(day), 0) for record in landed.values())


def _added(own: Mapping[str, int], late: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = dict(own)
    for types in late:
        for name, rows in types.items():
            total[name] = total.get(name, 0) + rows
    return dict(sorted(total.items()))


class Merge:
    """Own events and late ones, once each by `event_id`: an own event wins, then the one of the earliest file."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        own, routed = ibis.table(EVENT, name="own"), ibis.table(EVENT | {"source": "string"}, name="routed")
        new = routed.anti_join(own, "event_id")
        order = [new.source, new.price, ibis.asc(new.context, nulls_first=True)]
        first = ibis.row_number().over(ibis.window(group_by=new.event_id, order_by=order))
        self._late = engine.compiled(new.mutate(place=first).filter(lambda t: t.place == 0).drop("place"))
        late = ibis.table(EVENT | {"source": "string"}, name="late")
        self._types = engine.compiled(late.group_by("source", "event_type").agg(rows=late.count()))
        self._whole = engine.compiled(_ordered(own, late.drop("source")))

    def load(self, own: Artifact, late: Mapping[str, Artifact], begin: datetime, end: datetime) -> int:
        """Brings one day's rows into the engine; returns how many came late, those known already included."""
        came = Counted(_late_batches(late, begin, end))
        self.engine.load("own", stored_events(own.file("events.parquet")), writing.EVENT_SCHEMA)
        self.engine.load("routed", came, LATE_SCHEMA)
        self.engine.keep("late", self._late)
        return came.count

    def write(self, path: Path) -> dict[str, dict[str, int]]:
        """Writes the day's events; returns source day → type → late rows."""
        writing.write_rows(path, self.engine.ask(self._whole), writing.EVENT_SCHEMA)
        types: dict[str, dict[str, int]] = defaultdict(dict)
        for row in self.engine.answer(self._types).to_pylist():
            types[row["source"]][row["event_type"]] = row["rows"]
        return types


def _ordered(own: ir.Table, late: ir.Table) -> ir.Table:
    rows = own.mutate(late=False).union(late.mutate(late=True))
    return rows.order_by("event_time", "event_id", "late", "price").select(list(EVENT))


def _late_batches(late: Mapping[str, Artifact], begin: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
    """Yields the rows of other days' files that lie within the day, each with the day of its file."""
    moment = pa.timestamp("us", "UTC")
    for day, artifact in late.items():
        for batch in stored_events(artifact.file("routed.parquet")):
            times = batch.column("event_time")
            inside = pc.and_(pc.greater_equal(times, pa.scalar(begin, moment)), pc.less(times, pa.scalar(end, moment)))
            rows = batch.filter(inside)
            columns = [*rows.columns, pa.repeat(pa.scalar(day), rows.num_rows)]
            yield pa.RecordBatch.from_arrays(columns, schema=LATE_SCHEMA)
