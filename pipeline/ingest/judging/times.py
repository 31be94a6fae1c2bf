"""Texts become moments, alike on every engine: the grammar of times is here, and what the clocks of a zone did is data.

A time is read as if it were UTC, then moved by the offset it states, or by the zone's. Offsets come from Python's zone
data, 1970 to 2100, so that no engine's own zone data decides. A wall-clock time that the clocks left out counts as if
they had not been changed yet; of one that came twice, the first is meant.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from pipeline.core.errors import UsageError
from pipeline.store.words import iso_micros, micros_of, moment_of, said_micros

if TYPE_CHECKING:
    from pipeline.ingest.profiles.profile import Times

SECOND = 1_000_000
LAST_SECOND = 253_370_764_799
"""The last second of the year 9998."""
_DIGITS = r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?"
NUMBER = rf"^{_DIGITS}\z"
"""Decimal digits; what engines take besides, such as `nan`, `1_000`, `0x1p3` or `1d`, is no number here."""
_YEAR = "([1-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])"
"""1000 to 9998: a later year has days that no day follows."""
_DATE, _CLOCK = f"{_YEAR}-[0-9]{{2}}-[0-9]{{2}}", "([01][0-9]|2[0-3]):[0-5][0-9]"
_OFFSET = r"(Z|z|UTC|[+-](0[0-9]|1[0-8])(:?[0-5][0-9])?)"
PLAIN_ISO = rf"^{_DATE}[ T]{_CLOCK}:[0-5][0-9](Z| UTC)?\z"
ANY_ISO = rf"^{_DATE}([ T]{_CLOCK}(:[0-5][0-9](\.[0-9]{{1,9}})?)?( ?{_OFFSET})?)?\z"
STATED = rf"[:.][0-9]+ ?{_OFFSET}\z"
PLAIN_LENGTH = len("2026-01-05T10:00:00")


@dataclass(frozen=True)
class Directive:
    """One strptime directive: the text it stands for, and Spark's pattern letters for it.

    Attributes:
        fixed, fixed_letters: where another number follows or precedes without anything between.
    """

    text: str
    letters: str
    fixed: str = ""
    fixed_letters: str = ""


DIRECTIVES = {
    "Y": Directive(_YEAR, "yyyy"),
    "y": Directive("[0-9]{2}", "yy"),
    "m": Directive("(0?[1-9]|1[0-2])", "M", "(0[1-9]|1[0-2])", "MM"),
    "d": Directive("(0?[1-9]|[12][0-9]|3[01])", "d", "(0[1-9]|[12][0-9]|3[01])", "dd"),
    "b": Directive("[A-Za-z]{3}", "MMM"),
    "H": Directive("([01]?[0-9]|2[0-3])", "H", "([01][0-9]|2[0-3])", "HH"),
    "I": Directive("(0?[1-9]|1[0-2])", "h", "(0[1-9]|1[0-2])", "hh"),
    "p": Directive("[AaPp][Mm]", "a"),
    "M": Directive("[0-5]?[0-9]", "m", "[0-5][0-9]", "mm"),
    "S": Directive("[0-5]?[0-9]", "s", "[0-5][0-9]", "ss"),
    "f": Directive("[0-9]{1,6}", "SSSSSS"),
}
"""Every directive but `%z`, which may stand at the end and is taken off before an engine reads the rest."""
_TWO_DIGIT_YEARS_END = int(datetime(2069, 1, 1, tzinfo=UTC).timestamp()) * SECOND
_CENTURY = 36_525 * 86_400 * SECOND


@dataclass(frozen=True)
class Format:
    """A strptime format as a guard and in the words of both engines."""

    guard: str
    directives: str
    letters: str
    states_offset: bool


@lru_cache
def format_of(form: str) -> Format:
    """Raises: UsageError: the format leaves out the day, or holds what not every engine reads."""
    bare = re.sub(r"\s*%z$", "", form)
    tokens = re.findall(r"%.|[^%]", bare, re.DOTALL)
    named = [token[1] for token in tokens if token.startswith("%") and token != "%%"]
    unknown = [f"%{name}" for name in named if name not in DIRECTIVES]
    if unknown or "%" in re.sub(r"%.", "", bare, flags=re.DOTALL):
        known = " ".join(f"%{name}" for name in DIRECTIVES)
        raise UsageError(f"The time format {form!r} holds {(*unknown, '%')[0]}; known are {known}, and %z at the end.")
    if not {"m", "b"} & set(named) or "d" not in named or not {"Y", "y"} & set(named):
        raise UsageError(f"The time format {form!r} does not say the whole day; it needs a year, a month and a day.")
    if ("I" in named) != ("p" in named):
        raise UsageError(f"The time format {form!r} needs %I and %p together; hours of 24 are %H.")
    parts = [_part(tokens, place) for place in range(len(tokens))]
    guard, letters = ("".join(texts) for texts in zip(*parts, strict=True))
    return Format(rf"^{guard}\z", bare, letters, bare != form)


def _part(tokens: Sequence[str], place: int) -> tuple[str, str]:
    token = tokens[place]
    if not token.startswith("%") or token == "%%":
        literal = token[0]
        return re.escape(literal), "''" if literal == "'" else f"'{literal}'" if literal not in " -/:.," else literal
    directive = DIRECTIVES[token[1]]
    beside = (*tokens[max(place - 1, 0) : place], *tokens[place + 1 : place + 2])
    if directive.fixed and any(other.startswith("%") and other != "%%" for other in beside):
        return directive.fixed, directive.fixed_letters
    return directive.text, directive.letters


def number_of(text: ir.StringValue) -> ir.FloatingValue:
    """Returns a text of decimal digits as the nearest float64; null where it is none."""
    return ibis.ifelse(text.re_search(NUMBER), text.try_cast("float64"), ibis.null("float64"))


def numbers_of(text: ir.StringValue) -> ir.ArrayValue:
    """Returns numbers with commas or spaces between as float64s; null where one of them is none."""
    spaced = text.re_replace(r"[\[\], \t\n\r\f\x0b]+", " ").strip()
    whole = ibis.ifelse(spaced.re_search(f"^{_DIGITS}( {_DIGITS})*\\z"), spaced, ibis.null("string"))
    return whole.split(" ").map(lambda number: number.cast("float64"))


def clock(text: ir.StringValue, times: Times) -> tuple[ir.IntegerValue, ir.IntegerValue]:
    """Returns what a text says: microseconds as if it were UTC, and the offset it states in seconds; null for none."""
    if times.format in ("epoch_seconds", "epoch_milliseconds"):
        return _epoch(text, times), ibis.literal(0, "int64")
    if times.format != "iso":
        return _said(text, format_of(times.format))
    plain = text.re_search(PLAIN_ISO)
    ending = text.re_extract(STATED, 1)
    begun = text.left(text.length() - ending.length()).rstrip()
    other = ibis.ifelse(text.re_search(ANY_ISO), iso_micros(begun), ibis.null("int64"))
    utc = ibis.ifelse(text.length() > PLAIN_LENGTH, ibis.literal(0, "int64"), ibis.null("int64"))
    return ibis.ifelse(plain, iso_micros(text.left(PLAIN_LENGTH)), other), ibis.ifelse(plain, utc, _seconds(ending))


def _epoch(text: ir.StringValue, times: Times) -> ir.IntegerValue:
    thousandths = 1 if times.format == "epoch_milliseconds" else 1000
    number = number_of(text)
    sane = ibis.ifelse(number.between(0, LAST_SECOND * 1000 // thousandths), number, ibis.null("float64"))
    return (sane * thousandths + 0.5).floor().cast("int64") * 1000


def _said(text: ir.StringValue, form: Format) -> tuple[ir.IntegerValue, ir.IntegerValue]:
    ending = text.re_extract(rf" ?{_OFFSET}\z", 1)
    seconds = _seconds(ending) if form.states_offset else ibis.null("int64")
    begun = text.left(text.length() - ending.length()).rstrip() if form.states_offset else text
    read = ibis.ifelse(
        begun.re_search(form.guard), said_micros(begun, form.directives, form.letters), ibis.null("int64")
    )
    if form.states_offset:
        read = ibis.ifelse(seconds.notnull(), read, ibis.null("int64"))
    if "%y" in form.directives:
        # Years of two digits are 1969 to 2068, as POSIX has it; Spark reads 2000 to 2099.
        read = ibis.ifelse(read >= _TWO_DIGIT_YEARS_END, read - _CENTURY, read)
    return read, seconds


def _seconds(offset: ir.StringValue) -> ir.IntegerValue:
    hours = offset.substr(1, 2).try_cast("int64")
    minutes = ibis.ifelse(offset.length() > 3, offset.right(2).try_cast("int64"), 0)
    east = ibis.ifelse(offset.left(1) == "-", -1, 1) * (hours * 3600 + minutes * 60)
    nothing = ibis.null("int64")
    return ibis.cases((offset == "", nothing), (offset.isin(["Z", "z", "UTC"]), ibis.literal(0, "int64")), else_=east)


def moment_from(wall: ir.IntegerValue, stated: ir.IntegerValue, zone: str) -> ir.TimestampValue:
    """Returns the moment in UTC that `clock` read, in the zone of times that state no offset."""
    clocks = clocks_of(zone)
    offset = ibis.coalesce(stated, _stepwise(wall, clocks.wall_seconds, clocks.offsets))
    return moment_of(wall - offset * SECOND)


def moment(text: ir.StringValue, times: Times) -> ir.TimestampValue:
    """Returns a moment in UTC; null where the text is no time of the profile's format."""
    return moment_from(*clock(text, times), times.zone)


