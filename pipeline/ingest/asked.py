"""Which day is asked for, what its rows are held against, and where its files lie."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from pipeline.core.days import end_of_day, start_of_day
from pipeline.core.errors import MissingInputError
from pipeline.core.settings import Settings
from pipeline.ingest.profiles.profile import Profile
from pipeline.ingest.reading.spanning import files_of
from pipeline.store.files import RawFile


@dataclass(frozen=True)
class Asked:
    """One day and what its rows are held against, all in UTC.

    Attributes:
        begin: first moment of the day in the shop's zone; `end` is the first moment after it.
        horizon: later rows come from the future.
        oldest: earlier rows come too late.
    """

    day: date
    begin: datetime
    end: datetime
    horizon: datetime
    oldest: datetime

    @classmethod
    def of(cls, day: date, shop_zone: str, file_zone: str, as_of: datetime, max_late_days: int) -> Asked:
        begin, end = start_of_day(day, shop_zone), end_of_day(day, shop_zone)
        # An as-of time after the day changes nothing, so a night and a history over many days make the same artifact.
        horizon = as_of.astimezone(UTC) if as_of < end else max(end, end_of_day(day, file_zone))
        return cls(day, begin, end, horizon, begin - timedelta(days=max_late_days))

    def table(self) -> pa.Table:
        """Returns the one row of `asked`: what a compiled question does not know until a day is asked for."""
        moments = {"begin": self.begin, "end": self.end, "horizon": self.horizon, "oldest": self.oldest}
        kind = pa.timestamp("us", "UTC")
        return pa.table({n: pa.array([m], kind) for n, m in moments.items()})


@dataclass(frozen=True)
class Found:
    """The raw files of one day."""

    events: list[RawFile]
    items: list[RawFile]
    tree: list[RawFile]

    def digests(self) -> dict[str, str]:
        return {f"file {file.name}": file.digest for file in (*self.events, *self.items, *self.tree)}


def find(settings: Settings, profile: Profile, asked: Asked) -> Found:
    """Raises: MissingInputError: the day has no file and the calendar does not call it closed."""
    events, items = profile.events, profile.catalogue
    found = files_of(settings, events.files, events.file_covers, asked, events.time.zone)
    if not found and not profile.calendar.closed(asked.day):
        expected = _expected(settings, events.files, asked)
        raise MissingInputError(
            f"No logs for {asked.day}: expected {expected}, and the profile's calendar calls the day open."
        )
    described = {"catalogue": (items.files, items.file_covers)}
    if items.category_tree:
        described["category tree"] = (items.category_tree.files, "all")
    files: dict[str, list[RawFile]] = {}
    for what, (pattern, covers) in described.items():
        files[what] = files_of(settings, pattern, covers, asked, items.time.zone) if pattern else []
        if found and pattern and not files[what]:
            raise MissingInputError(f"No {what} for {asked.day}: expected {_expected(settings, pattern, asked)}.")
    return Found(found, files["catalogue"], files.get("category tree", []))


def _expected(settings: Settings, pattern: str, asked: Asked) -> str:
    return f"{settings.ingest.source.rstrip('/')}/{pattern.format(day=asked.day)}"
