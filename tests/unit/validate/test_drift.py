"""Distances of distributions, worked out by hand."""

from __future__ import annotations

from math import log, log2

import pytest

from pipeline.validate.drift import js_divergence, pooled, psi


def test_the_same_shares_have_no_distance() -> None:
    assert psi({"a": 20, "b": 60}, {"a": 20.0, "b": 60.0}) == pytest.approx(0)
    assert js_divergence({"a": 20, "b": 60}, {"a": 20.0, "b": 60.0}) == pytest.approx(0)


def test_psi_is_the_sum_over_bins() -> None:
    # With half a row added to each bin: (99.5 + 0.5) / 200 = 0.5 and 0.5 today, 0.25 and 0.75 before.
    today, before = {"a": 99.5, "b": 99.5}, {"a": 49.5, "b": 149.5}
    assert psi(today, before) == pytest.approx(0.25 * log(2) + -0.25 * log(0.5 / 0.75))


def test_js_divergence_is_in_bits() -> None:
    today, before = {"a": 99.5, "b": 99.5}, {"a": 49.5, "b": 149.5}
    middle = (0.375, 0.625)
    entropy = lambda *shares: -sum(p * log2(p) for p in shares)  # noqa: E731
    wanted = entropy(*middle) - (entropy(0.5, 0.5) + entropy(0.25, 0.75)) / 2
    assert js_divergence(today, before) == pytest.approx(wanted)
    # Nothing in common is nearly a whole bit, and psi stays finite.
    assert js_divergence({"a": 10_000}, {"b": 10_000.0}) == pytest.approx(1, abs=0.001)
    assert 15 < psi({"a": 10_000}, {"b": 10_000.0}) < 25


def test_a_bin_empty_on_both_sides_does_not_count() -> None:
    assert psi({"a": 5, "b": 5, "c": 0}, {"a": 5.0, "b": 5.0, "c": 0.0}) == psi({"a": 5, "b": 5}, {"a": 5.0, "b": 5.0})


def test_a_day_far_larger_than_the_others_weighs_as_the_median_day() -> None:
    # The median day has 10 rows; the one of 1,000 counts a hundredth.
    assert pooled([{"a": 10}, {"a": 10}, {"b": 1000}]) == pytest.approx({"a": 20, "b": 10})
