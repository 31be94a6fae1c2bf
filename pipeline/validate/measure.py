"""One pass over the days, where the data lies: what the rules need of each day alone, and the summary kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from pipeline.core.artifacts import Artifact
from pipeline.core.days import end_of_day, start_of_day
from pipeline.store.engine import Engine
from pipeline.store.words import micros_of
from pipeline.validate import offences
from pipeline.validate.distributions import HOUR, clock_hours, distributions_of
from pipeline.validate.metrics import METRICS, TABLES
from pipeline.validate.suite import Rule
from pipeline.validate.summary import Summary

if TYPE_CHECKING:
    import ibis.expr.types as ir

PARTS_OF_ROWS = ("clean", "quarantined", "duplicate", "robot", "excluded", "routed")
LEFT_OUT = ("torn", "no_item", "bad_time", "bad_vector")
FILES = {"events": "events.parquet", "catalogue": "catalogue.parquet"}


@dataclass(frozen=True)
class Day:
    """One day to judge.

    Attributes:
        counts: ingest's `counts.json`.
        reopened: an earlier day, judged again because rows for it came in this run's files.
    """

    day: date
    artifact: Artifact
    counts: Mapping[str, Any]
    reopened: bool = False

    @property
    def late_rows(self) -> int:
        return self.counts.get("late", {}).get("rows", 0)

    @property
    def rows(self) -> int:
        """Events the partition must hold."""
        return self.counts["clean"] + self.late_rows

    @property
    def closed(self) -> bool:
        """A closed day on which events came all the same is judged like any other."""
        return bool(self.counts["closed"]) and not self.rows


@dataclass(frozen=True)
class Standpoint:
    """What the days are looked at from.

    Attributes:
        as_of: UTC, the moment freshness is judged from.
        timezone: the shop's.
        trailing_days, min_trailing_days: how far back days are compared, and how many open days that takes.
        drift_min_rows: fewer rows than this on a day say nothing of its distribution.
        quarantine_min_rows: fewer refused rows than this are not worth a word.
    """

    as_of: datetime
    timezone: str
    trailing_days: int
    min_trailing_days: int
    drift_min_rows: int
    quarantine_min_rows: int


@dataclass(frozen=True)
class Measures:
    """What was found.

    Attributes:
        rows: of each open day, what rules measure (`Rule.measure`); what does not apply is absent.
        schemas: in words, where a day's columns differ from the canonical ones, by day and table.
        summaries: of each open day that could be read.
    """

    rows: dict[date, dict[str, float]] = field(default_factory=dict)
    schemas: dict[tuple[date, str], str] = field(default_factory=dict)
    summaries: dict[date, Summary] = field(default_factory=dict)


def measure(
    engine: Engine,
    days: Sequence[Day],
    rules: Sequence[Rule],
    seen_from: Standpoint,
    older_catalogues: Callable[[], Mapping[date, str]] = dict,
) -> Measures:
    """Measures every open day by itself.

    Args:
        older_catalogues: files of the days published before, by day; asked for only when an item is missing here.
    """
    found = Measures()
    opened = [day for day in days if not day.closed]
    for day in opened:
        found.rows[day.day] = _of_counts(day, seen_from)
        _note_schemas(day, found)
    sound = [day for day in opened if not any((day.day, table) in found.schemas for table in TABLES)]
    if not sound:
        return found
    tables = {table: joined(engine, sound, table, seen_from) for table in TABLES}
    own = {table: [rule for rule in rules if rule.table == table] for table in TABLES}
    figures = {table: _figures(engine, tables[table], own[table], table) for table in TABLES}
    for table in TABLES:
        for day in sound:
            found.rows[day.day] |= _told(figures[table].get(day.day, {}), own[table], table)
        _count_twins(engine, tables[table], own[table], found)
    unknown = offences.unknown_item_shares(engine, tables, older_catalogues)
    kept = distributions_of(engine, tables, seen_from.timezone, [day.day for day in sound])
    for day in sound:
        row = found.rows[day.day]
        row["events.unknown_share(item_id)"] = unknown.get(day.day, 0.0)
        row["events.unaccounted_rows"] += abs(row["events.rows"] - day.rows)
        found.summaries[day.day] = _summary(day, figures, kept[day.day], seen_from)
    return found


def _of_counts(day: Day, seen_from: Standpoint) -> dict[str, float]:
    counts = day.counts
    refused = counts["quarantined"] if counts["quarantined"] >= seen_from.quarantine_min_rows else 0
    items = counts.get("catalogue_rows", {})
    left_out = sum(items.get(name, 0) for name in LEFT_OUT)
    told = {"catalogue.left_out_share": left_out / items["read"]} if items.get("read") else {}
    return told | {
        "events.schema_differences": 0,
        "catalogue.schema_differences": 0,
        "events.quarantined_share": refused / max(counts["rows"], 1),
        "events.unaccounted_rows": abs(counts["rows"] - sum(counts[part] for part in PARTS_OF_ROWS)),
        "events.late_share": day.late_rows / max(day.rows, 1),
    }


def _note_schemas(day: Day, found: Measures) -> None:
    for table, wanted in TABLES.items():
        text = _schema_differences(day.artifact.file(FILES[table]), wanted)
        if text:
            found.schemas[day.day, table] = text
            found.rows[day.day][f"{table}.schema_differences"] = text.count(";") + 1


def _schema_differences(path: Any, columns: Mapping[str, str]) -> str:
    import ibis
    import pyarrow.parquet as parquet

    found = ibis.Schema.from_pyarrow(parquet.read_schema(path))
    wanted = ibis.schema(columns)
    missing = [f"{name} is missing" for name in wanted if name not in found]
    unknown = [f"{name} is unknown" for name in found if name not in wanted]
    changed = [f"{n} is {found[n]}" for n in wanted if n in found and _kind(found[n]) != _kind(wanted[n])]
    return "; ".join(missing + unknown + changed)


def _kind(dtype: Any) -> tuple[Any, ...]:
    # Engines differ in the precision they write times with; the zone is what matters.
    return ("timestamp", dtype.timezone) if dtype.is_timestamp() else (type(dtype),)


def joined(engine: Engine, days: Sequence[Day], table: str, seen_from: Standpoint) -> ir.Table:
    """Returns the rows of all days, each with its day and that day's bounds."""
    import ibis

    calendar = [
        {
            "filename": str(day.artifact.file(FILES[table])),
            "day": day.day,
            "begins": start_of_day(day.day, seen_from.timezone),
            "ends": end_of_day(day.day, seen_from.timezone),
            "as_of": seen_from.as_of,
        }
        for day in days
    ]
    rows = engine.read([entry["filename"] for entry in calendar], "filename")
    utc = ibis.dtype("timestamp('UTC')")
    if len(calendar) == 1:
        one = {name: ibis.literal(calendar[0][name], utc) for name in ("begins", "ends", "as_of")}
        return rows.mutate(day=ibis.literal(calendar[0]["day"], "date"), **one)
    schema = {"filename": "string", "day": "date", "begins": utc, "ends": utc, "as_of": utc}
    return rows.join(ibis.memtable(calendar, schema=schema), "filename")


