"""Leases: the right of one run to work on one thing, such as a day, while it lives.

On one machine a file lock. With a shared store a row in the ledger's database: the holder, when its lease runs out
unless renewed, and a token that only grows, so that a holder thought dead that writes again is known as the older one.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.core.errors import BusyError, PipelineError
from pipeline.core.locks import only_one
from pipeline.store.database import Database

if TYPE_CHECKING:
    from pipeline.core.settings import Settings

RENEWALS = 3
"""How often a holder renews its lease before it would run out."""


@dataclass(frozen=True)
class Lease:
    """What a holder shows when it writes.

    Attributes:
        name: what it is the right to, such as `ingest 2011-12-08`.
        holder: the run.
        token: grows with every holder; 0 on one machine, where the lock goes with its process.
    """

    name: str
    holder: str
    token: int = 0


_held: ContextVar[tuple[Lease, ...]] = ContextVar("leases held where this code runs", default=())


@contextmanager
def leased(settings: Settings, name: str, holder: str) -> Iterator[Lease]:
    """Holds a lease while the block runs; once it is lost, what the block writes `while_held` or switches is refused.

    Raises: BusyError: another run holds it; the sentence names that run.
    """
    holding = _in_database if settings.store.shared else _in_file
    with holding(settings, name, holder) as lease:
        before = _held.set((*_held.get(), lease))
        try:
            yield lease
        finally:
            _held.reset(before)


@contextmanager
def while_held(settings: Settings) -> Iterator[None]:
    """Keeps the leases held where this is called from being taken while the block runs; for blocks of milliseconds.

    Raises: LeaseLostError: one of them is another's by now; the block is not run.
    """
    if not settings.store.shared:  # a file lock goes only with its process
        yield
        return
    with Leases.open(settings).kept():
        yield


@contextmanager
def nobody_holds(settings: Settings, prefix: str, holder: str) -> Iterator[None]:
    """Holds every lease whose name begins so while the block runs.

    Raises: BusyError: another holds one of them.
    """
    with ExitStack() as held:
        for name in _names(settings, prefix):
            held.enter_context(leased(settings, name, holder))
        yield


def _names(settings: Settings, prefix: str) -> list[str]:
    """Returns what was leased on this machine, or is leased in the database."""
    if settings.store.shared:
        return Leases.open(settings).names(prefix)
    return sorted(path.stem for path in _folder(settings).glob(f"{prefix}*.lock"))


def _folder(settings: Settings) -> Path:
    return settings.store.root.resolve() / "leases"


@contextmanager
def _in_file(settings: Settings, name: str, holder: str) -> Iterator[Lease]:
    with only_one(_folder(settings) / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}.lock", f"`{name}`", f"run {holder}"):
        yield Lease(name, holder)


@contextmanager
def _in_database(settings: Settings, name: str, holder: str) -> Iterator[Lease]:
    leases = Leases.open(settings)
    lease, ended = leases.take(name, holder), threading.Event()
    renewing = threading.Thread(target=leases.keep_renewing, args=(lease, ended), daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        ended.set()
        renewing.join()
        with suppress(PipelineError):  # a database gone by now lets the lease run out
            leases.give_back(lease)


class Leases:
    """The leases of one shop's database.

    Attributes:
        seconds: a holder silent so long loses its lease.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self.seconds, self._database = seconds, database
        self._table = _table(database.schema)
        database.make(self._table)

    @classmethod
    def open(cls, settings: Settings) -> Leases:
        return cls(Database.open(settings.store), settings.store.lease_seconds)

    def take(self, name: str, holder: str) -> Lease:
        """Takes a lease that is free, has run out, or was this holder's own.

        Raises: BusyError: it is another's.
        """
        with self._database.connected(writing=True) as connection:
            row, now = self._row(connection, name), self._now(connection)
            if row.holder != holder and row.expires_at > now:
                raise BusyError(
                    f"`{name}` is already under way (run {row.holder}); wait for it to end or stop it: "
                    f"a run that died loses its lease in {row.expires_at - now:.0f} s."
                )
            lease = Lease(name, holder, row.token + 1)
            self._change(connection, name, holder=holder, token=lease.token, expires_at=now + self.seconds)
        return lease

    def renew(self, lease: Lease) -> None:
        """Raises: BusyError: the lease is another's by now."""
        with self._database.connected(writing=True) as connection:
            self._require(connection, lease)
            self._change(connection, lease.name, expires_at=self._now(connection) + self.seconds)

    def keep_renewing(self, lease: Lease, ended: threading.Event) -> None:
        """Renews a lease until it is lost or the work has ended; a database that does not answer is asked again."""
        while not ended.wait(self.seconds / RENEWALS):
            try:
                self.renew(lease)
            except PipelineError as error:
                if isinstance(error, LeaseLostError):
                    return

    def give_back(self, lease: Lease) -> None:
        """Lets the next run have it at once."""
        with self._database.connected(writing=True) as connection:
            self._require(connection, lease)
            self._change(connection, lease.name, expires_at=0.0)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keeps everybody else who asks for this name waiting while the block runs, and its leases from being taken.

        Raises: LeaseLostError: a lease held where this is called is another's by now.
        """
        with self._database.connected(writing=True) as connection:
            self._row(connection, name)
            self._require_held(connection)
            yield

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps the leases held where this is called from being taken while the block runs.

        Raises: LeaseLostError: one of them is another's by now.
        """
        with self._database.connected(writing=True) as connection:
            self._require_held(connection)
            yield

    def names(self, prefix: str) -> list[str]:
        """Returns the leases somebody holds whose name begins so."""
        with self._database.connected(writing=False) as connection:
            held = sql.select(self._table.c.name).where(self._table.c.expires_at > self._now(connection))
            return sorted(name for name in connection.execute(held).scalars() if name.startswith(prefix))

    def require_held(self) -> None:
        """Raises: LeaseLostError: a lease held where this is called is another's by now."""
        if _held.get():
            with self._database.connected(writing=True) as connection:
                self._require_held(connection)

    def _require_held(self, connection: sql.Connection) -> None:
        for lease in _held.get():
            self._require(connection, lease)

    def _require(self, connection: sql.Connection, lease: Lease) -> None:
        row = self._row(connection, lease.name)
        if row.token != lease.token:
            raise LeaseLostError(
                f"`{lease.name}`: run {lease.holder} was silent for more than {self.seconds:g} s and run {row.holder} "
                "took its place; nothing more is written here. Run it again once that one has ended."
            )

    def _row(self, connection: sql.Connection, name: str) -> sql.Row:
        """Returns a name's row, made where it is missing, and locks it until the transaction ends."""
        insert = postgresql.insert if self._database.schema else sqlite.insert
        empty = {"name": name, "holder": "", "token": 0, "expires_at": 0.0}
        connection.execute(insert(self._table).values(**empty).on_conflict_do_nothing())
        return connection.execute(sql.select(self._table).filter_by(name=name).with_for_update()).one()

    def _change(self, connection: sql.Connection, name: str, **values: object) -> None:
        connection.execute(sql.update(self._table).where(self._table.c.name == name).values(**values))

    def _now(self, connection: sql.Connection) -> float:
        """Returns the time by the one clock all holders share, in unix seconds."""
        if not self._database.schema:
            return time.time()
        return float(connection.execute(sql.select(sql.extract("epoch", sql.func.clock_timestamp()))).scalar_one())


class LeaseLostError(BusyError):
    """Another run took the lease that this one held."""


def _table(schema: str | None) -> sql.Table:
    return sql.Table(
        "leases",
        sql.MetaData(schema=schema),
        sql.Column("name", sql.String(200), primary_key=True),
        sql.Column("holder", sql.String(200), nullable=False),
        sql.Column("token", sql.BigInteger, nullable=False),
        sql.Column("expires_at", sql.Double, nullable=False),
    )
