"""`train.repeating`: the numbers found are those that explain what people chose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import check_grad

from pipeline.model.features import Query
from pipeline.model.repeats import NUMBERS, Repeats
from pipeline.train.repeating import Choices, fitted_repeats
from pipeline.train.validation import Validation, VectorRanker
from tests.unit.train.test_validation import VALIDATION

IDS = ["a", "b", "c", "d"]
TEMPERATURE = 0.1


def asked(queries: list[Query], targets: list[list[str]]) -> Validation:
    size = len(queries)
    kinds = np.array(["recommend"] * size)
    given = {"ids": list(range(size)), "users": ["u"] * size, "new_targets": [[] for _ in queries]}
    return replace(VALIDATION, queries=queries, targets=targets, kinds=kinds, **given)


def alike() -> VectorRanker:
    """All items score alike, so that only having been met can tell them apart."""
    return VectorRanker(IDS, np.ones((4, 2), np.float32), lambda queries: np.ones((len(queries), 2), np.float32))


def test_items_met_often_come_back_and_items_met_once_do_not() -> None:
    # Everybody met a three times and b once; half of them come back for a, the others want something new.
    query = Query(["a", "b", "a", "a"], ["view"] * 4)
    repeats = fitted_repeats(alike(), asked([query] * 200, [["a"], ["c"]] * 100), TEMPERATURE)
    rows_O, added_O = repeats.added(query, alike().index)
    assert rows_O.tolist() == [0, 1] and added_O[0] > 0 > added_O[1]
    best, *others, last = alike().adding(repeats).rank([query], 4, exclude_seen=False)[0]
    assert (best, set(others), last) == ("a", {"c", "d"}, "b")
    assert set(alike().adding(repeats).rank([query], 4, exclude_seen=True)[0]) == {"c", "d"}


def test_people_who_never_come_back_push_what_they_met_below_all_else() -> None:
    query = Query(["a"], ["purchase"])
    repeats = fitted_repeats(alike(), asked([query] * 200, [["c"]] * 200), TEMPERATURE)
    assert alike().adding(repeats).rank([query], 4, exclude_seen=False)[0][-1] == "a"


def test_few_queries_move_the_numbers_less_than_many() -> None:
    query = Query(["a"], ["view"])
    few, many = (fitted_repeats(alike(), asked([query] * n, [["a"]] * n), TEMPERATURE) for n in (2, 200))
    assert 0 < few.added(query, alike().index)[1][0] < many.added(query, alike().index)[1][0]


def test_without_any_history_nothing_is_added() -> None:
    searches = asked([Query([], []), Query(["a"], ["view"], "mug"), Query(["?"], ["view"])], [["a"]] * 3)
    assert np.array_equal(fitted_repeats(alike(), searches, TEMPERATURE).numbers_B, Repeats.none().numbers_B)


def test_the_gradient_is_that_of_the_loss() -> None:
    draw = np.random.default_rng(3)
    choices = Choices(
        draw.normal(size=5), np.array([1.0, 0, 0, 0.5, 0]), draw.integers(0, NUMBERS, (5, 3)), np.array([0, 2]),
        draw.normal(size=2),
    )  # fmt: skip
    at = draw.normal(size=NUMBERS)
    assert check_grad(lambda x: choices.loss(x)[0], lambda x: choices.loss(x)[1], at) < 1e-5
