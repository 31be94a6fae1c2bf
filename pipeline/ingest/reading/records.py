"""Cuts a stream of bytes into records, a whole block at once, and knows where in the stream each one begins."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pipeline.core.errors import DataError

BLOCK_BYTES = 8 << 20
MAX_RECORD_BYTES = 1 << 18
MAX_LINE_BYTES = 64 << 20
BOM = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
GZIP_MAGIC = b"\x1f\x8b"
NEWLINE, CARRIAGE_RETURN, SPACE, QUOTE = 10, 13, 32, 34


@dataclass(frozen=True)
class Block:
    """Whole records that follow each other; all places count within `data`.

    Attributes:
        data: the records and the line ends between them.
        offset: where `data` begins in the decompressed stream.
        begins: int64 [records], first byte of each; empty lines are no records.
        stops: int64 [records], the byte after each, its line end not counted.
        unclosed: int64, numbers of records with a quote that never closes, from 0.
        marks: int64, places of line ends; in CSV, of all bytes up to QUOTE, blanks and control bytes among them.
    """

    data: bytes
    offset: int
    begins: np.ndarray
    stops: np.ndarray
    unclosed: np.ndarray
    marks: np.ndarray

    @property
    def bytes(self) -> np.ndarray:
        """Returns uint8 [bytes] over `data`."""
        return np.frombuffer(self.data, np.uint8)

    def __len__(self) -> int:
        return len(self.begins)

    def record(self, number: int) -> bytes:
        return self.data[self.begins[number] : self.stops[number]]

    def holders(self, places: np.ndarray) -> np.ndarray:
        """Returns the numbers of the records that hold bytes at these places, ascending, each once."""
        numbers = np.searchsorted(self.begins, places, side="right") - 1
        inside = (numbers >= 0) & (places < self.stops[numbers]) if len(self) else np.zeros(len(places), bool)
        return np.unique(numbers[inside])

    def without_first(self) -> Block:
        """Returns the block without its first record, which is the header."""
        unclosed = self.unclosed[self.unclosed > 0] - 1
        return Block(self.data, self.offset, self.begins[1:], self.stops[1:], unclosed, self.marks)


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


def blocks(chunks: Iterator[bytes], delimiter: str | None, name: str = "the file") -> Iterator[Block]:
    """Yields blocks of whole records; a byte-order mark is no part of one.

    Args:
        chunks: the decompressed stream.
        delimiter: of CSV, whose quoted fields may hold line ends; None where every line is a record.
        name: of the file, for people.
    Raises: DataError: it is no text of lines.
    """
    cut = _Cutter(delimiter, name)
    for chunk in chunks:
        yield cut.feed(chunk)
    yield cut.feed(b"", last=True)


class _Cutter:
    def __init__(self, delimiter: str | None, name: str) -> None:
        self.quotes, self.name = Quotes(delimiter) if delimiter else None, name
        self.rest, self.at, self.begun = b"", 0, False

    def feed(self, chunk: bytes, last: bool = False) -> Block:
        data = self.rest + chunk
        if not self.begun:
            if len(data) < len(BOM) and not last:
                data, self.rest = b"", data
                return self._block(data, np.zeros(0, np.int64), np.zeros(0, np.int64), [])
            data = self._begin(data)
        bytes_ = np.frombuffer(data, np.uint8)
        marks = np.flatnonzero(bytes_ <= QUOTE if self.quotes else bytes_ == NEWLINE)
        ends = marks[bytes_[marks] == NEWLINE]
        if last and len(data) and data[-1] != NEWLINE:
            ends = np.append(ends, len(data))
        unclosed: list[int] = []
        if self.quotes:
            ends, unclosed = self._joined(data, ends, marks[bytes_[marks] == QUOTE], last)
        used = int(ends[-1]) + 1 if len(ends) else 0
        block = self._block(data[:used], ends, marks, unclosed)
        self.rest, self.at = data[used:], self.at + used
        if len(self.rest) > MAX_LINE_BYTES:
            raise DataError(
                f"{self.name}: no line ends within {MAX_LINE_BYTES >> 20} MB after byte {self.at:,}; "
                f"this is no file of lines, deliver it again."
            )
        return block

    def _begin(self, data: bytes) -> bytes:
        self.begun = True
        if data.startswith(UTF_16):
            raise DataError(f"{self.name}: the file is written in UTF-16; deliver it in UTF-8.")
        self.at = len(BOM) if data.startswith(BOM) else 0
        return data[self.at :]

    def _joined(self, data: bytes, ends: np.ndarray, quotes: np.ndarray, last: bool) -> tuple[np.ndarray, list[int]]:
        """Returns the ends of records, lines joined where a quoted field spans them, and those of unclosed records."""
        doubtful = self.quotes.doubtful(np.frombuffer(data, np.uint8), ends, quotes)
        quoted = np.unique(np.searchsorted(ends, quotes)) if len(doubtful) else doubtful
        is_end, unclosed, done = np.ones(len(ends), bool), [], -1
        for line in doubtful.tolist():
            begin = int(ends[line - 1]) + 1 if line else 0
            if line <= done or not self.quotes.opens(data[begin : int(ends[line])]):
                continue
            done, closed = self._until_closed(data, begin, ends, quoted, line, last)
            if done < 0:
                return ends[:line][is_end[:line]], unclosed
            is_end[line:done] = False
            if not closed:
                unclosed.append(int(ends[line]))
        return ends[is_end], unclosed

    def _until_closed(
        self, data: bytes, begin: int, ends: np.ndarray, quoted: np.ndarray, line: int, last: bool
    ) -> tuple[int, bool]:
        """Returns the line a quoted record ends on and whether it closed; -1 to wait for more bytes.

        A quote that never closes ends with its own line, so that it spoils one record and not the rest of the file.
        """
        for until in quoted[np.searchsorted(quoted, line, side="right") :].tolist():
            if until >= len(ends):
                break
            first, end = int(ends[until - 1]) + 1, int(ends[until])
            if end - begin > MAX_RECORD_BYTES:
                return line, False
            closes = self.quotes.closes(data[first:end])
            if closes is not None:
                return (until, True) if closes else (line, False)
        return (line, False) if last or len(data) - begin > MAX_RECORD_BYTES else (-1, False)

    def _block(self, data: bytes, ends: np.ndarray, marks: np.ndarray, unclosed: list[int]) -> Block:
        begins = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) if len(ends) else ends
        bytes_ = np.frombuffer(data, np.uint8)
        stops = ends - ((ends > begins) & (bytes_[ends - 1] == CARRIAGE_RETURN)) if len(ends) else ends
        held = stops > begins
        numbers = np.flatnonzero(np.isin(ends[held], unclosed)) if unclosed else np.zeros(0, np.int64)
        if not held.all():
            begins, stops = begins[held], stops[held]
        return Block(data, self.at, begins, stops, numbers, marks[: np.searchsorted(marks, len(data))])


class Quotes:
    """Knows quoted CSV fields; a quote opens only where a field begins."""

    def __init__(self, delimiter: str) -> None:
        mark = re.escape(delimiter).encode()
        field = rb'(?:"(?:[^"]|"")*+"[^%b]*+|[^"%b][^%b]*+|)' % (mark, mark, mark)
        self._whole = re.compile(rb"%b(?:%b%b)*+" % (field, mark, field), re.DOTALL)
        self._rest_of_field = re.compile(rb'(?:[^"]|"")*+"', re.DOTALL)
        self._end_of_field = re.compile(rb"[%b\r]|\Z" % mark)
        self._unquoted = re.compile(rb'(?:^|(?<=%b))"(?:[^"]|"")*+"' % mark, re.DOTALL)
        self._before = np.array([NEWLINE, *delimiter.encode()], np.uint8)
        self._after = np.array([NEWLINE, CARRIAGE_RETURN, QUOTE, *delimiter.encode()], np.uint8)

    def opens(self, line: bytes) -> bool:
        """Does a line that begins a record end inside a quoted field?"""
        return self._whole.fullmatch(line) is None

    def closes(self, line: bytes) -> bool | None:
        """Does a line that begins inside a quoted field end outside of one? None where the next line must tell.

        A quote within the field that neither is doubled nor ends it opened another one: the first was never closed.
        """
        closing = self._rest_of_field.match(line)
        if closing is None:
            return None
        if not self._end_of_field.match(line, closing.end()):
            return False
        return None if self.opens(b"_" + line[closing.end() :]) else True

    def doubtful(self, bytes_: np.ndarray, ends: np.ndarray, quotes: np.ndarray) -> np.ndarray:
        """Returns the numbers of lines whose quotes do not plainly come in pairs around whole fields.

        Plainly paired are quotes if they are even in number, the first, third … stand where a field begins (or beside
        the quote before: two of them mean one), and the second, fourth … where one ends. Such a line opens nothing.
        """
        lines = np.searchsorted(ends, quotes)
        lines = lines[: np.searchsorted(lines, len(ends))]
        if not len(lines):
            return lines
        quotes = quotes[: len(lines)]
        new = np.concatenate([[True], lines[1:] != lines[:-1]])
        firsts = np.flatnonzero(new)
        lengths = np.diff(np.append(firsts, len(lines)))
        odd = (np.arange(len(lines)) - np.repeat(firsts, lengths)) % 2 == 1
        before = np.where(quotes > 0, bytes_[quotes - 1], NEWLINE)
        after = bytes_[np.minimum(quotes + 1, len(bytes_) - 1)]
        after = np.where(quotes + 1 < len(bytes_), after, NEWLINE)
        begins = np.isin(before, self._before) | (~new & (np.diff(quotes, prepend=-2) == 1))
        fits = np.where(odd, np.isin(after, self._after), begins)
        return np.union1d(lines[~fits], lines[firsts[lengths % 2 == 1]])

    def breaks(self, record: bytes) -> bool:
        """Does a carriage return stand outside of quoted fields?"""
        return b"\r" in self._unquoted.sub(b"", record)
