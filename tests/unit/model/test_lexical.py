"""`model.lexical`: BM25 by hand, what is added, and the file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import CorruptArtifactError
from pipeline.model.lexical import CANDIDATES, Lexical, Postings, greatest

TITLES = ["Red mug", "blue mug", None, "RED red shoe"]


def test_bm25_is_that_of_the_formula() -> None:
    # Lengths 2, 2, 0, 3, 1.75 on average; "red" stands in two of four titles: ln(1 + 2.5 / 2.5) = ln 2.
    # First: once in 2 words, ln 2 * 1.9 / (1 + .9 * (.5 + .5 * 2 / 1.75)); last: twice in 3,
    # ln 2 * 2 * 1.9 / (2 + .9 * (.5 + .5 * 3 / 1.75)).
    rows_M, scores_M = Postings.of(TITLES).match("red")
    assert rows_M.tolist() == [0, 3]
    assert scores_M == pytest.approx([math.log(2) * 1.9 / 1.9642857, math.log(2) * 3.8 / 3.2214286], rel=1e-6)


def test_words_add_up_whatever_their_case_and_number_and_unknown_ones_match_nothing() -> None:
    postings = Postings.of(TITLES)
    red, mug, both = (
        dict(zip(*map(list, postings.match(text)), strict=True)) for text in ("red", "mug", "MUG red red")
    )
    assert both == pytest.approx({0: red[0] + mug[0], 1: mug[1], 3: red[3]})
    assert postings.match("teapot")[0].size == Postings.of([]).match("red")[0].size == 0


def test_a_rare_word_tells_more_than_a_common_one() -> None:
    rows_M, scores_M = Postings.of(TITLES).match("mug blue")
    assert rows_M[np.argmax(scores_M)] == 1


def test_a_title_that_is_none_of_them_scores_as_one_of_them_would() -> None:
    # The last title has this score among them, and their number and lengths stay what they are.
    rows_M, scores_M = Postings.of(TITLES).match("red")
    scores = Postings.of(TITLES).scores("shoe, red red")
    assert scores["red"] == pytest.approx(scores_M[rows_M == 3][0])
    # "boat" stands in none of four: ln(1 + 4.5 / .5) = ln 10, once in 1.
    assert Postings.of(TITLES).scores("boat") == pytest.approx(
        {"boat": math.log(10) * 1.9 / (1 + 0.9 * (0.5 + 0.5 / 1.75))}
    )
    assert Postings.of(TITLES).scores("") == {}


def test_nothing_is_added_without_a_text_or_a_weight() -> None:
    lexical = Lexical(Postings.of(TITLES), 0.5)
    assert lexical.added(None)[0].size == lexical.added("")[0].size == 0
    assert Lexical(lexical.postings).added("red")[0].size == 0
    assert lexical.added("red")[1] == pytest.approx(0.5 * lexical.postings.match("red")[1])


def test_the_greatest_are_as_many_as_are_held_against_each_other() -> None:
    scores = np.arange(CANDIDATES + 3.0)
    assert set(greatest(scores)) == set(range(3, CANDIDATES + 3))
    assert set(greatest(scores[:2])) == {0, 1}


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    lexical = Lexical(Postings.of(TITLES), 0.25)
    lexical.save(tmp_path / "lexical.json")
    loaded = Lexical.load(tmp_path / "lexical.json", TITLES)
    assert loaded.weight == 0.25
    assert np.array_equal(loaded.added("red mug")[1], lexical.added("red mug")[1])


@pytest.mark.parametrize(
    "text", ["", "{}", '{"weight": -1}', '{"weight": NaN}', '{"weight": Infinity}', '{"weight": []}']
)
def test_a_file_without_a_finite_weight_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lexical.json").write_text(text)
    with pytest.raises(CorruptArtifactError, match=r"lexical\.json: does not hold a finite weight of at least 0"):
        Lexical.load(tmp_path / "lexical.json", TITLES)
