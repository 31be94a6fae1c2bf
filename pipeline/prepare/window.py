"""Which published days a training set is made from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.core.artifacts import MANIFEST, Artifact
from pipeline.core.errors import MissingInputError
from pipeline.core.run import Run

FILES = ("events.parquet", "routed.parquet", "catalogue.parquet", "counts.json")


@dataclass(frozen=True)
class Partition:
    """One published day.

    Attributes:
        rows: its events, those routed to other days not counted.
    """

    day: date
    artifact: Artifact
    rows: int

    def path(self, name: str) -> str:
        return str(self.artifact.file(name))


def published_window(run: Run, window_days: int) -> list[Partition]:
    """Returns the published days of the window that ends with the run's last day, oldest first; gaps are skipped.

    Raises: MissingInputError: no day is published, or a record names an artifact that is no longer in the store.
    """
    first = run.days.last - timedelta(days=window_days - 1)
    partitions = list(_published(run, first))
    if not any(partition.rows for partition in partitions):
        raise MissingInputError(
            f"{run.layout.published_folder}: no published day with events from {first} to {run.days.last}; "
            f"run ingest and validate for the days to learn from first."
        )
    return partitions


def _published(run: Run, first: date) -> Iterator[Partition]:
    for path in sorted(run.layout.published_folder.glob("[0-9]*.json")):
        if not str(first) <= path.stem <= str(run.days.last):
            continue
        record = json.loads(path.read_text())
        artifact = Artifact(run.layout.artifact("ingest", record["ingest_key"]))
        lost = [name for name in (MANIFEST, *FILES) if not (artifact.path / name).exists()]
        if lost:
            raise MissingInputError(
                f"{path}: names the ingest artifact {record['ingest_key']}, of which {lost[0]} is gone; "
                f"ingest and validate {path.stem} again."
            )
        yield Partition(date.fromisoformat(path.stem), artifact, record["rows"])
