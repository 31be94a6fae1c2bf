"""Makes one day's artifact: finds its files, judges every row, accounts for all of them and writes what they said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.days import end_of_day
from pipeline.core.errors import DataError, MissingInputError
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.ingest import batches, catalogue, people, writing
from pipeline.ingest.profile import load_profile
from pipeline.ingest.questions import Questions
from pipeline.ingest.rules import OUTCOMES
from pipeline.store import files
from pipeline.store.engine import Engine
from pipeline.store.files import RawFile


@dataclass(frozen=True)
class Asked:
    """One day and what its rows are held against, all in UTC.

    Attributes:
        begin: first moment of the day in the shop's zone; `end` is the first moment after it.
        horizon: later rows come from the future.
        oldest: earlier rows come too late.
    """

    day: date
    begin: datetime
    end: datetime
    horizon: datetime
    oldest: datetime

    @classmethod
    def of(cls, day: date, shop_zone: str, file_zone: str, as_of: datetime, max_late_days: int) -> Asked:
        begin, end = end_of_day(day - timedelta(days=1), shop_zone), end_of_day(day, shop_zone)
        # An as-of time after the day changes nothing, so a night and a history over many days make the same artifact.
        horizon = as_of.astimezone(UTC) if as_of < end else max(end, end_of_day(day, file_zone))
        return cls(day, begin, end, horizon, begin - timedelta(days=max_late_days))

    def table(self) -> pa.Table:
        return catalogue.asked_moments(self.begin, self.end, self.horizon, self.oldest, self.day.day == 1)


@dataclass(frozen=True)
class Found:
    """The raw files of one day."""

    events: list[RawFile]
    items: list[RawFile]

    def digests(self) -> dict[str, str]:
        return {f"file {file.name}": file.digest for file in (*self.events, *self.items)}


class Ingestion:
    """What is the same for all days of a run."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings, self.limits, self.engine = settings, settings.ingest, engine
        self.profile = load_profile(self.limits.profile)
        self.key = settings.secrets.require("pseudonym_key")

    @cached_property
    def questions(self) -> Questions:
        return Questions(self.profile, self.limits, self.engine)

    def asked(self, day: date, as_of: datetime) -> Asked:
        zone = self.settings.shop.timezone
        return Asked.of(day, zone, self.profile.events.time.zone, as_of, self.limits.max_late_days)

    def find(self, asked: Asked) -> Found:
        """Raises: MissingInputError: the day has no file and the calendar does not call it closed."""
        pattern = self.profile.events.files
        events = self._files(pattern, asked)
        if not events and not self.profile.calendar.closed(asked.day):
            expected = f"{self.limits.source.rstrip('/')}/{pattern.format(day=asked.day)}"
            raise MissingInputError(
                f"No logs for {asked.day}: expected {expected}, and the profile's calendar calls the day open."
            )
        items = self._files(self.profile.catalogue.files, asked) if self.profile.catalogue.files else []
        if events and self.profile.catalogue.files and not items:
            expected = f"{self.limits.source.rstrip('/')}/{self.profile.catalogue.files.format(day=asked.day)}"
            raise MissingInputError(f"No catalogue for {asked.day}: expected {expected}.")
        return Found(events, items)

    def _files(self, pattern: str, asked: Asked) -> list[RawFile]:
        days = [asked.day]
        if self.profile.events.file_covers == "month":
            # The shop's day may reach into the month before or after, as the file's zone counts.
            days = [m.astimezone(self.profile.zone).date() for m in (asked.begin, asked.end - timedelta(seconds=1))]
        names = dict.fromkeys(pattern.format(day=day) for day in days)
        return [file for name in names for file in files.find(self.limits.source, name)]

    def inputs(self, asked: Asked, found: Found) -> dict[str, str]:
        """Returns what decides the day's artifact, the settings aside."""
        return found.digests() | {
            "day": str(asked.day),
            "horizon": asked.horizon.isoformat(),
            "shop zone": self.settings.shop.timezone,
            "profile": self.profile.digest,
            "pseudonym key": people.fingerprint(self.key),
        }

    def fill(self, folder: Path, asked: Asked, found: Found) -> Report:
        """Writes one day's files.

        Raises: DataError: more rows were refused than the budget allows.
        """
        self._judge(asked, found)
        counts = self._counts(asked, closed=not found.events)
        self._hold_to_budget(counts)
        self._write(folder)
        (folder / "counts.json").write_text(json.dumps(counts, indent=1))
        return _report(counts, self.limits.quarantine_warn_share)

    def _judge(self, asked: Asked, found: Found) -> None:
        pseudonymise = people.pseudonymiser(self.key)
        rows = batches.read_batches(found.events, self.profile, pseudonymise)
        self.engine.load("asked", asked.table().to_batches(), asked.table().schema)
        self.engine.load("raw", rows, batches.schema(self.profile))
        if self.profile.catalogue.files:
            self.engine.load(
                "raw_items", catalogue.read_items(found.items, self.profile), catalogue.schema(self.profile)
            )
        self.engine.keep("judged", self.questions.judged)

    def _counts(self, asked: Asked, closed: bool) -> dict[str, Any]:
        """Accounts for every row: each in exactly one outcome, and none lost between the file and here."""
        outcomes, rules, types = dict.fromkeys(OUTCOMES, 0), {r.name: 0 for r in self.questions.rules}, {}
        for row in (row for batch in self.engine.ask(self.questions.counts) for row in batch.to_pylist()):
            outcomes[row["outcome"]] += row["rows"]
            if row["rule"]:
                rules[row["rule"]] += row["rows"]
            else:
                types[row["event_type"]] = types.get(row["event_type"], 0) + row["rows"]
        whole = "raw" if self.profile.events.file_covers == "day" else "judged"
        rows = self.engine.answer(self.engine.table(whole).aggregate(rows=lambda t: t.count()))["rows"][0].as_py()
        require_equation(asked.day, rows, outcomes, rules)
        types = dict(sorted(types.items()))
        return {"day": str(asked.day), "closed": closed, "rows": rows, **outcomes, "rules": rules, "event_types": types}

    def _hold_to_budget(self, counts: dict[str, Any]) -> None:
        refused, rows = counts["quarantined"], counts["rows"]
        if refused < self.limits.quarantine_min_rows or refused <= self.limits.quarantine_fail_share * rows:
            return
        worst = max(
            (r for r in self.questions.rules if r.outcome == "quarantined"), key=lambda r: counts["rules"][r.name]
        )
        raise DataError(
            f"{counts['day']}: {refused:,} of {rows:,} rows were refused ({refused / rows:.1%}), more than "
            f"ingest.quarantine_fail_share allows ({self.limits.quarantine_fail_share:.1%}); "
            f"most by rule {worst.name} ({counts['rules'][worst.name]:,}: {worst.doc.rstrip('.')}), first in "
            f"{self._first_taken_by(worst.name)}; correct the file or the profile."
        )

    def _first_taken_by(self, rule: str) -> str:
        """Returns file and row of the first row of the day a rule took."""
        judged = self.engine.table("judged")
        taken = judged.filter(judged.rule == rule).select("source_file", "row_number")
        first = self.engine.answer(taken.order_by("source_file", "row_number").limit(1)).to_pylist()[0]
        return f"{first['source_file']} row {first['row_number']}"

    def _write(self, folder: Path) -> None:
        ask, questions = self.engine.ask, self.questions
        for name, outcome in (("events", "clean"), ("routed", "routed")):
            writing.write_rows(folder / f"{name}.parquet", ask(questions.events[outcome]), writing.EVENT_SCHEMA)
        refused = writing.quarantined(ask(questions.refused), self.profile.event_columns)
        writing.write_rows(folder / "quarantine.parquet", refused, writing.QUARANTINE_SCHEMA)
        writing.write_rows(folder / "catalogue.parquet", ask(questions.items), writing.CATALOGUE_SCHEMA)


def require_equation(day: date, rows: int, outcomes: Mapping[str, int], rules: Mapping[str, int]) -> None:
    """Raises: DataError: a row is in no outcome or in two."""
    total, told = sum(outcomes.values()), sum(rules.values()) + outcomes["clean"]
    if not rows == total == told:
        parts = " + ".join(f"{count:,} {name}" for name, count in outcomes.items())
        raise DataError(
            f"{day}: {rows:,} rows were read but {parts} = {total:,} accounted for; this is a defect, report it."
        )


def _report(counts: dict[str, Any], warn_share: float) -> Report:
    numbers = {name: counts[name] for name in ("rows", *OUTCOMES)}
    if counts["closed"]:
        return Report(f"{counts['day']}: closed, no logs.", numbers)
    share = counts["quarantined"] / max(counts["rows"], 1)
    warning = (
        f" WARNING: {share:.1%} of the rows were refused, more than ingest.quarantine_warn_share."
        if share > warn_share
        else ""
    )
    told = ", ".join(f"{counts[name]:,} {name}" for name in OUTCOMES if counts[name])
    return Report(f"{counts['day']}: {counts['rows']:,} rows: {told or 'nothing'}.{warning}", numbers)
