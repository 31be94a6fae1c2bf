"""Writes a day's Parquet files: equal rows give equal bytes, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.schema import CATALOGUE, EVENT, QUARANTINE

ROWS_A_GROUP = 65_536
_ARROW = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp('UTC')": pa.timestamp("us", "UTC"),
}


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Returns the Arrow form of canonical columns."""
    return pa.schema([(name, _ARROW[kind]) for name, kind in columns.items()])


EVENT_SCHEMA, CATALOGUE_SCHEMA = arrow_schema(EVENT), arrow_schema(CATALOGUE)
QUARANTINE_SCHEMA = arrow_schema(QUARANTINE)


def write_rows(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Writes batches as row groups of equal length, whatever the lengths they came in; returns the rows."""
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(batches, schema):
            writer.write_table(group.combine_chunks(), row_group_size=ROWS_A_GROUP)
            count += group.num_rows
    return count


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    kept = schema.empty_table()
    for batch in batches:
        kept = pa.concat_tables([kept, pa.Table.from_batches([batch]).cast(schema)])
        while kept.num_rows >= ROWS_A_GROUP:
            yield kept.slice(0, ROWS_A_GROUP)
            kept = kept.slice(ROWS_A_GROUP)
    if kept.num_rows:
        yield kept


def quarantined(batches: Iterable[pa.RecordBatch], raw_columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """Turns refused rows into `schema.QUARANTINE`.

    A torn row's values may stand in each other's place, a person's among them, so only what tore it is kept; the row
    itself stays where file and offset say.
    """
    names = list(raw_columns)
    for batch in batches:
        rows = batch.to_pylist()
        told = [{"torn": r["torn"]} if r["torn"] else {name: r[f"raw_{name}"] for name in names} for r in rows]
        texts = [json.dumps(row, ensure_ascii=False) for row in told]
        place = [batch.column(name) for name in QUARANTINE if name != "row"]
        yield pa.RecordBatch.from_arrays([*place, pa.array(texts, pa.string())], schema=QUARANTINE_SCHEMA)
