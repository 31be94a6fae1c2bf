"""Why an item is in an answer: shares by leaving out, words in titles, what it has in common with the history."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.model.answer import Why
from pipeline.model.explain import MAX_PARTS, TOLD, explain
from pipeline.model.features import Query, encode_queries
from pipeline.model.filters import Filter
from pipeline.model.repeats import NUMBERS, Repeats
from pipeline.model.retriever import Retriever
from tests.fixtures.bundles import item_id, make_bundle

IDS = [item_id(3), item_id(9), item_id(4), item_id(9)]
HISTORY = Query(IDS, ["view", "cart", "purchase", "view"], None, [1e9, 1e9 + 60, 1e9 + 90, 1e9 + 95], 1e9 + 4000)


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("explained") / "bundle"
    numbers = np.full(NUMBERS, 0.1)
    return Retriever.load(make_bundle(folder, weights="float32", repeats=Repeats(numbers), matching=0.2))


def _explained(retriever: Retriever, query: Query, k: int = 10, exclude_seen: bool = True, **options) -> list:
    answer = retriever.recommend(query, k, exclude_seen, **options)
    explain(retriever, query, answer, exclude_seen)
    return answer.items


def _likeness(retriever: Retriever, query: Query, found: str) -> float:
    features = encode_queries(retriever.config, retriever.catalogue.tower_index, [query])
    vector = retriever.index.vectors(np.array([retriever.catalogue.tower_index[found] - 1]))[0]
    return float(retriever.tower(features)[0] @ vector)


def test_shares_are_of_how_much_the_score_falls_without_an_item(retriever: Retriever) -> None:
    for item in _explained(retriever, HISTORY):
        whole, falls = _likeness(retriever, HISTORY, item.item_id), {}
        for met in dict.fromkeys(IDS):
            kept = [place for place, found in enumerate(IDS) if found != met]
            less = replace(
                HISTORY,
                item_ids=[IDS[at] for at in kept],
                event_types=[HISTORY.event_types[at] for at in kept],
                times=[HISTORY.times[at] for at in kept],
            )
            falls[met] = max(whole - _likeness(retriever, less, item.item_id), 0.0)
        expected = {met: fall / sum(falls.values()) for met, fall in falls.items() if fall}
        told = {share.item_id: share.share for share in item.why.history}
        assert told == pytest.approx(expected, abs=1e-3)
        assert list(told.values()) == sorted(told.values(), reverse=True)
        assert item.why.query is None and item.why.words == [] and not item.why.popular


def test_at_most_three_of_a_history_are_told(retriever: Retriever) -> None:
    long = Query([item_id(n) for n in range(1, 9)], ["view"] * 8)
    items = _explained(retriever, long)
    assert max(len(item.why.history) for item in items) == TOLD
    assert all(sum(share.share for share in item.why.history) <= 1 + 1e-6 for item in items)


def test_what_is_typed_has_a_share_and_the_words_that_stand_in_titles_are_told(retriever: Retriever) -> None:
    typed = replace(HISTORY, text="THING nowhere 12 of")
    items = {item.item_id: item for item in _explained(retriever, typed, 40)}
    why = items[item_id(12)].why
    assert why.words == ["thing", "12", "of"] and why.words_added > 0 and why.met_added == 0
    for item in items.values():
        assert item.why.query >= 0 and item.why.query + sum(s.share for s in item.why.history) <= 1 + 1e-6
        assert item.why.likeness == pytest.approx(_likeness(retriever, typed, item.item_id), abs=1e-5)
    alone = _explained(retriever, Query([], [], "thing"), 5)
    assert {item.why.query for item in alone} <= {0.0, 1.0} and all(item.why.history == [] for item in alone)


def test_a_score_is_its_parts(retriever: Retriever) -> None:
    for query in (HISTORY, replace(HISTORY, text="thing 12")):
        for item in _explained(retriever, query, 50, exclude_seen=False):
            why = item.why
            assert why.likeness + why.words_added + why.met_added == pytest.approx(item.score, abs=1e-5)
            # Three numbers of .1 each for whatever was met, where nothing is typed.
            met = 0.3 if item.item_id in IDS and not query.text else 0.0
            assert why.met_added == pytest.approx(met)
            assert why.likeness == pytest.approx(_likeness(retriever, query, item.item_id), abs=1e-5)


def test_what_an_item_has_in_common_with_the_history_is_told(retriever: Retriever) -> None:
    # Item 8 is of home/kitchen and brand-2, and costs 9. Of its like are 12 (brand-0, 13) and 11 (fashion/bags,
    # brand-2, 12); 10 (fashion/shoes, brand-1) costs 11, and 9 within a quarter of 8's price: 6.75 to 11.25.
    query = Query([item_id(8)], ["view"])
    why = {item.item_id: item.why for item in _explained(retriever, query, 49)}
    told = {n: (why[item_id(n)].category, why[item_id(n)].brand, why[item_id(n)].price) for n in (12, 11, 10, 5, 20)}
    assert told == {
        12: ("home/kitchen", None, False),
        11: (None, "brand-2", False),
        10: (None, None, True),
        5: ("home", "brand-2", False),
        20: ("home/kitchen", "brand-2", False),
    }


def test_where_nothing_is_known_an_item_is_there_for_being_popular(retriever: Retriever) -> None:
    for query in (Query([], []), Query(["gone"], ["view"]), Query([], [], "!?")):
        assert [item.why for item in _explained(retriever, query, 3)] == [Why(popular=True)] * 3


def test_a_long_history_is_explained_by_its_newest_items_in_one_batch(retriever: Retriever) -> None:
    ids = [item_id(n) for n in range(1, 51)] * 3
    items = _explained(retriever, Query(ids, ["view"] * 150, "thing"), 5, exclude_seen=False)
    # The tower reads eight events.
    assert {share.item_id for item in items for share in item.why.history} <= set(ids[-8:])
    assert MAX_PARTS + 1 == 32


def test_an_answer_of_nothing_is_explained_by_nothing(retriever: Retriever) -> None:
    assert _explained(retriever, HISTORY, allowed=Filter(("nothing",))) == []
