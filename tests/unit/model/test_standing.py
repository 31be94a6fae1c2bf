"""`model.standing`: the words that come first."""

from __future__ import annotations

from pipeline.model.standing import Standing, told

BEATEN = Standing("popularity", "", 0.08, 0.03, 0.04, 0.06)
NEARER = Standing("item-KNN", "", 0.08, 0.06, 0.01, 0.03)
NOT_CLEAR = Standing("session-KNN", "recommendations", 0.08, 0.079, -0.002, 0.004)
LEVEL = Standing("own items again", "", 0.08, 0.08, 0.0, 0.0)


def test_a_model_that_beats_all_names_the_nearest() -> None:
    assert told([BEATEN, NEARER], 20) == (
        "Clearly better in recall@20 than every baseline, of which the nearest is item-KNN, 0.0800 against 0.0600 "
        "(difference +0.0200, interval +0.0100 to +0.0300)."
    )


def test_a_model_that_does_not_says_so_with_the_figures_of_each_baseline_it_does_not_beat() -> None:
    assert told([BEATEN, NOT_CLEAR, LEVEL], 20) == (
        "NOT CLEARLY BETTER in recall@20 than session-KNN on recommendations, 0.0800 against 0.0790 "
        "(difference +0.0010, interval -0.0020 to +0.0040); own items again, 0.0800 against 0.0800 "
        "(difference +0.0000, interval +0.0000 to +0.0000)."
    )


def test_nothing_to_compare_with_is_said_too() -> None:
    assert told([], 20) == "NOT COMPARED with any baseline."
