"""Which hours of a day are empty that are not on the days it is like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from statistics import median

from pipeline.core.days import start_of_day
from pipeline.validate.distributions import by_clock, clock_hours
from pipeline.validate.volume import MIN_WEEKS

USUAL_VISITORS = 10
"""With fewer visitors in an hour than this on the median day, an empty one may be chance: exp(-10) is 1 in 22,000.

Visitors arrive on their own, as Poisson's law wants it; their events come in bunches and would promise too much."""


def missing_hours(
    visitors: Sequence[int], day: date, trailing: Mapping[date, Sequence[int]], timezone: str, as_of: datetime
) -> list[int] | None:
    """Returns which hours since midnight hold no event, ended by the as-of time, and are never empty on this weekday.

    An hour that a changing clock leaves out cannot be missing, and one it shows twice is asked for twice.

    Args:
        visitors: the day's, by hours since midnight; an hour without any holds no event.
        trailing: the same of the open days of the window.

    Returns: None while the weekday was seen on fewer than `MIN_WEEKS` trailing days.
    """
    alike = {other: each for other, each in trailing.items() if other.weekday() == day.weekday()}
    if len(alike) < MIN_WEEKS:
        return None
    usual = [by_clock(dict(enumerate(each)), other, timezone) for other, each in alike.items()]
    shown = [set(clock_hours(other, timezone)) for other in alike]
    begin = start_of_day(day, timezone)
    missing = []
    for elapsed, clock in enumerate(clock_hours(day, timezone)):
        counts = [each[f"{clock:02}"] for each, known in zip(usual, shown, strict=True) if clock in known]
        over = begin + timedelta(hours=elapsed + 1) <= as_of
        expected = len(counts) >= MIN_WEEKS and min(counts) > 0 and median(counts) >= USUAL_VISITORS
        if over and expected and not visitors[elapsed]:
            missing.append(elapsed)
    return missing
