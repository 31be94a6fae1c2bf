"""One version of an object as a file: read on where a connection broke, and moved about in."""

from __future__ import annotations

import io
import random
import time
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UnavailableError
from pipeline.store.refusals import lost_connection

if TYPE_CHECKING:
    from pipeline.store.objects import Address, Objects

CHUNK_BYTES = 1 << 16
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 20.0


class Stream(io.RawIOBase):
    """The bytes of one version of an object, asked for again from where a connection broke.

    Can be moved about in, as readers of Parquet do; each move is a new request.
    """

    def __init__(self, objects: Objects, address: Address, answer: dict[str, Any]) -> None:
        self._objects, self._address = objects, address
        self._etag, self._size, self._position = answer["ETag"], answer["ContentLength"], 0
        self._body: Any = answer["Body"]
        self._breaks = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset != self._position:
            self._drop()
            self._position = max(start + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        if not len(buffer):
            return 0
        if self._position >= self._size:
            self._end()
            return 0
        chunk = self._read(min(len(buffer), CHUNK_BYTES))
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)

    def _read(self, count: int) -> bytes:
        """Returns at least one byte, though the connection break as often as a request may be tried."""
        while True:
            try:
                self._body = self._body or self._objects.get(self._address, self._etag, self._position)["Body"]
                if chunk := self._body.read(count):
                    # Drops of a few bytes between breaks are no progress.
                    self._breaks = 0 if len(chunk) == count else self._breaks
                    return chunk
            except Exception as error:
                if not lost_connection(error):
                    raise
            self._broke()

    def _broke(self) -> None:
        """Waits longer after each break, and gives up after the last."""
        self._drop()
        self._breaks += 1
        if self._breaks >= self._objects.section.max_attempts:
            raise UnavailableError(
                f"{self._address}: the connection broke {self._breaks} times around byte {self._position:,}; "
                "see that the object store and the network are well, then run the step again."
            )
        time.sleep(random.uniform(0, min(FIRST_PAUSE_SECONDS * 2**self._breaks, LONGEST_PAUSE_SECONDS)))

    def _end(self) -> None:
        """Lets the SDK compare the checksum of an object read from its first byte to its last."""
        if self._body is None:
            return
        with self._objects.asking(self._address):
            self._body.read(1)
        self._drop()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        self._drop()
        super().close()
