"""Every setting, one section a stage. Nobody else reads the environment.

Order, strongest first: `--set section.field=value`, environment (`PIPELINE_TRAIN__EPOCHS=3`),
`pipeline.yaml`, defaults.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableError

from pipeline.core.errors import SettingsError
from pipeline.core.gating import Gate, Rule
from pipeline.core.histories import History
from pipeline.core.masking import masked, shown
from pipeline.core.names import nearest
from pipeline.core.prices import Cost
from pipeline.core.replicas import Replicas
from pipeline.core.sections import (
    ENVIRONMENT_PREFIX,
    FREE,
    S3,
    Engine,
    Ingest,
    Optimize,
    Prepare,
    Promote,
    Register,
    Secrets,
    Section,
    Shop,
    Simulate,
    Store,
    Train,
    Validate,
)
from pipeline.core.serving import Serve

# Two stages are called like deprecated methods of pydantic's base class, which nobody here calls.
warnings.filterwarnings("ignore", message='Field name "(validate|register)"', category=UserWarning)


FILE = Path("pipeline.yaml")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    store: Store = Store()
    engine: Engine = Engine()
    s3: S3 = S3()
    shop: Shop = Shop()
    ingest: Ingest = Ingest()
    validate: Validate = Validate()  # type: ignore[assignment]
    prepare: Prepare = Prepare()
    train: Train = Train()
    optimize: Optimize = Optimize()
    register: Register = Register()  # type: ignore[assignment]
    gate: Gate = Gate()
    promote: Promote = Promote()
    serve: Serve = Serve()
    history: History = History()
    replicas: Replicas = Replicas()
    cost: Cost = Cost()
    simulate: Simulate = Simulate()
    secrets: Secrets = Secrets()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **sources: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, sources["env_settings"], InitSettingsSource(settings_cls, _from_file())

    def section(self, name: str) -> Section:
        return getattr(self, name)

    def keyed(self, *names: str) -> dict[str, Any]:
        """Returns the fields of these sections that may change what a step makes, for its input key."""
        return {name: _keyed(self.section(name)) for name in names}

    def masked(self) -> dict[str, Any]:
        """Returns everything as JSON values, secrets as asterisks, passwords within addresses too."""
        return masked(self.model_dump(mode="json"))


def _keyed(section: Section) -> dict[str, Any]:
    free = {n for n, f in type(section).model_fields.items() if (f.json_schema_extra or {}) == FREE}
    return section.model_dump(mode="json", exclude=free)


def load(assignments: Iterable[str] = ()) -> Settings:
    """Reads the settings.

    Args:
        assignments: `section.field=value`, values as YAML.

    Raises: SettingsError: a name is misspelt, or a value is of the wrong type or out of range.
    """
    _refuse_unknown_environment(os.environ)
    tree: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        section, dot, field = name.partition(".")
        if not (equals and dot):
            raise SettingsError(f"--set {assignment!r} is not of the form section.field=value.")
        try:
            tree.setdefault(section, {})[field] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise SettingsError(f"--set {assignment!r}: the value is not YAML; quote it.") from None
    try:
        return Settings(**tree)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None
    except UnreadableError as error:  # names the section and its source, never a value
        raise SettingsError(f"A setting cannot be read ({error}); lists and mappings are written as JSON.") from None


def _from_file() -> dict[str, Any]:
    """Returns what the settings file says, by section; nothing where there is none."""
    if not FILE.is_file():
        return {}
    try:
        tree = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SettingsError(f"{FILE} is not YAML: {' '.join(str(error).split())}.") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{FILE} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8.") from None
    tree = {} if tree is None else tree
    if not isinstance(tree, dict) or not all(isinstance(name, str) for name in tree):
        raise SettingsError(f"{FILE} must hold sections by name, each with its fields, such as `train: {{epochs: 3}}`.")
    return tree


def _refuse_unknown_environment(environment: Mapping[str, str]) -> None:
    for variable in environment:
        if variable.startswith(ENVIRONMENT_PREFIX) and "__" in variable:
            section = variable.removeprefix(ENVIRONMENT_PREFIX).partition("__")[0].lower()
            if section not in sections():
                raise SettingsError(
                    f"The environment variable {variable} names no section{nearest(section, sections())}"
                )


def sections() -> dict[str, type[Section]]:
    """Returns every section by the name a user writes."""
    return {name: field.annotation for name, field in Settings.model_fields.items()}  # type: ignore[misc]


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    if first["type"] == "extra_forbidden":
        known: Iterable[str] = sections() if len(path) == 1 else sections()[path[0]].model_fields
        known = Rule.model_fields if path[1:2] == ["rules"] else known
        return f"There is no setting {name}{nearest(path[-1], known)}"
    given = "not shown, being secret" if path[0] == "secrets" else shown(repr(first.get("input")))
    message = first["msg"].removeprefix("Value error, ")
    return f"The setting {name} is {given}; {message[0].lower()}{message[1:]}."
