"""A few rows that broke a rule, for a person to look at: never who, and no text a person typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipeline.core.settings import Settings
from pipeline.store.engine import Engine, open_engine
from pipeline.validate.judge import Failure
from pipeline.validate.measure import Day, Measures, Standpoint, joined
from pipeline.validate.metrics import METRICS
from pipeline.validate.offences import offends
from pipeline.validate.suite import Rule

SHOWN = {
    "events": ("event_type", "event_time", "item_id", "price", "quantity"),
    "catalogue": ("item_id", "category", "brand", "price", "in_stock", "valid_from"),
}
"""Whoever reads the page need not know whose rows they are: no ids, no search text."""

MOST_RULES, MOST_ROWS = 8, 3


@dataclass(frozen=True)
class Example:
    """Rows of one day that one rule speaks of."""

    failure: Failure
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def examples_of(
    settings: Settings,
    days: Sequence[Day],
    rules: Sequence[Rule],
    failures: Sequence[Failure],
    seen_from: Standpoint,
    measures: Measures,
) -> list[Example]:
    """Returns example rows of the newest failures of rules about single rows, failing ones first."""
    by_day = {day.day: day for day in days}
    known = {
        (rule.table, rule.name, rule.column): rule for rule in rules if METRICS[rule.metric].kind in ("rows", "share")
    }
    newest: dict[tuple[str, str, str], Failure] = {}
    for failure in failures:
        place = (failure.suite, failure.expectation, failure.column)
        if place in known and date.fromisoformat(failure.day) in measures.summaries:
            newest[place] = failure
    ranked = sorted(newest.items(), key=lambda entry: entry[1].severity != "fail")
    if not ranked:
        return []
    with open_engine(settings) as engine:
        return [_example(engine, by_day, known[place], failure, seen_from) for place, failure in ranked[:MOST_RULES]]


def _example(engine: Engine, days: Mapping[date, Day], rule: Rule, failure: Failure, seen_from: Standpoint) -> Example:
    rows = joined(engine, [days[date.fromisoformat(failure.day)]], rule.table, seen_from)
    columns = SHOWN[rule.table]
    taken = rows.filter(offends(rows, rule)).select(*columns).order_by(columns).limit(MOST_ROWS)
    return Example(failure, columns, [tuple(row.values()) for row in engine.answer(taken).to_pylist()])
