"""Days of raw logs written by hand, and what ingest makes of them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.days import Days
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.ingest import step

DAY = "2026-01-05"
HEADER = "when,who,visit,what,sku,words,cost,pieces"
PROFILE = """
events:
  files: "{day}.csv"
  columns:
    user_id: {column: who, replace: {'\\.0$': ""}}
    session_id: visit
    item_id: sku
    event_time: when
    query: words
    price: cost
    quantity: pieces
  event_type:
    column: what
    values: {seen: view, bought: purchase, back: cancel, asked: search, shown: impression}
  exclude:
    - {name: no_goods, column: sku, matches: '^POST$'}
calendar:
  closed_weekdays: [sunday]
"""


@dataclass
class Ingested:
    """One day's artifact, opened."""

    report: Report
    artifact: Artifact

    @property
    def counts(self) -> dict[str, Any]:
        return self.artifact.json("counts.json")

    def rows(self, name: str) -> list[dict[str, Any]]:
        return pq.read_table(self.artifact.file(f"{name}.parquet")).to_pylist()

    @property
    def rules(self) -> dict[str, int]:
        return {rule: count for rule, count in self.counts["rules"].items() if count}


@dataclass
class Source:
    """A folder of raw logs and a profile beside it."""

    folder: Path
    settings: Settings

    @property
    def profile(self) -> Path:
        return self.folder.parent / "profile.yaml"

    def write(self, *lines: str, name: str = f"{DAY}.csv", header: str = HEADER) -> Path:
        return self.write_bytes("".join(f"{line}\n" for line in (header, *lines)).encode(), name)

    def write_bytes(self, content: bytes, name: str = f"{DAY}.csv", gzipped: bool = False) -> Path:
        path = self.folder / name
        path.write_bytes(gzip.compress(content, mtime=0) if gzipped else content)
        return path

    def set(self, **values: Any) -> None:
        changed = self.settings.ingest.model_copy(update=values)
        self.settings = self.settings.model_copy(update={"ingest": changed})

    def ingest(self, day: str = DAY, run_id: str = "", as_of: datetime | None = None, **given: bool) -> Ingested:
        """`given`: `force` and `backfill` of the run."""
        root, zone = self.settings.store.root, self.settings.shop.timezone
        run = Run.open(root, run_id or f"run-{day}", zone, Days.parse(day), as_of=as_of, **given)
        report = step.run(self.settings, run)
        return Ingested(report, run.artifact("ingest", day.partition("..")[0]))


@pytest.fixture
def source(tmp_path: Path, settings: Settings) -> Source:
    folder = tmp_path / "logs"
    folder.mkdir()
    made = Source(folder, settings)
    made.profile.write_text(PROFILE)
    made.set(source=str(folder), profile=str(made.profile), quarantine_fail_share=1.0)
    return made


@pytest.fixture
def own_profile(source: Source) -> Callable[[str, str], None]:
    """Replaces text in the source's profile."""

    def change(old: str, new: str) -> None:
        text = source.profile.read_text()
        assert old in text
        source.profile.write_text(text.replace(old, new))

    return change
