"""`model.slices` on three queries with five targets."""

from __future__ import annotations

import numpy as np

from pipeline.model.features import Query
from pipeline.model.slices import Catalogued, Targets

# Prices 1 to 5 of what was trained on: quartiles 2, 3, 4. e was met but never a target.
ITEMS = Catalogued(
    list("abcdef"),
    np.array([True, True, True, True, False, True]),
    np.array([5, 4, 3, 2, 1, 1]),
    ["toys/cars", "toys", "home/kitchen", None, "home", "garden"],
    [1.0, 2.0, 3.0, 4.0, None, 5.0],
)
QUERIES = [Query(["a"], ["view"]), Query([], [], "kettle"), Query(["a", "b", "c", "a", "b"], ["view"] * 4 + ["cart"])]
TARGETS = Targets(["recommend", "search", "recommend"], QUERIES, [["a", "c"], ["gone"], ["e", "d"]], ITEMS)
FOUND = np.array([1.0, 0.0, 0.0, 0.0, 1.0])


def recall(name: str) -> list[float | None]:
    values_Q = TARGETS.recall(FOUND, TARGETS.slices()[name])
    return [None if np.isnan(value) else value for value in values_Q]


def test_a_slice_of_queries_asks_for_all_their_targets() -> None:
    assert recall("recommend") == [0.5, None, 0.5]
    assert recall("no history") == [None, 0.0, None]
    assert recall("history of 1 to 4") == [0.5, None, None]
    assert recall("history of 5 to 19") == [None, None, 0.5]
    assert recall("last event a view") == [0.5, None, None]
    assert recall("last event a cart") == [None, None, 0.5]


def test_a_slice_of_targets_asks_for_those_alone() -> None:
    # Of a and c both were trained on; e and d: e was not, and `gone` is not even in the vocabulary.
    assert recall("items trained on") == [0.5, None, 1.0]
    assert recall("items never trained on") == [None, 0.0, 0.0]


def test_categories_are_the_first_levels_of_the_paths() -> None:
    assert recall("category toys") == [1.0, None, None]
    assert recall("category home") == [0.0, None, 0.0]
    assert recall("other or no category") == [None, None, 1.0]


def test_only_the_largest_categories_are_slices_of_their_own() -> None:
    names = [f"c{n}" for n in range(12)]
    many = Catalogued(names, np.ones(12, bool), np.arange(12), names, [None] * 12)
    slices = Targets(["recommend"], [Query([], [])], [["c11", "c4", "c3"]], many).slices()
    assert [name for name in slices if name.startswith("category")] == [f"category c{n}" for n in range(11, 3, -1)]
    assert slices["other or no category"].tolist() == [False, False, True]


def test_price_bands_are_the_quarters_of_what_was_trained_on() -> None:
    assert recall("price below 2") == [1.0, None, None]
    assert recall("price 3 to 4") == [0.0, None, None]
    assert recall("price from 4") == [None, None, 1.0]
    bands = [inside for name, inside in TARGETS.slices().items() if name.startswith("price")]
    # A target without a price is of none.
    assert np.sum(bands, axis=0).tolist() == [1, 1, 0, 0, 1]


def test_a_shop_without_categories_and_prices_has_no_such_slices() -> None:
    bare = Catalogued(["a"], np.array([True]), np.array([1]), [None], [None])
    targets = Targets(["recommend"], [Query([], [])], [["a"]], bare)
    assert targets.slices().keys() == targets.main_slices().keys()
