"""What a day lets expect, worked out by hand."""

from __future__ import annotations

from datetime import date, timedelta
from math import exp, log, sqrt

import pytest

from pipeline.validate.volume import LEAST_SPREAD, expect

MONDAY = date(2024, 3, 4)


def weeks(count: int, **by_weekday: int) -> dict[date, int]:
    """Returns 100 events on every day of so many weeks from a Monday on, but for the weekdays named by number."""
    days = [MONDAY + timedelta(days=n) for n in range(7 * count)]
    return {day: by_weekday.get(f"d{day.weekday()}", 100) for day in days}


def test_a_shop_without_weekdays_expects_its_level() -> None:
    expected = expect(weeks(4), MONDAY + timedelta(days=28))
    assert expected.rows == pytest.approx(100)
    assert expected.ratio(50) == pytest.approx(0.5)


def test_a_quiet_sunday_is_expected_as_far_as_the_known_weeks_bear_it() -> None:
    # Four Sundays of 25: ln(25 / 100) = -1.386, shrunk by 4 / (4 + 2) to -0.924; 100 exp(-0.924) = 39.7.
    trailing = weeks(4, d6=25)
    sunday = MONDAY + timedelta(days=34)
    assert expect(trailing, sunday).rows == pytest.approx(100 * exp(log(0.25) * 4 / 6))
    # One Sunday bears a third of it: 100 exp(-0.462) = 63.
    assert expect(weeks(1, d6=25), sunday).rows == pytest.approx(100 * exp(log(0.25) / 3))


def test_closed_days_are_out_so_the_level_is_that_of_the_open_ones() -> None:
    opened = {day: rows for day, rows in weeks(4).items() if day.weekday() != 5}
    assert expect(opened, MONDAY + timedelta(days=28)).rows == pytest.approx(100)


def test_one_bad_trailing_day_moves_nothing() -> None:
    trailing = weeks(4) | {MONDAY + timedelta(days=22): 1}
    assert expect(trailing, MONDAY + timedelta(days=30)).rows == pytest.approx(100)


def test_days_that_agree_still_leave_room() -> None:
    # No residual at all: the least spread, Poisson's 1 / 100, 28 days and 4 weeks.
    expected = expect(weeks(4), MONDAY + timedelta(days=28))
    assert expected.spread == pytest.approx(sqrt(LEAST_SPREAD**2 + 1 / 100) * sqrt(1 + 1 / 28 + 1 / 6))
    low, high = expected.band(2)
    assert low * high == pytest.approx(100**2)
    assert expected.deviation(round(low)) == pytest.approx(-2, abs=0.05)


def test_a_weekday_seen_once_has_no_usual_spread_yet() -> None:
    assert expect(weeks(1), MONDAY + timedelta(days=7)).deviation(10) is None
    assert expect(weeks(2), MONDAY + timedelta(days=14)).deviation(10) < -5
