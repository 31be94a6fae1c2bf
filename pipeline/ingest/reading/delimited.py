"""Parses blocks of CSV records with Arrow; only the records that need it are looked at one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from pipeline.core.errors import DataError
from pipeline.ingest.profiles.profile import Layout
from pipeline.ingest.reading.records import CARRIAGE_RETURN, NEWLINE, SPACE, Block, Quotes


def header_of(record: bytes, layout: Layout, name: str) -> list[str]:
    """Returns the names the header of a file holds, blanks around them trimmed.

    Raises: DataError: it cannot be read.
    """
    text = record.decode(layout.encoding, "replace").encode()
    try:
        table = pv.read_csv(
            pa.BufferReader(text + b"\n" + text + b"\n"),
            read_options=pv.ReadOptions(block_size=2 * len(text) + 2),
            parse_options=pv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=True),
        )
    except pa.ArrowInvalid as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{name}: its header line cannot be read ({why}); correct the line.") from None
    return [column.strip() for column in table.column_names]


class Parser:
    """Turns blocks of one file into text columns."""

    def __init__(self, header: Sequence[str], layout: Layout, columns: Sequence[str], name: str) -> None:
        self.layout, self.columns, self.name = layout, tuple(columns), name
        self.quotes = Quotes(layout.delimiter)
        self.delimiter = layout.delimiter.encode()
        # Names may repeat where nobody asks for them; numbers do not.
        self.names = [str(n) for n in range(len(header))]
        self.wanted = [str(header.index(column)) for column in columns]
        self.blank = self.delimiter * (len(header) - 1) or b'""'
        self.conversion = pv.ConvertOptions(
            column_types=dict.fromkeys(self.names, pa.string()),
            include_columns=self.wanted,
            null_values=["", *layout.null_words],
            strings_can_be_null=True,
            check_utf8=False,
        )

    def parse(self, block: Block) -> tuple[pa.Table, dict[int, str]]:
        """Returns the rows that can be read, and why the others, by their number in the block, cannot."""
        torn = self._spoilt(block)
        text = self._text(block, sorted(torn))
        bad: dict[int, str] = {}

        def skip(row: pv.InvalidRow) -> str:
            bad[row.number - 1] = f"{row.actual_columns} columns instead of {row.expected_columns}"
            return "skip"

        table = pv.read_csv(
            pa.BufferReader(text),
            read_options=pv.ReadOptions(column_names=self.names, use_threads=False, block_size=len(text) + 1),
            parse_options=pv.ParseOptions(
                delimiter=self.layout.delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=self.conversion,
        )
        if table.num_rows + len(bad) != len(block):
            raise DataError(
                f"{self.name}: {len(block):,} records were cut after byte {block.offset:,} but "
                f"{table.num_rows + len(bad):,} rows parsed; check delimiter and quotes."
            )
        table = table.rename_columns(self.columns)
        if torn:
            table = table.filter(pa.array(self._whole(len(block), torn, bad)))
        edged = [name for name in self.columns if _has_edges(_flat(table.column(name)))]
        for name in edged:
            column = with_nulls(table.select([name]), self.layout.null_words)
            table = table.set_column(self.columns.index(name), name, column.column(0))
        return table, bad | torn

    def _whole(self, count: int, torn: dict[int, str], bad: dict[int, str]) -> np.ndarray:
        """Returns of each parsed row whether it is more than the blank put in a torn one's place."""
        whole = np.ones(count, bool)
        whole[list(torn)] = False
        return np.delete(whole, list(bad))

    def _spoilt(self, block: Block) -> dict[int, str]:
        """Returns why records cannot be parsed at all."""
        torn = dict.fromkeys(self._broken(block), "a carriage return within the line")
        if b"\0" in block.data:
            nul = block.marks[block.bytes[block.marks] == 0]
            torn |= dict.fromkeys(block.holders(nul).tolist(), "a NUL byte")
        torn |= dict.fromkeys(self._undecodable(block), f"bytes that are no {self.layout.encoding}")
        return torn | dict.fromkeys(block.unclosed.tolist(), "a quote never closes")

    def _broken(self, block: Block) -> list[int]:
        bare = _bare_returns(block)
        return [n for n in block.holders(bare).tolist() if self.quotes.breaks(block.record(n))] if len(bare) else []

    def _undecodable(self, block: Block) -> Iterator[int]:
        if block.data.isascii() or _decodes(block.data, self.layout.encoding):
            return
        for number in block.holders(np.flatnonzero(block.bytes >= 128)).tolist():
            if not _decodes(block.record(number), self.layout.encoding):
                yield number

    def _text(self, block: Block, torn: Sequence[int]) -> bytes:
        """Returns the block's records in UTF-8, with a blank one in each torn one's place."""
        first, stop = (int(block.begins[0]), len(block.data)) if len(block) else (0, 0)
        parts, at = [], first
        for number in torn:
            parts += [block.data[at : block.begins[number]], self.blank]
            at = int(block.stops[number])
        text = b"".join([*parts, block.data[at:stop]])
        encoding = self.layout.encoding
        return text if encoding == "utf-8" or text.isascii() else text.decode(encoding).encode()


def with_nulls(table: pa.Table, null_words: Sequence[str]) -> pa.Table:
    """Returns text columns without blanks around their values; null where nothing or a null word is left."""
    nothing = pa.array(["", *null_words], pa.string())
    missing = pa.scalar(None, pa.string())
    columns = [pc.utf8_trim_whitespace(_flat(column)) for column in table.columns]
    return pa.table([pc.if_else(pc.is_in(c, value_set=nothing), missing, c) for c in columns], names=table.column_names)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _has_edges(values: pa.StringArray) -> bool:
    """May a value begin or end with a blank? Beyond ASCII a byte does not tell, so that it may."""
    _, offsets, text = values.buffers()
    if text is None or not len(values):
        return False
    places = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    bytes_ = np.frombuffer(text, np.uint8)[places[0] : places[-1]]
    if not len(bytes_) or (bytes_.min() > SPACE and bytes_.max() < 128):
        return False
    places = places - places[0]
    outer = bytes_[np.concatenate([np.minimum(places[:-1], len(bytes_) - 1), np.maximum(places[1:] - 1, 0)])]
    return bool(((outer <= SPACE) | (outer >= 128)).any())


def _bare_returns(block: Block) -> np.ndarray:
    """Returns where carriage returns end no line."""
    returns = block.marks[block.bytes[block.marks] == CARRIAGE_RETURN]
    after = np.minimum(returns + 1, len(block.data) - 1)
    return returns[(block.bytes[after] != NEWLINE) & (returns + 1 < len(block.data))]


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
