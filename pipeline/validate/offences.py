"""Which rows offend a rule, as expressions of the engine; and what takes more than the row itself to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING

from pipeline.store.engine import Engine
from pipeline.validate.metrics import METRICS
from pipeline.validate.suite import Rule

if TYPE_CHECKING:
    import ibis.expr.types as ir

SEEN = "validate_seen"


def offends(rows: ir.Table, rule: Rule) -> ir.BooleanValue:
    """Returns, for every row, whether the rule speaks of it and it does not keep the rule; never null."""
    offence = OFFENCES[METRICS[rule.metric].offence or rule.metric](rows, rule).fill_null(False)
    return spoken_of(rows, rule) & offence if rule.among else offence


def spoken_of(rows: ir.Table, rule: Rule) -> ir.BooleanValue:
    """Returns whether a row is of the event types the rule speaks of."""
    return rows.event_type.isin(rule.among).fill_null(False)


def _outside_range(rows: ir.Table, rule: Rule) -> ir.BooleanValue:
    value = rows[rule.column]
    tests = [value < rule.lowest] if rule.lowest is not None else []
    tests += [value > rule.highest] if rule.highest is not None else []
    tests += [value.isnan(), value.isinf()] if value.type().is_floating() else []
    return reduce(lambda one, other: one | other, tests)


OFFENCES: Mapping[str, Callable[[ir.Table, Rule], ir.BooleanValue]] = {
    "nulls": lambda rows, rule: rows[rule.column].isnull(),
    "blanks": lambda rows, rule: rows[rule.column].fill_null("") == "",
    "outside_set": lambda rows, rule: ~rows[rule.column].isin(rule.values).fill_null(False),
    "outside_range": _outside_range,
    "without_person": lambda rows, rule: rows.user_id.isnull() & rows.session_id.isnull(),
    "outside_day": lambda rows, rule: (rows.event_time < rows.begins) | (rows.event_time >= rows.ends),
    "after_as_of": lambda rows, rule: rows.event_time > rows.as_of,
}


def duplicates(engine: Engine, rows: ir.Table, columns: Sequence[str]) -> dict[date, int]:
    """Returns, by day, how many rows repeat what another row of the day has in these columns; nulls repeat nothing.

    Values are counted by a hash of eight bytes, which takes a fraction of the memory; only a day on which two hashes
    meet is counted again by the values themselves, so the answer is exact.
    """
    named = rows.filter(reduce(and_, (rows[name].notnull() for name in columns)))
    text = reduce(lambda one, other: one.concat("|", other), (named[name].cast("string") for name in columns))
    days = named.group_by("day")
    counted = days.aggregate(rows=named.count(), kinds=text.hash().nunique())
    met = [row["day"] for row in engine.answer(counted).to_pylist() if row["kinds"] < row["rows"]]
    if not met:
        return {}
    doubtful = named.filter(named.day.isin(met)).select("day", *columns)
    kinds = doubtful.group_by("day", *columns).aggregate(n=lambda t: t.count())
    twins = kinds.group_by("day").aggregate(twins=(kinds.n - 1).sum())
    return {row["day"]: int(row["twins"]) for row in engine.answer(twins).to_pylist() if row["twins"]}


def unknown_item_shares(
    engine: Engine, tables: Mapping[str, ir.Table], older_catalogues: Callable[[], Mapping[date, str]]
) -> dict[date, float]:
    """Returns, by day, the share of item events whose item no catalogue of that day or an earlier one names.

    The catalogues of days before are read only when one of these days' own leaves an item unnamed.
    """
    events, catalogue = tables["events"], tables["catalogue"]
    known = events.filter(events.item_id.notnull())
    seen = engine.keep(SEEN, known.group_by("day", "item_id").aggregate(n=known.count()))
    named = catalogue.group_by("item_id").aggregate(first=catalogue.day.min())
    joined = seen.left_join(named, "item_id")
    lacking = joined.filter(joined["first"].isnull() | (joined["first"] > joined.day)).select("day", "item_id", "n")
    unknown = engine.answer(lacking.group_by("day").aggregate(n=lacking.n.sum())).to_pylist()
    older = older_catalogues() if unknown else {}
    if older:
        lacking = _lacking_in(engine, engine.keep("validate_lacking", lacking), older)
        unknown = engine.answer(lacking.group_by("day").aggregate(n=lacking.n.sum())).to_pylist()
    totals = {row["day"]: row["n"] for row in engine.answer(seen.group_by("day").aggregate(n=seen.n.sum())).to_pylist()}
    return {row["day"]: float(row["n"]) / float(totals[row["day"]]) for row in unknown}


def _lacking_in(engine: Engine, lacking: ir.Table, older: Mapping[date, str]) -> ir.Table:
    import ibis

    calendar = [{"filename": path, "named_on": day} for day, path in older.items()]
    rows = engine.read([entry["filename"] for entry in calendar], "filename").select("item_id", "filename")
    rows = rows.semi_join(lacking, "item_id")
    dated = rows.join(ibis.memtable(calendar, schema={"filename": "string", "named_on": "date"}), "filename")
    named = dated.group_by("item_id").aggregate(first=dated.named_on.min())
    joined = lacking.left_join(named, "item_id")
    return joined.filter(joined["first"].isnull() | (joined["first"] > joined.day)).select("day", "item_id", "n")
