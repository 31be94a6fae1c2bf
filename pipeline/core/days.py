"""Days of the shop's calendar and ranges of them, written `2011-12-08` and `2010-12-01..2011-12-08`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pipeline.core.errors import UsageError


def parse_day(text: str) -> date:
    """Raises: UsageError: the text is not a calendar day."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a day; write it as YYYY-MM-DD, such as 2011-12-08.") from None


def start_of_day(day: date, timezone: str) -> datetime:
    """Returns the first moment of `day` in the shop's time zone, in UTC."""
    return datetime.combine(day, time.min, tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def end_of_day(day: date, timezone: str) -> datetime:
    """Returns the first moment after `day` in the shop's time zone, in UTC."""
    return start_of_day(day + timedelta(days=1), timezone)


@dataclass(frozen=True)
class Days:
    """An inclusive range of days."""

    first: date
    last: date

    @classmethod
    def parse(cls, text: str) -> Days:
        """Raises: UsageError: not a day or range, or a range that ends before it begins."""
        first, _, last = text.partition("..")
        days = cls(parse_day(first), parse_day(last or first))
        if days.last < days.first:
            raise UsageError(f"The range {text!r} ends before it begins; write FIRST..LAST.")
        return days

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}..{self.last}"

    def __iter__(self) -> Iterator[date]:
        return (self.first + timedelta(days=n) for n in range(len(self)))

    def __len__(self) -> int:
        return (self.last - self.first).days + 1
