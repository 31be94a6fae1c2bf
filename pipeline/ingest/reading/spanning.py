"""Reads a day's files into the engine; a file that covers many days is read once, for all days of a run.

Tables made: `raw`, the rows of the day's events, which pass by once (`Engine.stream`) where a file is of one day, and
`item_states` (see `catalogue`) where items have files.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Protocol
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from pipeline.core.days import Days
from pipeline.core.errors import DataError
from pipeline.core.settings import Settings
from pipeline.ingest.judging import catalogue
from pipeline.ingest.judging.canonical import text_of
from pipeline.ingest.judging.times import SECOND, begun, moment
from pipeline.ingest.people.pseudonyms import Pseudonymise
from pipeline.ingest.profiles.profile import Profile
from pipeline.ingest.reading import batches
from pipeline.store import files
from pipeline.store.engine import Engine
from pipeline.store.files import RawFile

BUCKET = 900 * SECOND
"""Every zone's midnight is a multiple of it, so that buckets of rows add up to days."""


class Window(Protocol):
    """A day of the shop; `end` is the first moment after it, both in UTC."""

    @property
    def day(self) -> date: ...
    @property
    def begin(self) -> datetime: ...
    @property
    def end(self) -> datetime: ...


@dataclass
class SpannedFile:
    """A file of many days that lies in the engine.

    Attributes:
        table: where it lies; empty once no day asks for it any more.
        home: the day that its rows without a readable time are counted with, if it has one.
        timeless: rows without a readable time; a torn row is one.
        days: rows by day of the shop.
    """

    name: str
    table: str
    rows: int
    home: date | None
    timeless: int
    days: dict[date, int] = field(repr=False)

    def due(self, day: date) -> int:
        return self.days.get(day, 0) + (self.timeless if day == self.home else 0)

    def told(self, days: Days) -> str:
        """Returns where all of the file's rows are, as a sum."""
        inside = sum(rows for day, rows in self.days.items() if days.first <= day <= days.last)
        outside = self.rows - inside - self.timeless
        return (
            f"{self.name}: {self.rows:,} rows = {inside:,} of {days} + {outside:,} of other days + "
            f"{self.timeless:,} without a readable time"
        )


def files_of(settings: Settings, pattern: str, covers: str, window: Window, zone: str) -> list[RawFile]:
    """Returns the files that may hold rows of a day of the shop."""
    names = dict.fromkeys(pattern.format(day=day) for day in _days_of(covers, window, zone))
    return [file for name in names for file in files.find(settings, name)]


def _days_of(covers: str, window: Window, zone: str) -> list[date]:
    if covers != "month":
        return [window.day]
    # The shop's day may reach into the month before or after, as the file's zone counts.
    return [m.astimezone(ZoneInfo(zone)).date() for m in (window.begin, window.end - timedelta(seconds=1))]


