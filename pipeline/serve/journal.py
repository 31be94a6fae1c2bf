"""The journal of items put between retrains: lines of JSON that are only added to, read by every server of the store.

A line holds the items of one request, so a request is in it whole or not at all. What the last line lacks a newline was
torn by a crash, and nobody was told that it was taken.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from pipeline.core.locks import in_turn, only_one
from pipeline.model.live_items import LiveItem

WASTE = 1000
"""The journal is written anew when it holds so many items more than twice those that still count."""

log = logging.getLogger("serve")
_decode = msgspec.json.Decoder(list[LiveItem]).decode
_encode = msgspec.json.Encoder().encode


class Journal:
    """One server's view of it. Not for two threads at once.

    Attributes: latest: item id -> what was put last, as far as it was read.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, path.with_suffix(".lock")
        self._file: BinaryIO | None = None
        self._offset = self._items_read = 0
        self.latest: dict[str, LiveItem] = {}

    def read(self) -> list[LiveItem]:
        """Returns the items of the lines added since the last call, in order; all again where it was written anew.

        Raises: OSError: the disk does not answer.
        """
        there = self._opened()
        if there is None:
            return []
        file, size = there
        file.seek(self._offset)
        content = file.read(size - self._offset)
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = [item for line in whole.splitlines() for item in self._items_of(line)]
        self._items_read += len(found)
        self.latest.update((item.item_id, item) for item in found)
        return found

    def _opened(self) -> tuple[BinaryIO, int] | None:
        """Opens the file, or the one that took its place; held open till then, it keeps its number to itself.

        Returns: it and its size; None where there is none.
        """
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return None
        if self._file:
            held = os.fstat(self._file.fileno())
            if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino) and there.st_size >= self._offset:
                return self._file, there.st_size
            self._file.close()
        self._file, self._offset, self._items_read = self._path.open("rb"), 0, 0
        return self._file, there.st_size

    def _items_of(self, line: bytes) -> list[LiveItem]:
        try:
            return _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("%s: a line holds no items (%s) and is left out; put them again.", self._path, error)
            return []

    def append(self, items: Sequence[LiveItem], check: Callable[[], None]) -> list[LiveItem]:
        """Adds a line, on the disk when this returns.

        Args: check: looks at `latest`, when nobody else can add to it, and raises what forbids the line.
        Returns: all that was added since it was last read, these items last.
        Raises: OSError: the disk does not take it; nothing is added then.
        """
        with in_turn(self._lock):
            before = self.read()
            check()
            fresh = not self._path.exists()
            with self._path.open("ab", buffering=0) as file:
                self._mend(file)
                self._add(file, _encode(items) + b"\n")
            if fresh:
                _sync(self._path.parent)
            return before + self.read()

    def _mend(self, file: BinaryIO) -> None:
        # What was read are whole lines, and nobody else writes now.
        torn = os.fstat(file.fileno()).st_size - self._offset
        if torn:
            log.warning("%s: its last line was torn by a crash; %s bytes are cut off.", self._path, torn)
            os.truncate(file.fileno(), self._offset)

    def _add(self, file: BinaryIO, line: bytes) -> None:
        try:
            left = memoryview(line)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            # What cannot be cut off now lacks its newline, and is by the next who adds.
            with contextlib.suppress(OSError):
                os.truncate(file.fileno(), self._offset)
            raise

    def forget(self, before: float) -> list[str]:
        """Returns the ids of items put before a moment, which count no more."""
        old = [item.item_id for item in self.latest.values() if item.at < before]
        for item_id in old:
            del self.latest[item_id]
        return old

    def compact(self) -> None:
        """Writes it anew without what no longer counts, where that is most of it and nobody else is at it.

        Raises: BusyError, OSError.
        """
        if self._items_read <= 2 * len(self.latest) + WASTE:
            return
        with only_one(self._lock, "Writing to the journal"):
            self.read()
            beside = self._path.with_suffix(".new")
            with beside.open("wb") as file:
                file.writelines(_encode([item]) + b"\n" for item in self.latest.values())
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            _sync(self._path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
