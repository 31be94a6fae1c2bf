"""One attempt at a night: which days, as of when, and a folder of references into the key-addressed store."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact
from pipeline.core.days import Days, end_of_day
from pipeline.core.errors import MissingInputError, UsageError
from pipeline.core.spent import Spent
from pipeline.core.step import Report

REPORT = "report.json"
SCHEDULE = "schedule"
"""Who asked for a run that nobody asked for."""
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def run_id_from(orchestrators_id: str) -> str:
    """Returns a run id made of an orchestrator's: what a folder or command cannot hold is replaced by a dash."""
    clean = re.sub(r"[^A-Za-z0-9._-]", "-", orchestrators_id).lstrip("._-") or "run"
    return clean if len(clean) <= 200 else f"{clean[:183]}-{artifacts.digest_of(orchestrators_id)[:16]}"


@dataclass(frozen=True)
class Layout:
    """Where everything lies below the store's root."""

    root: Path

    def artifact(self, stage: str, key: str) -> Path:
        return self.root / "store" / stage / key

    def published(self, day: date) -> Path:
        return self.root / "published" / f"{day}.json"

    def checkpoints(self, key: str) -> Path:
        return self.root / "checkpoints" / key

    def bundle(self, digest: str) -> Path:
        return self.bundles / digest

    @property
    def published_folder(self) -> Path:
        return self.root / "published"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def pointer(self) -> Path:
        return self.root / "serving" / "champion.json"

    @property
    def bundles(self) -> Path:
        return self.root / "bundles"

    @property
    def champion_lock(self) -> Path:
        """Held by whatever moves the champion or takes bundles away."""
        return self.root / "locks" / "champion.lock"

    @property
    def tokens(self) -> Path:
        return self.root / "serve" / "tokens.json"

    @property
    def audit(self) -> Path:
        return self.root / "serve" / "audit.jsonl"

    @property
    def new_items(self) -> Path:
        """The journal of items put to servers between retrains."""
        return self.root / "serving" / "new_items.jsonl"

    def champion(self) -> str | None:
        """Returns the digest of the bundle that servers are pointed to; None where none is, or it cannot be read."""
        try:
            return str(json.loads(self.pointer.read_text())["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


class Shared(Protocol):
    """A store that machines share; `pipeline.store.shared` has it."""

    def fetch(self, stage: str, final: Path) -> bool:
        """Copies an artifact to its place under the root; False where there is none."""

    def push(self, stage: str, final: Path, replace: bool) -> None:
        """Copies an artifact there, unless one is and shall not be replaced."""


@dataclass(frozen=True)
class Run:
    """One attempt.

    Attributes:
        run_id: unique for every attempt.
        days: the days whose logs it ingests; the last is the newest the training window may hold.
        as_of: UTC; every check uses it instead of the wall clock.
        root: the store's root.
        backfill: marked as-of by whoever asked for it: may train and report, never moves an alias nor a day's record.
        dry_run: everything up to and with the gate; nothing is registered or moved.
        force: ignore the cache, never the gates.
        requested_by: who triggered it, or `schedule`.
        shared: where machines share artifacts; None keeps them under the root.
    """

    run_id: str
    days: Days
    as_of: datetime
    root: Path
    backfill: bool = False
    dry_run: bool = False
    force: bool = False
    requested_by: str = SCHEDULE
    shared: Shared | None = field(default=None, compare=False, repr=False)

    @classmethod
    def open(cls, root: Path, run_id: str, timezone: str, days: Days | None = None, **given: Any) -> Run:
        """Begins a run, or continues the one already begun under this id.

        Args:
            timezone: the shop's; as-of is the end of the last day there unless given.
            days: which days; taken from the run's record, or from a run id that is a day.
            given: `as_of`, `backfill`, `dry_run`, `force`, `requested_by`, `shared`, where stated.

        Raises: UsageError: a bad id, no days to be had, or days or a person that are not those the run began with.
        """
        if not _RUN_ID.fullmatch(run_id):
            raise UsageError(
                f"The run id {run_id!r} must be letters, digits, dots, dashes and underscores, at most 200."
            )
        layout = Layout(root)
        record = layout.runs / run_id / "run.json"
        known = json.loads(record.read_text()) if record.exists() else {}
        stated = {name: value for name, value in given.items() if value is not None}
        run = cls._joined(root, run_id, timezone, days, known, stated)
        run._record(record)
        return run

    @classmethod
    def _joined(cls, root: Path, run_id: str, timezone: str, days: Days | None, known: Any, stated: Any) -> Run:
        if known and days and str(days) != known["days"]:
            raise UsageError(f"Run {run_id} was begun for {known['days']}, not {days}; use another run id.")
        asked, before = stated.get("requested_by"), known.get("requested_by", SCHEDULE)
        if asked and before != SCHEDULE and asked != before:
            raise UsageError(f"Run {run_id} was asked for by {before}, not {asked}; use another run id.")
        days = days or (Days.parse(known["days"]) if known else cls._day_of(run_id))
        stated.setdefault("as_of", datetime.fromisoformat(known["as_of"]) if known else end_of_day(days.last, timezone))
        kept = {name: known[name] for name in ("backfill", "dry_run", "requested_by") if name in known}
        return cls(run_id, days, root=root, **{**kept, **stated})

    @staticmethod
    def _day_of(run_id: str) -> Days:
        try:
            return Days.parse(run_id)
        except UsageError:
            raise UsageError(f"Run {run_id} is new and its id is no day; say which with --days FIRST..LAST.") from None

    def _record(self, path: Path) -> None:
        fields = {
            "run_id": self.run_id,
            "days": str(self.days),
            "as_of": self.as_of.astimezone(UTC).isoformat(),
            "backfill": self.backfill,
            "dry_run": self.dry_run,
            "requested_by": self.requested_by,
        }
        artifacts.write_beside(path, json.dumps(fields, indent=1))

    def may_see(self, day: date, timezone: str) -> bool:
        """Says whether what other runs made of a day is for this one: marked as-of, it sees days that had ended."""
        return not self.backfill or end_of_day(day, timezone) <= self.as_of

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    @property
    def folder(self) -> Path:
        return self.layout.runs / self.run_id

    def once(
        self,
        stage: str,
        inputs: Mapping[str, str],
        sections: Mapping[str, Any],
        fill: Callable[[Path], Report],
        part: str = "",
    ) -> Report:
        """Makes a pure step's artifact unless one with its input key exists, and refers to it from the run.

        Args:
            inputs: names of what it reads, to the key or digest of each.
            sections: the settings that may change the outcome, from `Settings.keyed`.
            fill: writes the artifact's files into the folder given and reports what it made.
            part: names one of several artifacts of this step, such as a day or a recipe.
        """
        key, report = self.make(stage, inputs, sections, fill)
        self.refer(stage, key, part)
        return report

    def make(
        self, stage: str, inputs: Mapping[str, str], sections: Mapping[str, Any], fill: Callable[[Path], Report]
    ) -> tuple[str, Report]:
        """Does what `once` does, but leaves it to the step what the run shall refer to; returns the key as well."""
        key = artifacts.input_key(stage, inputs, sections)
        final = self.layout.artifact(stage, key)
        if not self.force and self.has(stage, key):
            report = Report.from_dict(Artifact(final).json(REPORT)).as_cached()
        else:
            report = self._make(stage, final, inputs, fill)
        if self.shared:
            self.shared.push(stage, final, replace=self.force)
        return key, report

    def has(self, stage: str, key: str) -> bool:
        """Says whether an artifact lies under the root, after fetching it from the shared store where it does not."""
        final = self.layout.artifact(stage, key)
        return (final / artifacts.MANIFEST).exists() or (self.shared is not None and self.shared.fetch(stage, final))

    def _make(self, stage: str, final: Path, inputs: Mapping[str, str], fill: Callable[[Path], Report]) -> Report:
        made: list[Report] = []

        def fill_and_report(folder: Path) -> None:
            made.append(fill(folder))
            (folder / REPORT).write_text(json.dumps(made[0].to_dict(), indent=1))

        # What it was made from, so that what stands on something can be found when that has to go.
        facts = {"stage": stage, "key": final.name, "inputs": dict(inputs)}
        artifacts.build(final, fill_and_report, facts, replace=self.force)
        return made[0]

    def note_time(self, spent: Spent) -> None:
        """Leaves what one process of a step took, a file each, so that those of mapped tasks never meet."""
        name = f"{spent.step}.{artifacts.HOST}.{os.getpid()}.{time.time_ns()}.json"
        artifacts.write_beside(self.folder / "times" / name, json.dumps(asdict(spent), indent=1))

    def times(self) -> list[Spent]:
        """Returns what every process of this run's steps took, in the order they began."""
        noted = [Spent(**json.loads(path.read_text())) for path in (self.folder / "times").glob("[!.]*.json")]
        return sorted(noted, key=lambda spent: spent.began)

    def refer(self, stage: str, key: str, part: str = "") -> None:
        """Notes in the run's folder which artifact this stage gave it."""
        self.refer_all(stage, {part: key})

    def refer_all(self, stage: str, keys: Mapping[str, str], name: str = "") -> None:
        """Notes several at once, by part.

        Args:
            name: of the note, where it is not the stage's own that later stages read.
        """
        told = {**self._keys(name or stage), **keys}
        artifacts.write_beside(self._refs(name or stage), json.dumps(told, indent=1, sort_keys=True))

    def _refs(self, name: str) -> Path:
        return self.folder / "refs" / f"{name}.json"

    def artifact(self, stage: str, part: str = "") -> Artifact:
        """Returns what an earlier stage of this run made.

        Raises: MissingInputError: that stage did not run under this run id.
        """
        refs = self._keys(stage)
        if part not in refs:
            raise MissingInputError(
                f"Run {self.run_id} has no {stage} {part}".rstrip()
                + f" yet; run `python -m pipeline {stage} --run {self.run_id}` first."
            )
        self.has(stage, refs[part])
        return Artifact(self.layout.artifact(stage, refs[part]))

    def artifacts(self, stage: str, name: str = "") -> dict[str, Artifact]:
        """Returns every artifact of a stage in this run, by part; `name` as for `refer_all`."""
        refs = self._keys(name or stage)
        for key in refs.values():
            self.has(stage, key)
        return {part: Artifact(self.layout.artifact(stage, key)) for part, key in refs.items()}

    def _keys(self, name: str) -> dict[str, str]:
        path = self._refs(name)
        return json.loads(path.read_text()) if path.exists() else {}
