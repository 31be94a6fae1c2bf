"""Which published days a training set is made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import MissingInputError
from pipeline.core.run import Run
from pipeline.store.partitions import Partitions, Record

FILES = ("events.parquet", "catalogue.parquet")
FETCHED_AT_ONCE = 4


@dataclass(frozen=True)
class Partition:
    """One published day.

    Attributes:
        rows: its events, late ones included.
    """

    day: date
    artifact: Artifact
    rows: int

    def path(self, name: str) -> str:
        return str(self.artifact.file(name))


def published_window(run: Run, published: Partitions, window_days: int, timezone: str) -> list[Partition]:
    """Returns the published days of the window that ends with the run's last day, oldest first; gaps are skipped.

    A run marked as-of, which publishes nothing, takes its own partitions for the days it ingested, if they passed, and
    of the published days those that had ended.

    Raises: MissingInputError: no day is published, or a record names an artifact that is no longer in the store.
    """
    first = run.days.last - timedelta(days=window_days - 1)
    records = published.read_all(first, run.days.last)
    found = {p.day: p for p in _published(published, {d: r for d, r in records.items() if run.may_see(d, timezone)})}
    if run.backfill:
        found |= {p.day: p for p in _own(run) if first <= p.day <= run.days.last}
    partitions = [found[day] for day in sorted(found)]
    if not any(partition.rows for partition in partitions):
        raise MissingInputError(
            f"There is no published day with events from {first} to {run.days.last} "
            f"({published.place(run.days.last)} and those before); run ingest and validate for the days to learn from."
        )
    return partitions


def _own(run: Run) -> Iterator[Partition]:
    """Yields what the run ingested itself and found to pass."""
    parts = run.artifacts("ingest")
    failures = run.artifact("validate").json("verdict.json")["failures"] if parts else ()
    failed = {failure["day"] for failure in failures if failure["severity"] == "fail"}
    for day, artifact in parts.items():
        if day not in failed:
            counts = artifact.json("counts.json")
            yield Partition(date.fromisoformat(day), artifact, counts["clean"] + counts["late"]["rows"])


def _published(published: Partitions, records: Mapping[date, Record]) -> Iterator[Partition]:
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        artifacts = list(pool.map(published.artifact, records.values()))
    for (day, record), artifact in zip(records.items(), artifacts, strict=True):
        lost = [name for name in FILES if not (artifact.path / name).exists()]
        if lost:
            raise MissingInputError(
                f"{published.place(day)}: names the ingest artifact {record.ingest_key}, of which {lost[0]} is gone; "
                f"ingest and validate {day} again."
            )
        yield Partition(day, artifact, record["rows"])
