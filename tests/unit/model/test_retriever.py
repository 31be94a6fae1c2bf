"""The retriever on a real bundle: converted tower, quantized index, filters, fallbacks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.artifacts import PACKAGE, seal
from pipeline.core.errors import CorruptArtifactError, DataError
from pipeline.model.catalogue import Catalogue
from pipeline.model.features import Query, encode_queries
from pipeline.model.filters import Filter
from pipeline.model.goldens import check_goldens, differences
from pipeline.model.repeats import NUMBERS, Repeats
from pipeline.model.retriever import Retriever, UnknownItemError
from tests.fixtures.bundles import CATEGORIES, item_id, make_bundle

HISTORY = Query([item_id(3), item_id(9), item_id(4)], ["view", "cart", "purchase"])


@pytest.fixture(scope="module")
def retriever(tiny_bundle: Path) -> Retriever:
    return Retriever.load(tiny_bundle)


def _ids(answer) -> list[str]:
    return [item.item_id for item in answer.items]


def test_answers_are_the_items_of_greatest_product_with_the_query_vector(retriever: Retriever) -> None:
    features = encode_queries(retriever.config, retriever.catalogue.tower_index, [HISTORY])
    items = retriever.index.vectors(np.arange(50))
    products = items @ retriever.tower(features)[0]
    expected = [retriever.catalogue.ids[row] for row in np.argsort(-products)]
    answer = retriever.recommend(HISTORY, 50, exclude_seen=False)
    assert _ids(answer) == expected and answer.fallback is None
    assert np.allclose([item.score for item in answer.items], np.sort(products)[::-1], atol=1e-5)


def test_what_was_seen_is_left_out_and_k_is_kept(retriever: Retriever) -> None:
    everything = _ids(retriever.recommend(HISTORY, 50, exclude_seen=False))
    unseen = [found for found in everything if found not in HISTORY.item_ids]
    assert _ids(retriever.recommend(HISTORY, 20)) == unseen[:20]
    assert _ids(retriever.recommend(HISTORY, 50)) == unseen


def test_what_is_met_again_is_added_to_items_of_the_history_alone(tmp_path: Path) -> None:
    # Whatever was met twice gains 1, whatever was met once loses 1: more than any two scores lie apart here.
    numbers_B = np.zeros(NUMBERS)
    numbers_B[[2, 3]] = -1.0, 1.0
    folder = make_bundle(tmp_path / "bundle", weights="float32", repeats=Repeats(numbers_B))
    retriever = Retriever.load(folder)
    query = Query([item_id(3), item_id(9), item_id(3)], ["view"] * 3)
    plain = _ids(retriever.recommend(query, 50, exclude_seen=True))
    answer = retriever.recommend(query, 50, exclude_seen=False)
    assert _ids(answer) == [item_id(3), *plain, item_id(9)]
    assert answer.items[0].score > 1 > -1 > answer.items[-1].score - 1
    assert _ids(retriever.recommend(query, 5, exclude_seen=False)) == [item_id(3), *plain[:4]]
    assert retriever.rank([query, HISTORY], 5, exclude_seen=False)[0] == [item_id(3), *plain[:4]]
    only = CATEGORIES[9 % 4]
    assert _ids(retriever.recommend(query, 50, exclude_seen=False, allowed=Filter((only,))))[-1] == item_id(9)
    assert item_id(3) not in _ids(retriever.recommend(query, 50, exclude_seen=False, allowed=Filter((only,))))
    asked = Query(query.item_ids, query.event_types, "thing of shelf 3")
    everything = _ids(retriever.recommend(asked, 50, exclude_seen=False))
    assert [found for found in everything if found not in query.item_ids] == _ids(retriever.recommend(asked, 50))
    assert item_id(9) != everything[-1] or item_id(3) != everything[0]


def test_a_title_typed_as_it_stands_is_found_first_whatever_vectors_say(tmp_path: Path) -> None:
    retriever = Retriever.load(make_bundle(tmp_path / "bundle", items=1000, weights="float32", matching=1.0))
    titles = [f"Thing {n} of shelf {n % 7}" for n in (5, 77, 500)]
    texts = [Query([], [], title) for title in titles]
    assert [ranked[0] for ranked in retriever.rank(texts, 3, exclude_seen=False)] == [item_id(n) for n in (5, 77, 500)]
    known = Query([item_id(77), item_id(8)], ["view"] * 2, titles[1])
    assert _ids(retriever.recommend(known, 5, exclude_seen=False))[0] == item_id(77)
    assert item_id(77) not in _ids(retriever.recommend(known, 5))
    found = _ids(retriever.recommend(texts[1], 5, allowed=Filter((CATEGORIES[2],))))
    assert item_id(77) not in found and len(found) == 5


def test_a_category_filter_answers_only_that_branch_in_the_same_order(retriever: Retriever) -> None:
    branch = {item_id(n) for n in range(1, 51) if CATEGORIES[n % 4].startswith("home/")}
    everything = _ids(retriever.recommend(HISTORY, 50))
    home = Filter(("home",))
    assert (
        _ids(retriever.recommend(HISTORY, 10, allowed=home)) == [found for found in everything if found in branch][:10]
    )
    assert {item.category for item in retriever.recommend(HISTORY, 50, allowed=Filter(("fashion/bags",))).items} == {
        "fashion/bags"
    }
    assert _ids(retriever.recommend(HISTORY, 10, allowed=Filter(("no such",)))) == []


def test_unknown_items_among_known_ones_change_nothing(retriever: Retriever) -> None:
    mixed = Query([item_id(3), "gone", item_id(9), item_id(4)], ["view", "view", "cart", "purchase"])
    assert retriever.recommend(mixed, 10) == retriever.recommend(HISTORY, 10)


@pytest.mark.parametrize(
    ("query", "fallback"),
    [
        (Query([], []), "empty_history"),
        (Query(["gone", "too"], ["view", "view"]), "unknown_items"),
        (Query([], [], "  !? "), "no_words"),
        (Query(["gone"], ["view"], "  !? "), "unknown_items"),
    ],
)
def test_popularity_answers_where_nothing_is_known_and_says_why(
    retriever: Retriever, query: Query, fallback: str
) -> None:
    # The fixture's first item is the most popular: 50 of 50 + 49 + … + 1 = 1275 events.
    answer = retriever.recommend(query, 3)
    assert (_ids(answer), answer.fallback) == ([item_id(1), item_id(2), item_id(3)], fallback)
    assert answer.items[0].score == pytest.approx(50 / 1275)


def test_filters_hold_in_the_fallback_too(retriever: Retriever) -> None:
    # home/kitchen are the multiples of four.
    kitchen = Filter(("home/kitchen",))
    assert _ids(retriever.recommend(Query([], []), 3, allowed=kitchen)) == [item_id(n) for n in (4, 8, 12)]


def test_a_text_alone_is_a_query_not_a_fallback(retriever: Retriever) -> None:
    first, second = (retriever.recommend(Query([], [], text), 50) for text in ("thing of shelf 3", "brand"))
    assert first.fallback is None and len(first.items) == 50
    assert _ids(first) != _ids(second)


def test_a_text_beside_unknown_items_is_no_fallback(retriever: Retriever) -> None:
    beside = retriever.recommend(Query(["gone"], ["view"], "thing"), 5)
    assert beside.fallback is None and beside == retriever.recommend(Query([], [], "thing"), 5)


def test_similar_items_are_nearest_by_item_vectors_without_the_item(retriever: Retriever) -> None:
    items = retriever.index.vectors(np.arange(50))
    order = [row for row in np.argsort(-(items @ items[6])) if row != 6]
    assert _ids(retriever.similar(item_id(7), 5)) == [retriever.catalogue.ids[row] for row in order[:5]]


def test_similar_to_an_unknown_item_is_refused_in_a_sentence(retriever: Retriever) -> None:
    with pytest.raises(UnknownItemError, match="'gone' is not among the 50 items of this bundle") as refusal:
        retriever.similar("gone", 5)
    assert isinstance(refusal.value, DataError)


def test_answers_carry_what_the_shop_shows(retriever: Retriever) -> None:
    item = retriever.recommend(Query([], []), 1).items[0]
    assert (item.title, item.category, item.brand, item.price) == ("Thing 1 of shelf 1", "home/garden", "brand-1", 2.0)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_ranking_in_batches_answers_as_one_by_one(retriever: Retriever, exclude_seen: bool) -> None:
    draw = np.random.default_rng(5)
    queries = [Query([], []), Query(["gone"], ["view"]), Query([], [], "thing 4")]
    for length in draw.integers(1, 12, 200):
        ids = [item_id(int(n)) for n in draw.integers(1, 51, length)]
        queries.append(Query(ids, ["view"] * int(length)))
    one_by_one = [_ids(retriever.recommend(query, 10, exclude_seen)) for query in queries]
    ranked = retriever.rank(queries, 10, exclude_seen)
    # Kernels for one row and for many may round a tie apart, so a swap of neighbours here and there is no error.
    assert [set(found) for found in ranked[:3]] == [set(found) for found in one_by_one[:3]]
    assert np.mean([a == b for a, b in zip(ranked, one_by_one, strict=True)]) > 0.95
    assert retriever.rank([], 10) == []


def test_a_bundle_answers_its_own_goldens(retriever: Retriever) -> None:
    assert len(retriever.bundle.goldens) == 6
    assert check_goldens(retriever) == []


def test_a_golden_answered_otherwise_is_told_with_place_and_scores() -> None:
    golden = {"items": [{"item_id": "a", "score": 0.9}, {"item_id": "b", "score": 0.5}], "fallback": None}
    swapped = {"items": [golden["items"][1], golden["items"][0]], "fallback": None}
    assert differences(golden, golden) == []
    assert differences(golden, swapped)[0] == "place 1 is b (0.5000), expected a (0.9000)"
    assert differences(golden, {**golden, "fallback": "empty_history"}) == [
        "fallback is 'empty_history', expected None"
    ]
    assert differences(golden, {**golden, "items": golden["items"][:1]}) == ["1 items were answered, expected 2"]


def test_a_tie_may_change_places_but_not_a_better_item() -> None:
    golden = {"items": [{"item_id": "a", "score": 0.5001}, {"item_id": "b", "score": 0.5}], "fallback": None}
    tie = {"items": [{"item_id": "b", "score": 0.5001}, {"item_id": "a", "score": 0.5}], "fallback": None}
    foreign = {"items": [{"item_id": "z", "score": 0.9}, {"item_id": "b", "score": 0.5}], "fallback": None}
    assert differences(golden, tie) == []
    assert differences(golden, foreign) == ["place 1 is z (0.9000), expected a (0.5001)"]


def test_parts_of_two_bundles_are_refused_even_when_sealed_together(tiny_bundle: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(tiny_bundle, mixed)
    columns = Catalogue.load(mixed / "items.npz.gz").columns
    Catalogue({name: list(column)[:-1] for name, column in columns.items()}).save(mixed / "items.npz.gz")
    manifest = json.loads((mixed / "manifest.json").read_text())
    seal(mixed, {name: value for name, value in manifest.items() if name not in ("files", "digest")})
    with pytest.raises(CorruptArtifactError, match=r"are of different bundles \(items \[49, 50\]"):
        Retriever.load(mixed)


def test_a_bundle_of_another_digest_than_promised_is_not_loaded(tiny_bundle: Path) -> None:
    with pytest.raises(CorruptArtifactError, match="expected 000000000000"):
        Retriever.load(tiny_bundle, "0" * 64)


def test_answering_needs_neither_tensorflow_nor_pandas(tiny_bundle: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.model.retriever import Retriever; "
        "from pipeline.model.goldens import check_goldens; "
        f"assert check_goldens(Retriever.load(Path({str(tiny_bundle)!r}))) == []; "
        "print([name for name in ('tensorflow', 'tf_keras', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
