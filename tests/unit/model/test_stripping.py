"""Towers without tables answer as the whole ones do, from vectors looked up beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.model.bundle import ITEM_TOWER, QUERY_TOWER
from pipeline.model.config import TowerConfig
from pipeline.model.features import Item, Query, encode_items, encode_queries
from pipeline.model.item_index import ItemIndex
from pipeline.model.packed import write_packed
from pipeline.model.served import NewItemTower, QueryTower
from pipeline.model.words import Words

CONFIG = TowerConfig(6, dim=8, hidden_units=12, history_length=4, text_length=6, text_buckets=32, context_buckets=16)
INDEX = {f"i{n}": n for n in range(1, 7)}
QUERIES = [
    Query(["i3", "i1", "i3"], ["view", "cart", "purchase"], None, [0.0, 60.0, 90.0], 100.0, "device=tv"),
    Query(["i6"], ["view"], "red mug"),
    Query([], [], "blue cup of coffee"),
]


@pytest.fixture(scope="module")
def towers():
    from pipeline.model.keras import keras
    from pipeline.model.towers import build_towers

    keras.utils.set_random_seed(1)
    built, draw = build_towers(CONFIG), np.random.default_rng(0)
    for tower in (built.query, built.item):
        tower.set_weights([draw.normal(size=weights.shape) for weights in tower.get_weights()])
    return built


@pytest.fixture(scope="module")
def stores(towers) -> tuple[ItemIndex, Words]:
    from pipeline.model.stripping import word_table

    (items_n1D,) = towers.query.get_layer("item_table").get_weights()
    return ItemIndex.build(items_n1D[1:], "float32"), Words.build(*word_table(towers.query), "float32")


def test_the_served_query_tower_answers_as_the_trained_one(towers, stores, tmp_path: Path) -> None:
    from pipeline.model.stripping import without_tables
    from pipeline.optimize.towers.convert import to_litert

    write_packed(tmp_path / QUERY_TOWER, to_litert(without_tables(towers.query), "float32"))
    features = encode_queries(CONFIG, INDEX, QUERIES)
    served = QueryTower(tmp_path, *stores)(features)
    assert np.allclose(served, towers.query.predict(features, verbose=0), atol=1e-5)


def test_the_served_item_tower_places_new_items_as_the_trained_one(towers, stores, tmp_path: Path) -> None:
    from pipeline.model.stripping import for_new_items, word_table
    from pipeline.optimize.towers.convert import to_litert

    items = [Item(0, "new", "home/mugs", "acme", "red mug", 3.0), Item(0, "bare")]
    write_packed(tmp_path / ITEM_TOWER, to_litert(for_new_items(towers.item, CONFIG), "float32"))
    features = encode_items(CONFIG, items)
    tower = NewItemTower(tmp_path, Words.build(*word_table(towers.item), "float32"))
    assert np.allclose(tower(features), towers.item.predict(features, verbose=0), atol=1e-5)
    # An item that was trained on is placed as if it were new: its id is not in the file.
    known = encode_items(CONFIG, [replace(items[0], index=4)])
    assert np.allclose(tower(known), tower(features)[:1], atol=1e-6)


def test_a_copy_reads_the_vectors_given_and_leaves_the_tower_alone(towers) -> None:
    from pipeline.model.stripping import with_tables, word_table

    before = [weights.copy() for weights in towers.query.get_weights()]
    items, words = np.full((6, 8), 2.0, np.float32), np.full((32, 8), 3.0, np.float32)
    copy = with_tables(towers.query, items, words)
    assert (copy.get_layer("item_table").get_weights()[0][1:] == 2).all()
    assert (word_table(copy)[0] == 3).all()
    assert all(np.array_equal(a, b) for a, b in zip(before, towers.query.get_weights(), strict=True))
    assert np.array_equal(copy.get_layer("item_table").get_weights()[0][0], before[0][0])
