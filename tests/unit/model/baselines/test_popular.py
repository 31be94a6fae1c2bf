"""`model.baselines.popular` and how every baseline fills up its answers."""

from __future__ import annotations

from pipeline.model.baselines import Interactions, OwnItems, Popularity, RecentlyPopular
from tests.unit.model.baselines.conftest import query


def test_popularity_ranks_by_how_many_people_met_an_item_then_by_index(log: Interactions) -> None:
    # d was met three times, by one person: it stays behind b and c, met by two.
    assert Popularity(log).rank([query()], 5, exclude_seen=False) == [["a", "b", "c", "d", "e"]]


def test_recent_popularity_ranks_what_was_met_lately_first(log: Interactions) -> None:
    # c 1.5, a 1.10, d 1, b .60: worked out in `test_interactions`.
    assert RecentlyPopular(log).rank([query()], 5, exclude_seen=False) == [["c", "a", "d", "b", "e"]]


def test_what_was_seen_is_left_out_on_request(log: Interactions) -> None:
    assert Popularity(log).rank([query("a", "c")], 3, exclude_seen=True) == [["b", "d", "e"]]
    assert Popularity(log).rank([query("a", "b", "c", "d")], 3, exclude_seen=True) == [["e"]]
    assert OwnItems(log).rank([query("d", "b")], 3, exclude_seen=True) == [["a", "c", "e"]]


def test_own_items_come_first_those_met_most_often_before_all_and_the_popular_ones_fill_up(log: Interactions) -> None:
    assert OwnItems(log).rank([query("d", "b")], 4, exclude_seen=False) == [["b", "d", "a", "c"]]
    assert OwnItems(log).rank([query("d", "b", "d")], 4, exclude_seen=False) == [["d", "b", "a", "c"]]


def test_more_own_items_than_answers_keep_the_best(log: Interactions) -> None:
    assert OwnItems(log).rank([query("d", "c", "b", "a", "d")], 2, exclude_seen=False) == [["d", "a"]]


def test_many_queries_are_answered_each_for_itself(log: Interactions) -> None:
    answers = OwnItems(log).rank([query("d"), query(), query("c", "gone")] * 200, 2, exclude_seen=False)
    assert answers == [["d", "a"], ["a", "b"], ["c", "a"]] * 200
