"""The words a source profile may use, and the sentence about one that is misspelt."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ValidationError

from pipeline.core.days import Days, parse_day
from pipeline.core.errors import PipelineError, UsageError
from pipeline.core.schema import EVENT_TYPES

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WORDED_TIMES = ("iso", "epoch_seconds", "epoch_milliseconds")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the end of a sentence about an unknown name: the nearest right one, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}."


def _known(name: str, known: Iterable[str], what: str) -> str:
    if name not in known:
        raise ValueError(f"{name!r} is no {what}{nearest(name, known)[:200].rstrip('.?')}")
    return name


def _regex(pattern: str) -> str:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        re.compile(pattern)
        pc.match_substring_regex(pa.array([""]), pattern)
    except (re.error, pa.ArrowInvalid) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{pattern!r} is not a regular expression ({why})") from None
    return pattern


def _day_pattern(pattern: str) -> str:
    try:
        pattern.format(day=date(2000, 1, 31))
    except (KeyError, IndexError, ValueError, AttributeError):
        raise ValueError(
            f"{pattern!r} may hold {{day}} or a form of it such as {{day:%Y%m%d}}, and nothing else in braces"
        ) from None
    return pattern


def covered(pattern: str) -> str:
    """Returns what a file of this name can cover: a day, a month or all days."""
    first, second, other_month = (
        pattern.format(day=day) for day in (date(2000, 1, 1), date(2000, 1, 2), date(2001, 2, 1))
    )
    return "day" if first != second else "month" if first != other_month else "all"


def _time_format(form: str) -> str:
    if "%" not in form:
        return _known(form, WORDED_TIMES, "time format (a strptime format holds % signs)")
    from pipeline.ingest.judging.times import format_of

    try:
        format_of(form)
    except UsageError as error:
        raise ValueError(str(error).rstrip(".")) from None
    return form


def _days(value: Any) -> str:
    try:
        return str(Days.parse(str(value)))
    except PipelineError as error:
        raise ValueError(str(error).rstrip(".")) from None


def _day(value: Any) -> date:
    try:
        return parse_day(str(value))
    except PipelineError as error:
        raise ValueError(str(error).rstrip(".")) from None


Regex = Annotated[str, AfterValidator(_regex)]
EventType = Annotated[str, AfterValidator(lambda name: _known(name, EVENT_TYPES, "event type"))]
Zone = Annotated[str, AfterValidator(lambda name: _known(name, available_timezones(), "time zone"))]
Weekday = Annotated[str, AfterValidator(lambda name: _known(name, WEEKDAYS, "weekday"))]
TimeFormat = Annotated[str, AfterValidator(_time_format)]
DayPattern = Annotated[str, AfterValidator(_day_pattern)]
DayRange = Annotated[str, BeforeValidator(_days)]
Day = Annotated[date, BeforeValidator(_day)]


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """Returns the first of a model's complaints as one sentence; a misspelt field goes before one that is missing."""
    found = error.errors(include_url=False)
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    path = [str(part) for part in first["loc"] if part != "[key]"]
    where, value = ".".join(path) or "as a whole", first.get("input")
    if first["type"] == "extra_forbidden":
        return f"there is no field {where}{nearest(path[-1], _fields(model, path[:-1]))}"
    if first["type"] == "missing":
        return f"the field {where} is missing."
    if first["type"] == "literal_error":
        words = re.findall("'([^']+)'", first["ctx"]["expected"])
        return f"{where}: {value!r} is unknown{nearest(str(value), words)}"
    if first["type"] == "string_type":
        return f"{where}: {value!r} is no text; put it in quotes."
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}."


def _fields(model: Any, path: Sequence[str]) -> list[str]:
    for part in path:
        if part.isdigit():
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)
