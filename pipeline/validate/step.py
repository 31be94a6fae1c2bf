"""Judges the run's days, publishes those that passed, and ends with an error when one did not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import Artifact, digest_of_file
from pipeline.core.errors import DataError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.store.engine import open_engine
from pipeline.store.partitions import Partitions
from pipeline.validate.examples import examples_of
from pipeline.validate.judge import SITE, Failure, judge
from pipeline.validate.measure import Day, Measures, Standpoint, measure
from pipeline.validate.page import Found, write_page
from pipeline.validate.publish import STAGE, Trail, publish
from pipeline.validate.suite import SETTING, load_suites, suite_file
from pipeline.validate.summary import write_summaries
from pipeline.validate.trail import Compared, compare

AS_OF = " Marked as-of: nothing was published."


def run(settings: Settings, run: Run) -> Report:
    """Judges every part of the run's ingest, re-opened days too; a run marked as-of publishes none of them.

    Raises:
        DataError: a day broke a rule; every other day is published, that one's old record stays as it was.
        BusyError: another run landed one of the days since this one ingested it, or published it meanwhile.
    """
    days = _days(run)
    landed, partitions = Partitions.open(settings, "landed"), Partitions.open(settings, "published")
    seen = {day.day: partitions.read(day.day) for day in days}
    trail = Trail.before(settings, run, partitions, [day.day for day in days])
    night = Night(settings, run, days, trail)
    report = run.once(STAGE, night.inputs(), night.sections(), night.fill)
    artifact = run.artifact(STAGE)
    verdict = artifact.json("verdict.json")
    failed = {failure["day"] for failure in verdict["failures"] if failure["severity"] == "fail"}
    for day in days:
        if str(day.day) not in failed and not run.backfill:
            publish(partitions, day, landed.read(day.day), seen[day.day], run.run_id, artifact.key)
    if failed:
        raise DataError(_refusal(verdict["failures"], artifact))
    return replace(report, sentence=report.sentence + AS_OF) if run.backfill else report


def _days(run: Run) -> list[Day]:
    for day in run.days:
        run.artifact("ingest", str(day))
    parts = {date.fromisoformat(part): artifact for part, artifact in run.artifacts("ingest").items()}
    own = set(run.days)
    return [Day(day, parts[day], parts[day].json("counts.json"), day not in own) for day in sorted(parts)]


@dataclass(frozen=True)
class Night:
    """What one verdict is made from."""

    settings: Settings
    run: Run
    days: Sequence[Day]
    trail: Trail

    def inputs(self) -> dict[str, str]:
        suites = {f"suite of {table}": digest_of_file(suite_file(self.settings, table)) for table in SETTING}
        own = {f"ingest {day.day}": day.artifact.key for day in self.days}
        return {
            **own,
            **self.trail.digests(),
            **suites,
            "as_of": self.run.as_of.isoformat(),
            "days": str(self.run.days),
            "marked_as_of": str(self.run.backfill),
        }

    def sections(self) -> dict[str, Any]:
        """Rules may name any setting, so what they are resolved to is keyed, whatever section it stands in."""
        ingest = self.settings.ingest
        budget = [ingest.quarantine_warn_share, ingest.quarantine_fail_share, ingest.quarantine_min_rows]
        rules = [rule.model_dump() for rule in load_suites(self.settings)]
        return {
            **self.settings.keyed(STAGE),
            "rules": rules,
            "quarantine": [*budget, ingest.rule_warn_share, ingest.rule_fail_share],
            "timezone": self.settings.shop.timezone,
        }

    def standpoint(self) -> Standpoint:
        judge, ingest = self.settings.validate, self.settings.ingest
        return Standpoint(
            self.run.as_of,
            self.settings.shop.timezone,
            judge.trailing_days,
            judge.min_trailing_days,
            judge.drift_min_rows,
            ingest.quarantine_min_rows,
        )

    def fill(self, folder: Path) -> Report:
        rules, seen_from = load_suites(self.settings), self.standpoint()
        with open_engine(self.settings) as engine:
            before = self.trail.known()
            if lacking := self.trail.unknown(before):
                before |= measure(engine, lacking, (), seen_from).summaries
            measures = measure(engine, self.days, rules, seen_from, self.trail.catalogues)
            _leave_age_to_the_newest(self.days, measures)
        # The engine is gone before Great Expectations comes: the night needs the memory of one of them, not of both.
        compared = compare(measures, before, rules, seen_from)
        failures = judge(measures, compared, rules, folder / SITE, self.run.run_id)
        examples = examples_of(self.settings, self.days, rules, failures, seen_from, measures)
        verdict = self._verdict(failures, measures, compared)
        (folder / "verdict.json").write_text(json.dumps(verdict, indent=1))
        write_summaries(folder, measures.summaries.values())
        found = Found(
            verdict, self.days, rules, measures, compared, before, examples, self.settings, not self.run.backfill
        )
        write_page(folder / "report.html", found)
        return self._report(verdict, measures)

    def _verdict(self, failures: Sequence[Failure], measures: Measures, compared: Compared) -> dict[str, Any]:
        warming = [str(day) for day in sorted(measures.rows) if day not in compared.expected]
        newest = str(max(measures.rows, default=""))
        return {
            "passed": not any(failure.severity == "fail" for failure in failures),
            "warming_up": newest in warming,
            "days": [str(day.day) for day in self.days],
            "closed_days": [str(day.day) for day in self.days if day.closed],
            "reopened_days": [str(day.day) for day in self.days if day.reopened],
            "warming_up_days": warming,
            "failures": [failure.to_dict() for failure in failures],
        }

    def _report(self, verdict: dict[str, Any], measures: Measures) -> Report:
        by_severity = {s: [f for f in verdict["failures"] if f["severity"] == s] for s in ("fail", "warn")}
        failed, closed = len({f["day"] for f in by_severity["fail"]}), len(verdict["closed_days"])
        counts = {
            "days": len(self.days),
            "days_passed": len(self.days) - failed,
            "days_closed": closed,
            "days_reopened": len(verdict["reopened_days"]),
            "events": int(sum(row.get("events.rows", 0) for row in measures.rows.values())),
            "failures": len(by_severity["fail"]),
            "warnings": len(by_severity["warn"]),
        }
        warming = "; warming up: too few trailing days to judge volume by" if verdict["warming_up"] else ""
        reopened = f", {counts['days_reopened']} re-opened" if counts["days_reopened"] else ""
        sentence = (
            f"{counts['days_passed']:,} of {counts['days']:,} days passed ({closed} closed{reopened}), "
            f"{counts['events']:,} events, {counts['failures']} failures, {counts['warnings']} warnings{warming}."
        )
        return Report(sentence, counts, verdict="pass" if verdict["passed"] else "fail")


def _leave_age_to_the_newest(days: Sequence[Day], measures: Measures) -> None:
    """Leaves the age to the run's own newest open day, less the closed days that came after it.

    Days newer than a re-opened one may be published, so that its age says nothing.
    """
    own = [day.day for day in days if day.day in measures.rows and not day.reopened]
    age, newest = "events.age_hours(event_time)", max(own, default=None)
    for day, row in measures.rows.items():
        if day != newest:
            row.pop(age, None)
    if newest and age in measures.rows[newest]:
        measures.rows[newest][age] -= 24 * sum(day.closed and day.day > newest for day in days)


def _refusal(failures: Sequence[dict[str, Any]], artifact: Artifact) -> str:
    failing = [failure for failure in failures if failure["severity"] == "fail"]
    first, days = failing[0], len({failure["day"] for failure in failing})
    more = f" ({len(failing)} failures on {days} {'day' if days == 1 else 'days'} in all)" if len(failing) > 1 else ""
    return (
        f"{first['day']} did not pass: {first['expectation']} on column {first['column']} observed "
        f"{first['observed']}, expected {first['expected']}{more}. Its published record stays as it was; mend the logs "
        f"or the rule, then ingest and validate that day again. Report: {artifact.path / 'report.html'}"
    )
