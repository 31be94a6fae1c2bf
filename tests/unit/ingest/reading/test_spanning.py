from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import pytest

from pipeline.core.days import Days, end_of_day, start_of_day
from pipeline.ingest.asked import Asked
from pipeline.ingest.people import pseudonyms as people
from pipeline.ingest.profiles.profile import load_profile
from pipeline.ingest.reading.spanning import Spanning, files_of
from pipeline.store.engine import open_engine
from pipeline.store.files import RawFile

ALL_DAYS = 'files: "all.csv"\n  file_covers: all'
MONTHLY = 'files: "{day:%Y-%m}.csv"\n  file_covers: month'


@dataclass(frozen=True)
class Window:
    day: date
    begin: datetime
    end: datetime

    @classmethod
    def of(cls, day: str, zone: str) -> Window:
        this = date.fromisoformat(day)
        return cls(this, start_of_day(this, zone), end_of_day(this, zone))


class Reader:
    """Loads day after day, as one run does."""

    def __init__(self, source, engine, zone: str) -> None:
        self.source, self.engine, self.zone = source, engine, zone
        self.profile = load_profile(str(source.profile))
        self.spanning = Spanning(engine, self.profile, people.pseudonymiser("key"), zone)

    def found(self, day: str) -> list[RawFile]:
        events = self.profile.events
        window = Window.of(day, self.zone)
        return files_of(self.source.settings, events.files, events.file_covers, window, events.time.zone)

    def skus(self, day: str, found: list[RawFile] | None = None) -> list[str]:
        """Returns the items of the day's rows; a torn row has none."""
        window = Window.of(day, self.zone)
        asked = Asked(window.day, window.begin, window.end, window.end, window.begin).table()
        self.engine.load("asked", asked.to_batches(), asked.schema)
        self.spanning.load_events(self.found(day) if found is None else found, window)
        rows = self.engine.answer(self.engine.table("raw").order_by("place"))
        return [sku or "torn" for sku in rows["raw_sku"].to_pylist()]

    def told(self, days: str) -> list[str]:
        return self.spanning.told(Days.parse(days))


@pytest.fixture
def reader(source):
    with open_engine(source.settings) as engine:
        yield lambda zone="UTC": Reader(source, engine, zone)


def row(time: str, item: str) -> str:
    return f"{time},anna,v1,seen,{item},,1.00,"


def test_a_file_of_all_days_is_read_once_and_every_row_of_it_accounted_for(source, own_profile, reader) -> None:
    own_profile('files: "{day}.csv"', ALL_DAYS)
    path = source.write(
        row("2026-01-05T10:00:00Z", "b"),
        row("2026-01-04T10:00:00Z", "a"),
        row("2026-01-06T00:00:00Z", "d"),
        row("2026-01-05T23:59:59.999Z", "c"),
        row("soon", "e"),
        row("2026-02-01T00:00:00Z", "f"),
        "torn",
        name="all.csv",
    )
    run = reader()
    # What has no readable time is counted with the file's first day: once, whatever days are asked for.
    assert run.skus("2026-01-04") == ["a", "e", "torn"]
    found = run.found("2026-01-05")
    path.unlink()  # nobody will read it again
    assert run.skus("2026-01-05", found) == ["b", "c"]
    assert run.skus("2026-01-06", found) == ["d"]
    assert run.skus("2026-01-07", found) == []
    assert run.told("2026-01-04..2026-01-07") == [
        "all.csv: 7 rows = 4 of 2026-01-04..2026-01-07 + 1 of other days + 2 without a readable time"
    ]


@pytest.mark.parametrize("time", ["9999-12-31 23:59:59", "9998-12-31 23:59:59.999999-18:00", "1000-01-01 00:00:00+18"])
def test_a_row_at_the_end_of_the_calendar_ends_no_run(source, own_profile, reader, time: str) -> None:
    own_profile('files: "{day}.csv"', ALL_DAYS)
    source.write(row("2026-01-05T10:00:00Z", "a"), row(time, "b"), name="all.csv")
    assert "a" in reader("Asia/Tokyo").skus("2026-01-05")


def test_a_moment_belongs_to_its_day_to_the_microsecond(source, own_profile, reader) -> None:
    own_profile('files: "{day}.csv"', ALL_DAYS)
    times = ("1969-12-31T23:59:59.5Z", "2026-01-05T23:59:59.999999Z", "9998-03-05T23:59:59.999999Z")
    source.write(*[row(time, f"i{n}") for n, time in enumerate(times)], name="all.csv")
    run = reader()
    assert [run.skus(time[:10]) for time in times] == [["i0"], ["i1"], ["i2"]]


def test_rows_from_before_the_shop_do_not_move_the_first_day(source, own_profile, reader) -> None:
    own_profile('files: "{day}.csv"', ALL_DAYS)
    own_profile("calendar:", "calendar:\n  opened: 2026-01-05")
    source.write(row("1970-01-01T00:00:00Z", "a"), row("2026-01-05T10:00:00Z", "b"), row("soon", "c"), name="all.csv")
    assert reader().skus("2026-01-05") == ["b", "c"]


def test_a_month_is_read_once_and_let_go_when_the_next_begins(source, own_profile, reader) -> None:
    own_profile('files: "{day}.csv"', MONTHLY)
    january = [row("2026-01-01T03:00:00Z", "a"), row("2026-01-31T23:00:00Z", "b"), row("soon", "c")]
    source.write(*january, name="2026-01.csv")
    source.write(row("2026-02-01T04:59:59Z", "d"), row("2026-02-01T05:00:00Z", "e"), name="2026-02.csv")
    source.write(name="2025-12.csv")
    run = reader("America/New_York")
    # Midnight in New York is 05:00 UTC: the first rows of each file still belong to the month before.
    assert run.skus("2025-12-31") == ["a"]
    assert run.skus("2026-01-01") == ["c"]
    assert run.skus("2026-01-31") == ["b", "d"]
    assert run.skus("2026-02-01") == ["e"]
    assert run.skus("2026-02-02") == []
    assert [file.name for file in run.spanning.files.values() if file.table] == ["2026-02.csv"]
    assert run.told("2026-01-01..2026-02-02") == [
        "2025-12.csv: 0 rows = 0 of 2026-01-01..2026-02-02 + 0 of other days + 0 without a readable time",
        "2026-01.csv: 3 rows = 1 of 2026-01-01..2026-02-02 + 1 of other days + 1 without a readable time",
        "2026-02.csv: 2 rows = 2 of 2026-01-01..2026-02-02 + 0 of other days + 0 without a readable time",
    ]


def test_a_day_whose_file_is_missing_has_no_rows(own_profile, reader) -> None:
    own_profile('files: "{day}.csv"', MONTHLY)
    assert reader().skus("2026-01-05") == []
