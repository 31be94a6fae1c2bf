"""Items put into a retriever: found as plain numpy finds them, shown, filtered, met in histories, and forgotten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.model.features import Query, encode_queries
from pipeline.model.filters import Filter
from pipeline.model.live_items import LiveItem, LiveItems
from pipeline.model.retriever import Retriever, UnknownItemError
from tests.fixtures.bundles import item_id, make_bundle

HISTORY = Query([item_id(3), item_id(9), item_id(4)], ["view", "cart", "purchase"])
NEW = [
    LiveItem("new-1", 1.0, "Zeppelin lantern", "home/garden", "brand-1", 3.5, True),
    LiveItem("new-2", 1.0, "Thing 2 of shelf 9", "fashion/hats", "brand-9", 9.0, False),
    LiveItem("new-3", 1.0),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("live") / "bundle", weights="float32", matching=1.0)


@pytest.fixture
def retriever(folder: Path) -> Retriever:
    return Retriever.load(folder)


@pytest.fixture
def live(folder: Path, retriever: Retriever) -> LiveItems:
    return LiveItems(folder, retriever)


def _put(live: LiveItems, *items: LiveItem) -> None:
    live.put(items, live.vectors_of(items))


def _ids(answer) -> list[str]:
    return [item.item_id for item in answer.items]


def test_new_items_are_found_where_their_vectors_place_them(retriever: Retriever, live: LiveItems) -> None:
    before = retriever.recommend(HISTORY, 50, exclude_seen=False)
    vectors_BD = live.vectors_of(NEW)
    live.put(NEW, vectors_BD)
    asked_D = retriever.tower(encode_queries(retriever.config, retriever.catalogue.tower_index, [HISTORY]))[0]
    likeness = dict(zip(("new-1", "new-2", "new-3"), (vectors_BD @ asked_D).tolist(), strict=True))
    expected = {item.item_id: item.score for item in before.items} | likeness
    answer = retriever.recommend(HISTORY, 53, exclude_seen=False)
    assert _ids(answer) == sorted(expected, key=lambda name: -expected[name])
    assert {item.item_id: item.score for item in answer.items} == pytest.approx(expected, abs=1e-6)
    assert np.linalg.norm(vectors_BD, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert [item for item in answer.items if not item.item_id.startswith("new-")] == list(before.items)


def test_answers_are_the_very_same_where_nothing_was_put_or_all_was_dropped(
    folder: Path, retriever: Retriever, live: LiveItems
) -> None:
    plain = Retriever.load(folder)
    queries = [HISTORY, Query([], []), Query([], [], "thing of shelf 3"), Query(["gone"], ["view"])]
    _put(live, *NEW, LiveItem(item_id(3), 1.0, "Zeppelin", "fashion/hats", None, 7.0, False))
    live.drop(["new-1", "new-2", "new-3", item_id(3), "never put"])
    assert len(live) == 0
    for query in queries:
        for asked in (
            {},
            {"exclude_seen": False},
            {"allowed": Filter(("home",))},
            {"allowed": Filter(("fashion/hats",))},
        ):
            assert retriever.recommend(query, 60, **asked) == plain.recommend(query, 60, **asked)
    assert retriever.similar(item_id(7), 60) == plain.similar(item_id(7), 60)
    with pytest.raises(UnknownItemError):
        retriever.similar("new-1", 5)


def test_a_history_is_read_from_the_vectors_of_new_items_too(retriever: Retriever, live: LiveItems) -> None:
    _put(live, *NEW)
    met = Query(["new-1", item_id(9)], ["view", "view"])
    answer = retriever.recommend(met, 5)
    assert answer.fallback is None and "new-1" not in _ids(answer)
    assert answer != retriever.recommend(Query([item_id(9)], ["view"]), 5)
    assert retriever.recommend(Query(["new-2"], ["view"]), 5).fallback is None
    assert retriever.rank([met], 5) == [_ids(answer)]


def test_words_of_a_new_title_find_it_and_those_of_a_replaced_one_no_more(
    retriever: Retriever, live: LiveItems
) -> None:
    _put(live, *NEW, LiveItem(item_id(5), 1.0, "Bathysphere 77"))
    assert _ids(retriever.recommend(Query([], [], "zeppelin"), 3))[0] == "new-1"
    assert _ids(retriever.recommend(Query([], [], "lantern bathysphere 77"), 3))[0] == item_id(5)
    # "Thing 5 of shelf 5" had it too.
    rows, _ = retriever.lexical.added("5")
    assert rows.tolist() == [row for row in range(50) if (row + 1) % 7 == 5 and row != 4]
    rows, added = retriever.lexical.added("zeppelin thing 2")
    assert rows.tolist() == sorted(rows.tolist()) and rows[-2:].tolist() == [50, 51]
    scores = retriever.lexical.sealed.postings.scores(NEW[1].title or "")
    assert added[-1] == pytest.approx(scores["thing"] + scores["2"], rel=1e-6)


def test_a_title_put_as_the_bundle_has_it_scores_as_there(retriever: Retriever, live: LiveItems) -> None:
    before = retriever.lexical.added("thing 7 shelf")
    _put(live, LiveItem(item_id(7), 1.0, "Thing 7 of shelf 0", "fashion/bags", "brand-1", 8.0, True))
    rows, added = retriever.lexical.added("thing 7 shelf")
    assert rows.tolist() == before[0].tolist() and added == pytest.approx(before[1], rel=1e-6)


def test_filters_hold_for_new_items_and_for_what_was_moved(retriever: Retriever, live: LiveItems) -> None:
    assert _ids(retriever.recommend(HISTORY, 60, allowed=Filter(("fashion/hats",)))) == []
    _put(live, *NEW, LiveItem(item_id(1), 1.0, "Moved", "fashion/hats/straw"))
    assert set(_ids(retriever.recommend(HISTORY, 60, allowed=Filter(("fashion/hats",))))) == {"new-2", item_id(1)}
    under = _ids(retriever.recommend(HISTORY, 60, exclude_seen=False, allowed=Filter(("home",))))
    assert "new-1" in under and item_id(1) not in under and "new-2" not in under
    assert _ids(retriever.recommend(Query([], []), 60, allowed=Filter(("fashion/hats",)))) == [item_id(1), "new-2"]
    assert _ids(retriever.recommend(Query([], []), 60))[-3:] == ["new-1", "new-2", "new-3"]
    asked = retriever.recommend(Query([], [], "zeppelin"), 5, allowed=Filter(("fashion/hats",)))
    assert set(_ids(asked)) == {"new-2", item_id(1)}


def test_brand_price_and_stock_hold_for_what_was_put(retriever: Retriever, live: LiveItems) -> None:
    def ids(**asked) -> set[str]:
        return set(_ids(retriever.recommend(HISTORY, 60, exclude_seen=False, allowed=Filter(**asked))))

    # Thing n costs 1 + n; asked before, so that what is kept of filters is forgotten by what is put.
    assert ids(brands=("brand-9",)) == set() and ids(price_max=4.0) == {item_id(n) for n in (1, 2, 3)}
    _put(live, *NEW, LiveItem(item_id(2), 1.0, price=80.0, in_stock=False), LiveItem(item_id(40), 1.0, price=1.0))
    assert ids(brands=("brand-9",)) == {"new-2"}
    assert ids(price_max=4.0) == {item_id(1), item_id(3), item_id(40), "new-1"}
    assert ids(price_min=60.0) == {item_id(2)}
    # Nobody said whether new-3 is to be had.
    assert ids(in_stock=True) == {item_id(n) for n in range(1, 51) if n != 2} | {"new-1", "new-3"}
    assert ids(in_stock=True, categories=("home/garden", "fashion/hats"), price_max=4.0) == {item_id(1), "new-1"}
    assert "new-1" not in ids(deny=("new-1",)) and len(ids(deny=("new-1",))) == 52
    live.drop(["new-1", item_id(40)])
    assert ids(price_max=4.0) == {item_id(1), item_id(3)}


def test_a_known_item_is_shown_as_put_and_keeps_its_vector(retriever: Retriever, live: LiveItems) -> None:
    before = retriever.recommend(HISTORY, 50)
    first = before.items[0]
    _put(live, LiveItem(first.item_id, 1.0, "Now dearer", "home", "brand-7", 99.5, True))
    answer = retriever.recommend(HISTORY, 50)
    assert _ids(answer) == _ids(before) and answer.items[0].score == first.score
    shown = answer.items[0]
    assert (shown.title, shown.category, shown.brand, shown.price) == ("Now dearer", "home", "brand-7", 99.5)
    live.drop([first.item_id])
    assert retriever.recommend(HISTORY, 50) == before


def test_an_item_put_again_is_what_was_put_last(retriever: Retriever, live: LiveItems) -> None:
    _put(live, *NEW)
    again = LiveItem("new-1", 2.0, "Submarine", "fashion/bags", "brand-2", 4.0, True)
    _put(live, again)
    assert len(live) == 3 and live.holds(again) and not live.holds(NEW[0])
    row = retriever.catalogue.tower_index["new-1"] - 1
    assert retriever.index.vectors(np.array([row])) == pytest.approx(live.vectors_of([again]))
    assert retriever.lexical.added("zeppelin")[0].tolist() == []
    assert _ids(retriever.recommend(Query([], [], "submarine"), 1)) == ["new-1"]
    live.drop(["new-1"])
    _put(live, again)
    assert _ids(retriever.recommend(Query([], [], "submarine"), 1)) == ["new-1"]
    assert _ids(retriever.recommend(HISTORY, 60, exclude_seen=False)).count("new-1") == 1


def test_similar_items_may_be_new_and_may_be_asked_of_new_ones(retriever: Retriever, live: LiveItems) -> None:
    _put(live, *NEW)
    vectors = retriever.index.vectors(np.arange(53))
    names = [*retriever.catalogue.ids]
    for asked in (50, 6):
        order = [row for row in np.argsort(-(vectors @ vectors[asked]), kind="stable") if row != asked]
        assert _ids(retriever.similar(names[asked], 8)) == [names[row] for row in order[:8]]


def test_the_composite_index_answers_as_one_matrix_would(retriever: Retriever, live: LiveItems) -> None:
    draw = np.random.default_rng(3)
    many = [LiveItem(f"many-{n}", 1.0, f"Many {n}", "home", None, float(n), True) for n in range(300)]
    _put(live, *many)
    live.drop(item.item_id for item in many[::3])
    index = retriever.index
    matrix_ND = index.vectors(np.arange(len(index)))
    offered = np.array([row < 50 or (row - 50) % 3 != 0 for row in range(len(index))])
    queries_QD = draw.normal(size=(4, index.dim)).astype(np.float32)
    for only in (None, np.arange(0, 350, 7), np.arange(50), np.arange(60, 350), np.array([50]), np.zeros(0, np.int64)):
        allowed = offered.copy()
        if only is not None:
            allowed &= np.isin(np.arange(len(index)), only)
        for k in (1, 20, 400):
            scores_QK, rows_QK = index.search(queries_QD, k, only)
            expected_QK = np.argsort(-np.where(allowed, queries_QD @ matrix_ND.T, -np.inf), axis=1, kind="stable")
            expected_QK = expected_QK[:, : min(k, int(allowed.sum()))]
            assert np.array_equal(rows_QK, expected_QK)
            assert np.allclose(scores_QK, np.take_along_axis(queries_QD @ matrix_ND.T, expected_QK, 1), atol=1e-5)


def test_a_vector_for_other_towers_counts_as_none(live: LiveItems) -> None:
    plain, with_vector = LiveItem("x", 1.0, "Lamp"), LiveItem("x", 1.0, "Lamp", vector=[1.0, 2.0])
    assert np.array_equal(live.vectors_of([plain]), live.vectors_of([with_vector]))
