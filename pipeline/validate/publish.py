"""Published days: which are there before a run's, what is kept of them, and the switch of those that passed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import BusyError, CorruptArtifactError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.store.partitions import Partitions, Record
from pipeline.validate.measure import Day
from pipeline.validate.summary import FILE, Summary, read_summaries

STAGE = "validate"


@dataclass(frozen=True)
class Trail:
    """The published days a run's days are compared with.

    Attributes:
        records: of days before the run's last, none of them the run's own, oldest first.
        since: the first day that comparison reaches back to.
    """

    run: Run
    partitions: Partitions
    records: Mapping[date, Record]
    since: date

    @classmethod
    def before(cls, settings: Settings, run: Run, partitions: Partitions, days: Sequence[date]) -> Trail:
        first, last = min(days), max(days)
        judge = settings.validate
        oldest = first - timedelta(days=max(judge.trailing_days, judge.catalogue_days))
        zone = settings.shop.timezone
        wanted = [d for d in partitions.days() if oldest <= d < last and d not in days and run.may_see(d, zone)]
        records = {day: record for day in wanted if (record := partitions.read(day))}
        return cls(run, partitions, records, first - timedelta(days=judge.trailing_days))

    def digests(self) -> dict[str, str]:
        return {f"published {day}": record.digest for day, record in self.records.items()}

    def known(self) -> dict[date, Summary]:
        """Returns what the verdicts of these days keep of them."""
        verdicts = {record["validated_by"] for _, record in self._open()}
        kept = {key: self._kept_by(key) for key in verdicts}
        return {day: kept[key][day] for day, record in self._open() if day in kept[key := record["validated_by"]]}

    def unknown(self, known: Iterable[date]) -> list[Day]:
        """Returns the open days nothing is kept of, to be summed up from their partitions."""
        known = set(known)
        artifacts = {day: self.partitions.artifact(record) for day, record in self._open() if day not in known}
        return [Day(day, artifact, artifact.json("counts.json")) for day, artifact in artifacts.items()]

    def catalogues(self) -> dict[date, str]:
        return {
            day: str(self.partitions.artifact(record).file("catalogue.parquet"))
            for day, record in self.records.items()
            if not record["closed"]
        }

    def _open(self) -> list[tuple[date, Record]]:
        return [(day, r) for day, r in self.records.items() if day >= self.since and not r["closed"] and r["rows"]]

    def _kept_by(self, key: str) -> dict[date, Summary]:
        try:
            if not self.run.has(STAGE, key):
                return {}
        except CorruptArtifactError:  # the days are summed up from their partitions, as where it is gone
            return {}
        artifact = Artifact(self.run.layout.artifact(STAGE, key))
        return read_summaries(artifact.json(FILE)) if (artifact.path / FILE).exists() else {}


def publish(
    partitions: Partitions, day: Day, landed: Record | None, seen: Record | None, run_id: str, validated_by: str
) -> None:
    """Makes the partition just judged the day's published one.

    Args:
        landed: what is in force of the day's files.
        seen: the day's published record before the run judged it.

    Raises: BusyError: another run landed the day since this one ingested it, or published it meanwhile.
    """
    if landed and landed.ingest_key not in (day.artifact.key, day.artifact.manifest.get("inputs", {}).get("own")):
        raise BusyError(
            f"{partitions.place(day.day)}: run {landed.run_id or 'unknown'} landed {day.day} again after run {run_id} "
            f"ingested it, so what was judged is out of date and is not published; run {day.day} again from ingest on."
        )
    names = {"ingest_key": day.artifact.key, "digest": day.artifact.digest, "validated_by": validated_by}
    if seen and all(seen.get(name) == value for name, value in names.items()):
        return
    fields = {
        "day": str(day.day),
        **names,
        "run_id": run_id,
        "rows": day.rows,
        "closed": day.closed,
        "late_rows": day.late_rows,
    }
    partitions.switch(day.day, Record(fields), seen)
