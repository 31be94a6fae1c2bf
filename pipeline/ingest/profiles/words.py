"""The words a source profile may use, and the sentence about one that is misspelt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ValidationError

from pipeline.core.days import Days, parse_day
from pipeline.core.errors import PipelineError, UsageError
from pipeline.core.names import known_as, nearest
from pipeline.core.schema import EVENT_TYPES

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WORDED_TIMES = ("iso", "epoch_seconds", "epoch_milliseconds")


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


def _replacements(replace: dict[str, str]) -> dict[str, str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    for pattern, replacement in replace.items():
        try:
            pc.replace_substring_regex(pa.array([""]), pattern, replacement)
        except pa.ArrowInvalid as error:
            why = str(error).splitlines()[0].rstrip(".")
            raise ValueError(
                f"{replacement!r} cannot stand in for {pattern!r} ({why}); a backslash means a group of the pattern, "
                rf"such as \1, and one that is meant is written \\"
            ) from None
    return replace


def _delimiter(mark: str) -> str:
    if len(mark) != 1 or not mark.isascii() or mark in '"\r\n\0':
        raise ValueError(
            f"{mark!r} is no delimiter; one ASCII character that is neither a quote nor a line end was expected"
        )
    return mark


def _day_pattern(pattern: str) -> str:
    try:
        pattern.format(day=date(2000, 1, 31))
    except (KeyError, IndexError, ValueError, AttributeError):
        raise ValueError(
            f"{pattern!r} may hold {{day}} or a form of it such as {{day:%Y%m%d}}, and nothing else in braces"
        ) from None
    return pattern


def covered(pattern: str) -> str:
    """Returns what a file of this name covers: a day, a month or all days.

    Raises: ValueError: none of them, since its name parts days in another way, such as by year.
    """
    days = [date(2000, 1, 1) + timedelta(n) for n in range(800)]
    names = [pattern.format(day=day) for day in days]
    parts = {"day": days, "month": [(day.year, day.month) for day in days], "all": [0] * len(days)}
    for span, part in parts.items():
        if len(set(zip(names, part, strict=True))) == len(set(names)) == len(set(part)):
            return span
    raise ValueError(
        f"{pattern!r} names a file neither for one day, one month nor all days; put * in place of its date and say "
        "file_covers: all"
    )


def _time_format(form: str) -> str:
    if "%" not in form:
        return known_as(form, WORDED_TIMES, "time format (a strptime format holds % signs)")
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
Replacements = Annotated[dict[Regex, str], AfterValidator(_replacements)]
Delimiter = Annotated[str, AfterValidator(_delimiter)]
EventType = Annotated[str, AfterValidator(lambda name: known_as(name, EVENT_TYPES, "event type"))]
Weekday = Annotated[str, AfterValidator(lambda name: known_as(name, WEEKDAYS, "weekday"))]
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
        if part not in model.model_fields:
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)
