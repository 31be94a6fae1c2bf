"""The statistics every gate rests on, against hand-worked figures and planted truths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.core.errors import DataError, ShapeError
from pipeline.model.statistics import (
    Interval,
    detectable_margin,
    harm_probability,
    holm,
    interval,
    intervals,
    paired_interval,
    queries_needed,
    resampled_means,
)


def test_mean_weighs_every_query_the_same_whoever_asked():
    # user a: 1, 1, 1; user b: 0. By query 3/4; by user it would be 1/2.
    assert interval([1, 1, 1, 0], ["a", "a", "a", "b"]).mean == 0.75


def test_two_users_give_the_three_possible_resamples():
    # Draws of two users: aa -> 6/6 = 1, ab or ba -> 3/4, bb -> 0/2 = 0, with chances 1/4, 1/2, 1/4.
    means = resampled_means(np.array([3.0, 0.0]), np.array([3.0, 1.0]), 20_000, seed=1)
    found, counts = np.unique(means, return_counts=True)
    assert found.tolist() == [0.0, 0.75, 1.0]
    assert np.allclose(counts / 20_000, [0.25, 0.5, 0.25], atol=0.015)


def test_standard_error_of_independent_values_is_sigma_over_root_n():
    # 0 and 1, 200 each: standard deviation 1/2, so the standard error is 0.5 / sqrt(400) = 0.025.
    found = interval([0.0, 1.0] * 200, samples=8000, seed=2)
    assert found.se == pytest.approx(0.025, rel=0.05)
    # 97.5 % quantile of the normal is 1.96.
    assert found.high - found.mean == pytest.approx(1.96 * 0.025, rel=0.06)


def test_queries_of_one_user_do_not_count_as_independent():
    # 40 users with 10 equal values each carry what 40 values carry: the error is sqrt(10) times the naive one.
    values = np.repeat([0.0, 1.0] * 20, 10)
    by_user = interval(values, np.repeat(np.arange(40), 10), seed=3)
    naive = interval(values, seed=3)
    assert by_user.se / naive.se == pytest.approx(math.sqrt(10), rel=0.1)


def test_pairing_cancels_what_both_find_hard():
    # The challenger is the champion plus 0.1 on every query: the difference has no spread at all.
    champion = np.random.default_rng(4).random(300)
    found = paired_interval(champion + 0.1, champion, np.arange(300) % 50)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found.se == pytest.approx(0, abs=1e-12)


def test_equal_seeds_give_equal_intervals_and_other_seeds_others():
    values = np.random.default_rng(5).random(100)
    assert interval(values, seed=6) == interval(values, seed=6)
    assert interval(values, seed=6) != interval(values, seed=7)


def test_interval_covers_the_truth_as_often_as_it_says():
    # 400 samples of 80 users with 1 to 5 correlated queries each, true mean 0.3; 95 % +- 3 standard errors of 1.1 %.
    generator = np.random.default_rng(8)
    covered = 0
    for round_ in range(400):
        users = np.repeat(np.arange(80), generator.integers(1, 6, 80))
        taste = generator.beta(3, 7, 80)
        found = interval(generator.random(len(users)) < taste[users], users, samples=400, seed=round_)
        covered += found.low <= 0.3 <= found.high
    assert 0.917 <= covered / 400 <= 0.983


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_refused_with_their_position(bad):
    with pytest.raises(DataError, match="1 of 3 values are NaN or infinite, the first at position 2"):
        interval([0.1, 0.2, bad])
    with pytest.raises(DataError, match="NaN or infinite"):
        paired_interval([0.1, 0.2], [0.1, bad])


def test_no_values_are_refused():
    with pytest.raises(DataError, match="no values"):
        interval([])


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="2 queries and the champion on 3"):
        paired_interval([1, 2], [1, 2, 3])
    with pytest.raises(ShapeError, match="1 users were given for 2 values"):
        interval([1, 2], ["a"])
    with pytest.raises(ShapeError, match="one number a query"):
        interval([[1, 2]])


def test_one_query_has_an_interval_of_no_width():
    assert interval([0.5], ["a"]) == Interval(0.5, 0.5, 0.5, 0.0, 1)


def test_detectable_margin_is_the_sum_of_two_normal_quantiles():
    # z(.975) = 1.95996, z(.9) = 1.28155; times 0.01.
    assert detectable_margin(0.01, 0.95, 0.9) == pytest.approx(0.0324151, abs=1e-6)
    with pytest.raises(DataError, match="nan"):
        detectable_margin(math.nan, 0.95, 0.9)


def test_half_the_margin_needs_four_times_the_queries():
    margin = detectable_margin(0.02, 0.95, 0.9)
    assert queries_needed(500, 0.02, margin / 2, 0.95, 0.9) == 2000
    assert queries_needed(500, 0.02, margin * 3, 0.95, 0.9) == 500
    with pytest.raises(DataError, match="margin is 0"):
        queries_needed(500, 0.02, 0, 0.95, 0.9)


def test_an_equal_challenger_passes_its_derived_margin_with_the_stated_power():
    # Differences N(0, 1) of 200 queries: se = 1 / sqrt(200). Power 0.9, of 500 rounds, +- 3 * 1.3 %.
    generator = np.random.default_rng(9)
    passed = 0
    for round_ in range(500):
        found = interval(generator.standard_normal(200), samples=400, seed=round_)
        passed += found.low > -detectable_margin(found.se, 0.95, 0.9)
    assert 0.86 <= passed / 500 <= 0.94


def test_harm_is_the_normal_chance_of_so_low_a_difference():
    # 1.645 standard errors below 0: 5 %.
    assert harm_probability(Interval(-0.01645, 0, 0, 0.01, 9)) == pytest.approx(0.05, abs=1e-4)
    # Where 0.02 may be lost, 0.01645 + 0.02 lost is 1.645 standard errors too much.
    assert harm_probability(Interval(-0.03645, 0, 0, 0.01, 9), allowed=0.02) == pytest.approx(0.05, abs=1e-4)
    assert harm_probability(Interval(-0.1, -0.1, -0.1, 0, 9)) == 0
    assert harm_probability(Interval(0.0, 0, 0, 0, 9)) == 1


def test_holm_multiplies_by_what_is_left_and_never_falls():
    # Sorted .01, .02, .03, .4 times 4, 3, 2, 1: .04, .06, .06, .4.
    assert holm([0.4, 0.01, 0.03, 0.02]) == pytest.approx([0.4, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_columns_get_the_interval_each_would_get_alone():
    generator = np.random.default_rng(3)
    values_QC = generator.normal([0.0, 5.0], 1.0, (600, 2))
    users = [f"u{n // 3}" for n in range(600)]
    for column, found in enumerate(intervals(values_QC, users, samples=4000)):
        alone = interval(values_QC[:, column], users, samples=4000)
        assert (found.mean, found.n) == (pytest.approx(alone.mean), 600)
        # Both are quantiles of 4,000 resamples: they differ by a few per cent of the standard error.
        assert [found.low, found.high, found.se] == pytest.approx([alone.low, alone.high, alone.se], abs=0.1 * alone.se)


def test_a_query_that_is_not_of_a_column_does_not_count_there():
    nothing = math.nan
    some, none, all_ = intervals(np.array([[1, nothing, 1], [nothing, nothing, 3]], float), ["a", "b"], samples=200)
    # Whatever is drawn, the first column's only value is 1; a draw of b alone says nothing of it.
    assert (some.mean, some.low, some.high, some.n) == (1, 1, 1, 1)
    assert none.n == 0 and math.isnan(none.mean)
    assert (all_.mean, all_.low, all_.high, all_.n) == (2, 1, 3, 2)
