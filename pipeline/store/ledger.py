"""The append-only record of promotions, refusals, approvals and rollbacks; its insert is the promotion.

Every entry carries the hash of the one before, so an entry changed, added or taken out afterwards is found. Of two
who append against one head one wins: SQLite takes the write lock before it reads, Postgres keeps `sequence` unique.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql

from pipeline.core.artifacts import digest_of
from pipeline.core.errors import BusyError, CorruptArtifactError, UsageError
from pipeline.store.database import Database

if TYPE_CHECKING:
    from pipeline.core.sections import Store

KINDS = ("promotion", "refusal", "approval", "override", "rollback", "rolled_back", "alias_moved")
MOVES = ("promotion", "rollback", "rolled_back")
"""The kinds after which another bundle may stand: the entry's `to_digest`, or none when that is empty."""

GENESIS = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes:
        sequence: 1, 2, 3 …, without gaps.
        at: UTC wall time, ISO.
        from_digest, to_digest: bundles before and after; an entry that moves nothing speaks of `to_digest`.
        version: of the registered model, of `to_digest`.
        data_end: ISO UTC; nothing later was seen by the model of `to_digest`.
        previous_hash, hash: the chain; `hash` covers every other field.
    """

    sequence: int
    at: str
    kind: str
    who: str
    from_digest: str
    to_digest: str
    version: str
    run_id: str
    data_end: str
    reason: str
    details: Mapping[str, Any]
    previous_hash: str
    hash: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def computed_hash(self) -> str:
        return digest_of({name: value for name, value in self.to_dict().items() if name != "hash"})


def _table(schema: str | None) -> sql.Table:
    short, long = sql.String(200), sql.Text()
    types: dict[str, Any] = {"sequence": sql.Integer(), "details": sql.JSON(), "reason": long}
    columns = [
        sql.Column(
            f.name, types.get(f.name, short), primary_key=f.name == "sequence", autoincrement=False, nullable=False
        )
        for f in fields(Entry)
    ]
    return sql.Table("entries", sql.MetaData(schema=schema), *columns)


class Ledger:
    """The ledger of one shop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._name = database.name
        self._connected = database.connected
        self._table = _table(database.schema)

    @classmethod
    def open(cls, store: Store) -> Ledger:
        """Opens the ledger, making it when it is not there yet.

        Raises: SettingsError: store.ledger_url is no database URL. UnavailableError: the database does not answer.
        """
        ledger = cls(Database.open(store))
        ledger._database.make(ledger._table)
        return ledger

    def entries(self) -> list[Entry]:
        """Returns every entry, oldest first."""
        with self._connected(writing=False) as connection:
            rows = connection.execute(sql.select(self._table).order_by(self._table.c.sequence)).mappings().all()
        return [Entry(**row) for row in rows]

    def head(self) -> int:
        """Returns the sequence number of the last entry; 0 when there is none."""
        with self._connected(writing=False) as connection:
            last = self._last(connection)
        return last.sequence if last else 0

    def champion(self) -> Entry | None:
        """Returns the entry that made the present champion, with its digest, version and data end; None without one."""
        standing = stood(self.entries())
        return standing[-1] if standing else None

    def previous(self) -> Entry | None:
        """Returns the entry of the champion a rollback would go back to; None without one."""
        standing = stood(self.entries())
        return standing[-2] if len(standing) > 1 else None

    def append(
        self,
        *,
        kind: str,
        who: str,
        expected_head: int,
        from_digest: str = "",
        to_digest: str = "",
        version: str = "",
        run_id: str = "",
        data_end: str = "",
        reason: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Adds one entry in one transaction, if the ledger's head is still the expected one.

        Raises: UsageError: no such kind. BusyError: somebody else appended meanwhile, or holds the database.
        """
        if kind not in KINDS:
            raise UsageError(f"{kind!r} is no kind of ledger entry; known are {', '.join(KINDS)}.")
        given = (kind, who, from_digest, to_digest, version, run_id, data_end, reason, dict(details or {}))
        with self._connected(writing=True) as connection:
            last = self._last(connection)
            head = last.sequence if last else 0
            if head != expected_head:
                raise BusyError(
                    f"{self._name}: its head is entry {head}, not {expected_head}: "
                    "another promotion, review or rollback came between; see `python -m pipeline ledger` and try again."
                )
            entry = _sealed(head + 1, given, last.hash if last else GENESIS)
            connection.execute(sql.insert(self._table).values(**entry.to_dict()))
        return entry

    def _last(self, connection: sql.Connection) -> Entry | None:
        newest = sql.select(self._table).order_by(self._table.c.sequence.desc()).limit(1)
        row = connection.execute(newest).mappings().first()
        return Entry(**row) if row else None

    def verify(self) -> list[Entry]:
        """Checks the whole chain and returns its entries.

        Raises: CorruptArtifactError: an entry was changed, added or taken out; the sentence names it.
        """
        entries = self.entries()
        previous = GENESIS
        for expected, entry in enumerate(entries, start=1):
            if entry.sequence != expected:
                raise self._broken(f"entry {expected} is missing")
            if entry.previous_hash != previous:
                raise self._broken(f"entry {expected} does not follow from entry {expected - 1}")
            if entry.computed_hash() != entry.hash:
                raise self._broken(f"entry {expected} was changed after it was written")
            previous = entry.hash
        return entries

    def _broken(self, what: str) -> CorruptArtifactError:
        return CorruptArtifactError(
            f"{self._name}: {what}; restore the ledger from a backup before anything is promoted."
        )


def stood(entries: Sequence[Entry]) -> list[Entry]:
    """Returns the champions a rollback could go back to, oldest first; the last stands now.

    Going back takes what was left behind off the list: after A, B and a rollback to A, the one before A comes next,
    never B again.
    """
    standing: list[Entry] = []
    for entry in entries:
        if entry.kind not in MOVES:
            continue
        if entry.kind != "promotion":
            again = [place for place, e in enumerate(standing) if e.to_digest == entry.to_digest]
            standing = standing[: again[-1]] if again else []
        if entry.to_digest:
            standing.append(entry)
    return standing


def _sealed(sequence: int, given: tuple[Any, ...], previous_hash: str) -> Entry:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    unsealed = Entry(sequence, at, *given, previous_hash=previous_hash)
    return Entry(**{**unsealed.to_dict(), "hash": unsealed.computed_hash()})
