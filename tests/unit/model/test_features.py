"""`model.features`."""

from __future__ import annotations

import pytest

from pipeline.core.errors import DataError, ShapeError
from pipeline.core.schema import EVENT_TYPES
from pipeline.model.config import TowerConfig
from pipeline.model.features import Item, Query, encode_items, encode_queries
from pipeline.model.text import bucket

CONFIG = TowerConfig(items=3, history_length=3, text_length=4, category_levels=2, price_edges=(1.0, 5.0))
INDEX = {"a": 1, "b": 2, "c": 3}
VIEW, CART = EVENT_TYPES.index("view") + 1, EVENT_TYPES.index("cart") + 1


def test_a_history_is_right_aligned_with_the_newest_last() -> None:
    made = encode_queries(CONFIG, INDEX, [Query(["a", "b"], ["view", "cart"])])
    assert made["history_items"].tolist() == [[0, 1, 2]]
    assert made["history_types"].tolist() == [[0, VIEW, CART]]
    assert made["query_text"].tolist() == [[0, 0, 0, 0]]


def test_the_newest_events_count_when_there_are_too_many() -> None:
    made = encode_queries(CONFIG, INDEX, [Query(["a", "b", "c", "a"], ["view"] * 4)])
    assert made["history_items"].tolist() == [[2, 3, 1]]


def test_unknown_items_leave_no_gap() -> None:
    made = encode_queries(CONFIG, INDEX, [Query(["a", "gone", "b", "gone"], ["view", "cart", "cart", "view"])])
    assert made["history_items"].tolist() == [[0, 1, 2]]
    assert made["history_types"].tolist() == [[0, VIEW, CART]]


def test_a_text_query_is_hashed_like_a_title() -> None:
    query = encode_queries(CONFIG, INDEX, [Query([], [], "red mug")])["query_text"]
    title = encode_items(CONFIG, [Item(1, "a", title="Red mug")])["title"]
    assert query.tolist() == title.tolist()
    assert query.any()


def test_no_queries_make_arrays_of_no_rows() -> None:
    assert encode_queries(CONFIG, INDEX, [])["history_items"].shape == (0, 3)


def test_a_query_with_fewer_types_than_items_is_refused() -> None:
    with pytest.raises(ShapeError, match="2 items but 1 event types"):
        encode_queries(CONFIG, INDEX, [Query(["a", "b"], ["view"])])


def test_an_unknown_event_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DataError, match="'stare' is unknown; known are impression, view"):
        encode_queries(CONFIG, INDEX, [Query(["a"], ["stare"])])


def test_an_item_is_its_index_path_brand_title_and_price_band() -> None:
    made = encode_items(CONFIG, [Item(2, "b", "Home/Kitchen/Mugs", "ACME", "mug", 5.0), Item(0, "new")])
    assert made["item"].tolist() == [2, 0]
    home, kitchen = bucket("home", 2048), bucket("home/kitchen", 2048)
    assert made["category"].tolist() == [[home, kitchen], [0, 0]]
    assert made["brand"].tolist() == [bucket("acme", 2048), 0]
    # 5.0 has reached both edges, 1.0 and 5.0: band 3. No price: band 0.
    assert made["price_band"].tolist() == [3, 0]
    assert all(values.dtype.name == "int32" for values in made.values())


def test_a_price_that_is_no_number_has_no_band() -> None:
    assert encode_items(CONFIG, [Item(1, "a", price=float("nan")), Item(1, "a", price=0.5)])["price_band"].tolist() == [
        0,
        1,
    ]
