"""A connection to Redis that all lookups share: each is written at once, and replies come back in their order.

redis-py lends a connection to one command at a time and takes several turns of the event loop for it: 64 to 115 µs of
CPU time to ask for 20 events, where a line takes 9 (median of three thousand on this project's two cores), and a server
has one thread. For everything else there is redis-py.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
import redis.asyncio as redis
from redis import exceptions

Reply = asyncio.Future[Any]
"""Has a reply, or the error in its place: a reply that came too late for anybody is no error of anybody's."""


class Line(asyncio.Protocol):
    """Made by `open`; at its end every open reply is a `ConnectionError`."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._replies: deque[Reply] = deque()
        self._reader = hiredis.Reader(replyError=_error)
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, pool: redis.ConnectionPool, lost: Callable[[], None]) -> Line:
        """Connects and logs in as redis-py would.

        Args:
            pool: says where, as whom and by which certificates.
            lost: called once, when the line ends by itself.

        Raises: RedisError, OSError.
        """
        known, loop = pool.make_connection(), asyncio.get_running_loop()
        if isinstance(known, redis.UnixDomainSocketConnection):
            _, line = await loop.create_unix_connection(lambda: cls(lost), known.path)
        else:
            tls = known.ssl_context.get() if isinstance(known, redis.SSLConnection) else None
            _, line = await loop.create_connection(lambda: cls(lost), known.host, known.port, ssl=tls)
        try:
            await line._log_in(known)
        except BaseException:
            line.close()
            raise
        return line

    async def _log_in(self, known: Any) -> None:
        secret = [word for word in (known.username, known.password) if word]
        words = [("AUTH", *secret)] if secret else []
        for reply in [self.ask(*each) for each in (*words, ("SELECT", str(known.db)))]:
            if isinstance(told := await reply, Exception):
                raise told

    def ask(self, *words: str) -> Reply:
        """Sends a command."""
        reply: Reply = self._loop.create_future()
        if self._transport is None:
            reply.set_result(ConnectionError("the line is closed"))
        else:
            self._replies.append(reply)
            self._transport.write(hiredis.pack_command(words))
        return reply

    def close(self) -> None:
        """Ends the line without anybody being told."""
        self._lost = _nobody
        if self._transport:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        found = transport.get_extra_info("socket")
        if found.family != socket.AF_UNIX:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (told := self._reader.gets()) is not False:
                self._answer(self._replies.popleft(), told)
        except (hiredis.ProtocolError, IndexError):
            # Whatever is at the other end, it is no Redis.
            if self._transport:
                self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        while self._replies:
            self._answer(self._replies.popleft(), ConnectionError("the line was lost"))
        self._lost()

    @staticmethod
    def _answer(reply: Reply, told: Any) -> None:
        if not reply.done():
            reply.set_result(told)


def _nobody() -> None:
    pass


_ERRORS = {
    "NOAUTH": exceptions.AuthenticationError,
    "WRONGPASS": exceptions.AuthenticationError,
    "NOPERM": exceptions.NoPermissionError,
    "LOADING": exceptions.BusyLoadingError,
}


def _error(told: str) -> Exception:
    return _ERRORS.get(told.partition(" ")[0], exceptions.ResponseError)(told)
