"""Great Expectations judges the metrics, all days in one validation, and builds its Data Docs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import DataError
from pipeline.validate.metrics import Measures
from pipeline.validate.suite import Rule

if TYPE_CHECKING:
    import pandas
    from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult
    from great_expectations.data_context import AbstractDataContext

SEVERITIES = {"fail": "critical", "warn": "warning"}
SITE = "data_docs"


@dataclass(frozen=True)
class Failure:
    """One expectation one day did not meet."""

    day: str
    expectation: str
    column: str
    observed: float | str
    expected: str
    severity: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(measures: Measures, rules: Sequence[Rule], docs: Path, run_id: str) -> list[Failure]:
    """Validates every open day against every rule, in the order of days, then of rules.

    Args:
        docs: folder the Data Docs are built into.
    """
    if not measures.rows:
        _say_nothing_was_open(docs)
        return []
    result = _validate(_frame(measures), rules, docs, run_id)
    by_name = {rule.name: rule for rule in rules}
    order = {rule.name: number for number, rule in enumerate(rules)}
    failures = [f for each in result.results for f in _failures(each, by_name, measures)]
    return sorted(failures, key=lambda f: (f.day, order[f.expectation]))


def _frame(measures: Measures) -> pandas.DataFrame:
    import pandas

    from pipeline.validate.metrics import JUDGED

    rows = [{"day": str(day), **metrics} for day, metrics in sorted(measures.rows.items())]
    return pandas.DataFrame(rows, columns=["day", *JUDGED])


def _validate(
    frame: pandas.DataFrame, rules: Sequence[Rule], docs: Path, run_id: str
) -> ExpectationSuiteValidationResult:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    _add_site(context, docs)
    batch = (
        context.data_sources.add_pandas("published")
        .add_dataframe_asset("days")
        .add_batch_definition_whole_dataframe("metrics")
    )
    suite = context.suites.add(_suite(rules))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="days", data=batch, suite=suite))
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name="events",
            validation_definitions=[definition],
            actions=[gx.checkpoint.UpdateDataDocsAction(name="data_docs")],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["day"]},
        )
    )
    outcome = checkpoint.run(batch_parameters={"dataframe": frame}, run_id=gx.RunIdentifier(run_name=run_id))
    return next(iter(outcome.run_results.values()))


def _add_site(context: AbstractDataContext, docs: Path) -> None:
    for name in context.get_site_names():
        context.delete_data_docs_site(name)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    context.add_data_docs_site(SITE, {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index})


def _suite(rules: Sequence[Rule]) -> ExpectationSuite:
    import great_expectations as gx
    import great_expectations.expectations as gxe

    suite = gx.ExpectationSuite(name="events", meta={"rules": len(rules)})
    for rule in rules:
        suite.add_expectation(
            gxe.ExpectColumnValuesToBeBetween(
                column=rule.metric,
                min_value=rule.at_least,
                max_value=rule.at_most,
                severity=SEVERITIES[rule.severity],
                meta={"rule": rule.name},
                notes=rule.says,
            )
        )
    return suite


def _failures(result: Any, by_name: dict[str, Rule], measures: Measures) -> Iterator[Failure]:
    rule = by_name[result.expectation_config.meta["rule"]]
    if result.exception_info.get("raised_exception"):
        message = result.exception_info["exception_message"]
        raise DataError(f"The expectation {rule.name} could not be judged: {message}.")
    for entry in result.result.get("unexpected_index_list") or ():
        day = date.fromisoformat(entry["day"])
        yield Failure(
            str(day),
            rule.name,
            rule.column,
            _observed(rule, day, measures),
            _expected(rule, day, measures),
            rule.severity,
        )


def _observed(rule: Rule, day: date, measures: Measures) -> float | str:
    if rule.metric == "schema_differences":
        return measures.schemas[day]
    value = float(measures.rows[day][rule.metric])
    return int(value) if value.is_integer() else float(f"{value:.4g}")


def _expected(rule: Rule, day: date, measures: Measures) -> str:
    if rule.metric == "volume_ratio":
        return f"{rule.expected} of the trailing median of {measures.medians[day]:g} events"
    return rule.expected


def _say_nothing_was_open(docs: Path) -> None:
    docs.mkdir(parents=True)
    (docs / "index.html").write_text("<!doctype html><title>No open day</title><p>No day of this run was open.</p>\n")
