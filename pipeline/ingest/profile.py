"""Source profiles: what a shop's raw logs look like, as data in a small YAML file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline.core import artifacts
from pipeline.core.days import Days
from pipeline.core.errors import PipelineError, UsageError
from pipeline.core.schema import EVENT_TYPES

SHIPPED = Path(__file__).parent / "profiles"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PEOPLE = ("user_id", "session_id")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the end of a sentence about an unknown name: the nearest right one, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}."


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression ({error})") from None
    return pattern


def _event_type(name: str) -> str:
    if name not in EVENT_TYPES:
        raise ValueError(f"{name!r} is no event type{nearest(name, EVENT_TYPES).rstrip('.?')}")
    return name


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no time zone{nearest(name, available_timezones())[:80].rstrip('.?')}")
    return name


def _weekday(name: str) -> str:
    if name not in WEEKDAYS:
        raise ValueError(f"{name!r} is no weekday{nearest(name, WEEKDAYS).rstrip('.?')}")
    return name


def _day_pattern(pattern: str) -> str:
    try:
        pattern.format(day=date(2000, 1, 31))
    except (KeyError, IndexError, ValueError, AttributeError):
        raise ValueError(
            f"{pattern!r} may hold {{day}} or a form of it such as {{day:%Y%m%d}}, and nothing else in braces"
        ) from None
    return pattern


def _days(value: Any) -> str:
    try:
        return str(Days.parse(str(value)))
    except PipelineError as error:
        raise ValueError(str(error).rstrip(".")) from None


Regex = Annotated[str, AfterValidator(_regex)]
EventType = Annotated[str, AfterValidator(_event_type)]
Zone = Annotated[str, AfterValidator(_zone)]
Weekday = Annotated[str, AfterValidator(_weekday)]
DayPattern = Annotated[str, AfterValidator(_day_pattern)]
DayRange = Annotated[str, BeforeValidator(_days)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(Part):
    """Where one canonical column comes from; a bare name in YAML is short for `{column: NAME}`.

    Attributes:
        column: its name in the file; `a.b` reaches into JSON objects.
        replace: regular expressions and what each match becomes, in order.
        separator: what parts the levels of a category path.
    """

    column: str
    replace: dict[Regex, str] = {}
    separator: str = "/"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class EventColumns(Part):
    user_id: Column | None = None
    session_id: Column | None = None
    item_id: Column
    event_time: Column
    query: Column | None = None
    price: Column | None = None
    quantity: Column | None = None


class CatalogueColumns(Part):
    """`item_id` is needed for catalogue files; without files the events' own is taken."""

    item_id: Column | None = None
    category: Column | None = None
    brand: Column | None = None
    title: Column | None = None
    price: Column | None = None
    in_stock: Column | None = None


class Times(Part):
    """How times are written.

    Attributes:
        format: `iso`, `epoch_seconds`, `epoch_milliseconds`, or a strptime format.
        zone: the zone of times that state none.
    """

    format: str = "iso"
    zone: Zone = "UTC"


class TypeRule(Part):
    """Rows whose column matches are events of this type; the first rule that matches wins."""

    type: EventType
    column: str
    matches: Regex


class EventTypes(Part):
    """How a row's event type is told: rules first, then the column's value, then `otherwise`."""

    column: str | None = None
    values: dict[str, EventType] = {}
    rules: tuple[TypeRule, ...] = ()
    otherwise: EventType | None = None


class Exclusion(Part):
    """Rows that record something other than behaviour towards goods, such as postage."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    column: str
    matches: Regex


class Layout(Part):
    """How the files of one day are found and read."""

    files: DayPattern
    file_covers: Literal["day", "month"] = "day"
    format: Literal["csv", "jsonl", "parquet"] = "csv"
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"
    null_words: tuple[str, ...] = ()


class Events(Layout):
    columns: EventColumns
    time: Times = Times()
    event_type: EventTypes
    exclude: tuple[Exclusion, ...] = ()
    person_columns: tuple[str, ...] = ()
    judge_robots: bool = True


class Catalogue(Part):
    """Where items are described: in files of their own, or, without `files`, in the events' columns."""

    files: DayPattern | None = None
    delimiter: str = Field(",", min_length=1, max_length=1)
    null_words: tuple[str, ...] = ()
    columns: CatalogueColumns = CatalogueColumns()

    @model_validator(mode="after")
    def _item(self) -> Catalogue:
        if self.files and not self.columns.item_id:
            raise ValueError("a catalogue with files needs columns.item_id")
        return self


class Calendar(Part):
    """Days on which the shop is closed, so that no file is no mistake."""

    closed_weekdays: tuple[Weekday, ...] = ()
    closed_days: tuple[DayRange, ...] = ()

    def closed(self, day: date) -> bool:
        ranges = (Days.parse(text) for text in self.closed_days)
        return WEEKDAYS[day.weekday()] in self.closed_weekdays or any(r.first <= day <= r.last for r in ranges)


class Profile(Part):
    """One log format."""

    about: str = ""
    events: Events
    catalogue: Catalogue = Catalogue()
    calendar: Calendar = Calendar()

    @model_validator(mode="after")
    def _someone(self) -> Profile:
        if not any(getattr(self.events.columns, name) for name in PEOPLE):
            raise ValueError("events.columns needs user_id, session_id or both")
        return self

    @property
    def digest(self) -> str:
        return artifacts.digest_of(self.model_dump(mode="json"))

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.events.time.zone)

    @property
    def person_columns(self) -> tuple[str, ...]:
        """Returns every raw column that may name a person, in a fixed order."""
        mapped = (getattr(self.events.columns, name) for name in PEOPLE)
        return tuple(dict.fromkeys([c.column for c in mapped if c] + list(self.events.person_columns)))

    @property
    def event_columns(self) -> tuple[str, ...]:
        """Returns every raw column the profile reads from the files of events, in a fixed order."""
        columns = [c.column for name in EventColumns.model_fields if (c := getattr(self.events.columns, name))]
        types = self.events.event_type
        columns += [types.column] if types.column else []
        columns += [rule.column for rule in (*types.rules, *self.events.exclude)] + list(self.events.person_columns)
        if not self.catalogue.files:
            described = (getattr(self.catalogue.columns, name) for name in CatalogueColumns.model_fields)
            columns += [c.column for c in described if c]
        return tuple(dict.fromkeys(columns))


def load_profile(name: str) -> Profile:
    """Reads a shipped profile by name, or one's own by path.

    Raises: UsageError: there is none, it is not YAML, or a field is misspelt, missing or of the wrong type.
    """
    own = name.endswith((".yaml", ".yml")) or "/" in name
    path = Path(name) if own else SHIPPED / f"{name}.yaml"
    if not path.is_file():
        known = [p.stem for p in SHIPPED.glob("*.yaml")]
        hint = ": there is no such file." if own else f" is not a profile{nearest(name, known)}"
        raise UsageError(f"The source profile {name}{hint}")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"The source profile {name} is not YAML: {' '.join(str(error).split())}.") from None
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"The source profile {name}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    path = [str(part) for part in first["loc"]]
    where = ".".join(path) or "as a whole"
    if first["type"] == "extra_forbidden":
        return f"there is no field {where}{nearest(path[-1], _fields(path[:-1]))}"
    if first["type"] == "missing":
        return f"the field {where} is missing."
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}."


def _fields(path: list[str]) -> list[str]:
    model: Any = Profile
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
