"""Where time is cut: training, then validation, then test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pipeline.core.days import end_of_day, start_of_day
from pipeline.core.errors import DataError
from pipeline.core.sections import Prepare

NIGHTS_OF_A_WEEK = 7
MIN_DAYS = 4


@dataclass(frozen=True)
class Split:
    """The cut days, and the moments their shop's midnights are, in UTC."""

    first: date
    last: date
    validation_start: datetime
    test_start: datetime
    test_end: datetime


def microseconds(moment: datetime) -> int:
    """Returns whole microseconds since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _test_days(
    days: Sequence[date], most: int, timezone: str, holds_enough: Callable[[datetime, datetime], bool]
) -> int:
    """Returns the fewest days that hold enough, tonight and on each night of the week before.

    A length that followed tonight's count alone would change with the weekday, and a test that begins no later than
    the one of the night before has nothing new to teach the model it judges.
    """

    def always_enough(length: int) -> bool:
        nights = range(min(NIGHTS_OF_A_WEEK, len(days) - length + 1))
        periods = ((start_of_day(days[-length - n], timezone), end_of_day(days[-1 - n], timezone)) for n in nights)
        return all(holds_enough(start, end) for start, end in periods)

    return next((length for length in range(1, most) if always_enough(length)), max(most, 1))


def cut_by_time(
    days: Sequence[date], settings: Prepare, timezone: str, count: Callable[[datetime, datetime], int]
) -> Split:
    """Gives the test the newest days, as many as it needs and may have, validation those before, training the rest.

    Days are days with events. Training keeps at least half of them; validation and test have at least one each.

    Args:
        days: with events, oldest first.
        count: how many test queries a period holds.

    Raises: DataError: there are fewer than four days.
    """
    if len(days) < MIN_DAYS:
        raise DataError(
            f"Training, validation and test need {MIN_DAYS} published days with events, two of them to learn from; "
            f"found {len(days)} ({', '.join(map(str, days))}). Ingest and validate more days, or widen "
            f"prepare.window_days."
        )
    spare = len(days) // 2
    validation_days = min(settings.validation_days, spare // 2)
    end = end_of_day(days[-1], timezone)
    most = min(settings.max_test_days, spare - validation_days)
    test_days = _test_days(days, most, timezone, lambda start, end: count(start, end) >= settings.min_test_queries)
    validation_days = min(settings.validation_days, spare - test_days)
    first_of_validation = start_of_day(days[-test_days - validation_days], timezone)
    return Split(days[0], days[-1], first_of_validation, start_of_day(days[-test_days], timezone), end)
