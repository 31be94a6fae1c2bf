"""Great Expectations judges the metrics, all days in one validation, and builds its Data Docs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import DataError
from pipeline.validate.measure import Measures
from pipeline.validate.suite import Rule
from pipeline.validate.trail import Compared

if TYPE_CHECKING:
    import pandas
    from great_expectations.core import ExpectationSuite
    from great_expectations.data_context import AbstractDataContext

SEVERITIES = {"fail": "critical", "warn": "warning"}
SITE = "data_docs"


@dataclass(frozen=True)
class Failure:
    """One expectation one day did not meet."""

    day: str
    suite: str
    expectation: str
    column: str
    observed: float | str
    expected: str
    severity: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(measures: Measures, compared: Compared, rules: Sequence[Rule], docs: Path, run_id: str) -> list[Failure]:
    """Validates every open day against every rule, in the order of days, then of rules.

    Args:
        docs: folder the Data Docs are built into.
    """
    if not measures.rows:
        _say_nothing_was_open(docs)
        return []
    results = _validate(_frame(measures, rules), rules, docs, run_id)
    order = {(rule.table, rule.name, rule.column): number for number, rule in enumerate(rules)}
    failures = [failure for result in results for failure in _failures(result, rules, measures, compared)]
    return sorted(failures, key=lambda f: (f.day, order[f.suite, f.expectation, f.column]))


def _frame(measures: Measures, rules: Sequence[Rule]) -> pandas.DataFrame:
    import pandas

    names = list(dict.fromkeys(rule.measure for rule in rules))
    rows = [{"day": str(day), **metrics} for day, metrics in sorted(measures.rows.items())]
    return pandas.DataFrame(rows, columns=["day", *names]).astype(dict.fromkeys(names, "float64"))


def _validate(frame: pandas.DataFrame, rules: Sequence[Rule], docs: Path, run_id: str) -> list[Any]:
    """Returns the result of every expectation of every suite."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    _add_site(context, docs)
    asset = context.data_sources.add_pandas("partitions").add_dataframe_asset("days")
    batch = asset.add_batch_definition_whole_dataframe("figures")
    definitions = [
        context.validation_definitions.add(
            gx.ValidationDefinition(name=table, data=batch, suite=context.suites.add(_suite(table, rules)))
        )
        for table in dict.fromkeys(rule.table for rule in rules)
    ]
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name="days",
            validation_definitions=definitions,
            actions=[gx.checkpoint.UpdateDataDocsAction(name="data_docs")],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["day"]},
        )
    )
    outcome = checkpoint.run(batch_parameters={"dataframe": frame}, run_id=gx.RunIdentifier(run_name=run_id))
    return [result for each in outcome.run_results.values() for result in each.results]


def _add_site(context: AbstractDataContext, docs: Path) -> None:
    for name in context.get_site_names():
        context.delete_data_docs_site(name)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    context.add_data_docs_site(SITE, {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index})


def _suite(table: str, rules: Sequence[Rule]) -> ExpectationSuite:
    import great_expectations as gx
    import great_expectations.expectations as gxe

    suite = gx.ExpectationSuite(name=table)
    for number, rule in enumerate(rules):
        if rule.table != table:
            continue
        suite.add_expectation(
            gxe.ExpectColumnValuesToBeBetween(
                column=rule.measure,
                min_value=rule.at_least,
                max_value=rule.at_most,
                severity=SEVERITIES[rule.severity],
                meta={"rule": rule.name, "number": number},
                notes=rule.says,
            )
        )
    return suite


def _failures(result: Any, rules: Sequence[Rule], measures: Measures, compared: Compared) -> Iterator[Failure]:
    rule = rules[result.expectation_config.meta["number"]]
    if result.exception_info.get("raised_exception"):
        message = result.exception_info["exception_message"]
        raise DataError(f"The expectation {rule.name} could not be judged: {message}.")
    for entry in result.result.get("unexpected_index_list") or ():
        day = date.fromisoformat(entry["day"])
        observed, expected = _observed(rule, day, measures), _expected(rule, day, compared)
        yield Failure(str(day), rule.table, rule.name, rule.column, observed, expected, rule.severity)


def _observed(rule: Rule, day: date, measures: Measures) -> float | str:
    if rule.metric == "schema_differences":
        return measures.schemas[day, rule.table]
    value = float(measures.rows[day][rule.measure])
    return int(value) if value.is_integer() else float(f"{value:.4g}")


def _expected(rule: Rule, day: date, compared: Compared) -> str:
    if rule.metric.startswith("volume_"):
        spreads = " spreads" if rule.metric == "volume_deviation" else ""
        return f"{rule.expected}{spreads} of the {compared.expected[day].rows:,.0f} events to expect on such a day"
    return rule.expected


def _say_nothing_was_open(docs: Path) -> None:
    docs.mkdir(parents=True)
    (docs / "index.html").write_text("<!doctype html><title>No open day</title><p>No day of this run was open.</p>\n")
