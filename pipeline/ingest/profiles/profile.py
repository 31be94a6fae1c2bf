"""Source profiles: what a shop's raw logs look like, as data in a small YAML file."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.core import artifacts
from pipeline.core.days import Days
from pipeline.core.errors import UsageError
from pipeline.core.names import Zone
from pipeline.core.schema import MOST_CONTEXT
from pipeline.ingest.profiles.words import (
    WEEKDAYS,
    Day,
    DayPattern,
    DayRange,
    Delimiter,
    EventType,
    Regex,
    Replacements,
    TimeFormat,
    Weekday,
    covered,
    nearest,
    sentence,
)

SHIPPED = Path(__file__).parent
PEOPLE = ("user_id", "session_id")
SPANS = {"day": "one day", "month": "one month", "all": "all days"}


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
    replace: Replacements = {}
    separator: str = "/"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"{value} is no name of a column; put it in quotes")
        return {"column": str(value)} if isinstance(value, str | int) else value


class EventColumns(Part):
    user_id: Column | None = None
    session_id: Column | None = None
    item_id: Column
    event_time: Column
    query: Column | None = None
    price: Column | None = None
    quantity: Column | None = None


class CatalogueColumns(Part):
    """`item_id` is needed for catalogue files; without files the events' own is taken, and there is no `vector`.

    A vector is written as numbers with commas or spaces between, in brackets or not, or as a list.
    """

    item_id: Column | None = None
    category: Column | None = None
    brand: Column | None = None
    title: Column | None = None
    price: Column | None = None
    in_stock: Column | None = None
    vector: Column | None = None
    valid_from: Column | None = None


DESCRIBED = tuple(name for name in CatalogueColumns.model_fields if name not in ("item_id", "valid_from"))


class Times(Part):
    """How times are written.

    Attributes:
        format: `iso`, `epoch_seconds`, `epoch_milliseconds`, or a strptime format.
        zone: the zone of times that state none.
        stated_offset: a time that states another offset than the zone's is `trusted`, or refused (`must_match`).
    """

    format: TimeFormat = "iso"
    zone: Zone = "UTC"
    stated_offset: Literal["trusted", "must_match"] = "trusted"


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


class AccountPattern(Part):
    """People who are no customers: a raw column that names a person, and what it looks like for them."""

    column: str
    matches: Regex


class Layout(Part):
    """How the files of one day are found and read."""

    files: DayPattern
    file_covers: Literal["day", "month", "all"] = "day"
    format: Literal["csv", "jsonl", "parquet"] = "csv"
    delimiter: Delimiter = ","
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"
    null_words: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _span(self) -> Layout:
        _require_span(self.files, self.file_covers)
        return self


ContextName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Events(Layout):
    """The log of what people did.

    Attributes:
        context: where and on what an event happened, by a name of one's own, such as `country`.
    """

    columns: EventColumns
    context: dict[ContextName, Column] = {}
    time: Times = Times()
    event_type: EventTypes
    exclude: tuple[Exclusion, ...] = ()
    test_accounts: tuple[AccountPattern, ...] = ()
    person_columns: tuple[str, ...] = ()
    judge_robots: bool = True

    @field_validator("context")
    @classmethod
    def _few(cls, context: dict[str, Column]) -> dict[str, Column]:
        if len(context) > MOST_CONTEXT:
            raise ValueError(
                f"{len(context)} things are named; at most {MOST_CONTEXT} are read, so leave out what matters least"
            )
        return context


class CategoryTree(Part):
    """A file with a row a category that names its parent, which makes `category` a path."""

    files: DayPattern
    child: str
    parent: str


class Catalogue(Part):
    """Where items are described: in files of their own, or, without `files`, in the events' columns.

    Attributes:
        format: `rows` hold an item each; `properties` hold one change each, of one property of one item, and the
            names under `columns` are then properties, except those of `item_id` and `valid_from`.
        property_column: column that names the property; `value_column` holds what it became.
        time: how `valid_from` is written.
    """

    format: Literal["rows", "properties"] = "rows"
    files: DayPattern | None = None
    file_covers: Literal["day", "month", "all"] = "day"
    file_format: Literal["csv", "jsonl", "parquet"] = "csv"
    delimiter: Delimiter = ","
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"
    null_words: tuple[str, ...] = ()
    property_column: str | None = None
    value_column: str | None = None
    columns: CatalogueColumns = CatalogueColumns()
    time: Times = Times()
    category_tree: CategoryTree | None = None

    @model_validator(mode="after")
    def _whole(self) -> Catalogue:
        changing = self.format == "properties"
        if not self.files and (changing or self.category_tree or self.columns.valid_from or self.columns.vector):
            raise ValueError("format: properties, category_tree, columns.valid_from and columns.vector need files")
        if self.files:
            _require_span(self.files, self.file_covers)
            if not self.columns.item_id:
                raise ValueError("a catalogue with files needs columns.item_id")
        if changing and not (self.property_column and self.value_column and self.columns.valid_from):
            raise ValueError("format: properties needs property_column, value_column and columns.valid_from")
        if changing and self.file_covers != "all":
            raise ValueError(
                f"format: properties with file_covers: {self.file_covers} would forget at the start of every "
                f"{self.file_covers} what was said before; put the changes into files that cover all, or write whole "
                "descriptions as format: rows"
            )
        if not changing and (self.property_column or self.value_column):
            raise ValueError("property_column and value_column belong to format: properties")
        if self.category_tree and not self.columns.category:
            raise ValueError("category_tree needs columns.category")
        return self

    @property
    def named_columns(self) -> tuple[str, ...]:
        """Returns every column or property the profile reads from files of their own."""
        mapped = (getattr(self.columns, name) for name in CatalogueColumns.model_fields)
        named = [column.column for column in mapped if column]
        return (*named, *(name for name in (self.property_column, self.value_column) if name))

    @property
    def layout(self) -> Layout:
        """Returns how catalogue files are read: like the events', in their own place."""
        kept = self.model_dump(include={"file_covers", "delimiter", "encoding", "null_words"})
        return Layout(files=self.files or "", format=self.file_format, **kept)


