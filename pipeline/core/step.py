"""What a step is and what it hands back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pipeline.core.run import Run
    from pipeline.core.settings import Settings

REPORT_VERSION = 1


@dataclass(frozen=True)
class Report:
    """The small thing a step returns; only this crosses from a step to its orchestrator.

    Attributes:
        sentence: what happened, for a person.
        counts: whole numbers, such as rows or items.
        metrics: real numbers, named with their unit where they have one.
        digests: content digests and keys of what was made.
        uris: where it can be opened.
        verdict: `pass`, `fail`, `inconclusive`, or a stage's own word such as `promoted`; empty when it judges nothing.
        cached: the step was not run because an artifact with its key existed.
    """

    sentence: str
    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    uris: Mapping[str, str] = field(default_factory=dict)
    verdict: str = ""
    cached: bool = False

    def as_cached(self) -> Report:
        return replace(self, cached=True)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Report:
        return cls(**raw)


@dataclass(frozen=True)
class Step:
    """One stage of the night. Its code is `pipeline.<name>.step:run`, imported only when it runs.

    Attributes:
        name: the verb; also its folder, command, task and test folder.
        after: the steps it waits for.
        kind: `pure` steps are cached by input key; `effect` steps always run and are idempotent.
        does: one line for help, docs and the Airflow page.
        timeout_minutes: after which the orchestrator kills it.
        heavy: takes a slot of the `training` pool.
    """

    name: str
    after: tuple[str, ...]
    kind: Literal["pure", "effect"]
    does: str
    timeout_minutes: int = 30
    heavy: bool = False

    def load(self) -> Callable[[Settings, Run], Report]:
        return import_module(f"pipeline.{self.name}.step").run


def write_result(path: Path, step: str, report: Report | None, error: str = "", retry_may_help: bool = False) -> None:
    """Writes the versioned message an orchestrator reads after the step's process ended."""
    message = {
        "version": REPORT_VERSION,
        "step": step,
        "report": report.to_dict() if report else None,
        "error": error,
        "retry_may_help": retry_may_help,
    }
    beside = path.with_name(f".{path.name}.tmp")
    beside.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text(json.dumps(message, indent=1))
    beside.replace(path)
