"""Partitions: which artifact of a day is in force, as landed and as published.

A record is small JSON and the only thing two runs can fight over, so whoever switches one says which record it saw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.core.artifacts import MANIFEST, Artifact
from pipeline.core.errors import BusyError, CorruptArtifactError, MissingInputError
from pipeline.core.run import Layout
from pipeline.store.leases import Leases
from pipeline.store.shared import SharedStore, open_shared
from pipeline.store.shelves import Folder, Prefix, Shelf

if TYPE_CHECKING:
    from pipeline.core.settings import Settings

Kind = Literal["landed", "published", "vocabulary"]
STAGE = "ingest"
READS_AT_ONCE = 8


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
    """The records of one kind, one a day.

    Args:
        shelf, shared: of a store machines share; without, both records and artifacts lie under the root.
    """

    def __init__(self, root: Path, kind: Kind, shelf: Shelf | None = None, shared: SharedStore | None = None) -> None:
        self.kind, self._layout = kind, Layout(root)
        self._shelf: Shelf = shelf or Folder(root / kind)
        self._shared = shared

    @classmethod
    def open(cls, settings: Settings, kind: Kind) -> Partitions:
        """Raises: UsageError: store.shared is no address. UnavailableError: the ledger's database does not answer."""
        root, shared = settings.store.root.resolve(), open_shared(settings)
        if shared is None:
            return cls(root, kind)
        conditional = settings.s3.conditional_writes
        shelf = Prefix(shared.objects, shared.address / kind, Leases.open(settings), conditional)
        return cls(root, kind, shelf, shared)

    def place(self, day: date) -> str:
        """Returns where a day's record lies, for people."""
        return self._shelf.place(day)

    def days(self) -> list[date]:
        """Returns every day that has a record, oldest first."""
        return self._shelf.days()

    def read(self, day: date) -> Record | None:
        """Raises: CorruptArtifactError: the record is no JSON object."""
        seen = self._shelf.read(day)
        return _parsed(seen[0], self._shelf.place(day)) if seen else None

    def read_all(self, first: date = date.min, last: date = date.max) -> dict[date, Record]:
        """Returns the records of these days, oldest first; from a shared store many at once."""
        days = [day for day in self.days() if first <= day <= last]
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            return {day: record for day, record in zip(days, pool.map(self.read, days), strict=True) if record}

    def switch(self, day: date, record: Record, expected: Record | None) -> Record:
        """Puts a record in the place of the expected one and returns it as it stands, with its revision.

        A record that already says the same stays as it is.

        Args:
            expected: what `read` returned before the work began; None where the day had no record.

        Raises: BusyError: another record is there by now, and the sentence names its run; or a lease held here is lost.
        """
        with self._shelf.alone(day):
            seen = self._shelf.read(day)
            present = _parsed(seen[0], self._shelf.place(day)) if seen else None
            if present is not None and present.content == record.content:
                return present
            if present != expected:
                raise BusyError(self._conflict(day, present, expected))
            switched = record.numbered(present.revision + 1 if present else 1)
            self._write(day, switched, seen[1] if seen else None, expected)
        return switched

    def remove(self, day: date, expected: Record | None) -> None:
        """Takes the expected record away; none there is no error.

        Raises: BusyError: another record is there by now; or a lease held here is lost.
        """
        with self._shelf.alone(day):
            present = self.read(day)
            if present not in (None, expected):
                raise BusyError(self._conflict(day, present, expected))
            self._shelf.remove(day)

    def _write(self, day: date, switched: Record, tag: str | None, expected: Record | None) -> None:
        try:
            self._shelf.write(day, switched.to_json(), tag)
        except BusyError:
            # A first try may have been done though its answer got lost; then what stands there is ours.
            present = self.read(day)
            if present != switched:
                raise BusyError(self._conflict(day, present, expected)) from None

    def artifact(self, record: Record) -> Artifact:
        """Returns a partition's artifact, fetched from the shared store where the root lacks it.

        Raises: MissingInputError: the store no longer holds what the record names.
        """
        final = self._layout.artifact(STAGE, record.ingest_key)
        if not (final / MANIFEST).exists() and not (self._shared and self._shared.fetch(STAGE, final)):
            raise MissingInputError(
                f"{self._shelf.place(record.day)}: names the ingest artifact {record.ingest_key}, which is gone; "
                f"ingest and validate {record.day} again."
            )
        return Artifact(final)

    def _conflict(self, day: date, present: Record | None, expected: Record | None) -> str:
        seen = f"the one of run {expected.run_id}" if expected else "none"
        found = f"run {present.run_id or 'unknown'} put revision {present.revision} there" if present else "it is gone"
        return f"{self._shelf.place(day)}: expected {seen}, but {found} meanwhile; look at it, then run {day} again."


def _parsed(text: bytes, place: str) -> Record:
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise CorruptArtifactError(f"{place}: this record is no JSON object; restore it, or ingest that day again.")
    return Record(fields)