def _figures(engine: Engine, rows: ir.Table, rules: Sequence[Rule], table: str) -> dict[date, dict[str, Any]]:
    """Returns what one aggregation says of each day: rows, nulls by column, and every kind of offence."""
    aggregates: dict[str, ir.Value] = {"rows": rows.count()}
    aggregates |= {f"present_{name}": rows[name].count() for name in TABLES[table]}
    for number, rule in enumerate(rules):
        if METRICS[rule.metric].kind in ("rows", "share"):
            aggregates[f"offend_{number}"] = offences.offends(rows, rule).sum()
            if rule.among:
                aggregates[f"among_{number}"] = offences.spoken_of(rows, rule).sum()
    if table == "events":
        aggregates["age_hours"] = (micros_of(rows.as_of.max()) - micros_of(rows.event_time.max())) / HOUR
    else:
        aggregates["true_share"] = rows.in_stock.ifelse(1, 0).mean(where=rows.in_stock.notnull())
    return {row["day"]: row for row in engine.answer(rows.group_by("day").aggregate(**aggregates)).to_pylist()}


def _told(figures: Mapping[str, Any], rules: Sequence[Rule], table: str) -> dict[str, float]:
    """Returns the figures by the names of what rules measure."""
    if table == "catalogue" and not figures:
        return {}
    row: dict[str, float] = {f"{table}.rows": figures.get("rows") or 0}
    for number, rule in enumerate(rules):
        kind = METRICS[rule.metric].kind
        if kind in ("rows", "share"):
            count, among = figures.get(f"offend_{number}") or 0, figures.get(f"among_{number}", row[f"{table}.rows"])
            row[rule.measure] = count / max(among or 0, 1) if kind == "share" else count
    for name, column in (("age_hours", "event_time"), ("true_share", "in_stock")):
        if figures.get(name) is not None:
            row[f"{table}.{name}({column})"] = float(figures[name])
    return row


def _count_twins(engine: Engine, rows: ir.Table, rules: Sequence[Rule], found: Measures) -> None:
    for rule in {rule.measure: rule for rule in rules if rule.metric == "duplicates"}.values():
        for day, count in offences.duplicates(engine, rows, rule.column.split("+")).items():
            found.rows[day][rule.measure] = count
        for row in found.rows.values():
            if f"{rule.table}.rows" in row:
                row.setdefault(rule.measure, 0)


def _summary(day: Day, figures: Mapping[str, Any], kept: Any, seen_from: Standpoint) -> Summary:
    own = {table: figures[table].get(day.day, {}) for table in TABLES}
    shares = {
        table: {name: 1 - found[f"present_{name}"] / found["rows"] for name in TABLES[table]}
        for table, found in own.items()
        if found
    }
    hours, distributions = kept
    length = len(clock_hours(day.day, seen_from.timezone))
    counted, visitors = (tuple(each.get(h, 0) for h in range(length)) for each in hours)
    rows, items = (own[table].get("rows", 0) for table in TABLES)
    return Summary(day.day, rows, counted, visitors, distributions, shares, items)
