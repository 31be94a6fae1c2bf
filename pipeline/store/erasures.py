"""The append-only ledger of erasures, in the ledger's database: whom to forget, and what was removed.

It holds pseudonyms, never ids. Every line carries the hash of the one before. An erasure is a line `begun`, from which
on ingest takes the person's rows by the rule `erased`; lines `removing`, each written before what it names is removed,
so that whoever goes on after a kill knows what was made from it; and a line `done`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql

from pipeline.core.artifacts import digest_of
from pipeline.core.errors import CorruptArtifactError, UsageError
from pipeline.store.database import Database

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.core.settings import Settings

BEGUN, REMOVING, DONE = "begun", "removing", "done"
GENESIS = "0" * 64


@dataclass(frozen=True)
class Line:
    """One line of the ledger.

    Attributes:
        line: 1, 2, 3 …, without gaps.
        seq: the erasure it belongs to: the `line` it was begun with.
        at: UTC wall time, ISO.
        person: the person's pseudonyms, one a key; empty in later lines, as `sessions`.
        sessions: pseudonyms of sessions the person was seen in; anonymous rows of them are erased too.
        counts: what is about to be removed, or what was.
    """

    line: int
    seq: int
    at: str
    state: str
    person: list[str]
    sessions: list[str]
    by: str
    reason: str
    counts: Mapping[str, Any]
    previous_hash: str
    hash: str = ""

    def computed_hash(self) -> str:
        return digest_of({name: value for name, value in asdict(self).items() if name != "hash"})


@dataclass(frozen=True)
class Erasure:
    """One person's erasure as it stands.

    Attributes:
        removing: what its `removing` lines said, oldest first.
        counts: empty until it is done.
    """

    seq: int
    at: str
    person: tuple[str, ...]
    sessions: tuple[str, ...]
    by: str
    reason: str
    state: str
    removing: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, Any]


def _table(schema: str | None) -> sql.Table:
    numbers, lists = {"line", "seq"}, {"person", "sessions", "counts"}
    columns = []
    for field in fields(Line):
        kind: Any = sql.Integer() if field.name in numbers else sql.JSON() if field.name in lists else sql.Text()
        columns.append(
            sql.Column(field.name, kind, primary_key=field.name == "line", autoincrement=False, nullable=False)
        )
    return sql.Table("erasures", sql.MetaData(schema=schema), *columns)


class Erasures:
    """The erasures of one shop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = _table(database.schema)

    @classmethod
    def open(cls, settings: Settings) -> Erasures:
        """Opens the ledger of erasures, making it when it is not there yet."""
        erasures = cls(Database.open(settings.store))
        erasures._database.make(erasures._table)
        return erasures

    def begin(self, person: Iterable[str], sessions: Iterable[str], by: str, reason: str = "") -> int:
        """Begins an erasure and returns its number; from now on ingest leaves these rows out.

        Args:
            person: the person's pseudonyms, one a key they were ever known under.
        """
        people, seen = sorted(set(person)), sorted(set(sessions))
        if not people:
            raise UsageError("An erasure needs somebody to forget.")
        return self._append(0, BEGUN, people, seen, by, reason, {}).seq

    def removing(self, seq: int, what: Mapping[str, Any]) -> None:
        """Notes what is about to be removed."""
        self._append(seq, REMOVING, [], [], self._known(seq).by, "", what)

    def done(self, seq: int, counts: Mapping[str, Any]) -> None:
        """Notes that everything of an erasure is removed; a second time is no error."""
        known = self._known(seq)
        if known.state != DONE:
            self._append(seq, DONE, [], [], known.by, "", counts)

    def _known(self, seq: int) -> Erasure:
        known = {erasure.seq: erasure for erasure in self.all()}
        if seq not in known:
            raise UsageError(f"There is no erasure {seq}; known are {', '.join(map(str, known)) or 'none'}.")
        return known[seq]

    def _append(self, seq: int, *given: Any) -> Line:
        state, person, sessions, by, reason, counts = given
        with self._database.connected(writing=True) as connection:
            last = connection.execute(sql.select(self._table).order_by(self._table.c.line.desc()).limit(1)).mappings()
            before = next((Line(**row) for row in last), None)
            number = before.line + 1 if before else 1
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = Line(
                *(number, seq or number, at, state, list(person), list(sessions), by, reason, dict(counts)),
                previous_hash=before.hash if before else GENESIS,
            )
            line = replace(line, hash=line.computed_hash())
            connection.execute(sql.insert(self._table).values(**asdict(line)))
        return line

    def all(self) -> list[Erasure]:
        """Returns every erasure, oldest first.

        Raises: CorruptArtifactError: a line was changed, added or taken out.
        """
        found: dict[int, Erasure] = {}
        for line in self._lines():
            if line.state == BEGUN:
                people = (tuple(line.person), tuple(line.sessions))
                found[line.seq] = Erasure(line.seq, line.at, *people, line.by, line.reason, BEGUN, (), {})
            elif line.state == REMOVING:
                found[line.seq] = replace(found[line.seq], removing=(*found[line.seq].removing, line.counts))
            else:
                found[line.seq] = replace(found[line.seq], state=DONE, counts=line.counts)
        return list(found.values())

    def _lines(self) -> list[Line]:
        with self._database.connected(writing=False) as connection:
            rows = connection.execute(sql.select(self._table).order_by(self._table.c.line)).mappings().all()
        lines, previous = [Line(**row) for row in rows], GENESIS
        for expected, line in enumerate(lines, start=1):
            if (line.line, line.previous_hash) != (expected, previous) or line.computed_hash() != line.hash:
                raise CorruptArtifactError(
                    f"{self._database.name}: line {expected} of the erasures is missing or was changed after it was "
                    "written; restore the database from a backup before anything is ingested."
                )
            previous = line.hash
        return lines

    def removed(self, stage: str) -> set[str]:
        """Returns the keys of a stage's artifacts that were noted for removal, wherever a copy may still lie."""
        return {key for erasure in self.all() for note in erasure.removing for key in note["derived"].get(stage, ())}

    def digest(self) -> str:
        """Says who is erased, as 64 hex digits; empty when nobody is, so that an untouched shop's keys stay."""
        rows = self._rows()
        return digest_of(rows) if rows else ""

    def table(self) -> pa.Table:
        """Returns the erased as `person, session`: a row a pseudonym, in the column of its kind, the other null.

        A row of the log is erased when its user is a `person`, or when it names no user and its session is a `session`.
        """
        import pyarrow as pa

        schema = pa.schema({"person": pa.string(), "session": pa.string()})
        rows = [{"person": person, "session": session} for person, session in self._rows()]
        return pa.Table.from_pylist(rows, schema)

    def _rows(self) -> list[tuple[str | None, str | None]]:
        erased = self.all()
        people = sorted({name for erasure in erased for name in erasure.person})
        sessions = sorted({name for erasure in erased for name in erasure.sessions})
        return [*((name, None) for name in people), *((None, name) for name in sessions)]
