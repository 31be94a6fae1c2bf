"""`model.features`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.errors import DataError, ShapeError
from pipeline.core.schema import EVENT_TYPES
from pipeline.model.config import TowerConfig
from pipeline.model.context import pairs_of, told
from pipeline.model.features import Item, Query, band, bands, encode_items, encode_queries, sequence_pauses
from pipeline.model.goldens import query_of, recommend_request
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
    with pytest.raises(ShapeError, match="2 items, 1 event types and 0 times"):
        encode_queries(CONFIG, INDEX, [Query(["a", "b"], ["view"])])


def test_a_query_with_fewer_times_than_items_is_refused() -> None:
    with pytest.raises(ShapeError, match="2 items, 2 event types and 1 times"):
        encode_queries(CONFIG, INDEX, [Query(["a", "b"], ["view", "view"], times=[5.0])])


def test_a_number_is_told_by_its_binary_digits() -> None:
    # 0 has none, 1 has one, 2 and 3 have two, 4 has three; 2 ** 40 has more than are told apart.
    numbers = [0, 1, 2, 3, 4, 2**40, -7]
    assert bands(np.array(numbers)).tolist() == [band(number) for number in numbers] == [1, 2, 3, 3, 4, 32, 1]


def test_pauses_lie_before_each_event_and_before_the_question() -> None:
    # Seconds before the newest three: 0, 3 (two digits) and 28 (five digits); then 3,600 (twelve digits).
    query = Query(["a", "b", "c", "a"], ["view"] * 4, None, [100.2, 100.9, 103.0, 131.0], 3731.5)
    made = encode_queries(CONFIG, INDEX, [query])
    assert made["history_pauses"].tolist() == [[1, 3, 6]]
    assert made["now_pause"].tolist() == [[13]]


def test_the_first_event_has_no_pause_before_it_and_unknown_items_are_passed_over() -> None:
    query = Query(["gone", "a", "gone", "b"], ["view"] * 4, None, [0.0, 10.0, 17.0, 18.0], 18.0)
    made = encode_queries(CONFIG, INDEX, [query])
    # Eight seconds (four digits) from a to b. Whoever asks within the event's own second counts as one second later.
    assert made["history_pauses"].tolist() == [[0, 0, 5]]
    assert made["now_pause"].tolist() == [[2]]


def test_without_times_pauses_are_unknown() -> None:
    untimed, never_met = Query(["a", "b"], ["view"] * 2, now=9.0), Query(["gone"], ["view"], None, [1.0], 9.0)
    made = encode_queries(CONFIG, INDEX, [untimed, never_met, Query([], [], "red", now=9.0)])
    assert not made["history_pauses"].any() and not made["now_pause"].any()


def test_pauses_of_training_begin_anew_with_every_sequence() -> None:
    # Two sequences of two: 60 seconds (six digits) within the first, 1 within the second, nothing behind the last.
    assert sequence_pauses(np.array([0, 60, 5, 6]), np.array([0, 2, 4])).tolist() == [0, 7, 0, 2, 0]


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
    # Nine days have four binary digits; who was never met is as young as can be, unless nobody knows since when.
    aged = [Item(1, "a", age_days=9), Item(0, "new"), Item(0, "old", age_days=None)]
    assert encode_items(CONFIG, aged)["age"].tolist() == [5, 1, 0]
    assert all(values.dtype.name == "int32" for values in made.values())


def test_a_price_that_is_no_number_has_no_band() -> None:
    assert encode_items(CONFIG, [Item(1, "a", price=float("nan")), Item(1, "a", price=0.5)])["price_band"].tolist() == [
        0,
        1,
    ]


def test_a_vector_comes_at_unit_length_and_zeros_where_there_is_none() -> None:
    read = replace(CONFIG, vector_dim=2)
    items = [Item(1, "a", vector=[3.0, -4.0]), Item(2, "b"), Item(3, "c", vector=[0, 0])]
    vectors = encode_items(read, items)["vector"]
    assert vectors == pytest.approx(np.array([[0.6, -0.8], [0, 0], [0, 0]]))
    assert vectors.dtype == np.float32
    assert "vector" not in encode_items(CONFIG, [Item(1, "a", vector=[3.0, -4.0])])


def test_a_vector_of_another_length_than_the_towers_read_is_refused() -> None:
    with pytest.raises(ShapeError, match="vector of item a holds 3 numbers, and these towers read 2"):
        encode_items(replace(CONFIG, vector_dim=2), [Item(1, "a", vector=[1, 2, 3])])


def test_a_context_is_hashed_pair_by_pair_whatever_its_case_and_only_where_it_is_read() -> None:
    queries = [Query([], [], context="country=France; device=TV"), Query([], []), Query([], [], context="device=tv")]
    made = encode_queries(replace(CONFIG, context_buckets=50), INDEX, queries)["query_context"]
    france, tv = bucket("country=france", 50), bucket("device=tv", 50)
    assert made.tolist() == [[france, tv, 0, 0], [0, 0, 0, 0], [tv, 0, 0, 0]]
    assert made.dtype == np.int32
    assert "query_context" not in encode_queries(CONFIG, INDEX, queries)


def test_a_context_of_more_pairs_than_are_read_loses_the_last() -> None:
    context = told({name: "x" for name in "abcde"})
    made = encode_queries(replace(CONFIG, context_buckets=50), INDEX, [Query([], [], context=context)])
    assert made["query_context"].tolist() == [[bucket(f"{name}=x", 50) for name in "abcd"]]


def test_a_context_is_told_without_what_is_empty_and_read_back() -> None:
    assert (
        told({"country": " Bonaire;\tSaba ", "device": " ", "channel": "a=b"}) == "country=Bonaire, Saba; channel=a=b"
    )
    assert pairs_of("country=Bonaire, Saba; channel=a=b") == {"country": "Bonaire, Saba", "channel": "a=b"}
    assert told({}) is told({"country": ""}) is None and pairs_of(None) == {}


def test_a_golden_request_carries_the_context_of_its_query() -> None:
    asked = Query(["a"], ["view"], None, [0.0], 5.0, "country=France; device=tv")
    request = recommend_request(asked)["request"]
    assert request["context"] == {"country": "France", "device": "tv"}
    assert query_of(request).context == asked.context
    assert "context" not in recommend_request(replace(asked, context=None))["request"]
