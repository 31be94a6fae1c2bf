"""What validate is measured against: `python -m benchmarks.validate_peer ROOT RUN` prints the rules a day breaks.

The day's files are read into pandas and held to every rule by the expectation of Great Expectations that says the same.
For what rules ask of the trailing days pandas makes the day's own figures, in the ways its documentation shows; the
comparison with the few trailing figures is then the same small sum as ours.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.row_conditions import Column

from benchmarks.logs import Logs
from pipeline.core import settings as settings_module
from pipeline.core.days import Days, end_of_day, start_of_day
from pipeline.core.run import Run
from pipeline.core.schema import EVENT_TYPES
from pipeline.store.partitions import Partitions
from pipeline.validate.bins import BANDS, NO_CATEGORY, band_name, in_order
from pipeline.validate.measure import PARTS_OF_ROWS, Measures, Standpoint
from pipeline.validate.metrics import METRICS, TABLES
from pipeline.validate.publish import Trail
from pipeline.validate.suite import Rule, load_suites
from pipeline.validate.summary import Summary
from pipeline.validate.trail import compare

DAY = Logs.first


def broken_rules(root: Path, name: str) -> list[str]:
    """Returns the rules one day breaks, each with its suite and column."""
    settings = settings_module.load([f"store.root={root}"])
    run = Run.open(root.resolve(), name, "UTC", Days(DAY, DAY))
    artifact = run.artifact("ingest", str(DAY))
    frames = {table: pd.read_parquet(artifact.file(f"{table}.parquet")) for table in TABLES}
    rules = load_suites(settings)
    found = {rule for rule in _judged_by_gx(rules, frames, run) if rule}
    row = _figures(rules, frames, artifact.json("counts.json"), settings, run)
    found |= {rule for rule in rules if rule.measure in row and not _holds(rule, row[rule.measure])}
    return sorted(f"{rule.table}: {rule.name} ({rule.column})" for rule in found)


def _holds(rule: Rule, value: float) -> bool:
    least, most = rule.at_least, rule.at_most
    return (least is None or value >= least) and (most is None or value <= most)


def _judged_by_gx(rules: tuple[Rule, ...], frames: dict[str, pd.DataFrame], run: Run) -> Iterator[Rule]:
    """Yields every rule that has an expectation of its own and breaks it."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    events = frames["events"]
    events["person"] = events.user_id.fillna(events.session_id)
    events["known_item"] = events.item_id.where(events.event_type != "search")
    for table, frame in frames.items():
        suite = gx.ExpectationSuite(name=table)
        for number, rule in enumerate(rules):
            for expectation in _expectations(rule, frames, run) if rule.table == table else ():
                expectation.meta = {"number": number}
                suite.add_expectation(expectation)
        batch = context.data_sources.add_pandas(table).add_dataframe_asset(table)
        definition = batch.add_batch_definition_whole_dataframe("day")
        outcome = definition.get_batch({"dataframe": frame}).validate(suite, result_format="BOOLEAN_ONLY")
        for result in outcome.results:
            if result.exception_info.get("raised_exception"):
                raise RuntimeError(result.exception_info["exception_message"])
            if not result.success:
                yield rules[result.expectation_config.meta["number"]]


def _expectations(rule: Rule, frames: dict[str, pd.DataFrame], run: Run) -> list[Any]:
    """Returns the expectations that together say what a rule on rows says; none for a rule on figures."""
    column, begin = rule.column, start_of_day(DAY, "UTC")
    among = {"row_condition": Column("event_type").is_in(list(rule.among))} if rule.among else {}
    bounds = {"min_value": rule.lowest, "max_value": rule.highest}
    extra = {"events": ["person", "known_item"], "catalogue": []}[rule.table]
    day = {"min_value": begin, "max_value": end_of_day(DAY, "UTC"), "strict_max": True}
    items = frames["catalogue"].item_id.dropna().unique().tolist() if rule.metric == "unknown_share" else []
    ways = {
        "schema_differences": lambda: [gxe.ExpectTableColumnsToMatchSet(column_set=[*TABLES[rule.table], *extra])],
        "rows": lambda: [gxe.ExpectTableRowCountToBeBetween(min_value=rule.at_least, max_value=rule.at_most)],
        "nulls": lambda: [gxe.ExpectColumnValuesToNotBeNull(column=column, **among)],
        "blanks": lambda: [
            gxe.ExpectColumnValuesToNotBeNull(column=column, **among),
            gxe.ExpectColumnValueLengthsToBeBetween(column=column, min_value=1, **among),
        ],
        "outside_set": lambda: [
            gxe.ExpectColumnValuesToNotBeNull(column=column),
            gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(rule.values)),
        ],
        "outside_range": lambda: [gxe.ExpectColumnValuesToBeBetween(column=column, **bounds, **among)],
        "outside_range_share": lambda: [
            gxe.ExpectColumnValuesToBeBetween(column=column, mostly=1 - (rule.at_most or 0), **bounds)
        ],
        "without_person": lambda: [gxe.ExpectColumnValuesToNotBeNull(column="person")],
        "outside_day": lambda: [gxe.ExpectColumnValuesToBeBetween(column=column, **day)],
        "after_as_of": lambda: [gxe.ExpectColumnMaxToBeBetween(column=column, max_value=run.as_of)],
        "duplicates": lambda: [
            gxe.ExpectCompoundColumnsToBeUnique(column_list=column.split("+"))
            if "+" in column
            else gxe.ExpectColumnValuesToBeUnique(column=column)
        ],
        "unknown_share": lambda: [
            gxe.ExpectColumnValuesToBeInSet(column="known_item", value_set=items, mostly=1 - (rule.at_most or 0))
        ],
    }
    return ways[rule.metric]() if rule.metric in ways else []


