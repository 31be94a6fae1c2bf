"""Looks for words in every file below a folder, through what hides them: gzip, zip, Parquet, SQLite, arrays.

Made for two questions: is a forgotten person still anywhere, and did a raw id reach the disk?
"""

from __future__ import annotations

import gzip
import io
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

CHUNK_BYTES = 4 << 20
LONGEST_WORD = 512
_MAGIC_BYTES = 16


@dataclass(frozen=True)
class Found:
    """One file that holds what was looked for."""

    path: Path
    words: tuple[str, ...]


@dataclass(frozen=True)
class Swept:
    """What a sweep saw."""

    files: int
    bytes: int
    found: tuple[Found, ...]


def any_of(words: Iterable[str]) -> re.Pattern[bytes]:
    """Returns a pattern of these very words."""
    return re.compile(b"|".join(re.escape(word.encode()) for word in sorted(words)))


def sweep(root: Path, pattern: re.Pattern[bytes], spare: Callable[[Path], bool] = lambda _: False) -> Swept:
    """Searches every file below a folder, in order of path.

    Args:
        pattern: what to look for; at most `LONGEST_WORD` bytes.
        spare: files to leave out.
    """
    files, size, found = 0, 0, []
    for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
        if spare(path):
            continue
        try:
            words = words_in(path, pattern)
            files, size = files + 1, size + path.stat().st_size
        except FileNotFoundError:  # a live store drops files while it is walked
            continue
        if words:
            found.append(Found(path, tuple(sorted(words))))
    return Swept(files, size, tuple(found))


def words_in(path: Path, pattern: re.Pattern[bytes], without_tables: Collection[str] = ()) -> set[str]:
    """Returns what of the pattern one file holds.

    Args:
        without_tables: tables of a SQLite file that may hold it; the file's own bytes are then not searched.
    """
    with path.open("rb") as file:
        head = file.read(_MAGIC_BYTES)
        file.seek(0)
        if head.startswith(b"SQLite format 3\0"):
            found = _in_texts(_sqlite_values(path, without_tables), pattern)
            return found if without_tables else found | _in_stream(file, pattern)
        return _in_opened(file, head, pattern)


def _in_opened(file: BinaryIO, head: bytes, pattern: re.Pattern[bytes]) -> set[str]:
    found = _in_stream(file, pattern)
    file.seek(0)
    for magic, inside in _INSIDE.items():
        if head.startswith(magic):
            # What is torn, or only looks like it, was searched as plain bytes.
            with suppress(OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile):
                found |= inside(file, pattern)
    return found


def _in_stream(stream: Any, pattern: re.Pattern[bytes]) -> set[str]:
    found: set[str] = set()
    kept = b""
    while chunk := stream.read(CHUNK_BYTES):
        found |= _in_bytes(kept + chunk, pattern)
        kept = (kept + chunk)[-4 * LONGEST_WORD :]
    return found


def _in_bytes(data: bytes, pattern: re.Pattern[bytes]) -> set[str]:
    matches = pattern.findall(data)
    if b"\0" in data:  # UTF-16 and UTF-32, such as NumPy's text arrays
        matches += pattern.findall(data.replace(b"\0", b""))
    return {match.decode("latin-1") for match in matches}


def _in_texts(texts: Iterable[str | bytes], pattern: re.Pattern[bytes]) -> set[str]:
    found: set[str] = set()
    for text in texts:
        found |= _in_bytes(text.encode() if isinstance(text, str) else text, pattern)
    return found


def _in_gzip(file: BinaryIO, pattern: re.Pattern[bytes]) -> set[str]:
    return _in_nested(gzip.GzipFile(fileobj=file).read(), pattern)


def _in_zip(file: BinaryIO, pattern: re.Pattern[bytes]) -> set[str]:
    found: set[str] = set()
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            found |= _in_nested(archive.read(name), pattern)
    return found


def _in_nested(data: bytes, pattern: re.Pattern[bytes]) -> set[str]:
    return _in_opened(io.BytesIO(data), data[:_MAGIC_BYTES], pattern)


def _in_parquet(file: BinaryIO, pattern: re.Pattern[bytes]) -> set[str]:
    """Searches the buffers of every column, which hold its texts end to end."""
    import pyarrow.parquet as pq

    found: set[str] = set()
    for batch in pq.ParquetFile(file).iter_batches(use_threads=False):
        buffers = (buffer for column in batch.columns for buffer in column.buffers() if buffer is not None)
        found |= _in_texts((memoryview(buffer).tobytes() for buffer in buffers), pattern)
    return found


def _sqlite_values(path: Path, without_tables: Collection[str]) -> Iterator[str | bytes]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    connection.text_factory = bytes
    try:
        names = [name.decode() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            if name in without_tables:
                continue
            for row in connection.execute(f'SELECT * FROM "{name}"'):
                yield from (value for value in row if isinstance(value, bytes))
    finally:
        connection.close()


_INSIDE = {b"\x1f\x8b": _in_gzip, b"PK\x03\x04": _in_zip, b"PAR1": _in_parquet}
