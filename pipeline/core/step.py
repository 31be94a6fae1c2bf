"""What a step is and what it hands back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.core.run import Run
    from pipeline.core.settings import Settings

REPORT_VERSION = 2


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
        parts: of a step that was asked for its parts, their names in the order in which they are to run.
    """

    sentence: str
    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    uris: Mapping[str, str] = field(default_factory=dict)
    verdict: str = ""
    cached: bool = False
    parts: tuple[str, ...] = ()

    def as_cached(self) -> Report:
        return replace(self, cached=True)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Report:
        return cls(**{**raw, "parts": tuple(raw.get("parts", ()))})


@dataclass(frozen=True)
class Step:
    """One stage of the night. Its code is `pipeline.<name>.step:run`, imported only when it runs.

    A mapped step may be run in parts, one task each, before it runs as a whole and makes what is not there yet. Its
    module also holds `parts(settings, run) -> names` and `run_part(settings, run, name) -> Report`.

    Attributes:
        name: the verb; also its folder, command, task and test folder.
        after: the steps it waits for.
        kind: `pure` steps are cached by input key; `effect` steps always run and are idempotent.
        does: one line for help, docs and the Airflow page.
        timeout_minutes: after which the orchestrator kills it.
        heavy: takes a slot of the `training` pool.
        part: of a mapped step, what one of its parts is called; empty: it has none.
        part_timeout_minutes: after which the orchestrator kills one of them.
    """

    name: str
    after: tuple[str, ...]
    kind: Literal["pure", "effect"]
    does: str
    timeout_minutes: int = 30
    heavy: bool = False
    part: str = ""
    part_timeout_minutes: int = 60

    @property
    def tasks(self) -> tuple[str, ...]:
        """What an orchestrator's tasks are called, in order: of a mapped step who lists, each part, the whole."""
        return (f"{self.part}s", self.part, self.name) if self.part else (self.name,)

    def load(self) -> Callable[[Settings, Run], Report]:
        return self._module().run

    def list_parts(self, settings: Settings, run: Run) -> Report:
        names = tuple(self._module().parts(settings, run))
        return Report(f"{self.part}s in the order in which they run: {', '.join(names)}.", parts=names)

    def run_part(self, settings: Settings, run: Run, name: str) -> Report:
        """Raises: UsageError: the step has no such part."""
        from pipeline.core.names import nearest

        known = self._module().parts(settings, run)
        if name not in known:
            raise UsageError(f"{self.name} has no {self.part} {name!r} under these settings{nearest(name, known)}")
        return self._module().run_part(settings, run, name)

    def _module(self) -> Any:
        return import_module(f"pipeline.{self.name}.step")


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
