"""One pass over the days: every metric the suite judges, one row a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.core.artifacts import Artifact
from pipeline.core.days import end_of_day
from pipeline.core.schema import EVENT, EVENT_TYPES
from pipeline.store.engine import Engine

if TYPE_CHECKING:
    import ibis.expr.types as ir

MEASURED = {
    "events": lambda t: t.count(),
    "null_event_ids": lambda t: t.event_id.isnull().sum(),
    "duplicate_event_ids": lambda t: t.event_id.count() - t.event_id.nunique(),
    "unknown_event_types": lambda t: (~t.event_type.isin(EVENT_TYPES).fill_null(False)).sum(),
    "events_without_person": lambda t: (t.user_id.isnull() & t.session_id.isnull()).sum(),
    "item_events_without_item": lambda t: (t.item_id.isnull() & (t.event_type != "search")).sum(),
    "searches_without_query": lambda t: ((t.event_type == "search") & (t["query"].fill_null("") == "")).sum(),
    "events_outside_day": lambda t: (~((t.event_time >= t.begins) & (t.event_time < t.ends)).fill_null(False)).sum(),
    "events_after_as_of": lambda t: (t.event_time > t.as_of).sum(),
    "negative_prices": lambda t: ((t.price < 0) | t.price.isnan() | t.price.isinf()).sum(),
    "quantities_below_one": lambda t: ((t.quantity < 1) & t.event_type.isin(("purchase", "cart"))).sum(),
}
"""Metrics of the events alone, as Ibis aggregates."""

COMPARED = (
    "schema_differences",
    "volume_ratio",
    "age_hours",
    "unknown_item_share",
    "quarantined_share",
    "unaccounted_rows",
)
"""Metrics that need more than one day's events."""

JUDGED = (*MEASURED, *COMPARED)
PARTS_OF_ROWS = ("clean", "quarantined", "duplicate", "robot", "excluded", "routed")


@dataclass(frozen=True)
class Day:
    """One day to judge.

    Attributes:
        counts: ingest's `counts.json`.
    """

    day: date
    artifact: Artifact
    counts: Mapping[str, Any]

    @property
    def closed(self) -> bool:
        """A closed day on which events came all the same is judged like any other."""
        return bool(self.counts["closed"]) and not self.counts["clean"]


