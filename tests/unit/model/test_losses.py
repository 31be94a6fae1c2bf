"""`model.losses`, against arrays worked by hand and all draws of a tiny catalogue."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pipeline.model.keras import tf
from pipeline.model.losses import Candidates, SampledSoftmax

QUERIES = np.array([[1, 0], [0, 1]], np.float32)
# By item index; 0 is padding. The shares of targets; items 1 and 2 are of category 1, item 3 is of 2, item 4 of none.
VECTORS = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [0.8, -0.6]], np.float32)
SHARES = np.array([0, 0.25, 0.125, 0.5, 0.125])
CATEGORIES = np.array([0, 1, 1, 2, 0], np.int32)
EVENLY = np.full(5, 0.25)
IN_CATEGORY = np.array([0, 2 / 3, 1 / 3, 1, 0])


def losses(
    targets: list[int],
    shared: list[int],
    uniform: int,
    hard: list[list[int]] | None = None,
    exposed: list[list[int]] | None = None,
    with_query: list[list[bool]] | None = None,
    temperature: float = 1.0,
    evenly: np.ndarray = EVENLY,
) -> np.ndarray:
    """`shared` are the batch's targets and then the uniform candidates; each query came with itself alone."""
    nothing = np.zeros((len(targets), 0), np.int32)
    own = [np.array(each, np.int32) if each else nothing for each in (hard, exposed)]
    alone = np.arange(len(targets))[:, np.newaxis] == np.arange(len(shared))
    given = (np.array(targets, np.int32)[:, np.newaxis], own[1], np.array(shared, np.int32), own[0])
    softmax = SampledSoftmax(
        *(tf.constant(values, tf.float32) for values in (SHARES, evenly, IN_CATEGORY)),
        tf.constant(CATEGORIES), uniform, own[0].shape[1], temperature,
    )  # fmt: skip
    in_step = alone if with_query is None else np.array(with_query)
    candidates = [Candidates(tf.constant(items), tf.constant(VECTORS[items])) for items in given]
    return softmax.losses(tf.constant(QUERIES[: len(targets)]), *candidates, tf.constant(in_step)).numpy()


def test_two_queries_over_batch_and_uniform_candidates_give_the_loss_worked_by_hand() -> None:
    # One other target and one uniform candidate: draws are p + 1/4, of item 2 3/8, of item 1 1/2, of item 3 3/4.
    # First: e^1 + e^0 / .375 + e^.6 / .75 = 2.71828 + 2.66667 + 2.42949 = 7.81444; ln = 2.05598; minus 1.
    # Second: e^1 + e^0 / .5 + e^.8 / .75 = 2.71828 + 2 + 2.96739 = 7.68567; ln = 2.03936; minus 1.
    assert losses([1, 2], [1, 2, 3], 1) == pytest.approx([1.05598, 1.03936], abs=1e-4)


def test_uniform_candidates_weigh_by_the_chance_they_were_drawn_with() -> None:
    # Of items 1 and 3 alone, evenly: draws of item 2 are 1/8 + 0, of item 3 1/2 + 1/2. e^1 + e^0 / .125 + e^.6 / 1.
    found = losses([1, 2], [1, 2, 3], 1, evenly=np.array([0, 0.5, 0, 0.5, 0]))[0]
    assert found == pytest.approx(np.log(np.e + 8 + np.exp(0.6)) - 1, abs=1e-4)


def test_an_accidental_hit_is_no_negative() -> None:
    # The uniform candidate is the first query's own item: e^1 + e^0 / .375 = 5.38495; ln = 1.68361; minus 1.
    assert losses([1, 2], [1, 2, 1], 1)[0] == pytest.approx(0.68361, abs=1e-4)


def test_scores_are_divided_by_the_temperature() -> None:
    # At .5 the scores double: e^2 + e^0 / .375 + e^1.2 / .75 = 7.38906 + 2.66667 + 4.42682 = 14.48255; minus 2.
    assert losses([1, 2], [1, 2, 3], 1, temperature=0.5)[0] == pytest.approx(0.67293, abs=1e-4)


def test_a_far_better_candidate_that_does_not_count_leaves_the_loss_a_number() -> None:
    # The second query's own item is shown to the first as of its own window: 200 above all that counts.
    found = losses([3, 1], [3, 1, 3], 1, with_query=[[True, True, False], [True, True, False]], temperature=0.002)
    assert np.isfinite(found).all()


def test_a_target_that_came_into_the_batch_because_the_query_did_is_no_draw() -> None:
    # Without the second target no other is drawn, so item 3 is expected 1/4 times: e^1 + e^.6 / .25 = 10.00676.
    came = [[True, True, False], [True, True, False]]
    assert losses([1, 2], [1, 2, 3], 1, with_query=came)[0] == pytest.approx(np.log(10.00676) - 1, abs=1e-4)


def test_hard_candidates_of_the_category_are_weighed_by_all_the_ways_they_could_have_come() -> None:
    # Item 2 is of the first query's category, so its draws are 1/8 + 1/4 + 2 * 1/3 = 25/24 wherever it lies; of item 3,
    # which is of another, 3/4 as before. e^1 + 2 * e^0 / (25/24) + e^.6 / .75 = 2.71828 + 1.92 + 2.42949 = 7.06777.
    # Drawn is item 2, then the target itself, which is left out.
    first, second = losses([1, 2], [1, 2, 3], 1, hard=[[2, 1], [0, 0]])
    assert first == pytest.approx(np.log(7.06777) - 1, abs=1e-4)
    # To the second query, of the same category, item 1 has 1/4 + 1/4 + 2 * 2/3 = 11/6: e^1 + 6/11 + e^.8 / .75; its
    # own draws are padding.
    assert second == pytest.approx(np.log(2.71828 + 6 / 11 + 2.96739) - 1, abs=1e-4)


def test_what_was_exposed_is_there_with_certainty_and_once() -> None:
    # Item 3 counts e^.6 whole, and its uniform draw no more: e^1 + e^0 / .375 + e^.6 = 7.20707. The second query was
    # shown nothing.
    first, second = losses([1, 2], [1, 2, 3], 1, exposed=[[3, 0], [0, 0]])
    assert first == pytest.approx(np.log(7.20707) - 1, abs=1e-4)
    assert second == pytest.approx(1.03936, abs=1e-4)


@pytest.mark.parametrize("target", [1, 3, 4])
@pytest.mark.parametrize("shown", [[0], [2]])
def test_the_partition_function_averages_to_the_whole_sum_over_all_draws(target: int, shown: list[int]) -> None:
    # A batch of two, one uniform and one hard candidate: every draw of the three with its chance. Item 4 has no
    # category, so nothing hard is drawn for it.
    mine = np.where((CATEGORIES[target] == CATEGORIES) & (CATEGORIES > 0), IN_CATEGORY, 0)
    hard = {item: mine[item] for item in np.flatnonzero(mine)} or {0: 1.0}
    scores = VECTORS[1:] @ QUERIES[0]
    expected = 0.0
    for other, drawn, (near, chance) in product(range(1, 5), range(1, 5), hard.items()):
        loss = losses([target], [target, other, drawn], 1, hard=[[near]], exposed=[shown])[0]
        expected += SHARES[other] * 0.25 * chance * np.exp(loss + scores[target - 1])
    assert expected == pytest.approx(np.exp(scores).sum(), rel=1e-5)
