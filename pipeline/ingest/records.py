"""Cuts a stream of bytes into records and knows where in the decompressed stream each one begins."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from pipeline.core.errors import DataError

BLOCK_BYTES = 4 << 20
MAX_RECORD_BYTES = 1 << 18
BOM = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"
NEWLINE, CARRIAGE_RETURN, QUOTE = 10, 13, 34


@dataclass
class Block:
    """Whole records that follow each other.

    Attributes:
        records: each without its line end.
        offsets: where each begins in the decompressed stream.
        unclosed: places of records with a quote that never closes.
    """

    records: list[bytes] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    unclosed: set[int] = field(default_factory=set)


def decompressed(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yields the bytes of a file that may be gzipped, which its first bytes tell, not its name.

    Raises: DataError: the gzip stream is cut short or corrupt; half a day must not pass for a quiet one.
    """
    head = _read_exactly(stream, len(GZIP_MAGIC))
    joined = _Rejoined(head, stream)
    if head != GZIP_MAGIC:
        yield from _chunks(joined)
        return
    try:
        with gzip.GzipFile(fileobj=joined) as unpacked:  # type: ignore[arg-type]
            yield from _chunks(unpacked)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: the gzip stream is torn ({error}); deliver the file again whole.") from None


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    found = b""
    while len(found) < count and (more := stream.read(count - len(found))):
        found += more
    return found


def _chunks(stream: BinaryIO | gzip.GzipFile | _Rejoined) -> Iterator[bytes]:
    while chunk := stream.read(BLOCK_BYTES):
        yield chunk


class _Rejoined:
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self.head, self.rest = head, rest

    def read(self, count: int = -1) -> bytes:
        if self.head:
            found, self.head = self.head[:count], self.head[count:] if count > 0 else b""
            return found
        return self.rest.read(count)


def blocks(chunks: Iterator[bytes], delimiter: str | None) -> Iterator[Block]:
    """Yields blocks of whole records; a byte-order mark and empty lines are no records.

    Args:
        chunks: the decompressed stream.
        delimiter: of CSV, whose quoted fields may hold line ends; None where every line is a record.
    """
    cut = _Cutter(delimiter)
    for chunk in chunks:
        yield cut.feed(chunk)
    yield cut.feed(b"", last=True)


class _Cutter:
    def __init__(self, delimiter: str | None) -> None:
        self.quotes = _Quotes(delimiter) if delimiter else None
        self.rest, self.at, self.begun = b"", 0, False

    def feed(self, chunk: bytes, last: bool = False) -> Block:
        data = self.rest + chunk
        if not self.begun:
            if len(data) < len(BOM) and not last:
                self.rest = data
                return Block()
            self.begun = True
            self.at = len(BOM) if data.startswith(BOM) else 0
            data = data[self.at :]
        block, begin, used = Block(), 0, 0
        ends, quoted = _lines(data, last)
        line = 0
        while line < len(ends):
            until, closed = line, True
            if self.quotes and quoted[line]:
                until, closed = self._until_closed(data, begin, ends, quoted, line, last)
                if until < 0:
                    break
            self._add(block, data, begin, int(ends[until]), closed)
            begin = used = int(ends[until]) + 1
            line = until + 1
        self.rest, self.at = data[used:], self.at + used
        return block

    def _until_closed(
        self, data: bytes, begin: int, ends: np.ndarray, quoted: np.ndarray, line: int, last: bool
    ) -> tuple[int, bool]:
        """Returns the line a quoted record ends on and whether it closed; -1 to wait for more bytes.

        A quote that never closes ends with its own line, so that it spoils one record and not the rest of the file.
        """
        quotes, end = self.quotes, int(ends[line])
        if not quotes.opens(data[begin:end]):
            return line, True
        for until in np.flatnonzero(quoted[line + 1 :]) + line + 1:
            first, end = int(ends[until - 1]) + 1, int(ends[until])
            if end - begin > MAX_RECORD_BYTES:
                return line, False
            if quotes.closes(data[first:end]):
                return int(until), True
        return (line, False) if last or len(data) - begin > MAX_RECORD_BYTES else (-1, False)

    def _add(self, block: Block, data: bytes, begin: int, end: int, closed: bool) -> None:
        stop = end - 1 if end > begin and data[end - 1] == CARRIAGE_RETURN else end
        if stop > begin:
            if not closed:
                block.unclosed.add(len(block.records))
            block.records.append(data[begin:stop])
            block.offsets.append(self.at + begin)


def _lines(data: bytes, last: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns where each line ends and whether it holds a quote; an unfinished last line counts only at the end."""
    bytes_ = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(bytes_ == NEWLINE)
    if last and len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        ends = np.append(ends, len(data))
    quoted = np.zeros(len(ends), bool)
    places = np.searchsorted(ends, np.flatnonzero(bytes_ == QUOTE))
    quoted[places[places < len(ends)]] = True
    return ends, quoted


class _Quotes:
    """Follows quoted CSV fields from line to line; a quote opens only where a field begins."""

    def __init__(self, delimiter: str) -> None:
        mark = re.escape(delimiter).encode()
        field_ = rb'(?:"(?:[^"]|"")*+"[^%b]*+|[^"%b][^%b]*+|)' % (mark, mark, mark)
        self._whole = re.compile(rb"%b(?:%b%b)*+" % (field_, mark, field_), re.DOTALL)
        self._rest_of_field = re.compile(rb'(?:[^"]|"")*+"', re.DOTALL)

    def opens(self, line: bytes) -> bool:
        """Does a line that begins a record end inside a quoted field?"""
        return self._whole.fullmatch(line) is None

    def closes(self, line: bytes) -> bool:
        """Does a line that begins inside a quoted field end outside of one?"""
        closing = self._rest_of_field.match(line)
        return closing is not None and not self.opens(b"_" + line[closing.end() :])
