from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from pipeline.core.days import Days, end_of_day, start_of_day
from pipeline.core.errors import UsageError


def test_a_range_counts_both_its_ends_across_a_year() -> None:
    days = Days.parse("2010-12-30..2011-01-02")
    assert len(days) == 4
    assert [str(d) for d in days] == ["2010-12-30", "2010-12-31", "2011-01-01", "2011-01-02"]


def test_one_day_is_a_range_and_is_written_as_a_day() -> None:
    assert Days.parse("2011-12-08") == Days(date(2011, 12, 8), date(2011, 12, 8))
    assert str(Days.parse("2011-12-08..2011-12-08")) == "2011-12-08"


@pytest.mark.parametrize("text", ["2011-02-30", "yesterday", "", "2011-12-09..2011-12-08", "2011-12-01...2011-12-02"])
def test_what_is_no_day_or_range_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="write"):
        Days.parse(text)


def test_a_day_begins_and_ends_at_the_shop_s_midnights() -> None:
    spring = date(2024, 3, 31)
    assert start_of_day(spring, "Europe/Berlin") == datetime(2024, 3, 30, 23, tzinfo=UTC)
    assert end_of_day(spring, "Europe/Berlin") == datetime(2024, 3, 31, 22, tzinfo=UTC)
