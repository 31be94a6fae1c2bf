"""What a sample's rows suggest is wrong with the profile: a table of questions, each with a sentence or silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import ibis.expr.types as ir

from pipeline.ingest.judging.canonical import text_of
from pipeline.ingest.profiles.guessing import guess_time_format
from pipeline.ingest.profiles.profile import DESCRIBED, PEOPLE, EventColumns
from pipeline.ingest.profiles.sampling import Sample, shown
from pipeline.ingest.profiles.words import nearest

DECIMAL_COMMA = r"^-?\d{1,3}(\.?\d{3})*,\d+$"
MONEY = r"[€$£¥]|EUR|USD|GBP"
NULL_WORDS = ("null", "none", "nan", "nil", "n/a", "na", r"\n", "-", "undefined")
ADDRESS = r"[\w.+-]+@[\w-]+\.\w|^\d{1,3}(\.\d{1,3}){3}$"
FEW = 0.05
MANY = 100
OFFSET = r"([zZ]|UTC|[+-]\d\d:?\d\d)\s*$"


def hints_of(sample: Sample) -> list[str]:
    """Returns a sentence for everything that looks wrong, in a fixed order."""
    return [hint for question in QUESTIONS for hint in question(sample)]


def _nobody(sample: Sample) -> Iterator[str]:
    columns = sample.profile.events.columns
    if columns.session_id is None:
        yield "no session_id: sessions are unknown, so robots and repeated events are told by user."
    if columns.user_id is None:
        yield "no user_id: every session is somebody new, and nobody's earlier visits count."


def _ids(sample: Sample) -> Iterator[str]:
    cleaned = {c.column for name in PEOPLE if (c := getattr(sample.profile.events.columns, name)) and c.replace}
    for name, column in sample.people.items():
        if column.spreadsheet_ids and name not in cleaned:
            share = column.spreadsheet_ids / column.filled
            yield (
                f"{share:.0%} of {name} are numbers that end in .0, as spreadsheets write them: "
                rf"replace: {{'\.0$': ''}} makes 17850.0 and 17850 one person."
            )
    session = sample.profile.events.columns.session_id
    (found,) = sample.ask(
        sample.judged.aggregate(rows=sample.judged.session_id.count(), visits=sample.judged.session_id.nunique())
    )
    if session and found["rows"] == found["visits"] >= MANY:
        yield f"{session.column} is another on every row: it names rows, not sessions."


def _times(sample: Sample) -> Iterator[str]:
    """Speaks of times that cannot be read, and of offsets that contradict the zone."""
    text, judged = text_of(sample.judged, sample.profile.events.columns.event_time), sample.judged
    column, times = sample.profile.events.columns.event_time.column, sample.profile.events.time
    unread = judged.torn.isnull() & text.notnull() & judged.event_time.isnull()
    if missed := sample.count(unread):
        examples = [value for value, _ in sample.most_common(text, unread)]
        guess = guess_time_format(examples)
        hint = (
            f"; format: {_quoted(guess)} would read {shown(examples[0])!r}" if guess and guess != times.format else ""
        )
        like = shown(examples[0])
        yield f"{missed:,} values of {column} are no times of the format {times.format}, such as {like!r}{hint}."
    stated = Counter(dict(sample.most_common(text.re_extract(OFFSET, 1), text.re_search(OFFSET), limit=10)))
    rows = sample.count(judged.event_time.notnull())
    on_the_wall = not stated and not times.format.startswith("epoch")
    if on_the_wall and "zone" not in times.model_fields_set and rows:
        yield f"{column} states no zone and neither does the profile: its times are taken for UTC; say time.zone."
    yield from _offsets(sample, text, column, rows)


def _offsets(sample: Sample, text: ir.StringValue, column: str, rows: int) -> Iterator[str]:
    times, judged = sample.profile.events.time, sample.judged
    if times.format != "iso" or not rows:
        return
    stated = judged.filter(text.re_search(OFFSET) & judged.event_time.notnull())
    said = stated.select(offset=text.re_extract(OFFSET, 1), hour=stated.event_time.truncate("h"))
    counted = sample.ask(said.group_by("offset", "hour").agg(rows=said.count()))
    against: Counter[str] = Counter()
    for row in counted:
        if _minutes(row["offset"]) != _minutes_of(times.zone, row["hour"]):
            against[row["offset"]] += row["rows"]
    for offset, count in against.most_common(2):
        trust = "the stated offset is believed" if times.stated_offset == "trusted" else "such rows are refused"
        yield f"{count / rows:.0%} of the times in {column} state {offset} but the zone says {times.zone}: {trust}."


def _minutes(offset: str) -> int:
    if offset.upper() in ("Z", "UTC"):
        return 0
    digits = offset[1:].replace(":", "")
    return (int(digits[:2]) * 60 + int(digits[2:])) * (-1 if offset[0] == "-" else 1)


def _minutes_of(zone: str, moment: datetime) -> int:
    return int(moment.astimezone(ZoneInfo(zone)).utcoffset().total_seconds() // 60)  # type: ignore[union-attr]


def _numbers(sample: Sample) -> Iterator[str]:
    """Speaks of prices and quantities that are no numbers."""
    judged, columns = sample.judged, sample.profile.events.columns
    for name in ("price", "quantity"):
        column = getattr(columns, name)
        if column is None:
            continue
        text = text_of(judged, column)
        unread = judged.torn.isnull() & text.notnull() & judged[name].isnull()
        missed = sample.count(unread)
        if not missed:
            continue
        example = shown(sample.most_common(text, unread, 1)[0][0])
        commas, money = (
            sample.count(unread & text.re_search(DECIMAL_COMMA)),
            sample.count(unread & text.re_search(MONEY)),
        )
        if commas:
            yield (
                f"{column.column} holds commas in {commas:,} values, such as {example!r}: looks like a decimal "
                rf"comma; replace: {{'\.': '', ',': '.'}} makes them numbers."
            )
        elif money:
            yield (
                f"{column.column} holds a currency in {money:,} values, such as {example!r}; take it off with replace."
            )
        else:
            yield f"{missed:,} values of {column.column} are no numbers, such as {example!r}."


def _words(sample: Sample) -> Iterator[str]:
    """Speaks of words for event types that are not mapped, and of mapped ones that never come."""
    types, judged = sample.profile.events.event_type, sample.judged
    if not types.column:
        return
    said = judged[f"raw_{types.column}"]
    known = set(types.values)
    for word, rows in sample.most_common(said, judged.rule == "unknown_type", 5):
        near = nearest(word.lower(), [name.lower() for name in known])
        meant = near if "did you mean" in near else "; map it, or exclude it."
        yield f"{types.column} says {shown(word)!r} in {rows:,} rows and the profile does not know it{meant}"
    seen = {word for word, _ in sample.most_common(said, limit=1000)}
    if absent := sorted(known - seen):
        yield f"the profile maps {', '.join(absent)}, which {types.column} never says in this sample."


def _empty(sample: Sample) -> Iterator[str]:
    """Speaks of words that mean nothing was there."""
    for name in _clear_columns(sample):
        value = sample.judged[f"raw_{name}"]
        for word, rows in sample.most_common(value, value.lower().isin(NULL_WORDS), 2):
            yield f"{name} holds {word!r} {rows:,} times; if that means nothing was there, list it under null_words."


def _addresses(sample: Sample) -> Iterator[str]:
    for name in _clear_columns(sample):
        value = sample.judged[f"raw_{name}"]
        if rows := sample.count(value.re_search(ADDRESS)):
            yield f"{name} holds {rows:,} values that look like somebody's address; list it under person_columns."


def _clear_columns(sample: Sample) -> list[str]:
    return [name for name in sample.profile.event_columns if name not in sample.profile.person_columns]


def _days(sample: Sample) -> Iterator[str]:
    if sample.profile.events.file_covers != "day" or not sample.days:
        return
    timed = sum(sample.days.values())
    elsewhere = sum(rows for day, rows in sample.days.items() if str(day) != sample.asked)
    zone, shop = sample.profile.events.time.zone, sample.settings.shop.timezone
    if elsewhere and zone != shop:
        yield (
            f"{elsewhere:,} rows belong to another day than {sample.asked}: shop.timezone, whose midnight parts days, "
            f"is {shop}, and time.zone is {zone}."
        )
    elif elsewhere > FEW * timed:
        yield (
            f"{elsewhere / timed:.0%} of the rows belong to another day than {sample.asked}: is time.zone right, is "
            f"shop.timezone, or does a file cover more than a day (file_covers)?"
        )


def _columns(sample: Sample) -> Iterator[str]:
    for name in EventColumns.model_fields:
        column = getattr(sample.profile.events.columns, name)
        if column and not sample.count(sample.judged[name].notnull()) and name not in ("query", "quantity"):
            yield f"{name} is never filled from {column.column} in this sample."
    for name, column in sample.profile.events.context.items():
        if not sample.count(text_of(sample.judged, column).notnull()):
            yield f"the context's {name} is never filled from {column.column} in this sample."
    items = sample.profile.catalogue
    if not items.files and not any(getattr(items.columns, name) for name in DESCRIBED):
        yield "no catalogue: items have neither category nor title, so new ones cannot be told from one another."


def _quoted(text: str) -> str:
    return f'"{text}"'


QUESTIONS: tuple[Callable[[Sample], Iterator[str]], ...] = (
    _nobody,
    _columns,
    _times,
    _days,
    _ids,
    _numbers,
    _words,
    _empty,
    _addresses,
)
