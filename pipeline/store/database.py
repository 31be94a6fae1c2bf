"""The ledger's database: a SQLite file below the store's root, or Postgres with a schema of its own.

Of two who write at once one waits for the other: SQLite takes the write lock before a writing transaction reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql
from sqlalchemy import event, exc

from pipeline.core.errors import BusyError, CorruptArtifactError, PipelineError, SettingsError, UnavailableError

if TYPE_CHECKING:
    from pipeline.core.sections import Store

POSTGRES_SCHEMA = "promotion_ledger"
LOCK_TIMEOUT_SECONDS = 5


class Database:
    """One shop's ledgers.

    Attributes:
        name: its file or address, for people; no password.
        schema: what its tables stand in; None in SQLite.
    """

    def __init__(self, engine: sql.Engine) -> None:
        self._engine = engine
        self.name = _name(engine)
        self.schema = POSTGRES_SCHEMA if engine.dialect.name == "postgresql" else None

    @classmethod
    def open(cls, store: Store) -> Database:
        """Raises: SettingsError: store.ledger_url is no database URL."""
        root = store.root.resolve()
        return cls(_engine(store.ledger_url or f"sqlite:///{root / 'ledger.sqlite'}", root))

    def make(self, table: sql.Table) -> None:
        """Makes a table, and the schema it stands in, where it is not there yet."""
        if self._exists(table):
            return
        try:
            with self.connected(writing=True) as connection:
                if self.schema:
                    connection.execute(sql.schema.CreateSchema(self.schema, if_not_exists=True))
                table.create(connection, checkfirst=True)
        except BusyError:  # another process may have made it meanwhile
            if not self._exists(table):
                raise

    def _exists(self, table: sql.Table) -> bool:
        with self.connected(writing=False) as connection:
            return sql.inspect(connection).has_table(table.name, schema=self.schema)

    @contextmanager
    def connected(self, writing: bool) -> Iterator[sql.Connection]:
        """Opens one transaction.

        Raises:
            BusyError: another process writes.
            CorruptArtifactError: the file is no database.
            UnavailableError: nothing answers.
        """
        try:
            with self._engine.connect().execution_options(writing=writing) as connection, connection.begin():
                yield connection
        except PipelineError:
            raise
        except (exc.SQLAlchemyError, OSError, ValueError) as error:
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> PipelineError:
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        if isinstance(error, exc.IntegrityError) or "database is locked" in cause:
            return BusyError(f"{self.name}: another process is writing to it; try again.")
        if "disk is full" in cause:
            return UnavailableError(f"{self.name}: no space is left on the device; free some and run the step again.")
        if "file is not a database" in cause or "malformed" in cause or isinstance(error, ValueError):
            return CorruptArtifactError(f"{self.name}: it cannot be read ({cause}); restore it from a backup.")
        return UnavailableError(
            f"{self.name}: the ledger's database does not answer ({cause}); see that it is up and try again."
        )


def _engine(url: str, root: Path) -> sql.Engine:
    try:
        parsed = sql.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return sql.create_engine(
                parsed, poolclass=sql.NullPool, connect_args={"connect_timeout": LOCK_TIMEOUT_SECONDS}
            )
        engine = sql.create_engine(parsed, poolclass=sql.NullPool, connect_args={"timeout": LOCK_TIMEOUT_SECONDS})
    except (exc.ArgumentError, ImportError, ValueError) as error:
        raise SettingsError(
            f"store.ledger_url is no database URL this installation can open ({' '.join(str(error).split())}); "
            "write it as postgresql+psycopg2://user:password@host/database."
        ) from None
    root.mkdir(parents=True, exist_ok=True)
    _lock_before_reading(engine)
    return engine


def _lock_before_reading(engine: sql.Engine) -> None:
    """Makes SQLite take the write lock when a writing transaction begins, not at its first write."""

    @event.listens_for(engine, "connect")
    def leave_transactions_to_us(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: sql.Connection) -> None:
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _name(engine: sql.Engine) -> str:
    return engine.url.database if engine.dialect.name == "sqlite" else engine.url.render_as_string(hide_password=True)
