"""Reads one raw file, whatever its format, as rows of text that know their place in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from pipeline.core.errors import DataError
from pipeline.ingest.profile import Layout, nearest
from pipeline.ingest.records import Block, blocks, decompressed
from pipeline.store.files import RawFile

PARQUET_ROWS = 65_536


@dataclass(frozen=True)
class Rows:
    """Rows of one file that follow each other.

    Attributes:
        table: the columns asked for as text, null where a row is torn.
        offsets: byte offset of each row in the decompressed stream, None where the format has none.
        torn: why each row cannot be read, or None.
    """

    table: pa.Table
    offsets: list[int | None]
    torn: list[str | None]


def read_rows(file: RawFile, layout: Layout, columns: tuple[str, ...]) -> Iterator[Rows]:
    """Yields the file's rows in order.

    Raises: DataError: a column is not in the file, or the file is not of its format at all.
    """
    with file.open() as stream:
        for rows in _READERS[layout.format](stream, file.name, layout, columns):
            yield Rows(_with_nulls(rows.table, layout.null_words), rows.offsets, rows.torn)


def _with_nulls(table: pa.Table, words: tuple[str, ...]) -> pa.Table:
    nothing = pa.array(["", *words], pa.string())
    missing = pa.scalar(None, pa.string())
    columns = [pc.utf8_trim_whitespace(column.combine_chunks()) for column in table.columns]
    return pa.table([pc.if_else(pc.is_in(c, value_set=nothing), missing, c) for c in columns], names=table.column_names)


def _read_csv(stream: BinaryIO, name: str, layout: Layout, columns: tuple[str, ...]) -> Iterator[Rows]:
    header: list[str] = []
    for block in blocks(decompressed(stream, name), layout.delimiter):
        if not header and block.records:
            header = _header(block.records.pop(0), layout)
            block.offsets.pop(0)
            block.unclosed = {n - 1 for n in block.unclosed if n}
            _refuse_missing(columns, header, name)
        if block.records:
            yield _parse_csv(block, header, layout, columns)
    if not header:
        raise DataError(f"{name}: the file is empty; a header line with {', '.join(columns)} was expected.")


def _header(record: bytes, layout: Layout) -> list[str]:
    text = record.decode(layout.encoding, "replace").encode()
    table = pv.read_csv(
        pa.BufferReader(text + b"\n" + text + b"\n"), parse_options=pv.ParseOptions(delimiter=layout.delimiter)
    )
    return [column.strip() for column in table.column_names]


def _refuse_missing(columns: Iterable[str], found: list[str], name: str) -> None:
    for column in columns:
        if column not in found:
            hint = nearest(column, found)
            raise DataError(f"{name}: there is no column {column}, which the profile names{hint}")


def _parse_csv(block: Block, header: list[str], layout: Layout, columns: tuple[str, ...]) -> Rows:
    torn: list[str | None] = [None] * len(block.records)
    blank = layout.delimiter.encode() * (len(header) - 1) or b'""'
    records = list(block.records)
    for place, record in enumerate(records):
        if place in block.unclosed:
            torn[place], records[place] = "a quote never closes", blank
        elif layout.encoding != "utf-8" or not record.isascii():
            torn[place], records[place] = _as_utf8(record, layout.encoding, blank)
    bad: dict[int, pv.InvalidRow] = {}

    def skip(row: pv.InvalidRow) -> str:
        bad[row.number - 1] = row
        return "skip"

    text = b"\n".join(records) + b"\n"
    table = pv.read_csv(
        pa.BufferReader(text),
        read_options=pv.ReadOptions(column_names=header, use_threads=False, block_size=len(text) + 1),
        parse_options=pv.ParseOptions(
            delimiter=layout.delimiter, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=skip
        ),
        convert_options=pv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), include_columns=columns, null_values=[]
        ),
    )
    for place, row in bad.items():
        torn[place] = f"{row.actual_columns} columns instead of {row.expected_columns}"
    return Rows(_spread(table, len(records), bad), list(block.offsets), torn)


def _as_utf8(record: bytes, encoding: str, blank: bytes) -> tuple[str | None, bytes]:
    try:
        return None, record.decode(encoding).encode()
    except UnicodeDecodeError:
        return f"bytes that are no {encoding}", blank


def _spread(table: pa.Table, rows: int, missing: Iterable[int]) -> pa.Table:
    """Puts rows of nulls where the parser skipped some, so that row n is record n again."""
    gone = set(missing)
    if table.num_rows + len(gone) != rows:
        raise DataError(
            f"{rows} records were cut but {table.num_rows + len(gone)} rows parsed; check delimiter and quotes."
        )
    if not gone:
        return table
    places = iter(range(table.num_rows))
    return table.take(pa.array([None if n in gone else next(places) for n in range(rows)], pa.int64()))


def _read_jsonl(stream: BinaryIO, name: str, layout: Layout, columns: tuple[str, ...]) -> Iterator[Rows]:
    seen: set[str] = set()
    for block in blocks(decompressed(stream, name), None):
        parsed = [_json_object(record, layout.encoding) for record in block.records]
        found = [{c: _reach(o, c, seen) for c in columns} if o is not None else dict.fromkeys(columns) for o in parsed]
        torn = [None if o is not None else "no JSON object" for o in parsed]
        yield Rows(
            pa.Table.from_pylist(found, pa.schema(dict.fromkeys(columns, pa.string()))), list(block.offsets), torn
        )
        _refuse_unseen(columns, parsed, seen, name)


def _refuse_unseen(columns: Iterable[str], parsed: list[dict[str, Any] | None], seen: set[str], name: str) -> None:
    """Refuses a file none of whose first rows know a column; a single row may leave one out."""
    whole = [o for o in parsed if o is not None]
    if len(whole) >= 100:
        known = sorted({key for o in whole for key in o})
        _refuse_missing([c for c in columns if c not in seen], known, name)


def _json_object(record: bytes, encoding: str) -> dict[str, Any] | None:
    try:
        value = json.loads(record.decode(encoding))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _reach(value: Any, column: str, seen: set[str]) -> str | None:
    for part in [column] if column in value else column.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    seen.add(column)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _read_parquet(stream: BinaryIO, name: str, layout: Layout, columns: tuple[str, ...]) -> Iterator[Rows]:
    try:
        source = stream if stream.seekable() else pa.BufferReader(stream.read())
        file = pq.ParquetFile(source)
    except pa.ArrowInvalid as error:
        raise DataError(f"{name}: this is not Parquet ({str(error).splitlines()[0]}); deliver it again.") from None
    _refuse_missing(columns, file.schema_arrow.names, name)
    for batch in file.iter_batches(PARQUET_ROWS, columns=list(columns), use_threads=False):
        table = pa.Table.from_batches([batch]).select(list(columns))
        text = pa.table([column.cast(pa.string()) for column in table.columns], names=list(columns))
        yield Rows(text, [None] * len(text), [None] * len(text))


_READERS = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}
