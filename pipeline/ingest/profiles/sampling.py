"""Reads the first rows of one file as a profile says and judges them, without a secret and without a trace."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import MissingInputError, UsageError
from pipeline.core.settings import Settings
from pipeline.ingest.asked import Asked
from pipeline.ingest.judging.canonical import text_of
from pipeline.ingest.judging.questions import Questions
from pipeline.ingest.judging.rules import Rule
from pipeline.ingest.judging.times import moment
from pipeline.ingest.people import pseudonyms as people
from pipeline.ingest.profiles.profile import Profile
from pipeline.ingest.reading import batches
from pipeline.ingest.reading.rows import read_rows
from pipeline.ingest.reading.spanning import rows_by_day
from pipeline.store.engine import Engine, open_engine
from pipeline.store.files import RawFile, find

FAR = datetime(9999, 1, 1, tzinfo=UTC)
LONGEST_SHAPE = 24
LONGEST_VALUE = 40
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+|\b\d{1,3}(?:\.\d{1,3}){3}\b")
SPREADSHEET_ID = r"^\d+\.0$"


@dataclass(frozen=True)
class PersonColumn:
    """What may be said of a raw column that names people: never a value.

    Attributes:
        shape: the most common form, letters as `a` and digits as `9`.
        spreadsheet_ids: values such as 17850.0.
    """

    filled: int
    shape: str
    spreadsheet_ids: int


class Sample:
    """The first rows of a file, judged.

    Attributes:
        judged: the rows with their canonical columns, `rule` and `outcome`; person columns are throw-away pseudonyms.
        asked: the days the rows were judged as.
    """

    def __init__(self, file: RawFile, profile: Profile, settings: Settings, engine: Engine, rows: int) -> None:
        self.file, self.profile, self.settings, self.engine = file, profile, settings, engine
        self.zone = ZoneInfo(settings.shop.timezone)
        self.questions = Questions(profile, settings.ingest, engine, somebody_erased=False)
        self._load(rows)
        self.judged: ir.Table = engine.table("raw")
        self.asked = ""

    def _load(self, rows: int) -> None:
        pseudonymise = people.pseudonymiser(secrets.token_hex(32))
        schema, found, read = batches.schema(self.profile), [], 0
        for batch in batches.read_batches([self.file], self.profile, pseudonymise):
            # Torn rows come after good ones that follow them in the file, so what counts is how many of the first came.
            found.append(batch.filter(pc.less_equal(batch.column("place"), rows)))
            read += found[-1].num_rows
            if read >= rows:
                break
        self.engine.load("raw", found, schema)

    def judge(self, day: date | None) -> None:
        """Judges the rows as those of a day, by default the one the file's name says, or all its days."""
        chosen = day or self._day_of_name()
        if self.profile.events.file_covers == "day":
            chosen = chosen or max(self.days, key=lambda d: (self.days[d], d), default=date(1970, 1, 1))
        elif day is not None:
            self._keep_only(day)
        days = (
            [chosen] if chosen else [min(self.days, default=date(1970, 1, 1)), max(self.days, default=date(1970, 1, 1))]
        )
        self.asked = f"{days[0]}" if days[0] == days[-1] else f"{days[0]}..{days[-1]}"
        first, last = self._asked(days[0]), self._asked(days[-1])
        asked = replace(last, begin=first.begin, oldest=first.oldest).table()
        self.engine.load("asked", asked.to_batches(), asked.schema)
        self.judged = self.questions.judge(self.engine)

    def _asked(self, day: date) -> Asked:
        limits, zone = self.settings.ingest, self.profile.events.time.zone
        return Asked.of(day, self.settings.shop.timezone, zone, FAR, limits.max_late_days)

    def _day_of_name(self) -> date | None:
        events = self.profile.events
        if events.file_covers != "day":
            return None
        named = (day for day in self.days if fnmatchcase(f"/{self.file.location}", f"*/{events.files.format(day=day)}"))
        return next(named, None)

    def _keep_only(self, day: date) -> None:
        asked, rows = self._asked(day), self.engine.table("raw")
        time = self._moment(rows)
        self.engine.keep("of_day", rows.filter((time >= asked.begin) & (time < asked.end)))
        self.engine.keep("raw", self.engine.table("of_day"))

    def _moment(self, rows: ir.Table) -> ir.TimestampValue:
        events = self.profile.events
        return moment(text_of(rows, events.columns.event_time), events.time)

    @cached_property
    def days(self) -> dict[date, int]:
        """Returns rows by day of the shop, in order."""
        found = rows_by_day(self.engine, self._moment(self.engine.table("raw")), self.zone)
        return dict(sorted((day, rows) for day, rows in found.items() if day))

    def ask(self, question: ir.Table) -> list[dict[str, Any]]:
        return self.engine.answer(question).to_pylist()

    def count(self, condition: ir.BooleanValue | None = None) -> int:
        rows = self.judged if condition is None else self.judged.filter(condition)
        return self.ask(rows.aggregate(rows=rows.count()))[0]["rows"]

    def most_common(
        self, value: ir.Value, where: ir.BooleanValue | None = None, limit: int = 3
    ) -> list[tuple[Any, int]]:
        """Returns values and their rows, the most common first; nulls are no values."""
        rows = self.judged if where is None else self.judged.filter(where)
        counted = rows.select(value=value).drop_null("value").group_by("value").agg(rows=lambda t: t.count())
        ordered = counted.order_by([ibis.desc("rows"), "value"]).limit(limit)
        return [(row["value"], row["rows"]) for row in self.ask(ordered)]

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(self.questions.rules)

    @cached_property
    def people(self) -> dict[str, PersonColumn]:
        """Returns what the person columns look like before they are hidden."""
        names, shapes = self.profile.person_columns, {name: Counter() for name in self.profile.person_columns}
        spreadsheet, read = Counter(), 0
        for rows in read_rows(self.file, self.profile.events, names):
            for name in names:
                values = pc.drop_null(rows.table.column(name))
                spreadsheet[name] += pc.sum(pc.match_substring_regex(values, SPREADSHEET_ID)).as_py() or 0
                shapes[name].update(shape_of(values))
            read += len(rows.torn)
            if read >= self.count():
                break
        return {
            n: PersonColumn(s.total(), max(s, key=lambda k: (s[k], k), default=""), spreadsheet[n])
            for n, s in shapes.items()
        }


