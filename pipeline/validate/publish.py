"""Published days: the records that say which artifact of a day passed, for every later stage to read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipeline.core.artifacts import MANIFEST, Artifact, write_beside
from pipeline.core.errors import MissingInputError
from pipeline.core.run import Layout
from pipeline.validate.metrics import Day, Trail

DAYS_PICTURED = 60


@dataclass(frozen=True)
class Published:
    """A day that passed before."""

    day: date
    record: dict[str, Any]
    artifact: Artifact


def published_before(layout: Layout, day: date) -> list[Published]:
    """Returns every day published before `day`, oldest first.

    Raises: MissingInputError: a record names an artifact that is no longer in the store.
    """
    found = []
    for path in sorted(layout.published_folder.glob("[0-9]*.json")):
        if path.stem >= str(day):
            continue
        record = json.loads(path.read_text())
        artifact = Artifact(layout.artifact("ingest", record["ingest_key"]))
        if not (artifact.path / MANIFEST).exists():
            raise MissingInputError(
                f"{path}: names the ingest artifact {record['ingest_key']}, which is gone; "
                f"ingest and validate {path.stem} again."
            )
        found.append(Published(date.fromisoformat(path.stem), record, artifact))
    return found


def trail_of(published: Iterable[Published]) -> Trail:
    """Returns what later days are compared with: volumes of open days, and all catalogues."""
    published = list(published)
    volumes = {each.day: each.record["rows"] for each in published if not each.record["closed"]}
    catalogues = [(each.day, str(each.artifact.file("catalogue.parquet"))) for each in published]
    types = {each.day: each.artifact.json("counts.json")["event_types"] for each in published[-DAYS_PICTURED:]}
    return Trail(volumes, catalogues, types)


def publish(layout: Layout, day: Day, validated_by: str) -> None:
    """Replaces the day's record by one that names the artifact just judged."""
    record = {
        "day": str(day.day),
        "ingest_key": day.artifact.key,
        "digest": day.artifact.digest,
        "rows": day.counts["clean"],
        "closed": day.closed,
        "validated_by": validated_by,
    }
    path, text = layout.published(day.day), json.dumps(record, indent=1)
    if not (path.exists() and path.read_text() == text):
        write_beside(path, text)
