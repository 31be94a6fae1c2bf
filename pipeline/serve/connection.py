"""HTTP/1.1 of one client: bytes in, requests out, answers back in the order they were asked for.

Parsing is llhttp's, which Node uses too. What is here is what a server must decide itself: how much it reads before it
refuses, how long it waits, and when it closes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from pipeline.serve.desk import Desk
from pipeline.serve.exchange import EXPECT, READ, Request, Response

MAX_HEAD_BYTES = 16_384
MAX_PIPELINED = 16
"""Requests of one connection that may wait before no more of it is read."""
SECURITY = b"x-content-type-options: nosniff\r\ncache-control: no-store\r\nreferrer-policy: no-referrer\r\n"
_HEADS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() + SECURITY + b"content-type: "
    for status in HTTPStatus
}


class Connection(asyncio.Protocol):
    """One client's connection. All of it runs on the event loop."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._answering: tuple[Request, bool] | None = None
        self._last = False
        self._refused: Response | None = None
        self._clear()
        self.lingering_since: float | None = None
        self.idle_since = time.monotonic()
        self.reading_since: float | None = None
        self.blocked_since: float | None = None

    # What the event loop calls.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        refusal = self._desk.welcome(self)
        if refusal:
            self._end_with(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.clear()
        self._last = True
        self._desk.farewell(self)

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # What is asked for in HTTP/1.1 is answered in it; nothing else is spoken here.
            self._last = True
            if self._answering is None:
                self._close()
        except httptools.HttpParserError:
            self._refused = self._refused or Response.refusal(400, "The request is not HTTP/1.1.")
        if self._refused:
            self._end_with(self._refused)
        elif len(self._waiting) >= MAX_PIPELINED:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        # A client may close its half and still read what it asked for.
        self._last = True
        return self._answering is not None

    def pause_writing(self) -> None:
        self.blocked_since = time.monotonic()

    def resume_writing(self) -> None:
        self.blocked_since = None
        self._next()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.reading_since = time.monotonic()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        name = name.lower()
        if name in READ:
            self._headers[name] = value
        elif name == b"content-length" and value.isdigit() and int(value) > self._desk.max_body_bytes:
            self._refuse_size()

    def on_headers_complete(self) -> None:
        if self._headers.get(EXPECT, b"").lower() == b"100-continue" and not self._refused:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._desk.max_body_bytes:
            self._refuse_size()
            self._body.clear()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._refused or self._last:
            return
        path, _, query_string = self._url.partition(b"?")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if b"%" in path:
            path = unquote_to_bytes(path)
        method = self._parser.get_method().decode("ascii", "replace")
        request = Request(
            method, path.decode("utf-8", "replace"), query_string, self._headers, body, time.perf_counter()
        )
        self._waiting.append((request, self._parser.should_keep_alive()))
        self._clear()
        self.reading_since = None
        if self._answering is None:
            self._next()

    def _clear(self) -> None:
        self._url, self._head_bytes, self._size = b"", 0, 0
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES and not self._refused:
            sentence = f"The request's line and headers are longer than {MAX_HEAD_BYTES:,} bytes; send fewer."
            self._refused = Response.refusal(431, sentence)

    def _refuse_size(self) -> None:
        if not self._refused:
            sentence = f"The body is larger than {self._desk.max_body_bytes} bytes; send less."
            self._refused = Response.refusal(413, sentence)

    # What the desk calls.

    @property
    def is_idle(self) -> bool:
        return self._answering is None and not self._waiting and self.reading_since is None

    def answer(self, response: Response, request_id: bytes) -> None:
        """Writes the answer to the request that was handed in last, and hands in the next."""
        if self._answering is None or self._transport.is_closing():
            return
        request, keep = self._answering
        self._answering = None
        closes = (self._last and not self._waiting) or not keep or self._desk.draining
        self._write(response, request_id, closes, with_content=request.method != "HEAD")
        if closes:
            self._close()
            return
        self.idle_since = time.monotonic()
        if self.blocked_since is None:
            self._next()

    def time_out(self) -> None:
        """Ends a request whose bytes do not arrive."""
        self._end_with(Response.refusal(408, "The request did not arrive within the time it is given."))

    def close_if_idle(self) -> None:
        if self.is_idle:
            self._close()

    def abort(self) -> None:
        self._transport.abort()

    def _next(self) -> None:
        if self._answering is None and self._waiting:
            self._answering = self._waiting.popleft()
            if len(self._waiting) == MAX_PIPELINED // 2:
                self._transport.resume_reading()
            self._desk.submit(self, self._answering[0])

    def _end_with(self, refusal: Response) -> None:
        """Answers what cannot be read on; what was asked before it is dropped with the connection."""
        self._desk.refused(refusal)
        self._last = True
        self._waiting.clear()
        if self._transport.is_closing():
            return
        self._write(refusal, b"", closes=True, with_content=True)
        if self._transport.can_write_eof():
            # Closed with bytes unread, the system would reset the connection and the refusal would be lost.
            self._transport.write_eof()
            self.lingering_since = time.monotonic()
        else:
            self._transport.close()

    def _close(self) -> None:
        self._last = True
        self._waiting.clear()
        self._transport.close()

    def _write(self, response: Response, request_id: bytes, closes: bool, with_content: bool) -> None:
        parts = [_HEADS[response.status], response.kind, b"\r\ncontent-length: %d\r\n" % len(response.content)]
        if request_id:
            parts += (b"x-request-id: ", request_id, b"\r\n")
        for name, value in response.headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"connection: close\r\n\r\n" if closes else b"\r\n")
        if with_content:
            parts.append(response.content)
        self._transport.write(b"".join(parts))
