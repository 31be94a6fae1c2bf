"""Partitions: which artifact of a day is in force, as landed and as published.

A record is small JSON and the only thing two runs can fight over, so whoever switches one says which record it saw.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.core.artifacts import MANIFEST, Artifact, write_beside
from pipeline.core.errors import BusyError, CorruptArtifactError, MissingInputError
from pipeline.core.locks import in_turn
from pipeline.core.run import Layout

if TYPE_CHECKING:
    from pipeline.core.settings import Settings

Kind = Literal["landed", "published", "vocabulary"]
STAGE = "ingest"


@dataclass(frozen=True)
class Record:
    """What a record says.

    Attributes:
        fields: JSON values; their names are in docs/decisions/0005-partitions.md.
    """

    fields: Mapping[str, Any]

    def __post_init__(self) -> None:
        plain = json.loads(json.dumps(dict(self.fields), default=str))
        object.__setattr__(self, "fields", plain)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.fields.get(name, default)

    @property
    def day(self) -> date:
        return date.fromisoformat(self["day"])

    @property
    def ingest_key(self) -> str:
        return self["ingest_key"]

    @property
    def digest(self) -> str:
        return self["digest"]

    @property
    def run_id(self) -> str:
        return self.get("run_id", "")

    @property
    def revision(self) -> int:
        """How often this day was switched; 0 before it is switched in."""
        return self.get("revision", 0)

    @property
    def content(self) -> dict[str, Any]:
        """What it says, whenever it was switched in."""
        return {name: value for name, value in self.fields.items() if name != "revision"}

    def numbered(self, revision: int) -> Record:
        return Record({**self.content, "revision": revision})

    def to_json(self) -> str:
        return json.dumps(self.fields, indent=1, sort_keys=True, ensure_ascii=False)


class Partitions:
    """The records of one kind, one a day."""

    def __init__(self, root: Path, kind: Kind) -> None:
        self.kind, self._layout = kind, Layout(root)
        self._folder = root / kind

    @classmethod
    def open(cls, settings: Settings, kind: Kind) -> Partitions:
        return cls(settings.store.root.resolve(), kind)

    def __str__(self) -> str:
        return str(self._folder)

    def days(self) -> list[date]:
        """Returns every day that has a record, oldest first."""
        return sorted(date.fromisoformat(path.stem) for path in self._folder.glob("[0-9]*.json"))

    def read(self, day: date) -> Record | None:
        """Raises: CorruptArtifactError: the record is no JSON object."""
        path = self._path(day)
        try:
            return _parsed(path.read_bytes(), str(path))
        except FileNotFoundError:
            return None

    def switch(self, day: date, record: Record, expected: Record | None) -> Record:
        """Puts a record in the place of the expected one and returns it as it stands, with its revision.

        A record that already says the same stays as it is.

        Args:
            expected: what `read` returned before the work began; None where the day had no record.

        Raises: BusyError: another record is there by now; the sentence names its run.
        """
        with self._alone(day):
            present = self.read(day)
            if present is not None and present.content == record.content:
                return present
            if present != expected:
                raise BusyError(self._conflict(day, present, expected))
            switched = record.numbered(present.revision + 1 if present else 1)
            write_beside(self._path(day), switched.to_json())
        return switched

    def artifact(self, record: Record) -> Artifact:
        """Raises: MissingInputError: the store no longer holds what the record names."""
        artifact = Artifact(self._layout.artifact(STAGE, record.ingest_key))
        if not (artifact.path / MANIFEST).exists():
            raise MissingInputError(
                f"{self._path(record.day)}: names the ingest artifact {record.ingest_key}, which is gone; "
                f"ingest and validate {record.day} again."
            )
        return artifact

    def _path(self, day: date) -> Path:
        return self._folder / f"{day}.json"

    @contextmanager
    def _alone(self, day: date) -> Iterator[None]:
        with in_turn(self._folder / f".{day}.lock"):
            yield

    def _conflict(self, day: date, present: Record | None, expected: Record | None) -> str:
        seen = f"the one of run {expected.run_id}" if expected else "none"
        found = f"run {present.run_id or 'unknown'} put revision {present.revision} there" if present else "it is gone"
        return f"{self._path(day)}: expected {seen}, but {found} meanwhile; look at it, then run {day} again."


def _parsed(text: bytes, place: str) -> Record:
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise CorruptArtifactError(f"{place}: this record is no JSON object; restore it, or ingest that day again.")
    return Record(fields)
