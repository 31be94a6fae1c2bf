"""Where time is cut."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from pipeline.core.errors import DataError
from pipeline.core.sections import Prepare
from pipeline.prepare.split import Split, cut_by_time, microseconds

FIRST = date(2024, 3, 1)


def days(count: int, step: int = 1) -> list[date]:
    return [FIRST + timedelta(days=n * step) for n in range(count)]


def shape(split: Split, of: list[date]) -> tuple[int, int, int]:
    """Returns how many days training, validation and test have."""
    starts = [datetime(d.year, d.month, d.day, tzinfo=UTC) for d in of]
    training = sum(s < split.validation_start for s in starts)
    test = sum(s >= split.test_start for s in starts)
    return training, len(of) - training - test, test


# With too few queries the test takes all it may: half of the days are spare, and validation keeps half of those.
@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (4, (2, 1, 1)),
        (5, (3, 1, 1)),
        (8, (4, 2, 2)),
        (9, (5, 2, 2)),
        (10, (5, 2, 3)),
        (28, (14, 7, 7)),
        (60, (46, 7, 7)),
    ],
)
def test_a_short_window_shrinks_validation_and_test_and_leaves_half_to_training(count, wanted) -> None:
    split = cut_by_time(days(count), Prepare(), "UTC", lambda start, end: 0)
    assert shape(split, days(count)) == wanted


def test_the_test_grows_until_it_holds_enough_queries() -> None:
    # 400 queries a day: 1000 are reached with the third day.
    split = cut_by_time(days(30), Prepare(min_test_queries=1000), "UTC", lambda start, end: 400 * (end - start).days)
    assert shape(split, days(30)) == (20, 7, 3)


def test_the_test_begins_later_every_night_whatever_the_weekday() -> None:
    # A weekday alone holds 1,200 queries, a Sunday 900: one day would do on six nights and two on the seventh, whose
    # test would begin on the day it began the night before. Two days do every night.
    def count(start: datetime, end: datetime) -> int:
        between = [start + timedelta(days=n) for n in range((end - start).days)]
        return sum(900 if day.weekday() == 6 else 1200 for day in between)

    nights = [days(n) for n in range(20, 35)]
    starts = [cut_by_time(night, Prepare(min_test_queries=1000), "UTC", count).test_start for night in nights]
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(starts))
    assert shape(cut_by_time(nights[0], Prepare(min_test_queries=1000), "UTC", count), nights[0])[2] == 2


def test_closed_days_are_no_days() -> None:
    every_third = days(30, 3)
    split = cut_by_time(every_third, Prepare(), "UTC", lambda start, end: 0)
    assert shape(split, every_third) == (16, 7, 7)


def test_the_ends_are_midnights_of_the_shop() -> None:
    split = cut_by_time(days(4), Prepare(), "America/New_York", lambda start, end: 0)
    assert split.test_start == datetime(2024, 3, 4, 5, tzinfo=UTC)
    assert split.test_end == datetime(2024, 3, 5, 5, tzinfo=UTC)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_days_are_named(count) -> None:
    with pytest.raises(DataError, match=rf"need 4 published days .* found {count} \(2024-03-01"):
        cut_by_time(days(count), Prepare(), "UTC", lambda start, end: 0)


def test_microseconds_are_exact() -> None:
    assert microseconds(datetime(2024, 3, 1, 0, 0, 0, 7, tzinfo=UTC)) == 1_709_251_200_000_007
