"""`train.validation` on three queries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError
from pipeline.model.features import Query
from pipeline.model.slices import Catalogued
from pipeline.train.validation import Validation, Values, VectorRanker

IDS = ["a", "b", "c", "d"]
VECTORS = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)
ITEMS = Catalogued(IDS, np.array([True, True, True, False]), np.array([3, 2, 1, 0]), [None] * 4, [None] * 4)
# A recommendation with history a: targets a and b, of which b is new; one whose only target is old; a search for a.
VALIDATION = Validation(
    ids=[1, 2, 3],
    users=["u", "v", "w"],
    kinds=np.array(["recommend", "recommend", "search"]),
    queries=[Query(["a"], ["view"]), Query(["a"], ["view"]), Query(["a"], ["view"], "a")],
    targets=[["a", "b"], ["a"], ["a"]],
    new_targets=[["b"], [], []],
    k=1,
    metric="new_items",
    items=ITEMS,
)


def ranker() -> VectorRanker:
    return VectorRanker(IDS, VECTORS, lambda queries: np.tile(np.array([[1, 0]], np.float32), (len(queries), 1)))


def test_exact_retrieval_ranks_by_dot_product() -> None:
    assert ranker().rank(VALIDATION.queries[:1], 4, exclude_seen=False) == [["a", "b", "c", "d"]]
    assert ranker().rank(VALIDATION.queries[:1], 9, exclude_seen=True) == [["b", "c", "d"]]


@pytest.mark.parametrize("cells", [1, 8])
def test_however_few_scores_are_held_at_once_every_query_is_ranked_the_same(monkeypatch, cells: int) -> None:
    # Four items: 1 cell takes one query at a time all the same, 8 take two.
    whole = ranker().rank(VALIDATION.queries, 4, exclude_seen=True)
    monkeypatch.setattr("pipeline.train.validation.CELLS_PER_BLOCK", cells)
    assert ranker().rank(VALIDATION.queries, 4, exclude_seen=True) == whole and len(whole) > 1


def values() -> Values:
    return VALIDATION.values(VALIDATION.answers(ranker()))


def test_values_follow_the_sense_they_are_asked_in() -> None:
    # All items, k = 1: the answer is a: half of {a, b}, all of {a}, all of {a}.
    assert values()["recall", "all_items"].tolist() == [0.5, 1.0, 1.0]
    # New items: the answer is b: all of {b}; the others have no new target.
    assert values()["recall", "new_items"].tolist()[0] == 1.0
    assert np.isnan(values()["recall", "new_items"][1:]).all()
    # Judged: recommendations on new items, the search on all.
    assert values()["recall", "judged"].tolist()[::2] == [1.0, 1.0]
    assert np.isnan(values()["recall", "judged"][1])


def test_one_setting_turns_the_judged_sense_to_all_items() -> None:
    whole = replace(VALIDATION, metric="all_items")
    assert whole.values(whole.answers(ranker()))["recall", "judged"].tolist() == [0.5, 1.0, 1.0]
    assert whole.judged_recall(ranker()) == pytest.approx(2.5 / 3)


def test_popularity_is_of_what_is_answered_to_queries_with_a_target() -> None:
    # a is the most popular of four: percentile 1; b has one above it: 2/3.
    assert values()["popularity_percentile", "all_items"].tolist() == [1.0, 1.0, 1.0]
    assert values()["popularity_percentile", "judged"][[0, 2]] == pytest.approx([2 / 3, 1.0])
    assert np.isnan(values()["popularity_percentile", "judged"][1])


def test_the_judged_recall_leaves_out_queries_without_a_target_in_its_sense() -> None:
    assert VALIDATION.judged_recall(ranker()) == 1.0


def many(copies: int) -> Validation:
    """The same queries so many times, each of a user of its own."""
    users = [f"{user}{copy}" for copy in range(copies) for user in VALIDATION.users]
    times = {name: list(getattr(VALIDATION, name)) * copies for name in ("ids", "queries", "targets", "new_targets")}
    return replace(VALIDATION, users=users, kinds=np.tile(VALIDATION.kinds, copies), **times)


def test_the_table_has_a_row_a_slice_and_says_where_too_few_queries_are_in_it() -> None:
    validation = many(9)
    answers = validation.answers(ranker())
    rows = validation.rows("two_tower", answers, validation.values(answers))
    found = {row["slice"]: row for row in rows if row["metric"] == "recall@1"}
    assert (found["all_items"]["value"], found["all_items"]["n"]) == (pytest.approx(2.5 / 3), 27)
    assert (found["all_items/recommend"]["value"], found["all_items/recommend"]["n"]) == (0.75, 18)
    assert found["all_items"]["low"] <= found["all_items"]["value"] <= found["all_items"]["high"]
    # Nine are fewer than ten: a value, but no interval. None at all: not even a value.
    assert (found["judged/search"]["value"], found["judged/search"]["low"], found["judged/search"]["n"]) == (1, None, 9)
    assert (found["new_items/search"]["value"], found["new_items/search"]["n"]) == (None, 0)
    assert found["judged/items never trained on"]["n"] == 0


def test_coverage_is_one_figure_of_all_answers_in_a_sense() -> None:
    answers = VALIDATION.answers(ranker())
    rows = VALIDATION.rows("two_tower", answers, VALIDATION.values(answers))
    found = {row["slice"]: (row["value"], row["low"]) for row in rows if row["metric"] == "coverage@1"}
    # Everybody gets a of four items; with new items alone the one query with a target gets b; judged has both.
    assert found == {"all_items": (0.25, None), "new_items": (0.25, None), "judged": (0.5, None)}


def test_a_model_stands_to_each_baseline_by_the_paired_difference_also_on_recommendations_alone() -> None:
    validation = many(20)
    model = validation.values(validation.answers(ranker()))
    # The other answers b always: to the recommendation it is right as the model is, to the search it is not.
    other = {key: np.where(validation.kinds == "search", 0.0, values_Q) for key, values_Q in model.items()}
    everywhere, recommended = validation.standings(model, {"other": other})
    assert (everywhere.where, everywhere.model, everywhere.other) == ("", 1.0, 0.5)
    assert everywhere.beaten and 0.3 < everywhere.low < 0.5 < everywhere.high < 0.7
    assert (recommended.where, recommended.low, recommended.beaten) == ("recommendations", 0.0, False)


def test_no_validation_query_is_a_sentence(prepared_shop: Artifact, tmp_path: Path) -> None:
    path = prepared_shop.path / "validation.parquet"
    parquet.write_table(parquet.read_table(path).slice(0, 0), path)
    with pytest.raises(DataError, match=r"holds no query.*prepare\.validation_days"):
        Validation.load(prepared_shop, 20, "new_items")
