"""How a day's values lie over bins: one count over all bins at once, then a small table for each column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pipeline.core.days import end_of_day, start_of_day
from pipeline.core.schema import EVENT_TYPES
from pipeline.store.engine import Engine
from pipeline.store.words import micros_of
from pipeline.validate.bins import (
    BANDS,
    CATEGORIES,
    LENGTH_EDGES,
    NO_CATEGORY,
    OTHERS,
    PRICE_EDGES,
    QUANTITY_EDGES,
    band,
    band_name,
)
from pipeline.validate.offences import SEEN
from pipeline.validate.summary import Bins

if TYPE_CHECKING:
    import ibis.expr.types as ir

CUBE = "validate_cube"
COLUMNS = ("event_type", "hour", *BANDS)
HOUR = 3_600_000_000
"""In microseconds."""

Counts = dict[date, dict[Any, int]]
Hours = tuple[dict[int, int], dict[int, int]]
Kept = dict[date, tuple[Hours, dict[str, dict[str, Bins]]]]


def distributions_of(engine: Engine, tables: Mapping[str, ir.Table], timezone: str, days: Sequence[date]) -> Kept:
    """Returns, of each day, events and visitors by hours since midnight, and the bins of every column."""
    cube = engine.keep(CUBE, _cube(tables["events"]))
    counts = {column: _marginal(engine, cube, column) for column in COLUMNS}
    category, catalogue = _categories(engine, tables["catalogue"])
    prices = _marginal(engine, _catalogue_prices(tables["catalogue"]), "price")
    # Over the clock visitors are counted: their events come in bunches, which is no drift.
    visitors = _visitors(engine, tables["events"])
    kept: Kept = {}
    for day in days:
        hours, who = counts["hour"].get(day, {}), visitors.get(day, {})
        events = {
            "event_type": _named(counts["event_type"].get(day, {}), EVENT_TYPES),
            "hour": by_clock(who, day, timezone),
            **{name: _banded(counts[name].get(day, {}), *BANDS[name]) for name in BANDS},
            "category": _most(category.get(day, {})),
        }
        items = {"price": _banded(prices.get(day, {}), *BANDS["price"]), "category": _most(catalogue.get(day, {}))}
        kept[day] = (hours, who), {"events": events, "catalogue": items}
    return kept


def _cube(events: ir.Table) -> ir.Table:
    """Returns events by day and every bin at once: few rows, from which each column's own table is summed."""
    binned = events.select(
        "day",
        "event_type",
        hour=_hour(events),
        price=band(events.price, PRICE_EDGES),
        quantity=band(events.quantity, QUANTITY_EDGES),
        query_length=band(events["query"].length(), LENGTH_EDGES),
    )
    return binned.group_by("day", *COLUMNS).aggregate(n=binned.count())


def _hour(events: ir.Table) -> ir.IntegerValue:
    return ((micros_of(events.event_time) - micros_of(events.begins)) // HOUR).cast("int32")


def _visitors(engine: Engine, events: ir.Table) -> Counts:
    present = events.select("day", hour=_hour(events), who=events.user_id.coalesce(events.session_id).hash())
    counted = present.group_by("day", "hour").aggregate(n=present.who.nunique())
    return _by_day(engine.answer(counted).to_pylist(), "hour")


def _marginal(engine: Engine, table: ir.Table, column: str) -> Counts:
    present = table.filter(table[column].notnull())
    return _by_day(engine.answer(present.group_by("day", column).aggregate(n=present.n.sum())).to_pylist(), column)


def _by_day(rows: Iterable[Mapping[str, Any]], column: str) -> Counts:
    found: Counts = defaultdict(dict)
    for row in rows:
        found[row["day"]][row[column]] = int(row["n"])
    return found


def _catalogue_prices(catalogue: ir.Table) -> ir.Table:
    binned = catalogue.select("day", price=band(catalogue.price, PRICE_EDGES))
    return binned.group_by("day", "price").aggregate(n=binned.count())


def _categories(engine: Engine, catalogue: ir.Table) -> tuple[Counts, Counts]:
    """Returns, by the first level of the category, events on items and rows of the catalogue.

    An event's category is what its own day's catalogue says of its item.
    """
    top = catalogue.category.split("/")[0].fill_null(NO_CATEGORY)
    rows = catalogue.select("day", "item_id", category=top)
    told = rows.group_by("day", "item_id").aggregate(category=rows.category.max())
    seen = engine.table(SEEN)
    joined = seen.left_join(told, ["day", "item_id"]).select("day", "n", category=told.category.fill_null(NO_CATEGORY))
    of_events = joined.group_by("day", "category").aggregate(n=joined.n.sum())
    of_items = rows.group_by("day", "category").aggregate(n=rows.count())
    return tuple(_by_day(engine.answer(table).to_pylist(), "category") for table in (of_events, of_items))  # type: ignore[return-value]


def clock_hours(day: date, timezone: str) -> list[int]:
    """Returns what a clock on the shop's wall shows in each hour since midnight: 2 twice, or never, at a change."""
    begin, end = start_of_day(day, timezone), end_of_day(day, timezone)
    hours = round((end - begin).total_seconds() / 3600)
    zone = ZoneInfo(timezone)
    return [(begin + timedelta(hours=hour)).astimezone(zone).hour for hour in range(hours)]


def by_clock(hours: Mapping[int, int], day: date, timezone: str) -> Bins:
    """Returns what was counted by hours since midnight by the hour a clock shows, `00` to `23`."""
    found = {f"{hour:02}": 0 for hour in range(24)}
    for elapsed, clock in enumerate(clock_hours(day, timezone)):
        found[f"{clock:02}"] += hours.get(elapsed, 0)
    return found


def _banded(counts: Mapping[int, int], edges: Sequence[float], whole: bool) -> Bins:
    return {band_name(number, edges, whole): counts[number] for number in sorted(counts)}


def _named(counts: Mapping[str, int], names: Sequence[str]) -> Bins:
    return {name: counts[name] for name in names if name in counts}


def _most(counts: Mapping[str, int]) -> Bins:
    """Returns the largest bins, the rest as one."""
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    kept, rest = dict(ranked[:CATEGORIES]), sum(count for _, count in ranked[CATEGORIES:])
    return kept | ({OTHERS: rest} if rest else {})
