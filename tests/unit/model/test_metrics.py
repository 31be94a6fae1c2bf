"""`model.metrics`, against values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.metrics import METRICS, hit_rate_at_k, mrr_at_k, ndcg_at_k, recall_at_k

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
