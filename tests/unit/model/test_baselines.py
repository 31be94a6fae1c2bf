"""`model.baselines` on four sequences of five items."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.baselines import Interactions, ItemKnn, item_knn, own_items, popularity
from pipeline.model.features import Query

# Sequences: {a, b}, {a, b}, {a, c}, {c, d three times}; e was never met.
LOG = Interactions(
    list("abcde"),
    np.array([1, 2, 1, 2, 1, 3, 3, 4, 4, 4], np.int32),
    np.array([0, 2, 4, 6, 10], np.int64),
)


def query(*item_ids: str) -> Query:
    return Query(item_ids, ["view"] * len(item_ids))


def test_popularity_ranks_by_how_many_people_met_an_item_then_by_index() -> None:
    # d was met three times, by one person: it stays behind b and c, met by two.
    assert popularity(LOG).rank([query()], 5, exclude_seen=False) == [["a", "b", "c", "d", "e"]]


def test_what_was_seen_is_left_out_on_request() -> None:
    assert popularity(LOG).rank([query("a", "c")], 3, exclude_seen=True) == [["b", "d", "e"]]
    assert popularity(LOG).rank([query("a", "b", "c", "d")], 3, exclude_seen=True) == [["e"]]


def test_own_items_come_first_and_the_popular_ones_fill_up() -> None:
    assert own_items(LOG).rank([query("d", "b")], 4, exclude_seen=False) == [["b", "d", "a", "c"]]


def test_cosines_are_those_worked_by_hand() -> None:
    # a is in 3 sequences, b in 2, both in 2: 2 / sqrt(6). a and c: 1 / sqrt(6). c and d: 1 / sqrt(2). a and d: none.
    similarity = ItemKnn(LOG)._similarity_nn.toarray()
    assert similarity[0] == pytest.approx([0, 2 / 6**0.5, 1 / 6**0.5, 0, 0])
    assert similarity[2, 3] == pytest.approx(1 / 2**0.5)


def test_item_knn_ranks_neighbours_of_the_history() -> None:
    # From c: d .707, then a .408; the rest by popularity.
    assert item_knn(LOG).rank([query("c")], 4, exclude_seen=True) == [["d", "a", "b", "e"]]


def test_item_knn_keeps_only_the_nearest() -> None:
    # With one neighbour each, c knows d alone; the rest by popularity.
    assert item_knn(LOG, neighbours=1).rank([query("c")], 3, exclude_seen=True) == [["d", "a", "b"]]


def test_cosines_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ItemKnn(LOG)._similarity_nn.toarray()
    monkeypatch.setattr("pipeline.model.baselines.ITEMS_PER_BLOCK", 2)
    assert np.array_equal(ItemKnn(LOG)._similarity_nn.toarray(), whole)


def test_unknown_items_in_a_history_change_nothing() -> None:
    knn = item_knn(LOG)
    assert knn.rank([query("c", "gone")], 3, True) == knn.rank([query("c")], 3, True)