def begun(moment: ir.TimestampValue, step: int) -> ir.IntegerValue:
    """Returns when the step a moment lies in began, both in microseconds, the second since 1970.

    In whole numbers alone: a fraction would be cut on one engine and rounded on the other.
    """
    micros = micros_of(moment)
    return micros - (micros % step + step) % step


def offset_at(micros: ir.IntegerValue, zone: str) -> ir.IntegerValue:
    """Returns the zone's offset in seconds at a moment, in microseconds since 1970 in UTC."""
    clocks = clocks_of(zone)
    return _stepwise(micros, clocks.utc_seconds, clocks.offsets)


def _stepwise(micros: ir.IntegerValue, steps: Sequence[int], values: Sequence[int]) -> ir.IntegerValue:
    """Returns the value of the step that a moment has reached: a balanced tree of comparisons."""
    if not steps:
        return ibis.literal(values[0], "int64")
    middle = len(steps) // 2
    before = _stepwise(micros, steps[:middle], values[: middle + 1])
    after = _stepwise(micros, steps[middle + 1 :], values[middle + 1 :])
    return ibis.ifelse(micros < steps[middle] * SECOND, before, after)


@dataclass(frozen=True)
class Clocks:
    """What the clocks of a zone did.

    Attributes:
        utc_seconds: when each change came.
        wall_seconds: the first wall-clock time, as if it were UTC, that is surely read with the offset after a change.
        offsets: seconds east of UTC before the first change, then after each.
    """

    utc_seconds: tuple[int, ...]
    wall_seconds: tuple[int, ...]
    offsets: tuple[int, ...]


@lru_cache
def clocks_of(zone: str) -> Clocks:
    """Returns the changes from 1970 to 2100; earlier and later times have the first and last offset."""
    info = ZoneInfo(zone)
    first, last = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1970, 2100))
    changes = []
    for begin, end in pairwise(range(first, last, 86_400)):
        if _offset(info, begin) != _offset(info, end):
            seconds = range(begin, end + 1)
            changes.append(
                begin + bisect_right(seconds, False, key=lambda s, b=begin: _offset(info, s) != _offset(info, b))
            )
    offsets = (_offset(info, first), *(_offset(info, change) for change in changes))
    walls = (change + max(pair) for change, pair in zip(changes, pairwise(offsets), strict=True))
    return Clocks(tuple(changes), tuple(walls), offsets)


def _offset(info: ZoneInfo, second: int) -> int:
    there = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).astimezone(info)
    return int(there.utcoffset().total_seconds())  # type: ignore[union-attr]
