"""What computes over tables for a step: DuckDB in its process, or Spark by one setting, asked the same questions.

A question is an Ibis expression over tables this engine holds; it is compiled for the engine that is asked.
Every engine speaks UTC, keeps the order a question asks for, and answers in Arrow batches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.core.errors import CorruptArtifactError, MissingInputError, PipelineError, UnavailableError
from pipeline.core.settings import Settings

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir
    import pyarrow as pa

BATCH_ROWS = 65_536
INCOMING = "incoming"
COSTLY = "fsst,dict_fsst"
"""Ways of packing texts that are left out: rows take a fifth less time to lay down, and 2.4 times the room."""

_NAMED = re.compile(r"""(?:file|pattern):? ["'](?P<file>[^"']+)["']""", re.IGNORECASE)
_GONE = re.compile("No files found|No such file")


class Engine(Protocol):
    """One session with an engine; its tables end with it."""

    name: str
    backend: ibis.BaseBackend

    def load(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> ir.Table:
        """Streams batches into a table of this name, replacing one that was there; what the reader raises is raised."""

    def stream(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> ir.Table:
        """Shows batches as a table for the next `keep`, which may draw them once; it raises what the reader raises."""

    def read(self, paths: Sequence[str], file_column: str = "") -> ir.Table:
        """Returns Parquet files as one table; `file_column`, if named, holds each row's path as given."""

    def keep(self, name: str, question: ir.Table | str) -> ir.Table:
        """Stores a question's answer as a table of this name, replacing one that was there."""

    def show(self, name: str, question: ir.Table | str) -> ir.Table:
        """Gives a question a name, replacing one that was there; it is answered anew whenever that is asked."""

    def table(self, name: str) -> ir.Table:
        """Returns a table loaded, kept or shown before."""

    def compiled(self, question: ir.Table) -> str:
        """Returns the question in the engine's own SQL, to be asked many times."""

    def ask(self, question: ir.Table | str) -> Iterator[pa.RecordBatch]:
        """Streams a question's answer, in its order."""

    def answer(self, question: ir.Table | str) -> pa.Table:
        """Returns a question's whole answer, in its order."""


