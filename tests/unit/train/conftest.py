"""A shop small enough to learn in seconds: two tastes, ten items each, everybody keeps to one."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact

ITEMS, TASTES, USERS, EVENTS = 20, 2, 60, 12
NOON = 1_323_345_600
SPLIT = {
    "validation_start": "2011-12-08T12:00:00+00:00",
    "test_start": "2011-12-10T12:00:00+00:00",
    "data_end": "2011-12-08T12:00:00+00:00",
}


def make_prepared(folder: Path) -> Artifact:
    """Writes what `prepare` would: users of taste 0 met items 1 to 10 only, those of taste 1 items 11 to 20 only."""
    return artifacts.build(folder, _fill)


def _fill(folder: Path) -> None:
    draw = np.random.default_rng(5)
    taste_U = np.arange(USERS) % TASTES
    per_taste = ITEMS // TASTES
    rows_UE = [draw.permutation(per_taste)[:EVENTS] + 1 + taste * per_taste for taste in taste_U]
    items_N = np.concatenate([np.resize(row, EVENTS) for row in rows_UE]).astype(np.int32)
    offsets = np.arange(USERS + 1, dtype=np.int64) * EVENTS
    targets = np.setdiff1d(np.arange(len(items_N)), offsets[:-1])
    events_n = np.bincount(items_N, minlength=ITEMS + 1)[1:]
    probability_n = np.bincount(items_N[targets], minlength=ITEMS + 1)[1:] / len(targets)
    np.save(folder / "sequence_items.npy", items_N)
    np.save(folder / "sequence_types.npy", np.full(len(items_N), 1, np.uint8))
    np.save(folder / "sequence_times.npy", NOON + np.arange(len(items_N), dtype=np.int64) * 60)
    np.save(folder / "sequence_contexts.npy", np.full(len(items_N), -1, np.int32))
    np.save(folder / "sequence_offsets.npy", offsets)
    np.save(folder / "targets.npy", targets.astype(np.int64))
    np.save(folder / "target_queries.npy", np.full(len(targets), -1, np.int32))
    np.save(folder / "target_searched.npy", np.full(len(targets), -1, np.int64))
    # Before each target its like of the other taste was shown.
    np.save(folder / "exposed_items.npy", ((items_N[targets] - 1 + per_taste) % ITEMS + 1).astype(np.int32))
    np.save(folder / "exposed_offsets.npy", np.arange(len(targets) + 1, dtype=np.int64))
    (folder / "queries.json").write_text("[]")
    (folder / "contexts.json").write_text("[]")
    parquet.write_table(_items(events_n, probability_n), folder / "items.parquet")
    for name in ("validation", "test"):
        parquet.write_table(_queries(draw), folder / f"{name}.parquet")
    (folder / "split.json").write_text(json.dumps(SPLIT))


def _items(events_n: np.ndarray, probability_n: np.ndarray) -> pa.Table:
    words = ["red", "blue"]
    return pa.table(
        {
            "index": pa.array(range(1, ITEMS + 1), pa.int32()),
            "item_id": [f"i{n}" for n in range(1, ITEMS + 1)],
            "category": [words[(n - 1) // (ITEMS // TASTES)] for n in range(1, ITEMS + 1)],
            "brand": pa.array([None] * ITEMS, pa.string()),
            "title": [f"{words[(n - 1) // (ITEMS // TASTES)]} thing {n}" for n in range(1, ITEMS + 1)],
            "price": [float(n) for n in range(1, ITEMS + 1)],
            "in_stock": [True] * ITEMS,
            "events": pa.array(events_n, pa.int64()),
            "vector": pa.nulls(ITEMS, pa.list_(pa.float64())),
            "age_days": pa.array(range(ITEMS), pa.int32()),
            "probability": probability_n,
        }
    )


def _queries(draw: np.random.Generator) -> pa.Table:
    rows = []
    for number in range(40):
        mine = draw.permutation(ITEMS // TASTES) + 1 + (number % TASTES) * (ITEMS // TASTES)
        ids = [f"i{n}" for n in mine]
        rows.append((ids[:4], ids[4:7]))
    moment = datetime(2011, 12, 8, 12, tzinfo=UTC)
    return pa.table(
        {
            "query_id": pa.array(range(len(rows)), pa.int64()),
            "user": [f"u{n}" for n in range(len(rows))],
            "kind": ["recommend"] * len(rows),
            "time": [moment] * len(rows),
            "history_item_ids": [history for history, _ in rows],
            "history_event_types": [["view"] * len(history) for history, _ in rows],
            "history_times": [[moment] * len(history) for history, _ in rows],
            "query": pa.array([None] * len(rows), pa.string()),
            "context": pa.array([None] * len(rows), pa.string()),
            "target_item_ids": [targets for _, targets in rows],
            "new_target_item_ids": [targets for _, targets in rows],
        }
    )


@pytest.fixture
def make_shop(tmp_path: Path) -> Callable[[str], Artifact]:
    """Makes the prepared training set under `tmp_path / name`."""
    return lambda name: make_prepared(tmp_path / name)


@pytest.fixture
def prepared_shop(tmp_path: Path) -> Artifact:
    return make_prepared(tmp_path / "prepared")
