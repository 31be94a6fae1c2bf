"""Reads one raw file, whatever its format, as rows of text that know their place in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import DataError
from pipeline.ingest.profiles.profile import Layout, nearest
from pipeline.ingest.reading.delimited import Parser, header_of, with_nulls
from pipeline.ingest.reading.json_lines import Objects
from pipeline.ingest.reading.records import Block, blocks, decompressed
from pipeline.store.files import RawFile

PARQUET_ROWS = 65_536


@dataclass(frozen=True)
class Rows:
    """Rows of one file that follow each other but for torn ones, which come apart, after those they stood between.

    Attributes:
        table: the columns asked for as text, null where a row is torn.
        numbers: int64, from 1, the header not counted.
        offsets: byte offset of each row in the decompressed stream, null where the format has none.
        torn: why each row cannot be read; None for all of them, or for none.
    """

    table: pa.Table
    numbers: np.ndarray
    offsets: pa.Array
    torn: Sequence[str | None]

    @property
    def whole(self) -> bool:
        return not self.torn or self.torn[0] is None


def read_rows(file: RawFile, layout: Layout, columns: tuple[str, ...]) -> Iterator[Rows]:
    """Yields the file's rows.

    Raises: DataError: a column is not in the file, or the file is not of its format at all.
    """
    with file.open() as stream:
        yield from _READERS[layout.format](stream, file.name, layout, columns)


def csv_header(file: RawFile, layout: Layout) -> list[str]:
    """Returns the names in the first line of a CSV file, none if it is empty.

    Raises: DataError: it cannot be read.
    """
    with file.open() as stream:
        for block in blocks(decompressed(stream, file.name), layout.delimiter, file.name):
            if len(block):
                return _header(block, layout, file.name)
    return []


def _read_csv(stream: BinaryIO, name: str, layout: Layout, columns: tuple[str, ...]) -> Iterator[Rows]:
    parser: Parser | None = None
    first = 1
    for block in blocks(decompressed(stream, name), layout.delimiter, name):
        if parser is None and len(block):
            header = _header(block, layout, name)
            _refuse_missing(columns, header, name)
            _refuse_repeated(columns, header, name)
            parser, block = Parser(header, layout, columns, name), block.without_first()
        if parser and len(block):
            yield from _placed(block, first, *parser.parse(block))
            first += len(block)
    if parser is None:
        raise DataError(f"{name}: the file is empty; a header line with {', '.join(columns)} was expected.")


def _header(block: Block, layout: Layout, name: str) -> list[str]:
    record = block.record(0)
    if 0 in block.unclosed:
        raise DataError(f"{name}: a quote in its header line never closes; close it or take it out.")
    if b"\r" in record:
        raise DataError(f"{name}: its lines end in carriage returns; deliver it with line feeds.")
    return header_of(record, layout, name)


def _refuse_missing(columns: Iterable[str], found: Sequence[str], name: str) -> None:
    for column in columns:
        if column not in found:
            hint = nearest(column, found)
            raise DataError(f"{name}: there is no column {column}, which the profile names{hint}")


def _refuse_repeated(columns: Iterable[str], found: Sequence[str], name: str) -> None:
    for column in columns:
        if found.count(column) > 1:
            raise DataError(
                f"{name}: {found.count(column)} columns are called {column}, which the profile names; "
                f"give each a name of its own."
            )


def _placed(block: Block, first: int, table: pa.Table, torn: dict[int, str]) -> Iterator[Rows]:
    """Yields the rows that can be read, then those that cannot."""
    numbers = np.arange(first, first + len(block))
    offsets = block.begins + block.offset
    whole = np.ones(len(block), bool)
    whole[list(torn)] = False
    if len(table):
        yield Rows(table, numbers[whole], pa.array(offsets[whole]), [None] * len(table))
    if torn:
        nothing = pa.table([pa.nulls(len(torn), pa.string())] * table.num_columns, names=table.column_names)
        yield Rows(nothing, numbers[~whole], pa.array(offsets[~whole]), [torn[n] for n in sorted(torn)])


def _read_jsonl(stream: BinaryIO, name: str, layout: Layout, columns: tuple[str, ...]) -> Iterator[Rows]:
    objects, first = Objects(columns, layout.encoding), 1
    for block in blocks(decompressed(stream, name), None, name):
        table, torn = objects.parse(block)
        yield from _placed(block, first, with_nulls(table, layout.null_words), torn)
        first += len(block)
        # A single row may leave a column out; a hundred that all do know none of that name.
        unseen = [c for c in columns if c not in objects.seen]
        if unseen and len(table) >= 100:
            raise DataError(
                f"{name}: the profile names {unseen[0]}, but none of the {len(table):,} objects up to row "
                f"{first - 1:,} has it, not even as null{nearest(unseen[0], objects.known())}"
            )


def _read_parquet(stream: BinaryIO, name: str, layout: Layout, columns: tuple[str, ...]) -> Iterator[Rows]:
    with seekable(stream) as source:
        try:
            file = pq.ParquetFile(source)
            _refuse_missing(columns, file.schema_arrow.names, name)
            _refuse_repeated(columns, file.schema_arrow.names, name)
            first = 1
            for batch in file.iter_batches(PARQUET_ROWS, columns=list(columns), use_threads=False):
                text = [_as_text(batch.column(column), column, name) for column in columns]
                count = len(batch)
                table = with_nulls(pa.table(text, names=list(columns)), layout.null_words)
                yield Rows(table, np.arange(first, first + count), pa.nulls(count, pa.int64()), [None] * count)
                first += count
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise DataError(f"{name}: this is not Parquet ({str(error).splitlines()[0]}); deliver it again.") from None


def _as_text(values: pa.Array, column: str, name: str) -> pa.Array:
    try:
        if _holds_numbers(values.type):
            return pc.binary_join(values.cast(pa.list_(pa.string())), " ")
        return values.cast(pa.string())
    except pa.ArrowException:
        raise DataError(
            f"{name}: the column {column} is of the type {values.type}, and not all it holds can be read as text; "
            f"write it as text in UTF-8, as a number, a time or a list of numbers."
        ) from None


def _holds_numbers(kind: pa.DataType) -> bool:
    types = pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return lists and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type))


@contextmanager
def seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Parquet is read from its end: a stream that cannot seek is laid on disk first."""
    if stream.seekable():
        yield stream
        return
    with TemporaryFile() as laid:
        shutil.copyfileobj(stream, laid, 1 << 20)
        laid.seek(0)
        yield laid


_READERS = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}