class DuckDB:
    """DuckDB with its tables packed in a file; that and what spills lie in a folder that is gone afterwards."""

    name = "duckdb"

    def __init__(self, backend: ibis.BaseBackend) -> None:
        self.backend = backend
        self._numbers = count()
        self._streams: dict[str, list[Exception]] = {}
        self._seen: dict[tuple[str, str], ir.Table] = {}

    @property
    def _connection(self) -> Any:
        return self.backend.con

    def load(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> ir.Table:
        self._connect(INCOMING, batches, schema)
        self._lay_down(name, f"SELECT * FROM {INCOMING}")
        return self._described(name, str(schema))

    def stream(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> ir.Table:
        self._connect(name, batches, schema)
        return self._described(name, str(schema))

    def _connect(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        import pyarrow as pa

        failures = self._streams[name] = []
        self._connection.register(name, pa.RecordBatchReader.from_batches(schema, _watched(batches, failures)))

    def read(self, paths: Sequence[str], file_column: str = "") -> ir.Table:
        how = {"filename": bool(file_column), "union_by_name": True, "hive_partitioning": False}
        table = self.backend.read_parquet(list(paths), **how)
        return table.rename({file_column: "filename"}) if file_column not in ("", "filename") else table

    def keep(self, name: str, question: ir.Table | str) -> ir.Table:
        if not isinstance(question, str):
            self._connection.execute(f'DROP TABLE IF EXISTS "{name}"')
            return self.backend.create_table(name, question)
        self._lay_down(name, question)
        return self._described(name, question)

    def _lay_down(self, name: str, question: str) -> None:
        try:
            self._connection.execute(f'CREATE OR REPLACE TABLE "{name}" AS {question}')
        except Exception:
            # The engine wraps what the reader raised in an error of its own; the reader's says what is wrong.
            for failure in (failure for failures in self._streams.values() for failure in failures):
                raise failure from None
            raise
        finally:
            for drawn in self._streams:
                self._connection.unregister(drawn)
            self._streams.clear()

    def show(self, name: str, question: ir.Table | str) -> ir.Table:
        sql = question if isinstance(question, str) else self.compiled(question)
        self._connection.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {sql}')
        return self._described(name, sql)

    def _described(self, name: str, origin: str) -> ir.Table:
        """Returns the table; the columns of one that was made the same way before are not asked for again."""
        if (name, origin) not in self._seen:
            self._seen[name, origin] = self.table(name)
        return self._seen[name, origin]

    def table(self, name: str) -> ir.Table:
        return self.backend.table(name)

    def compiled(self, question: ir.Table) -> str:
        import ibis

        return str(ibis.to_sql(question, dialect=self.name))

    def ask(self, question: ir.Table | str) -> Iterator[pa.RecordBatch]:
        if not isinstance(question, str):
            # Ibis 12 streams through a method that DuckDB 2 no longer has.
            view = f"asked_{next(self._numbers)}"
            self.backend.create_view(view, question)
            question = f'SELECT * FROM "{view}"'
        return iter(self._connection.sql(question).to_arrow_reader(BATCH_ROWS))

    def answer(self, question: ir.Table | str) -> pa.Table:
        if isinstance(question, str):
            return self._connection.sql(question).to_arrow_table()
        return self.backend.to_pyarrow(question)


def _watched(batches: Iterable[pa.RecordBatch], failures: list[Exception]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except Exception as error:
        failures.append(error)
        raise


@contextmanager
def open_engine(settings: Settings) -> Iterator[Engine]:
    """Opens the engine the settings name.

    Raises: MissingInputError: it is not installed.
    """
    from pipeline.store.spark import open_spark

    with (open_spark if settings.engine.name == "spark" else _duckdb)(settings) as engine:
        yield engine


@contextmanager
def _duckdb(settings: Settings) -> Iterator[Engine]:
    import duckdb
    import ibis

    from pipeline.store import words

    wanted = settings.engine
    threads = {"threads": wanted.threads} if wanted.threads else {}
    with TemporaryDirectory(dir=wanted.scratch or None) as scratch:
        backend = ibis.duckdb.connect(temp_directory=scratch, memory_limit=f"{wanted.memory_mb}MB", **threads)
        try:
            backend.raw_sql("SET TimeZone = 'UTC'")
            backend.raw_sql(f"ATTACH '{scratch}/tables.duckdb' AS tables (RECOVERY_MODE no_wal_writes)")
            backend.raw_sql("USE tables")
            backend.raw_sql(f"SET disabled_compression_methods = '{COSTLY}'")
            for head, body in words.ON_DUCKDB.items():
                backend.raw_sql(f"CREATE TEMP MACRO {head} AS {body}")
            yield DuckDB(backend)
        except duckdb.Error as error:
            known = _sentence(error, scratch, wanted.memory_mb)
            if known is None:
                raise
            raise known from None
        finally:
            backend.disconnect()


def _sentence(error: Exception, scratch: str, memory_mb: int) -> PipelineError | None:
    """Returns what a failure of DuckDB means for whoever runs the step, or None where it is the question's."""
    import duckdb

    told = " ".join(str(error).partition("\n")[0].split())
    named = _NAMED.search(told)
    file = named["file"] if named and not named["file"].startswith(scratch) else ""
    if isinstance(error, duckdb.IOException) and file and _GONE.search(told):
        return MissingInputError(f"{file}: this file is gone; run the step that makes it again with --force.")
    if isinstance(error, duckdb.OutOfMemoryException | duckdb.IOException):
        return UnavailableError(
            f"DuckDB can neither hold the rows in engine.memory_mb={memory_mb} nor spill them to {scratch} ({told}); "
            f"free space there, set engine.scratch to a larger disk or raise engine.memory_mb, and run the step again."
        )
    # What the Parquet reader's own parser raises has no class of its own, and names no file.
    if (isinstance(error, duckdb.InvalidInputException) and Path(file).is_file()) or type(error) is duckdb.Error:
        return CorruptArtifactError(
            f"{file or 'A Parquet file this step reads'}: its bytes are damaged ({told}); "
            "run the step that makes it again with --force."
        )
    return None
