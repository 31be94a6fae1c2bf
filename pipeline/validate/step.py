"""Judges the run's days, publishes those that passed, and ends with an error when one did not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import Artifact, digest_of_file
from pipeline.core.errors import DataError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.store.engine import open_engine
from pipeline.validate.judge import SITE, Failure, judge
from pipeline.validate.metrics import Day, Measures, Standpoint, measure
from pipeline.validate.page import write_page
from pipeline.validate.publish import Published, publish, published_before, trail_of
from pipeline.validate.suite import load_suite, suite_file

STAGE = "validate"


def run(settings: Settings, run: Run) -> Report:
    """Raises: DataError: a day broke a rule; every other day is published, that one's old record stays as it was."""
    days = _days(run)
    before = published_before(run.layout, run.days.first)
    night = Night(settings, run, days, before)
    report = run.once(STAGE, night.inputs(), night.sections(), night.fill)
    artifact = run.artifact(STAGE)
    verdict = artifact.json("verdict.json")
    failed = {failure["day"] for failure in verdict["failures"] if failure["severity"] == "fail"}
    for day in days:
        if str(day.day) not in failed:
            publish(run.layout, day, artifact.key)
    if failed:
        raise DataError(_refusal(verdict["failures"], artifact))
    return report


def _days(run: Run) -> list[Day]:
    ingested = {str(day): run.artifact("ingest", str(day)) for day in run.days}
    return [Day(day, ingested[str(day)], ingested[str(day)].json("counts.json")) for day in run.days]


@dataclass(frozen=True)
class Night:
    """What one verdict is made from."""

    settings: Settings
    run: Run
    days: Sequence[Day]
    before: Sequence[Published]

    def inputs(self) -> dict[str, str]:
        return {
            **{f"ingest {day.day}": day.artifact.key for day in self.days},
            **{f"published {each.day}": each.record["digest"] for each in self.before},
            "as_of": self.run.as_of.isoformat(),
            "suite": digest_of_file(suite_file(self.settings)),
        }

    def sections(self) -> dict[str, Any]:
        ingest = self.settings.ingest
        quarantine = [ingest.quarantine_warn_share, ingest.quarantine_fail_share, ingest.quarantine_min_rows]
        return {**self.settings.keyed(STAGE), "quarantine": quarantine, "timezone": self.settings.shop.timezone}

    def standpoint(self) -> Standpoint:
        judge, shop = self.settings.validate, self.settings.shop
        trailing = (judge.trailing_days, judge.min_trailing_days)
        return Standpoint(self.run.as_of, shop.timezone, *trailing, self.settings.ingest.quarantine_min_rows)

    def fill(self, folder: Path) -> Report:
        rules = load_suite(suite_file(self.settings), self.settings)
        trail = trail_of(self.before)
        with open_engine(self.settings) as engine:
            measures = measure(engine, self.days, trail, self.standpoint())
        failures = judge(measures, rules, folder / SITE, self.run.run_id)
        verdict = self._verdict(failures, measures)
        (folder / "verdict.json").write_text(json.dumps(verdict, indent=1))
        write_page(folder / "report.html", verdict, measures, rules, self.days, trail)
        return self._report(verdict, measures)

    def _verdict(self, failures: Sequence[Failure], measures: Measures) -> dict[str, Any]:
        warming = [str(day) for day in measures.rows if day not in measures.medians]
        newest = str(max(measures.rows, default=""))
        return {
            "passed": not any(failure.severity == "fail" for failure in failures),
            "warming_up": newest in warming,
            "days": [str(day.day) for day in self.days],
            "closed_days": [str(day.day) for day in self.days if day.closed],
            "warming_up_days": warming,
            "failures": [failure.to_dict() for failure in failures],
        }

    def _report(self, verdict: dict[str, Any], measures: Measures) -> Report:
        by_severity = {s: [f for f in verdict["failures"] if f["severity"] == s] for s in ("fail", "warn")}
        failed, closed = len({f["day"] for f in by_severity["fail"]}), len(verdict["closed_days"])
        events = int(sum(row.get("events", 0) for row in measures.rows.values()))
        counts = {
            "days": len(self.days),
            "days_passed": len(self.days) - failed,
            "days_closed": closed,
            "events": events,
            "failures": len(by_severity["fail"]),
            "warnings": len(by_severity["warn"]),
        }
        warming = "; warming up: too few trailing days to judge volume by" if verdict["warming_up"] else ""
        sentence = (
            f"{counts['days_passed']:,} of {counts['days']:,} days passed ({closed} closed), {events:,} events, "
            f"{counts['failures']} failures, {counts['warnings']} warnings{warming}."
        )
        return Report(sentence, counts, verdict="pass" if verdict["passed"] else "fail")


def _refusal(failures: Sequence[dict[str, Any]], artifact: Artifact) -> str:
    failing = [failure for failure in failures if failure["severity"] == "fail"]
    first, days = failing[0], len({failure["day"] for failure in failing})
    more = f" ({len(failing)} failures on {days} {'day' if days == 1 else 'days'} in all)" if len(failing) > 1 else ""
    return (
        f"{first['day']} did not pass: {first['expectation']} on column {first['column']} observed "
        f"{first['observed']}, expected {first['expected']}{more}. Its published record stays as it was; mend the logs "
        f"or the rule, then ingest and validate that day again. Report: {artifact.path / 'report.html'}"
    )
