"""A shop in which one bundle is right by construction: test targets are drawn from what it answers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipeline.core import artifacts
from pipeline.core import settings as settings_module
from pipeline.core.artifacts import digest_of_file
from pipeline.core.days import Days
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.model.features import Query
from pipeline.model.retriever import Retriever
from pipeline.store.ledger import Ledger
from tests.fixtures.bundles import item_id
from tests.fixtures.contenders import digest_of

VALIDATION_START, TEST_START = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 8, tzinfo=UTC)
TEST_DAYS = 7
ITEMS = 50


def query_rows(retriever: Retriever, queries: int, seed: int = 0) -> list[dict]:
    """Returns rows of `schema.QUERY`, one target each: nine times in ten one of the retriever's first five answers."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(queries):
        history = [item_id(int(n)) for n in generator.integers(1, ITEMS + 1, number % 7)]
        text = f"thing of shelf {number % 7}" if number % 3 == 0 else None
        times = [(TEST_START - timedelta(hours=1)).timestamp()] * len(history)
        now = TEST_START + timedelta(minutes=number)
        query = Query(history, ["view"] * len(history), text, times, now.timestamp(), f"device={number % 3}")
        best = [item.item_id for item in retriever.recommend(query, 5, exclude_seen=False).items]
        target = best[number % 5] if generator.random() < 0.9 else item_id(int(generator.integers(1, ITEMS + 1)))
        rows.append(_row(number, query, target))
    return rows


def _row(number: int, query: Query, target: str) -> dict:
    return {
        "query_id": number,
        "user": f"user-{number // 2}",
        "kind": "search" if query.text else "recommend",
        "time": datetime.fromtimestamp(query.now, UTC),
        "history_item_ids": list(query.item_ids),
        "history_event_types": list(query.event_types),
        "history_times": [datetime.fromtimestamp(time, UTC) for time in query.times],
        "query": query.text,
        "context": query.context,
        "target_item_ids": [target],
        "new_target_item_ids": [] if target in query.item_ids else [target],
    }


def write_prepared(folder: Path, rows: list[dict]) -> None:
    """Writes the files of `prepare` the gate reads; every item was met once in training, item 1 most often."""
    time = pa.timestamp("us", "UTC")
    strings = pa.list_(pa.string())
    schema = pa.schema(
        {
            "query_id": pa.int64(), "user": pa.string(), "kind": pa.string(), "time": time,
            "history_item_ids": strings, "history_event_types": strings, "history_times": pa.list_(time),
            "query": pa.string(), "context": pa.string(), "target_item_ids": strings, "new_target_item_ids": strings,
        }
    )  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows, schema), folder / "test.parquet")
    share = np.arange(ITEMS, 0, -1) / np.arange(ITEMS, 0, -1).sum()
    items = {
        "item_id": [item_id(n) for n in range(1, ITEMS + 1)],
        "probability": share,
        "events": np.ones(ITEMS, np.int64),
        "category": ["things"] * ITEMS,
        "price": [1.0] * ITEMS,
    }
    parquet.write_table(pa.table(items), folder / "items.parquet")
    np.save(folder / "sequence_items.npy", np.arange(1, ITEMS + 1, dtype=np.int32))
    np.save(folder / "sequence_times.npy", np.full(ITEMS, VALIDATION_START.timestamp(), np.int64))
    np.save(folder / "sequence_offsets.npy", np.array([0, ITEMS // 2, ITEMS], np.int64))
    end = TEST_START + timedelta(days=TEST_DAYS)
    moments = {"validation_start": VALIDATION_START, "test_start": TEST_START, "test_end": end, "data_end": TEST_START}
    split = {name: moment.isoformat() for name, moment in moments.items()}
    (folder / "split.json").write_text(json.dumps(split))


@dataclass
class Shop:
    """One store with a run whose earlier stages are in place."""

    settings: Settings
    run: Run

    def challenge(self, bundle: Path, version: str | None = None) -> None:
        """Puts a bundle where `optimize` and `register` leave it."""
        key = digest_of_file(bundle / "manifest.json")[:32]
        final = self.run.layout.artifact("optimize", key)
        if not final.exists():
            artifacts.build(final, lambda folder: shutil.copytree(bundle, folder / "bundle") and None)
        self.run.refer("optimize", key)
        digest = digest_of(bundle)
        record = {"version": version, "digest": digest, "mlflow_run_id": None}
        (self.run.folder / "register.json").write_text(json.dumps(record))

    def crown(self, bundle: Path, data_end: str = "2024-05-01T00:00:00+00:00") -> str:
        """Makes a bundle the champion; returns its digest."""
        digest = digest_of(bundle)
        final = self.run.layout.bundle(digest)
        if not final.exists():
            shutil.copytree(bundle, final)
        ledger = Ledger.open(self.settings.store)
        head = ledger.head()
        ledger.append(
            kind="promotion", who="test", expected_head=head, to_digest=digest, version="7", data_end=data_end
        )
        return digest

    def prepare(self, rows: list[dict]) -> None:
        """Puts a test where `prepare` leaves it."""
        key = f"{len(list(self.run.root.rglob('prepare/*'))):032d}"
        artifacts.build(self.run.layout.artifact("prepare", key), lambda folder: write_prepared(folder, rows))
        self.run.refer("prepare", key)

    def decision(self) -> dict:
        return json.loads((self.run.folder / "decision" / "decision.json").read_text())

    def gate(self, name: str) -> dict:
        return next(row for row in self.decision()["gates"] if row["gate"] == name)


@pytest.fixture
def shop(tmp_path: Path, contenders: dict[str, Path]) -> Shop:
    """400 queries of 200 users, whose targets `right` knows; no champion, no challenger yet."""
    root = tmp_path / "var"
    wide = [
        # What the gate makes of times is tested on planted ones; real ones are to pass whatever else the machine does.
        "gate.latency_requests=60",
        "gate.latency_rounds=2",
        "gate.latency_rate=1000",
        "gate.max_p99_ms=1e12",
        "gate.max_latency_ratio=1e12",
        "gate.bootstrap_samples=300",
    ]
    settings = settings_module.load([f"store.root={root}", "shop.k=5", *wide])
    run = Run.open(root, "night", "UTC", Days(date(2024, 5, 14), date(2024, 5, 14)))
    made = Shop(settings, run)
    made.prepare(query_rows(Retriever.load(contenders["right"]), 400))
    return made
