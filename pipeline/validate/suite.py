"""The suite: rules as data, read from a YAML file, their bounds filled in from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import SettingsError
from pipeline.core.settings import Settings
from pipeline.validate.metrics import JUDGED

SHIPPED = Path(__file__).parent


class Rule(BaseModel):
    """One expectation of every day; see the head of `events.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    metric: str
    column: str
    at_least: float | None = None
    at_most: float | None = None
    severity: str = Field(pattern="^(warn|fail)$")
    says: str

    @property
    def expected(self) -> str:
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


def suite_file(settings: Settings) -> Path:
    """Returns the file the setting names: a shipped suite, or the user's own.

    Raises: SettingsError: there is neither.
    """
    name = settings.validate.suite
    shipped, own = SHIPPED / f"{name}.yaml", Path(name)
    if shipped.is_file():
        return shipped
    if own.is_file():
        return own
    known = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.yaml")))
    raise SettingsError(f"The setting validate.suite is {name!r}: no such file, and shipped suites are {known}.")


def load_suite(path: Path, settings: Settings) -> tuple[Rule, ...]:
    """Reads every rule of a suite.

    Raises: SettingsError: the file is not YAML, or a rule is not one; the sentence names file, rule and field.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(raw, list) or not raw:
        raise SettingsError(f"{path}: expected a list of rules, each with name, metric, column, severity and says.")
    rules = tuple(_rule(path, number, entry, settings) for number, entry in enumerate(raw, 1))
    _refuse_twins(path, rules)
    return rules


def _rule(path: Path, number: int, entry: Any, settings: Settings) -> Rule:
    if not isinstance(entry, dict):
        raise SettingsError(f"{path}: rule {number} is {entry!r}; expected fields such as name, metric and at_most.")
    where = f"{path}: rule {number} ({entry.get('name', 'unnamed')})"
    try:
        rule = Rule(**{name: _resolved(value, where, settings) for name, value in entry.items()})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise SettingsError(f"{where}: {'.'.join(map(str, first['loc']))} is wrong: {first['msg']}.") from None
    if rule.metric not in JUDGED:
        near = get_close_matches(rule.metric, JUDGED, n=1) or [", ".join(JUDGED)]
        raise SettingsError(f"{where}: there is no metric {rule.metric!r}; known is {near[0]}.")
    if rule.at_least is None and rule.at_most is None:
        raise SettingsError(f"{where}: it has neither at_least nor at_most, so nothing could fail it.")
    return rule


def _resolved(value: Any, where: str, settings: Settings) -> Any:
    if not (isinstance(value, str) and value.startswith("$")):
        return value
    section, _, field = value[1:].partition(".")
    try:
        return getattr(settings.section(section), field)
    except AttributeError:
        raise SettingsError(f"{where}: there is no setting {value[1:]}.") from None


def _refuse_twins(path: Path, rules: Sequence[Rule]) -> None:
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{path}: two rules are called {name}; give each its own name.")
