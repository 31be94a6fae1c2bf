"""`train.matching`: words that stand in titles count as much as finds most, and not at all where they mislead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.model.features import Query
from pipeline.model.lexical import Postings
from pipeline.train.matching import WEIGHTS, fitted_lexical
from pipeline.train.validation import Validation, VectorRanker
from tests.unit.train.test_validation import VALIDATION

IDS = ["mug", "cup", "pot"]
POSTINGS = Postings.of(["red mug", "red cup", "iron pot"])


def likes_pots() -> VectorRanker:
    """Whatever is asked, the pot is .1 nearer than the mug, and that than the cup."""
    vectors = np.array([[0.4], [0.3], [0.5]], np.float32)
    return VectorRanker(IDS, vectors, lambda queries: np.ones((len(queries), 1), np.float32))


def asked(texts: list[str | None], targets: list[list[str]]) -> Validation:
    queries, size = [Query([], [], text) for text in texts], len(texts)
    given = {"ids": list(range(size)), "users": ["u"] * size, "kinds": np.array(["search"] * size)}
    return replace(VALIDATION, queries=queries, targets=targets, new_targets=targets, k=1, **given)


def test_words_count_where_they_find_what_vectors_do_not() -> None:
    # Each stands in one title of three: BM25 is ln(1 + 2.5 / 1.5) = .98. The mug is .1 below the pot, so .2 is the
    # least weight that lifts it; the cup is .2 below, and .2 * .98 is too little for it.
    lexical = fitted_lexical(likes_pots(), asked(["mug", "cup"], [["mug"], ["cup"]]), POSTINGS)
    assert lexical.weight == 0.5
    assert likes_pots().rank([Query([], [], "cup")], 1, False) == [["pot"]]
    assert likes_pots().adding(likes_pots().repeats, lexical).rank([Query([], [], "cup")], 1, False) == [["cup"]]


def test_of_weights_that_find_as_much_the_least_is_taken() -> None:
    few = fitted_lexical(likes_pots(), asked(["mug"], [["mug"]]), POSTINGS).weight
    assert fitted_lexical(likes_pots(), asked(["pot"], [["pot"]]), POSTINGS).weight == 0 < few < WEIGHTS[-1]


def test_words_that_mislead_and_nobody_searching_weigh_nothing() -> None:
    assert fitted_lexical(likes_pots(), asked(["red"], [["pot"]]), POSTINGS).weight == 0
    assert fitted_lexical(likes_pots(), asked([None, ""], [["mug"], ["mug"]]), POSTINGS).weight == 0
