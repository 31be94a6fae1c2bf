"""`model.losses`, against arrays worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.keras import tf
from pipeline.model.losses import expected_draws, sampled_softmax

QUERIES = np.array([[1, 0], [0, 1]], np.float32)
CANDIDATES = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
DRAWS = np.array([0.5, 0.25, 0.5], np.float32)


def losses(candidate_items: list[int], draws: np.ndarray = DRAWS, temperature: float = 1.0) -> np.ndarray:
    own = np.array(candidate_items[:2], np.int32)
    places = np.array([0, 1], np.int32)
    items = np.array(candidate_items, np.int32)
    return sampled_softmax(QUERIES, CANDIDATES, own, items, places, tf.constant(draws), temperature).numpy()


def test_two_queries_over_three_candidates_give_the_loss_worked_by_hand() -> None:
    # Scores: [[1, 0, .6], [0, 1, .8]].
    # First: e^1 + e^0/.25 + e^.6/.5 = 2.71828 + 4 + 3.64424 = 10.36252; ln = 2.33820; minus 1 = 1.33820.
    # Second: e^1 + e^0/.5 + e^.8/.5 = 2.71828 + 2 + 4.45108 = 9.16936; ln = 2.21587; minus 1 = 1.21587.
    assert losses([1, 2, 3]) == pytest.approx([1.33820, 1.21587], abs=1e-4)


def test_an_accidental_hit_is_no_negative() -> None:
    # The third candidate is the first query's own item: e^1 + e^0/.25 = 6.71828; ln = 1.90483; minus 1 = .90483.
    assert losses([1, 2, 1])[0] == pytest.approx(0.90483, abs=1e-4)


def test_scores_are_divided_by_the_temperature() -> None:
    # At .5 the scores double: e^2 + e^0/.25 + e^1.2/.5 = 7.38906 + 4 + 6.64023 = 18.02929; ln = 2.89200; minus 2.
    assert losses([1, 2, 3], temperature=0.5)[0] == pytest.approx(0.89200, abs=1e-4)


def test_expected_draws_add_the_batch_and_the_catalogue() -> None:
    # Batch of 3, so 2 others: 2 * .5 + 4/8 = 1.5 and 2 * .2 + 4/8 = .9.
    assert expected_draws(tf.constant([0.5, 0.2]), 3, 4, 8).numpy() == pytest.approx([1.5, 0.9])


def test_the_estimate_of_the_partition_function_has_no_bias() -> None:
    # Three items with shares .5, .3, .2; a query for item 1 in a batch of two meets item j with its share. Over all
    # draws the estimate exp(loss + score of the target) must average to the whole sum e^1 + e^0 + e^.6.
    shares = np.array([0.5, 0.3, 0.2])
    draws = expected_draws(tf.constant(shares, tf.float32), 2, 0, 3).numpy()
    estimates = []
    for other in range(3):
        chosen = np.array([0, other])
        items, vectors = chosen.astype(np.int32) + 1, CANDIDATES[chosen]
        loss = sampled_softmax(
            QUERIES[:1], vectors, items[:1], items, np.array([0], np.int32), tf.constant(draws[chosen]), 1.0
        ).numpy()[0]
        estimates.append(np.exp(loss + 1.0))
    assert float(shares @ estimates) == pytest.approx(np.e + 1 + np.exp(0.6), rel=1e-5)