@dataclass(frozen=True)
class Trail:
    """What the judged days are compared with.

    Attributes:
        volumes: events of each published day before the run's first.
        catalogues: day and catalogue file of each of them.
        event_types: events of each type on the newest of them, for the picture.
    """

    volumes: Mapping[date, int] = field(default_factory=dict)
    catalogues: Sequence[tuple[date, str]] = ()
    event_types: Mapping[date, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measures:
    """What the pass found.

    Attributes:
        rows: metrics of each open day; a metric that does not apply is absent.
        event_types: events of each type, by day.
        medians: the trailing median each day's volume was held against.
        schemas: in words, where a day's columns differ from the canonical ones.
    """

    rows: dict[date, dict[str, float]]
    event_types: dict[date, dict[str, int]]
    medians: dict[date, float]
    schemas: dict[date, str]


@dataclass(frozen=True)
class Standpoint:
    """What the days are looked at from.

    Attributes:
        as_of: UTC, the moment freshness is judged from.
        timezone: the shop's.
        trailing_days, min_trailing_days: how far back volume is compared, and how many open days that takes.
        quarantine_min_rows: fewer refused rows than this are not worth a word.
    """

    as_of: datetime
    timezone: str
    trailing_days: int
    min_trailing_days: int
    quarantine_min_rows: int


def measure(engine: Engine, days: Sequence[Day], trail: Trail, seen_from: Standpoint) -> Measures:
    """Computes every metric of the open days."""
    opened = [day for day in days if not day.closed]
    schemas = {day.day: text for day in opened if (text := _schema_differences(day))}
    readable = [day for day in opened if day.day not in schemas]
    rows: dict[date, dict[str, float]] = {day.day: _of_counts(day, seen_from) for day in opened}
    for day, text in schemas.items():
        rows[day]["schema_differences"] = text.count(";") + 1
    types = _measure_events(engine, readable, trail, seen_from, rows) if readable else {}
    medians = _compare_volumes(days, trail, seen_from, rows)
    _take_off_closed_days(days, rows)
    return Measures(rows, types, medians, schemas)


def _schema_differences(day: Day) -> str:
    import ibis
    import pyarrow.parquet as parquet

    found = ibis.Schema.from_pyarrow(parquet.read_schema(day.artifact.file("events.parquet")))
    wanted = ibis.schema(EVENT)
    missing = [f"{name} is missing" for name in wanted if name not in found]
    unknown = [f"{name} is unknown" for name in found if name not in wanted]
    changed = [f"{n} is {found[n]}" for n in wanted if n in found and _kind(found[n]) != _kind(wanted[n])]
    return "; ".join(missing + unknown + changed)


def _kind(dtype: Any) -> tuple[Any, ...]:
    # Engines differ in the precision they write times with; the zone is what matters.
    return ("timestamp", dtype.timezone) if dtype.is_timestamp() else (type(dtype),)


def _of_counts(day: Day, seen_from: Standpoint) -> dict[str, float]:
    counts = day.counts
    refused = counts["quarantined"] if counts["quarantined"] >= seen_from.quarantine_min_rows else 0
    return {
        "schema_differences": 0,
        "quarantined_share": refused / max(counts["rows"], 1),
        "unaccounted_rows": abs(counts["rows"] - sum(counts[part] for part in PARTS_OF_ROWS)),
    }


def _measure_events(
    engine: Engine, days: Sequence[Day], trail: Trail, seen_from: Standpoint, rows: dict[date, dict[str, float]]
) -> dict[date, dict[str, int]]:
    events = _events(engine, days, seen_from)
    extra = {f"type_{name}": (events.event_type == name).sum() for name in EVENT_TYPES}
    extra["age_hours"] = (events.as_of.max().epoch_seconds() - events.event_time.max().epoch_seconds()) / 3600
    table = events.group_by("day").aggregate(**{n: f(events) for n, f in MEASURED.items()}, **extra)
    measured = {row["day"]: row for row in engine.answer(table).to_pylist()}
    unknown = _unknown_item_shares(engine, events, days, trail)
    for day in days:
        found = {name: value for name, value in measured.get(day.day, {}).items() if value is not None}
        row = rows[day.day]
        row |= {name: found.get(name, 0) for name in MEASURED}
        row["unknown_item_share"] = unknown.get(day.day, 0.0)
        row["unaccounted_rows"] += abs(row["events"] - day.counts["clean"])
        row |= {name: found[name] for name in ("age_hours",) if name in found}
    return {day.day: {n: measured.get(day.day, {}).get(f"type_{n}") or 0 for n in EVENT_TYPES} for day in days}


def _events(engine: Engine, days: Sequence[Day], seen_from: Standpoint) -> ir.Table:
    import ibis

    bounds = [
        {
            "filename": str(day.artifact.file("events.parquet")),
            "day": day.day,
            "begins": end_of_day(day.day - timedelta(days=1), seen_from.timezone),
            "ends": end_of_day(day.day, seen_from.timezone),
            "as_of": seen_from.as_of,
        }
        for day in days
    ]
    utc = "timestamp('UTC')"
    schema = {"filename": "string", "day": "date", "begins": utc, "ends": utc, "as_of": utc}
    calendar = ibis.memtable(bounds, schema=schema)
    events = engine.read([row["filename"] for row in bounds], "filename")
    return events.join(calendar, "filename")


def _unknown_item_shares(engine: Engine, events: ir.Table, days: Sequence[Day], trail: Trail) -> dict[date, float]:
    """Returns, by day, the share of item events whose item no catalogue of that day or an earlier one names."""
    import ibis

    own = [(day.day, str(day.artifact.file("catalogue.parquet"))) for day in days]
    files = [{"filename": path, "named_on": day} for day, path in (*trail.catalogues, *own)]
    calendar = ibis.memtable(files, schema={"filename": "string", "named_on": "date"})
    catalogue = engine.read([row["filename"] for row in files], "filename")
    named = catalogue.join(calendar, "filename").group_by("item_id").aggregate(first=lambda t: t.named_on.min())
    seen = events.filter(events.item_id.notnull()).group_by("day", "item_id").aggregate(n=lambda t: t.count())
    joined = seen.left_join(named, "item_id")
    unknown = joined["first"].isnull() | (joined["first"] > joined.day)
    shares = joined.group_by("day").aggregate(share=unknown.ifelse(joined.n, 0).sum() / joined.n.sum())
    return {row["day"]: float(row["share"]) for row in engine.answer(shares).to_pylist()}


def _compare_volumes(
    days: Sequence[Day], trail: Trail, seen_from: Standpoint, rows: dict[date, dict[str, float]]
) -> dict[date, float]:
    """Notes each open day's volume against the median of the open days before it, and returns the medians.

    Days before it in the same run count as they were found, failed or not: a few bad ones do not move a median.
    """
    from statistics import median

    reach = timedelta(days=seen_from.trailing_days)
    volumes = dict(trail.volumes) | {day.day: day.counts["clean"] for day in days if not day.closed}
    medians: dict[date, float] = {}
    for day in rows:
        before = [n for other, n in volumes.items() if n and timedelta() < day - other <= reach]
        if len(before) >= seen_from.min_trailing_days:
            medians[day] = median(before)
            rows[day]["volume_ratio"] = volumes[day] / medians[day]
    return medians


def _take_off_closed_days(days: Sequence[Day], rows: dict[date, dict[str, float]]) -> None:
    """Leaves the age to the newest open day, less the closed days that came after it."""
    newest = max(rows, default=None)
    for day in rows:
        if day != newest:
            rows[day].pop("age_hours", None)
    if newest and "age_hours" in rows[newest]:
        rows[newest]["age_hours"] -= 24 * sum(day.day > newest for day in days)
