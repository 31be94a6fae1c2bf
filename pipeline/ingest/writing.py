"""Writes a day's Parquet files: equal rows give equal bytes, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.schema import CATALOGUE, EVENT, QUARANTINE
from pipeline.ingest.reading.ahead import ahead

ROWS_A_GROUP = 65_536
ZSTD_LEVEL = 1
"""Level 3 takes two thirds longer for 2 % less, no compression is little faster for twice as much."""
DICTIONARY_BYTES = 8 << 20
UNLIKE = ("event_id", "row")
_ARROW = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "boolean": pa.bool_(),
    "array<float64>": pa.list_(pa.float64()),
    "timestamp('UTC')": pa.timestamp("us", "UTC"),
}


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Returns the Arrow form of canonical columns."""
    return pa.schema([(name, _ARROW[kind]) for name, kind in columns.items()])


EVENT_SCHEMA, CATALOGUE_SCHEMA = arrow_schema(EVENT), arrow_schema(CATALOGUE)
QUARANTINE_SCHEMA = arrow_schema(QUARANTINE)


def stored_rows(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yields a file's rows, in order, in bounded memory."""
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(ROWS_A_GROUP, columns=columns)


def stored_events(path: Path) -> Iterator[pa.RecordBatch]:
    """Yields a file's events; those ingested before contexts were known have none."""
    for batch in stored_rows(path):
        lacking = "context" not in batch.schema.names
        yield batch.append_column("context", pa.nulls(batch.num_rows, pa.string())) if lacking else batch


def write_rows(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Writes batches as row groups of equal length, whatever the lengths they came in; returns the rows.

    The batches are made in a thread of their own, while those before are packed.
    """
    count = 0
    with pq.ParquetWriter(path, schema, **_packing(schema)) as writer:
        for group in _groups(ahead(batches), schema):
            writer.write_table(group.combine_chunks(), row_group_size=ROWS_A_GROUP)
            count += group.num_rows
    return count


def _packing(schema: pa.Schema) -> dict[str, Any]:
    """Returns how columns are packed: those whose values differ from row to row without a dictionary of them."""
    unlike = [name for name in UNLIKE if name in schema.names]
    return {
        "compression": "zstd",
        "compression_level": ZSTD_LEVEL,
        "use_dictionary": [name for name in schema.names if name not in unlike],
        "dictionary_pagesize_limit": DICTIONARY_BYTES,
        "column_encoding": dict.fromkeys(unlike, "DELTA_LENGTH_BYTE_ARRAY"),
    }


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    kept = schema.empty_table()
    for batch in batches:
        kept = pa.concat_tables([kept, pa.Table.from_batches([batch]).cast(schema)])
        while kept.num_rows >= ROWS_A_GROUP:
            yield kept.slice(0, ROWS_A_GROUP)
            kept = kept.slice(ROWS_A_GROUP)
    if kept.num_rows:
        yield kept


def quarantined(
    batches: Iterable[pa.RecordBatch], raw_columns: Iterable[str], files: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Turns refused rows into `schema.QUARANTINE`; `files` are the names behind file numbers.

    A torn row's values may stand in each other's place, a person's among them, so only what tore it is kept; the row
    itself stays where file and offset say.
    """
    names, files = list(raw_columns), pa.array(files, pa.string())
    for batch in batches:
        torn = batch.column("torn")
        whole = _objects({name: batch.column(f"raw_{name}") for name in names})
        texts = pc.if_else(torn.is_valid(), _objects({"torn": torn}), whole)
        told = {name: batch.column(name) for name in ("rule", "byte_offset", "row_number")}
        told |= {"source_file": files.take(batch.column("file_number")), "row": texts}
        yield pa.RecordBatch.from_arrays([told[name] for name in QUARANTINE], schema=QUARANTINE_SCHEMA)


def _objects(columns: Mapping[str, pa.Array]) -> pa.Array:
    """Returns one JSON object a row, as `json.dumps` writes it, letters beyond ASCII kept."""
    fields = []
    for name, values in columns.items():
        key = json.dumps(name, ensure_ascii=False) + ": "
        field = pc.binary_join_element_wise(key + '"', _escaped(values), '"', "")
        fields.append(pc.fill_null(field, key + "null"))
    return pc.binary_join_element_wise("{", pc.binary_join_element_wise(*fields, ", "), "}", "")


def _escaped(values: pa.Array) -> pa.Array:
    special = pc.fill_null(pc.match_substring_regex(values, r'["\\\x00-\x1f]'), False)
    if not pc.any(special).as_py():
        return values
    escaped = [json.dumps(value, ensure_ascii=False)[1:-1] for value in values.filter(special).to_pylist()]
    return pc.replace_with_mask(values, special, pa.array(escaped, pa.string()))
