"""Missing hours, and the days on which the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from pipeline.validate.distributions import by_clock, clock_hours
from pipeline.validate.hours import missing_hours

BERLIN = "Europe/Berlin"
SPRING, AUTUMN = date(2024, 3, 31), date(2024, 10, 27)
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def before(day: date, hours: int = 24, visitors: int = 20) -> dict[date, list[int]]:
    """Returns the same weekday of the four weeks before, every hour full."""
    return {day - timedelta(weeks=n): [visitors] * hours for n in range(1, 5)}


def test_a_day_has_the_hours_its_clock_shows() -> None:
    assert len(clock_hours(date(2024, 3, 30), BERLIN)) == 24
    assert clock_hours(SPRING, BERLIN)[:4] == [0, 1, 3, 4]
    assert clock_hours(AUTUMN, BERLIN)[:5] == [0, 1, 2, 2, 3]
    assert (len(clock_hours(SPRING, BERLIN)), len(clock_hours(AUTUMN, BERLIN))) == (23, 25)


def test_an_hour_shown_twice_is_summed() -> None:
    bins = by_clock(dict.fromkeys(range(25), 1), AUTUMN, BERLIN)
    assert (bins["02"], bins["03"], sum(bins.values())) == (2, 1, 25)


def test_the_hour_spring_leaves_out_is_not_missing() -> None:
    assert missing_hours([20] * 23, SPRING, before(SPRING), BERLIN, LATER) == []


def test_each_of_the_two_hours_autumn_shows_alike_is_asked_for() -> None:
    visitors = [20] * 25
    visitors[3] = 0
    # The fourth hour since midnight is the second that shows 02.
    assert missing_hours(visitors, AUTUMN, before(AUTUMN), BERLIN, LATER) == [3]


def test_a_short_trailing_day_says_nothing_of_the_hour_it_has_not() -> None:
    day = SPRING + timedelta(weeks=2)
    trailing = {SPRING: [20] * 23, SPRING + timedelta(weeks=1): [20] * 24, SPRING - timedelta(weeks=1): [20] * 24}
    visitors = [20] * 24
    visitors[2] = 0
    # The two days of 24 hours have the hour, which is enough.
    assert missing_hours(visitors, day, trailing, BERLIN, LATER) == [2]


def test_an_hour_one_of_the_trailing_days_has_not_either_is_not_missing() -> None:
    day = date(2024, 6, 3)
    trailing = before(day)
    trailing[day - timedelta(weeks=2)][4] = 0
    assert missing_hours([20] * 4 + [0] + [20] * 19, day, trailing, "UTC", LATER) == []


def test_an_hour_of_few_visitors_may_be_empty_by_chance() -> None:
    day = date(2024, 6, 3)
    empty = [9] * 23 + [0]
    assert missing_hours(empty, day, before(day, visitors=9), "UTC", LATER) == []
    assert missing_hours(empty, day, before(day, visitors=10), "UTC", LATER) == [23]


def test_other_weekdays_are_no_measure_and_one_week_is_too_little() -> None:
    day = date(2024, 6, 3)
    others = {day - timedelta(days=n): [20] * 24 for n in range(1, 7)}
    assert missing_hours([0] * 24, day, others, "UTC", LATER) is None
    assert missing_hours([0] * 24, day, others | {day - timedelta(weeks=1): [20] * 24}, "UTC", LATER) is None