def rows_by_day(engine: Engine, time: ir.TimestampValue, zone: ZoneInfo) -> Counter[date | None]:
    """Counts a table's rows by day of the zone, those without a time under None."""
    buckets = begun(time, BUCKET).name("bucket").as_table()
    found: Counter[date | None] = Counter()
    for row in engine.answer(buckets.group_by("bucket").agg(rows=buckets.count())).to_pylist():
        at = row["bucket"]
        found[None if at is None else datetime.fromtimestamp(at // SECOND, UTC).astimezone(zone).date()] += row["rows"]
    return found


class Spanning:
    """What a run has read.

    Attributes:
        item_rows: how many rows of the catalogue files were read, and how many describe nothing, by why.
    """

    def __init__(self, engine: Engine, profile: Profile, pseudonymise: Pseudonymise, shop_zone: str) -> None:
        self.engine, self.profile, self.pseudonymise = engine, profile, pseudonymise
        self.shop_zone = ZoneInfo(shop_zone)
        self.files: dict[str, SpannedFile] = {}
        self._slots = count()
        self._items: list[str] | None = None
        self.item_rows: dict[str, int] = {}
        self._passing = batches.Counted(())

    def load_events(self, found: Sequence[RawFile], window: Window) -> None:
        """Makes `raw`; for files of many days the table `asked` must hold the day's moments.

        Raises: DataError: a file is not what its profile says.
        """
        schema = batches.schema(self.profile)
        if self.profile.events.file_covers == "day":
            self._passing = batches.Counted(batches.read_batches(found, self.profile, self.pseudonymise))
            self.engine.stream("raw", self._passing, schema)
            return
        asked_for = {f"{file.name} {file.digest}": file for file in batches.in_order(found)}
        for key in [key for key in self.files if key not in asked_for]:
            self._let_go(self.files[key])
        spans = [self._spanned(key, file, window) for key, file in asked_for.items()]
        if not spans:
            self.engine.load("raw", [], schema)
            self._passing = batches.Counted(())
            return
        parts = (self._part(span, number, window) for number, span in enumerate(spans))
        self.engine.keep("raw", ibis.union(*parts))
        self._require(spans, window)

    def load_items(self, found: Sequence[RawFile], tree: Sequence[RawFile]) -> None:
        """Makes `item_states`, unless it was made from these files before.

        Raises: DataError: a file is not what its profile says.
        """
        if not self.profile.catalogue.files:
            return
        digests = [f"{file.name} {file.digest}" for file in (*found, *tree)]
        if digests == self._items:
            return
        schema = catalogue.schema(self.profile)
        counted = Counter(dict.fromkeys(("read", "torn", "other_property"), 0))
        self.engine.load("raw_items", catalogue.read_items(found, self.profile, counted), schema)
        paths = catalogue.read_paths(tree, self.profile)
        self.engine.load("category_paths", paths.to_batches(), paths.schema)
        self.engine.keep("item_states", self.engine.compiled(catalogue.states_of_files(self.profile)))
        (left_out,) = self.engine.answer(self.engine.compiled(catalogue.left_out(self.profile))).to_pylist()
        self.item_rows = {name: int(rows) for name, rows in {**counted, **left_out}.items()}
        self.engine.load("raw_items", [], schema)
        self._items = digests

    @property
    def rows(self) -> int:
        """How many rows of the day's files have been read; all of them once `raw` was asked."""
        return self._passing.count

    def told(self, days: Days) -> list[str]:
        """Returns a sentence a file of many days: where its rows are, given the days of the run."""
        return [file.told(days) for file in self.files.values()]

    def _spanned(self, key: str, file: RawFile, window: Window) -> SpannedFile:
        known = self.files.get(key)
        if known is None or not known.table:
            self.files[key] = known = self._read(file, window)
        return known

    def _read(self, file: RawFile, window: Window) -> SpannedFile:
        table, schema = f"spanned_{next(self._slots)}", batches.schema(self.profile)
        rows = batches.Counted(batches.read_batches([file], self.profile, self.pseudonymise))
        raw = self.engine.load("unspanned", rows, schema)
        time = moment(text_of(raw, self.profile.events.columns.event_time), self.profile.events.time)
        spanned = self.engine.keep(table, raw.mutate(spanned_time=time))
        days = rows_by_day(self.engine, spanned.spanned_time, self.shop_zone)
        self.engine.load("unspanned", [], schema)
        timeless = days.pop(None, 0)
        return SpannedFile(file.name, table, rows.count, self._home(file, window, days), timeless, days)

    def _home(self, file: RawFile, window: Window, days: dict[date, int]) -> date | None:
        """Returns the first day of the file's month, or the first of its days on which the shop was open."""
        events, opened = self.profile.events, self.profile.calendar.opened
        if events.file_covers == "month":
            for day in _days_of("month", window, events.time.zone):
                if fnmatch.fnmatchcase(file.name, events.files.format(day=day)):
                    return day.replace(day=1)
        return min((day for day in days if opened is None or day >= opened), default=None)

    def _part(self, span: SpannedFile, number: int, window: Window) -> ibis.Table:
        rows = self.engine.table(span.table).cross_join(self.engine.table("asked").select("begin", "end"))
        of_day = (rows.spanned_time >= rows.begin) & (rows.spanned_time < rows.end)
        if span.home == window.day:
            of_day = of_day | rows.spanned_time.isnull()
        placed = {"place": batches.place_of(number, rows.place), "file_number": ibis.literal(number, "int32")}
        return rows.filter(of_day).mutate(**placed).select(batches.schema(self.profile).names)

    def _require(self, spans: Sequence[SpannedFile], window: Window) -> None:
        raw = self.engine.table("raw")
        found = self.engine.answer(raw.group_by("file_number").agg(rows=raw.count())).to_pylist()
        given = {row["file_number"]: row["rows"] for row in found}
        for number, span in enumerate(spans):
            whole = span.rows == sum(span.days.values()) + span.timeless
            if not whole or given.get(number, 0) != span.due(window.day):
                raise DataError(
                    f"{span.name}: {span.due(window.day):,} of its {span.rows:,} rows belong to {window.day}, but "
                    f"{given.get(number, 0):,} were found; this is a defect, report it."
                )
        self._passing = batches.Counted((), sum(given.values()))

    def _let_go(self, span: SpannedFile) -> None:
        if span.table:
            self.engine.load(span.table, [], batches.schema(self.profile))
            span.table = ""
