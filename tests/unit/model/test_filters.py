"""Filters: which rows they allow, and that answers under them are the best of those, whoever answers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pipeline.model.catalogue import Catalogue
from pipeline.model.features import Query, encode_queries
from pipeline.model.filters import EVERYTHING, KEPT, Filter
from pipeline.model.retriever import Retriever
from tests.fixtures.bundles import CATEGORIES, item_id, make_bundle

HISTORY = Query([item_id(3), item_id(9), item_id(4)], ["view", "cart", "purchase"])
NOBODY = Query([], [])
TYPED = Query([item_id(3)], ["view"], "thing of shelf 3")


def _catalogue() -> Catalogue:
    return Catalogue(
        {
            "item_id": ["a", "b", "c", "d", "e"],
            "category": ["home/kitchen", "home", "homeware", None, "home/kitchen"],
            "brand": ["x", None, "x", "y", "z"],
            "title": ["A", "B", None, "D", "E"],
            "price": [1.0, float("nan"), None, 4.0, 9.0],
            "in_stock": [True, None, False, True, False],
            "events": [1, 5, 2, 2, 0],
        }
    )


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        (Filter(("home",)), [0, 1, 4]),
        (Filter(("home/kitchen", "homeware")), [0, 2, 4]),
        (Filter(("home", "home/kitchen")), [0, 1, 4]),
        (Filter(("nothing", "homeware")), [2]),
        (Filter(brands=("x",)), [0, 2]),
        (Filter(brands=("x", "y")), [0, 2, 3]),
        (Filter(brands=("X",)), []),
        # An item without a price is in no range, and both ends are.
        (Filter(price_min=0.0), [0, 3, 4]),
        (Filter(price_min=4.0), [3, 4]),
        (Filter(price_max=4.0), [0, 3]),
        (Filter(price_min=4.0, price_max=4.0), [3]),
        # Only what is known to be sold out is left out.
        (Filter(in_stock=True), [0, 1, 3]),
        (Filter(("home",), ("x", "z"), 0.5, 9.0, True), [0]),
        (Filter(("home",), ("y",)), []),
        (Filter(("home",), deny=("a",)), [0, 1, 4]),
    ],
)
def test_what_a_filter_allows(asked: Filter, rows: list[int]) -> None:
    catalogue = _catalogue()
    assert catalogue.filters.rows(asked).tolist() == rows


def test_where_nothing_but_denial_is_asked_for_all_rows_are_allowed() -> None:
    catalogue = _catalogue()
    filters = catalogue.filters
    assert filters.rows(EVERYTHING) is None and filters.rows(Filter(deny=("a",))) is None


def test_the_last_few_filters_are_kept_whatever_is_denied_beside_them() -> None:
    catalogue = _catalogue()
    filters = catalogue.filters
    first = filters.rows(Filter(("home",)))
    for price in range(KEPT - 1):
        filters.rows(Filter(price_min=float(price)))
    assert filters.rows(Filter(("home",), deny=("a",))) is first
    for price in range(KEPT):
        filters.rows(Filter(price_min=float(price)))
    again = filters.rows(Filter(("home",)))
    assert again is not first and again.tolist() == first.tolist()
    filters.forget()
    assert filters.rows(Filter(("home",))) is not again


def test_a_filter_is_read_from_a_request_with_one_value_or_several() -> None:
    assert Filter.of(None) == Filter.of({}) == Filter.of({"category": None, "in_stock": False}) == EVERYTHING
    told = {"category": "home", "brand": ["x", "y"], "price_max": 3, "in_stock": True, "deny": ["a"]}
    assert Filter.of(told) == Filter(("home",), ("x", "y"), None, 3, True, ("a",))


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = make_bundle(tmp_path_factory.mktemp("filtered") / "bundle", items=300, weights="float32", matching=0.2)
    found = Retriever.load(folder)
    # Every fifth item is sold out, every seventh has no price.
    found.catalogue.sold_out_n[4::5] = True
    found.catalogue.price_n[6::7] = np.nan
    return found


def _allowed(retriever: Retriever, asked: Filter) -> np.ndarray:
    """What a filter means, item by item."""
    catalogue, mask = retriever.catalogue, np.ones(300, bool)
    for row in range(300):
        category, brand, price = (catalogue.columns[name][row] for name in ("category", "brand", "price"))
        price = None if np.isnan(catalogue.price_n[row]) else price
        under = any(f"{category}/".startswith(f"{path}/") for path in asked.categories)
        mask[row] = (
            (under or not asked.categories)
            and (brand in asked.brands or not asked.brands)
            and (asked.price_min is None or (price is not None and price >= asked.price_min))
            and (asked.price_max is None or (price is not None and price <= asked.price_max))
            and not (asked.in_stock and catalogue.sold_out_n[row])
            and catalogue.ids[row] not in asked.deny
        )
    return mask


FILTERS = [
    Filter(categories, brands, low, high, stock, deny)
    for (categories, brands), (low, high), stock, deny in product(
        [((), ()), (("home",), ()), (("home/garden", "fashion"), ("brand-1",)), ((), ("brand-0", "brand-2"))],
        [(None, None), (40.0, 260.0)],
        [False, True],
        [(), tuple(item_id(n) for n in range(1, 61))],
    )
]


@pytest.mark.parametrize("asked", FILTERS, ids=str)
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_answers_under_a_filter_are_the_best_k_of_what_it_allows(
    retriever: Retriever, asked: Filter, exclude_seen: bool
) -> None:
    allowed = _allowed(retriever, asked)
    for query in (HISTORY, TYPED):
        vector = retriever.tower(encode_queries(retriever.config, retriever.catalogue.tower_index, [query]))[0]
        scores = retriever.index.vectors(np.arange(300)) @ vector
        if query.text:
            rows, added = retriever.lexical.added(query.text)
            scores[rows] += added
        seen = sorted(retriever.catalogue.rows_of(query.item_ids)) if exclude_seen else []
        scores[~allowed] = -np.inf
        scores[seen] = -np.inf
        best = np.sort(scores[np.isfinite(scores)])[::-1][:25]
        answer = retriever.recommend(query, 25, exclude_seen, asked)
        assert len(answer.items) == min(25, np.isfinite(scores).sum())
        np.testing.assert_allclose([item.score for item in answer.items], best, atol=1e-5)
        assert all(np.isfinite(scores[retriever.catalogue.tower_index[item.item_id] - 1]) for item in answer.items)


@pytest.mark.parametrize("asked", FILTERS, ids=str)
def test_popularity_and_likeness_to_an_item_keep_to_the_filter_too(retriever: Retriever, asked: Filter) -> None:
    ids, allowed = retriever.catalogue.ids, _allowed(retriever, asked)
    # The first item is the most popular.
    expected = [item for item, is_allowed in zip(ids, allowed, strict=True) if is_allowed]
    assert [item.item_id for item in retriever.recommend(NOBODY, 25, True, asked).items] == expected[:25]
    vectors = retriever.index.vectors(np.arange(300))
    scores = np.where(allowed, vectors @ vectors[6], -np.inf)
    scores[6] = -np.inf
    found = retriever.similar(item_id(7), 25, asked).items
    assert len(found) == min(25, np.isfinite(scores).sum())
    np.testing.assert_allclose([item.score for item in found], np.sort(scores)[::-1][: len(found)], atol=1e-5)


def test_a_filter_that_allows_nothing_is_answered_with_nothing(retriever: Retriever) -> None:
    nothing = Filter((CATEGORIES[0],), price_min=1e6)
    for query in (HISTORY, TYPED, NOBODY):
        assert retriever.recommend(query, 5, allowed=nothing).items == []
    assert retriever.similar(item_id(7), 5, nothing).items == []
