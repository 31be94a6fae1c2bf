"""One DuckDB connection for a whole run: questions are built with Ibis and compiled once, then asked of every day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from pipeline.core.schema import EVENT, QUARANTINE
from pipeline.core.settings import Ingest
from pipeline.ingest import catalogue
from pipeline.ingest.canonical import canonical, raw_table
from pipeline.ingest.profile import Profile
from pipeline.ingest.rules import judge, rules_of
from pipeline.store.engine import engine

BATCH_ROWS = 65_536
_ASKED = {n: "timestamp('UTC')" for n in ("begin", "end", "horizon", "oldest")} | {"first": "boolean"}


class Questions:
    """The SQL a profile's days are asked, made once."""

    def __init__(self, profile: Profile, limits: Ingest) -> None:
        self.rules = rules_of(profile)
        rows = canonical(raw_table(profile), profile).cross_join(ibis.table(_ASKED, name="asked"))
        if profile.events.file_covers == "month":
            # A row without a readable time belongs to no day; it is counted once, with the first day of its file.
            rows = rows.filter(
                rows.event_time.between(rows.begin, rows.end) & (rows.event_time < rows.end)
                | (rows.event_time.isnull() & rows.first)
            )
        rows = judge(catalogue.beside_events(rows, profile), self.rules, limits)
        self.judged = _sql(rows.drop("taken", "begin", "end", "horizon", "oldest", "first"))
        judged = ibis.table(rows.schema(), name="judged")
        self.counts = _sql(judged.group_by("outcome", "rule", "event_type").agg(rows=judged.count()))
        self.events = {o: _sql(_events(judged, o)) for o in ("clean", "routed")}
        self.refused = _sql(_refused(judged, profile))
        items = catalogue.items_of_files if profile.catalogue.files else catalogue.items_of_events
        self.items = _sql(items(profile))


@cache
def _questions(profile: str, limits: str) -> Questions:
    return Questions(Profile.model_validate_json(profile), Ingest.model_validate_json(limits))


def questions_of(profile: Profile, limits: Ingest) -> Questions:
    """Returns a profile's questions; building them takes a third of a second, so each is built once a process."""
    return _questions(profile.model_dump_json(), limits.model_dump_json(exclude={"source", "profile", "memory_mb"}))


def _sql(question: ir.Table) -> str:
    return str(ibis.to_sql(question, dialect="duckdb"))


def _events(judged: ir.Table, outcome: str) -> ir.Table:
    return judged.filter(judged.outcome == outcome).select(list(EVENT)).order_by(["event_time", "event_id"])


def _refused(judged: ir.Table, profile: Profile) -> ir.Table:
    place = [name for name in QUARANTINE if name != "row"]
    raw = [f"raw_{name}" for name in profile.event_columns]
    refused = judged.filter(judged.outcome == "quarantined")
    return refused.select([*place, "torn", *raw]).order_by(["source_file", "row_number"])


class Engine:
    """Holds one day at a time."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def load(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        """Streams batches into a table of this name, replacing the day before's."""
        failures: list[Exception] = []
        reader = pa.RecordBatchReader.from_batches(schema, _watched(batches, failures))
        self.connection.register("incoming", reader)
        try:
            self.connection.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS SELECT * FROM incoming')
        except Exception:
            # The engine wraps what the reader raised in an error of its own; the reader's says what is wrong.
            if failures:
                raise failures[0] from None
            raise
        finally:
            self.connection.unregister("incoming")

    def keep(self, name: str, question: str) -> None:
        """Stores a question's answer as a table of this name."""
        self.connection.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {question}')

    def ask(self, question: str) -> Iterator[pa.RecordBatch]:
        """Streams a question's answer."""
        return iter(self.connection.sql(question).to_arrow_reader(BATCH_ROWS))

    def count(self, name: str) -> int:
        """Returns how many rows a table holds."""
        return self.connection.execute(f'SELECT count(*) FROM "{name}"').fetchall()[0][0]

    def first_taken_by(self, rule: str) -> str:
        """Returns file and row of the first row of the day a rule took."""
        place = "SELECT source_file, row_number FROM judged WHERE rule = ? ORDER BY ALL LIMIT 1"
        file, row = self.connection.execute(place, [rule]).fetchall()[0]
        return f"{file} row {row}"


def _watched(batches: Iterable[pa.RecordBatch], failures: list[Exception]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except Exception as error:
        failures.append(error)
        raise


@contextmanager
def day_engine(memory_mb: int) -> Iterator[Engine]:
    """Opens the engine for one day after another; what spills to disk are pseudonyms only."""
    with engine(memory_mb) as backend:
        yield Engine(backend.con)
