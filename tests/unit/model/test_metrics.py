"""`model.metrics`, against values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.metrics import (
    METRICS,
    coverage_at_k,
    found_at_k,
    hit_rate_at_k,
    mrr_at_k,
    ndcg_at_k,
    overlap_at_k,
    popularity_at_k,
    popularity_percentiles,
    recall_at_k,
    share_at_k,
)

RANKED = [["a", "b", "c"], ["x", "y", "z"], ["p", "q", "r"]]
TARGETS = [["b", "c", "m", "n"], ["w"], ["p"]]


def test_recall_is_hits_over_all_targets() -> None:
    # Among the first two: b of four targets; none; p of one.
    assert recall_at_k(RANKED, TARGETS, 2).tolist() == [0.25, 0.0, 1.0]


def test_mrr_is_one_over_the_first_hits_place() -> None:
    assert mrr_at_k(RANKED, TARGETS, 3).tolist() == [0.5, 0.0, 1.0]


def test_a_hit_behind_k_is_no_hit() -> None:
    assert mrr_at_k(RANKED, TARGETS, 1).tolist() == [0.0, 0.0, 1.0]
    assert hit_rate_at_k(RANKED, TARGETS, 1).tolist() == [0.0, 0.0, 1.0]


def test_hit_rate_is_one_where_anything_was_found() -> None:
    assert hit_rate_at_k(RANKED, TARGETS, 3).tolist() == [1.0, 0.0, 1.0]


def test_ndcg_discounts_by_place_and_divides_by_the_best_possible() -> None:
    # Hits on places 2 and 3: 1/log2(3) + 1/log2(4) = .63093 + .5 = 1.13093. Four targets, k = 3: at best
    # 1 + .63093 + .5 = 2.13093. 1.13093 / 2.13093 = .53072.
    assert ndcg_at_k(RANKED, TARGETS, 3) == pytest.approx([0.53072, 0.0, 1.0], abs=1e-5)


def test_targets_named_twice_count_once() -> None:
    assert recall_at_k([["a"]], [["a", "a"]], 1).tolist() == [1.0]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_query_without_targets_has_no_value(metric: object) -> None:
    assert np.isnan(metric([["a"]], [[]], 3)).all()  # type: ignore[operator]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_an_empty_answer_finds_nothing(metric: object) -> None:
    assert metric([[]], [["a"]], 3).tolist() == [0.0]  # type: ignore[operator]


def test_each_target_is_found_or_not() -> None:
    # b among the first two; c, m, n not; w not; p.
    assert found_at_k(RANKED, TARGETS, 2).tolist() == [1, 0, 0, 0, 0, 1]


def test_coverage_is_the_share_of_the_catalogue_that_any_answer_shows() -> None:
    # The first two of three answers show a, b, x, y, and a again: four of ten items.
    assert coverage_at_k([["a", "b", "c"], ["x", "y"], ["a"]], 2, 10) == 0.4


def test_percentiles_of_popularity_count_the_items_below_and_half_of_the_equal_ones() -> None:
    # 9 lies above all four others: 1. 5 above two, equal to one: 2.5 / 4. 0: nothing below, one equal: .5 / 4.
    found = popularity_percentiles(np.array([5, 9, 0, 5, 0]))
    assert found.tolist() == [0.625, 1.0, 0.125, 0.625, 0.125]
    assert popularity_percentiles(np.array([3])).tolist() == [0.0]


def test_the_popularity_of_an_answer_is_the_mean_of_its_first_items() -> None:
    percentiles = {"a": 1.0, "b": 0.5, "c": 0.0}
    found = popularity_at_k([["a", "b", "c"], ["c"], []], percentiles, 2)
    assert found[:2].tolist() == [0.75, 0.0]
    assert np.isnan(found[2])


def test_the_share_of_an_answer_something_holds_of() -> None:
    # Of a and b one is a vowel, of x and y none, and of no answer nothing is known.
    found = share_at_k([["a", "b", "e"], ["x", "y"], []], lambda item: item in "aeiou", 2)
    assert found[:2].tolist() == [0.5, 0.0] and np.isnan(found[2])


def test_overlap_is_held_against_the_longer_answer_whatever_the_order() -> None:
    # b and a, both; one of two; one of the longer answer's two; neither answers.
    ours, theirs = [["a", "b", "c"], ["a", "b"], ["a"], []], [["b", "a", "d"], ["a", "x"], ["a", "b"], []]
    found = overlap_at_k(ours, theirs, 2)
    assert found[:3].tolist() == [1.0, 0.5, 0.5] and np.isnan(found[3])
