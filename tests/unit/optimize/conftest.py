"""A small world with a right answer: two hundred items in ten tastes, and towers whose vectors are set, not trained.

The query tower returns the direction of the mean of the history's item vectors: Dense layers [I, -I] and [I; -I] with
a ReLU between pass any vector through. Items of one taste have vectors close together, and a person keeps to one taste,
so recall is high in float32 and whatever compression breaks is seen.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipeline.core import artifacts
from pipeline.core import settings as settings_module
from pipeline.core.run import Run

ITEMS, TASTES, DIM, LENGTH = 200, 10, 16, 8
RECIPES = ("float32", "dynamic_int8", "pruned_qat_int8")
PEOPLE, QUERIES, EVENTS = 60, 120, 12
TIME = datetime(2024, 5, 1, tzinfo=UTC)


def _item(index: int) -> str:
    return f"item-{index:03d}"


def _taste_items(taste: int) -> np.ndarray:
    return np.arange(taste, ITEMS, TASTES) + 1


def _item_vectors(draw: np.random.Generator) -> np.ndarray:
    tastes = draw.normal(size=(TASTES, DIM))
    vectors = tastes[np.arange(ITEMS) % TASTES] + 0.35 * draw.normal(size=(ITEMS, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.concatenate([np.zeros((1, DIM)), vectors]).astype(np.float32)


def write_prepared(folder: Path) -> None:
    draw = np.random.default_rng(3)
    sequences = [draw.choice(_taste_items(person % TASTES), EVENTS) for person in range(PEOPLE)]
    flat = np.concatenate(sequences).astype(np.int32)
    np.save(folder / "sequence_items.npy", flat)
    np.save(folder / "sequence_types.npy", np.full(len(flat), 1, np.uint8))
    np.save(folder / "sequence_times.npy", np.arange(len(flat), dtype=np.int64) * 60)
    np.save(folder / "sequence_offsets.npy", np.arange(0, len(flat) + 1, EVENTS, dtype=np.int64))
    np.save(folder / "targets.npy", np.flatnonzero(np.arange(len(flat)) % EVENTS > 0))
    np.save(folder / "target_queries.npy", np.full(PEOPLE * (EVENTS - 1), -1, np.int32))
    np.save(folder / "target_searched.npy", np.full(PEOPLE * (EVENTS - 1), -1, np.int64))
    (folder / "queries.json").write_text('["thing of shelf 3"]')
    (folder / "split.json").write_text(json.dumps({"data_end": "2024-05-08T00:00:00+00:00"}))
    events = np.bincount(flat, minlength=ITEMS + 1)[1:]
    columns = {
        "index": np.arange(1, ITEMS + 1, dtype=np.int32),
        "item_id": [_item(n) for n in range(1, ITEMS + 1)],
        "category": [f"home/taste-{(n - 1) % TASTES}" for n in range(1, ITEMS + 1)],
        "brand": ["brand"] * ITEMS,
        "title": [f"Thing {n} of shelf {n % 7}" for n in range(1, ITEMS + 1)],
        "price": [float(n) for n in range(1, ITEMS)] + [float("nan")],
        "in_stock": [True] * ITEMS,
        "events": events,
        "probability": events / events.sum(),
    }
    parquet.write_table(pa.table(columns), folder / "items.parquet")
    parquet.write_table(pa.Table.from_pylist([_query(n, draw) for n in range(QUERIES)]), folder / "validation.parquet")


def _query(number: int, draw: np.random.Generator) -> dict:
    ids = [_item(n) for n in draw.permutation(_taste_items(number % TASTES))]
    history, new = ids[:4], ids[4:8]
    search = number % 6 == 5
    return {
        "query_id": number,
        "user": f"user-{number // 2}",
        "kind": "search" if search else "recommend",
        "time": TIME,
        "history_item_ids": history,
        "history_event_types": ["view", "cart", "view", "purchase"],
        "history_times": [TIME - timedelta(minutes=9 - n) for n in range(4)],
        "query": "thing of shelf" if search else None,
        "context": None,
        "target_item_ids": [*new, history[0]],
        "new_target_item_ids": new,
    }


def write_trained(folder: Path) -> None:
    from pipeline.model.config import TowerConfig
    from pipeline.model.keras import keras
    from pipeline.model.lexical import Lexical, Postings
    from pipeline.model.repeats import Repeats
    from pipeline.model.towers import build_towers

    config = TowerConfig(
        ITEMS,
        DIM,
        2 * DIM,
        LENGTH,
        blocks=0,
        heads=1,
        text_length=12,
        text_buckets=4096,
        brand_buckets=8,
        category_buckets=8,
    )
    keras.utils.set_random_seed(0)
    towers = build_towers(config)
    query_tower, item_tower = towers.query, towers.item
    vectors = _item_vectors(np.random.default_rng(11))
    query_tower.get_layer("item_table").set_weights([vectors])
    query_tower.get_layer("type_table").set_weights([np.zeros((8, DIM), np.float32)])
    for name in ("history_query", "history_key"):
        query_tower.get_layer(name).set_weights([np.zeros((DIM, DIM), np.float32), np.zeros(DIM, np.float32)])
    eye = np.eye(DIM, dtype=np.float32)
    both = np.concatenate([eye, -eye], axis=1)
    joined = np.concatenate([both, 0 * both, 0.2 * both])
    query_tower.get_layer("hidden").set_weights([joined, np.zeros(2 * DIM, np.float32)])
    query_tower.get_layer("output").set_weights([both.T.copy(), np.zeros(DIM, np.float32)])
    config.save(folder / "towers.json")
    query_tower.save_weights(str(folder / "query_tower.weights.h5"))
    item_tower.save_weights(str(folder / "item_tower.weights.h5"))
    np.save(folder / "item_vectors.npy", vectors)
    Repeats.none().save(folder / "repeats.json")
    Lexical(Postings.of([])).save(folder / "lexical.json")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's root that holds run `day` with prepare and train done."""
    root = tmp_path_factory.mktemp("optimize") / "var"
    run = Run.open(root, "2024-05-08", "UTC")
    for stage, write in (("prepare", write_prepared), ("train", write_trained)):
        artifacts.build(run.layout.artifact(stage, f"{stage}-key"), write)
        run.refer(stage, f"{stage}-key")
    return root


@pytest.fixture(scope="session")
def night(world: Path):
    """The whole step, run once: settings, run, report."""
    from pipeline.optimize import step

    recipes = f"optimize.recipes={json.dumps(RECIPES)}"
    settings = settings_module.load([f"store.root={world}", recipes, "optimize.latency_requests=60", "shop.k=5"])
    run = Run.open(world, "2024-05-08", "UTC")
    return settings, run, step.run(settings, run)
