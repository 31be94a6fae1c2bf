"""Lands days: makes the artifact of each day's files and puts it in force, one run at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import UsageError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.ingest.accounts import report_of
from pipeline.ingest.day import Ingestion
from pipeline.ingest.replay import Replay
from pipeline.store.leases import leased
from pipeline.store.partitions import STAGE, Partitions, Record


@dataclass(frozen=True)
class Landed:
    """What became of one day of the run.

    Attributes:
        key: of what this run made of the day's files, or found in force.
        record: what is in force, or would be were the run not marked as-of; None for a day over its budget that never
            landed before.
        over_budget: the sentence that fails the day, or nothing.
    """

    day: date
    key: str
    report: Report
    record: Record | None
    over_budget: str = ""


class Landing:
    """Lands the days of a run; one marked as-of makes them for itself and leaves what is in force.

    Raises: UsageError: no such rule to replay, or a replay as-of.
    """

    def __init__(self, settings: Settings, run: Run, ingestion: Ingestion) -> None:
        if run.backfill and settings.ingest.replay:
            raise UsageError(
                f"Run {run.run_id} is marked as-of and leaves what landed as it is, but ingest.replay is to mend that; "
                "drop one of the two."
            )
        self.settings, self.run, self.ingestion = settings, run, ingestion
        self.records = Partitions.open(settings, "landed")
        self.replay = Replay(settings.ingest.replay, ingestion.profile)

    def land(self, day: date) -> Landed:
        """Raises: BusyError: another run is at work on this day."""
        with leased(self.settings, f"{STAGE} {day}", self.run.run_id):
            before = self.records.read(day)
            if before is not None and self.replay.keeps(before):
                return self._kept(before)
            landed = self._made(day, before)
            self.replay.tell(day, before, self._counts(landed.key))
            return landed

    def _kept(self, record: Record) -> Landed:
        report = report_of(self.records.artifact(record).json("counts.json")).as_cached()
        return Landed(record.day, record.ingest_key, report, record)

    def _made(self, day: date, before: Record | None) -> Landed:
        asked = self.ingestion.asked(day, self.run.as_of)
        found = self.ingestion.find(asked)
        key, report = self.run.make(
            STAGE,
            self.ingestion.inputs(asked, found),
            self.settings.keyed(STAGE),
            lambda folder: self.ingestion.fill(folder, asked, found),
        )
        counts = self._counts(key)
        if counts["over_budget"]:
            return Landed(day, key, report, before, counts["over_budget"])
        return Landed(day, key, report, self._in_force(day, key, counts, before))

    def _artifact(self, key: str) -> Artifact:
        return Artifact(self.run.layout.artifact(STAGE, key))

    def _counts(self, key: str) -> dict[str, Any]:
        return self._artifact(key).json("counts.json")

    def _in_force(self, day: date, key: str, counts: dict[str, Any], before: Record | None) -> Record:
        digest = self._artifact(key).digest
        if before is not None and (before.ingest_key, before.digest) == (key, digest):
            return before
        # A day that an earlier revision held rows for stays named, with none, so that it is settled without them.
        withdrawn = dict.fromkeys(before["routed_days"], 0) if before else {}
        record = {
            "day": str(day),
            "ingest_key": key,
            "digest": digest,
            "run_id": self.run.run_id,
            "rows": counts["rows"],
            "closed": counts["closed"],
            "quarantined": self.replay.quarantined(counts["rules"]),
            "routed_days": withdrawn | counts["routed_days"],
        }
        return Record(record) if self.run.backfill else self.records.switch(day, Record(record), expected=before)
