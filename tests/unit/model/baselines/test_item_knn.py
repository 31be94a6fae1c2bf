"""`model.baselines.item_knn` on four sequences of five items."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.baselines import Interactions, ItemKnn
from tests.unit.model.baselines.conftest import query


def test_cosines_are_those_worked_by_hand(log: Interactions) -> None:
    # a is in 3 sequences, b in 2, both in 2: 2 / sqrt(6). a and c: 1 / sqrt(6). c and d: 1 / sqrt(2). a and d: none.
    similarity = ItemKnn(log).similarity_nn.toarray()
    assert similarity[0] == pytest.approx([0, 2 / 6**0.5, 1 / 6**0.5, 0, 0])
    assert similarity[2, 3] == pytest.approx(1 / 2**0.5)


def test_item_knn_ranks_neighbours_of_the_history(log: Interactions) -> None:
    # From c: d .707, then a .408; the rest by popularity.
    assert ItemKnn(log).rank([query("c")], 4, exclude_seen=True) == [["d", "a", "b", "e"]]


def test_item_knn_keeps_only_the_nearest(log: Interactions) -> None:
    # With one neighbour each, c knows d alone; the rest by popularity.
    assert ItemKnn(log, neighbours=1).rank([query("c")], 3, exclude_seen=True) == [["d", "a", "b"]]


def test_cosines_do_not_depend_on_the_size_of_blocks(log: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ItemKnn(log).similarity_nn.toarray()
    monkeypatch.setattr("pipeline.model.baselines.item_knn.ITEMS_PER_BLOCK", 2)
    assert np.array_equal(ItemKnn(log).similarity_nn.toarray(), whole)


def test_unknown_items_in_a_history_change_nothing(log: Interactions) -> None:
    knn = ItemKnn(log)
    assert knn.rank([query("c", "gone")], 3, True) == knn.rank([query("c")], 3, True)


def test_of_a_long_sequence_the_items_met_last_count(log: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    # One item of each: {b}, {b}, {c}, {d}; nothing was met together.
    monkeypatch.setattr("pipeline.model.baselines.item_knn.ITEMS_A_SEQUENCE", 1)
    assert not ItemKnn(log).similarity_nn.toarray().any()