class Calendar(Part):
    """Days on which the shop is closed, so that no file is no mistake; rows from before `opened` are refused."""

    opened: Day | None = None
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

    @model_validator(mode="after")
    def _told_apart(self) -> Profile:
        described = self.catalogue.named_columns if self.catalogue.files else ()
        for part, names in (("events", self.event_columns), ("catalogue", described)):
            first: dict[str, str] = {}
            for name in names:
                other = first.setdefault(name.lower(), name)
                if other != name:
                    raise ValueError(
                        f"{part} reads the columns {other} and {name}, which an engine does not tell apart; "
                        "rename one of them in the files"
                    )
        return self

    @model_validator(mode="after")
    def _hidden(self) -> Profile:
        for name, column in self._shown().items():
            if column in self.person_columns:
                raise ValueError(
                    f"{name} takes the column {column}, which names people and is never written down; take another"
                )
        return self

    def _shown(self) -> dict[str, str]:
        """Returns, by field, the raw columns whose values are kept as they are."""
        columns = {f"events.columns.{n}": getattr(self.events.columns, n) for n in EventColumns.model_fields}
        columns |= {f"events.context.{name}": column for name, column in self.events.context.items()}
        if not self.catalogue.files:
            described = self.catalogue.columns
            columns |= {f"catalogue.columns.{n}": getattr(described, n) for n in CatalogueColumns.model_fields}
        shown = {name: c.column for name, c in columns.items() if c and name.rpartition(".")[2] not in PEOPLE}
        kind = self.events.event_type.column
        return shown | ({"events.event_type.column": kind} if kind else {})

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
        named = [c.column for c in mapped if c] + list(self.events.person_columns)
        return tuple(dict.fromkeys(named + [account.column for account in self.events.test_accounts]))

    @property
    def patterns(self) -> tuple[TypeRule | Exclusion | AccountPattern, ...]:
        """Returns everything a raw column is matched against, in a fixed order."""
        events = self.events
        return (*events.event_type.rules, *events.exclude, *events.test_accounts)

    @property
    def event_columns(self) -> tuple[str, ...]:
        """Returns every raw column the profile reads from the files of events, in a fixed order."""
        columns = [c.column for name in EventColumns.model_fields if (c := getattr(self.events.columns, name))]
        columns += [column.column for column in self.events.context.values()]
        types = self.events.event_type
        columns += [types.column] if types.column else []
        columns += [pattern.column for pattern in self.patterns] + list(self.events.person_columns)
        if not self.catalogue.files:
            described = (getattr(self.catalogue.columns, name) for name in CatalogueColumns.model_fields)
            columns += [c.column for c in described if c]
        return tuple(dict.fromkeys(columns))


def _require_span(files: str, covers: str) -> None:
    found = covered(files)
    if files and found != covers:
        raise ValueError(
            f"{files!r} names a file for {SPANS[found]}, but file_covers says {covers}; "
            f"put {{day}} or a form of it into the name, or say file_covers: {found}"
        )


class _Loader(yaml.SafeLoader):
    """YAML in which a name stands once: the second of two would hide the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        twice = [key for key, _ in node.value if names.count(key.value) > 1]
        if twice:
            line = twice[-1].start_mark.line + 1
            raise ValueError(f"{twice[-1].value!r} stands twice in one place, again in line {line}")
        return super().construct_mapping(node, deep)


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
        content = yaml.load(path.read_text(), _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"The source profile {name} is not YAML: {' '.join(str(error).split())}.") from None
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"The source profile {name}: {sentence(error, Profile)}") from None
