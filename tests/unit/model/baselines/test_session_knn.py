"""`model.baselines.session_knn` on four sequences of five items, with scores worked by hand."""

from __future__ import annotations

from math import log as ln

import pytest

from pipeline.model.baselines import Interactions, SessionKnn
from pipeline.model.baselines.ranking import Histories
from tests.unit.model.baselines.conftest import query

INDEX = {item_id: row for row, item_id in enumerate("abcde")}
# Sequences oldest first: 0 {a, b}, 1 {a, b}, 2 {a, c}, 3 {c, d}. An item in p of the 4 weighs 1 + ln(4 / p).
A, B, C, D = 1 + ln(4 / 3), 1 + ln(2), 1 + ln(2), 1 + ln(4)


def scores(knn: SessionKnn, *item_ids: str) -> list[float]:
    return knn.scores(Histories.of([query(*item_ids)], INDEX)).toarray()[0].tolist()


def test_neighbours_weigh_by_the_items_shared_and_by_how_new_the_newest_of_them_is(log: Interactions) -> None:
    # Of b then c, c weighs 2/2 and b 1/2. Sequences 0 and 1 share b, second from the end: .5 / 2 = .25 each.
    # Sequences 2 and 3 share c, the newest: 1. So a: .25 + .25 + 1, b: .5, c: 2, d: 1, each times its weight.
    assert scores(SessionKnn(log), "b", "c") == pytest.approx([1.5 * A, 0.5 * B, 2 * C, D, 0])


def test_a_neighbour_that_shares_two_items_adds_their_weights(log: Interactions) -> None:
    # Of a then b: b weighs 1, a 1/2. Sequences 0 and 1 share both: 1.5 / 1; 2 shares a alone: .5 / 2.
    assert scores(SessionKnn(log), "a", "b") == pytest.approx([3.25 * A, 3 * B, 0.25 * C, 0, 0])


def test_an_item_met_twice_stands_where_it_was_met_last(log: Interactions) -> None:
    assert scores(SessionKnn(log), "b", "c", "b") == scores(SessionKnn(log), "c", "b")


def test_only_the_most_recent_sequences_are_looked_at(log: Interactions) -> None:
    # Of a's sequences 0, 1, 2 the last is looked at, of c's 2 and 3 the last; of both then the most recent, 3.
    assert scores(SessionKnn(log, recent=1), "a") == pytest.approx([A, 0, C, 0, 0])
    assert scores(SessionKnn(log, recent=1), "a", "c") == pytest.approx([0, 0, C, D, 0])


def test_only_the_nearest_count_and_the_more_recent_of_equally_near_ones(log: Interactions) -> None:
    # b is in 0 and 1 alike; a then c: 2 shares both.
    assert scores(SessionKnn(log, neighbours=1), "b") == pytest.approx([A, B, 0, 0, 0])
    assert scores(SessionKnn(log, neighbours=1), "a", "c") == pytest.approx([1.5 * A, 0, 1.5 * C, 0, 0])


def test_it_answers_what_the_neighbours_met_and_then_what_is_popular(log: Interactions) -> None:
    # From b then c without what was seen: d with D = 2.39, a with 1.5 A = 1.93; then e, for it is all that is left.
    assert SessionKnn(log).rank([query("b", "c")], 4, exclude_seen=True) == [["d", "a", "e"]]
    assert SessionKnn(log).rank([query()], 2, exclude_seen=True) == [["a", "b"]]


def test_items_further_back_than_so_many_are_forgotten(log: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.model.baselines.session_knn.LAST_ITEMS", 1)
    assert scores(SessionKnn(log), "b", "c") == scores(SessionKnn(log), "c")