def _figures(
    rules: tuple[Rule, ...], frames: dict[str, pd.DataFrame], counts: dict[str, Any], settings: Any, run: Run
) -> dict[str, float]:
    """Returns what rules measure of the day as a whole and against the trailing days."""
    events, catalogue = frames["events"], frames["catalogue"]
    told = {part: counts[part] for part in PARTS_OF_ROWS}
    row = {
        "events.quarantined_share": told["quarantined"] / counts["rows"],
        "events.unaccounted_rows": abs(counts["rows"] - sum(told.values())) + abs(len(events) - told["clean"]),
        "events.late_share": 0.0,
        "events.age_hours(event_time)": (run.as_of - events.event_time.max()).total_seconds() / 3600,
        "catalogue.true_share(in_stock)": float(catalogue.in_stock.dropna().astype(float).mean()),
    }
    judge, ingest = settings.validate, settings.ingest
    trailing = (judge.trailing_days, judge.min_trailing_days, judge.drift_min_rows, ingest.quarantine_min_rows)
    measures = Measures({DAY: row}, {}, {DAY: _summary(events, catalogue)})
    trail = Trail.before(settings, run, Partitions.open(settings, "published"), [DAY])
    asked = [rule for rule in rules if METRICS[rule.metric].kind == "trail"]
    compare(measures, trail.known(), asked, Standpoint(run.as_of, "UTC", *trailing))
    return row


def _summary(events: pd.DataFrame, catalogue: pd.DataFrame) -> Summary:
    hour = events.event_time.dt.hour
    visitors = events.person.groupby(hour).nunique()
    category = catalogue.assign(top=catalogue.category.str.split("/").str[0]).groupby("item_id").top.max()
    items = events.item_id.dropna()
    found = {
        "event_type": events.event_type.value_counts().to_dict(),
        "hour": {f"{h:02}": int(visitors.get(h, 0)) for h in range(24)},
        "price": _banded(events.price, "price"),
        "quantity": _banded(events.quantity, "quantity"),
        "query_length": _banded(events["query"].dropna().str.len(), "query_length"),
        "category": items.map(category).fillna(NO_CATEGORY).value_counts().to_dict(),
    }
    of_items = {
        "price": _banded(catalogue.price, "price"),
        "category": catalogue.category.str.split("/").str[0].fillna(NO_CATEGORY).value_counts().to_dict(),
    }
    ordered = {name: {n: bins[n] for n in in_order(name, bins)} for name, bins in found.items()}
    ordered["event_type"] = {name: ordered["event_type"][name] for name in EVENT_TYPES if name in found["event_type"]}
    nulls = {table: frame.isna().mean().to_dict() for table, frame in (("events", events), ("catalogue", catalogue))}
    per_hour = hour.value_counts()
    return Summary(
        DAY,
        len(events),
        tuple(int(per_hour.get(h, 0)) for h in range(24)),
        tuple(int(visitors.get(h, 0)) for h in range(24)),
        {"events": ordered, "catalogue": of_items},
        nulls,
        len(catalogue),
    )


def _banded(values: pd.Series, column: str) -> dict[str, int]:
    edges, whole = BANDS[column]
    reached = pd.cut(values.dropna(), [-np.inf, *edges, np.inf], right=False, labels=False).value_counts().sort_index()
    return {band_name(int(number), edges, whole): int(count) for number, count in reached.items()}


if __name__ == "__main__":
    print(json.dumps(broken_rules(Path(sys.argv[1]), sys.argv[2])))
