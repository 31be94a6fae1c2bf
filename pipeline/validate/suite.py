"""The suites: rules as data, read from YAML files, their bounds filled in from the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import SettingsError
from pipeline.core.schema import EVENT_TYPES
from pipeline.core.settings import Settings
from pipeline.validate.metrics import METRICS, columns_of

SHIPPED = Path(__file__).parent
SETTING = {"events": "suite", "catalogue": "catalogue_suite"}


class Rule(BaseModel):
    """One expectation of every day, of one column; see the head of `events.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    metric: str
    column: str
    among: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    lowest: float | None = None
    highest: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    severity: str = Field(pattern="^(warn|fail)$")
    says: str

    @property
    def expected(self) -> str:
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    @property
    def measure(self) -> str:
        """What it measures, in a word: rules that measure the same differ in bounds and severity alone."""
        told = [self.column] if self.column != "*" else []
        told += [f"in {', '.join(self.values)}"] if self.values else []
        told += [f"from {self.lowest:g}"] if self.lowest is not None else []
        told += [f"to {self.highest:g}"] if self.highest is not None else []
        told += [f"among {', '.join(self.among)}"] if self.among else []
        return f"{self.table}.{self.metric}" + (f"({' '.join(told)})" if told else "")


def load_suites(settings: Settings) -> tuple[Rule, ...]:
    """Returns the rules of both suites, the events' first."""
    return tuple(rule for table in SETTING for rule in load_suite(suite_file(settings, table), settings, table))


def suite_file(settings: Settings, table: str = "events") -> Path:
    """Returns the file the setting names: a shipped suite, or the user's own.

    Raises: SettingsError: there is neither.
    """
    field = SETTING[table]
    name = getattr(settings.validate, field)
    shipped, own = SHIPPED / f"{name}.yaml", Path(name)
    if shipped.is_file():
        return shipped
    if own.is_file():
        return own
    known = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.yaml")))
    raise SettingsError(f"The setting validate.{field} is {name!r}: no such file, and shipped suites are {known}.")


def load_suite(path: Path, settings: Settings, table: str = "events") -> tuple[Rule, ...]:
    """Reads every rule of a suite; a rule over several columns becomes one rule a column.

    Raises: SettingsError: the file is not YAML, or a rule is not one; the sentence names file, rule and field.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(raw, list) or not raw:
        raise SettingsError(f"{path}: expected a list of rules, each with name, metric, column, severity and says.")
    rules = tuple(rule for number, entry in enumerate(raw, 1) for rule in _rules(path, number, entry, settings, table))
    _refuse_twins(path, rules)
    return rules


def _rules(path: Path, number: int, entry: Any, settings: Settings, table: str) -> Iterator[Rule]:
    if not isinstance(entry, dict):
        raise SettingsError(f"{path}: rule {number} is {entry!r}; expected fields such as name, metric and at_most.")
    where = f"{path}: rule {number} ({entry.get('name', 'unnamed')})"
    if unnamed := [key for key in entry if not isinstance(key, str)]:
        raise SettingsError(
            f"{where}: the field {unnamed[0]!r} is no name; YAML reads words such as on and yes as true, so put quotes "
            "around it, or leave it out."
        )
    columns = entry.get("column")
    for column in columns if isinstance(columns, list) and columns else [columns]:
        given = {name: _resolved(value, where, settings) for name, value in entry.items()}
        try:
            rule = Rule(**{**given, "column": column, "table": table})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            raise SettingsError(f"{where}: {'.'.join(map(str, first['loc']))} is wrong: {first['msg']}.") from None
        _refuse_nonsense(rule, where)
        yield rule


def _refuse_nonsense(rule: Rule, where: str) -> None:
    known = [name for name, metric in METRICS.items() if rule.table in metric.tables]
    if rule.metric not in known:
        raise SettingsError(f"{where}: there is no metric {rule.metric!r}; known is {_near(rule.metric, known)}.")
    metric = METRICS[rule.metric]
    columns = columns_of(metric, rule.table)
    for column in rule.column.split("+") if rule.metric == "duplicates" else [rule.column]:
        if column not in columns:
            raise SettingsError(f"{where}: {rule.metric} has no column {column!r}; known is {_near(column, columns)}.")
    missing = [name for name in metric.needs if not getattr(rule, name)]
    if rule.metric.startswith("outside_range") and rule.lowest is None and rule.highest is None:
        missing.append("lowest or highest")
    if missing:
        raise SettingsError(f"{where}: {rule.metric} needs {' and '.join(missing)}.")
    strange = [name for name in rule.among if name not in EVENT_TYPES]
    if strange or (rule.among and rule.table != "events"):
        raise SettingsError(f"{where}: among names event types, and {', '.join(strange or rule.among)} is none here.")
    if rule.at_least is None and rule.at_most is None:
        raise SettingsError(f"{where}: it has neither at_least nor at_most, so nothing could fail it.")


def _near(name: str, known: Sequence[str]) -> str:
    return (get_close_matches(name, known, n=1) or [", ".join(known)])[0]


def _resolved(value: Any, where: str, settings: Settings) -> Any:
    if not (isinstance(value, str) and value.startswith("$")):
        return value
    section, _, field = value[1:].partition(".")
    try:
        return getattr(settings.section(section), field)
    except AttributeError:
        raise SettingsError(f"{where}: there is no setting {value[1:]}.") from None


def _refuse_twins(path: Path, rules: Sequence[Rule]) -> None:
    seen: set[tuple[str, str]] = set()
    for rule in rules:
        if (rule.name, rule.column) in seen:
            raise SettingsError(f"{path}: two rules are called {rule.name}; give each its own name.")
        seen.add((rule.name, rule.column))