def shape_of(values: pa.ChunkedArray) -> list[str]:
    """Returns texts with every letter as `a` and every digit as `9`."""
    masked = pc.replace_substring_regex(pc.replace_substring_regex(values, r"\p{L}", "a"), r"\p{N}", "9")
    return pc.utf8_slice_codeunits(masked, 0, LONGEST_SHAPE).to_pylist()


def shown(value: Any) -> str:
    """Returns a value as one short text without line ends; what looks like somebody's address is hidden."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:,.2f}"
    text = ADDRESS.sub("(address)", " ".join(str(value).split()))
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


@contextmanager
def taken(location: str, profile: Profile, settings: Settings, rows: int) -> Iterator[Sample]:
    """Opens a sample of a file.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is not what the profile says.
    """
    changed = {
        "engine": settings.engine.model_copy(update={"name": "duckdb"}),
        # No catalogue is read, so no item is unknown.
        "ingest": settings.ingest.model_copy(update={"unknown_items": "keep"}),
    }
    embedded = settings.model_copy(update=changed)
    with open_engine(embedded) as engine:
        yield Sample(raw_file(location, settings), profile, embedded, engine, rows)


def raw_file(location: str, settings: Settings) -> RawFile:
    """Raises: PipelineError: there is no such file."""
    if "://" not in location:
        path = Path(location)
        if path.is_dir():
            raise UsageError(f"{location} is a directory; name one file of logs.")
        if not path.exists():
            raise MissingInputError(f"There is no file {location}; name one file of logs.")
        return RawFile(path.name, str(path.resolve()), "")
    source, _, name = location.rpartition("/")
    there = settings.ingest.model_copy(update={"source": source})
    found = find(settings.model_copy(update={"ingest": there}), name)
    if not found:
        raise MissingInputError(f"There is no object {location}; name one file of logs.")
    return found[0]
