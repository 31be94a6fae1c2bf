"""The arithmetic behind the claims about gates, and one small simulated test through the real gate."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gates import MADE_SHOPS, Seen, proportion, share_claim, simulate


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        (0, 400, 0.0, 1 - 0.025 ** (1 / 400)),  # none: the chance of none is 2.5 % at the upper end
        (400, 400, 0.025 ** (1 / 400), 1.0),
        (5, 10, 0.1871, 0.8129),  # Clopper & Pearson's own chart
    ],
)
def test_the_interval_of_a_share(hits: int, of: int, low: float, high: float) -> None:
    assert proportion(hits, of) == pytest.approx((low, high), abs=1e-4)


def test_a_share_holds_only_where_its_whole_interval_does() -> None:
    few, many = (Seen(["pass"] * 9 * n + ["inconclusive"] * n, 0, [0.1]) for n in (1, 40))
    assert not share_claim("x", few, ">= 0.8").holds
    assert share_claim("x", many, ">= 0.8").holds
    assert not share_claim("x", many, "<= 0.01").holds


@pytest.mark.parametrize("shop", MADE_SHOPS)
def test_equal_made_models_find_as_much_and_differ_in_what(shop) -> None:
    generator = np.random.default_rng(1)
    test = shop.test(4000, generator)
    ours, theirs = shop.pair(test, generator)
    assert np.mean([len(wanted) for wanted in test.targets]) == pytest.approx(shop.targets, rel=0.1)
    assert len(test) / len(set(test.users)) == pytest.approx(shop.queries_per_user, rel=0.1)
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.1)
    assert 0.02 < (ours != theirs).mean() < 0.3


def test_a_regression_twice_the_margin_does_not_pass() -> None:
    # The margin is 3.24 standard errors; twice of it passes by luck of more than five of them.
    found = simulate(MADE_SHOPS[0], queries=300, rounds=8)
    assert not found.worse.count("pass")
    assert found.equal.count("pass") >= 4
    assert found.limited.count("inconclusive") >= 6  # a shop that risks 10 % learns too little from 300 queries
