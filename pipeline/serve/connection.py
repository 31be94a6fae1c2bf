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
from pipeline.serve.exchange import (
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HTML,
    READ,
    Request,
    Response,
)

MAX_HEAD_BYTES = 16_384
MAX_PIPELINED = 16
"""Requests of one connection that may wait before no more of it is read."""
PIECE_BYTES = 4096
"""So much is parsed at once, so that a flood of tiny requests waits as bytes, not as requests."""
LINGER_SECONDS = 2.0
SECURITY = (
    b"x-content-type-options: nosniff\r\ncache-control: no-store\r\nreferrer-policy: no-referrer\r\n"
    b"x-frame-options: DENY\r\ncross-origin-resource-policy: same-origin\r\n"
)
NO_CONTENT_RUNS = b"\r\ncontent-security-policy: default-src 'none'; frame-ancestors 'none'"
ONLY_TLS = b"strict-transport-security: max-age=31536000\r\n"


def _heads(more: bytes) -> dict[int, bytes]:
    return {
        status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() + SECURITY + more + b"content-type: "
        for status in HTTPStatus
    }


HEADS = {False: _heads(b""), True: _heads(ONLY_TLS)}


class Connection(asyncio.Protocol):
    """One client's connection. All of it runs on the event loop.

    What arrives waits twice: as bytes until it is parsed, then as requests until it is their turn. `_go_on` moves
    things along and is called after everything that happens; it never runs inside the parser nor inside itself, so
    that a thousand requests sent at once need no deeper stack than one.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._heads, self._is_tls = HEADS[False], False
        self._bytes: memoryview | bytes = b""
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._answering: tuple[Request, bool] | None = None
        self._refused: Response | None = None
        self._is_last = self._is_paused = self._is_going_on = False
        self._clear()
        now = time.monotonic()
        self._idle_since = now
        self._reading_since: float | None = None
        self._blocked_since: float | None = None
        self._lingering_since: float | None = None

    # What the event loop calls.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        self._heads = HEADS[self._is_tls]
        self._refused = self._desk.welcome(self)
        if self._refused:
            self._read_no_more()
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_no_more()
        self._waiting.clear()
        self._desk.farewell(self)

    def data_received(self, data: bytes) -> None:
        if self._is_last:
            return
        self._bytes = memoryview(bytes(self._bytes) + data if self._bytes else data)
        self._go_on()

    def eof_received(self) -> bool:
        # A client may close its half and still read what it asked for; TLS knows no half.
        self._read_no_more()
        return not self._is_tls and self.is_open and (self._answering is not None or bool(self._waiting))

    def pause_writing(self) -> None:
        self._blocked_since = time.monotonic()

    def resume_writing(self) -> None:
        if self.is_open:
            self._blocked_since = None
            self._go_on()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._reading_since = time.monotonic()
        self._fed = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        name = name.lower()
        # What stands behind a chunked body is no header: a token there would be one nobody on the way has seen.
        if name not in READ or self._has_head:
            return
        if name in self._headers:
            self._refuse(400, f"The header {name.decode()} stands twice; send it once.")
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        self._has_head = True
        headers = self._headers
        if self._head_bytes + len(self._url) > MAX_HEAD_BYTES:
            self._refuse_head()
        elif HOST not in headers and self._parser.get_http_version() != "1.0":
            self._refuse(400, "The request has no Host header, which HTTP/1.1 asks for.")
        elif int(headers.get(CONTENT_LENGTH, b"0")) > self._desk.max_body_bytes:
            self._refuse_size()
        else:
            self._must_be_told_to_go_on = headers.get(EXPECT, b"").lower() == b"100-continue"

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._desk.max_body_bytes:
            self._refuse_size()
            self._body.clear()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._refused or self._parser.should_upgrade():
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method().decode("ascii")
        path, query_string = _target(self._url)
        request = Request(method, path, query_string, self._headers, body, time.perf_counter())
        self._waiting.append((request, self._parser.should_keep_alive()))
        self._clear()
        self._reading_since = None

    def _clear(self) -> None:
        self._url, self._head_bytes, self._size, self._fed = b"", 0, 0, 0
        self._has_head = self._must_be_told_to_go_on = False
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    # What is refused before it is a request.

    def _refuse(self, status: int, sentence: str) -> None:
        if not self._refused:
            self._refused = Response.refusal(status, sentence)

    def _refuse_head(self) -> None:
        self._refuse(431, f"The request's line and headers are longer than {MAX_HEAD_BYTES:,} bytes; send fewer.")

    def _refuse_size(self) -> None:
        self._refuse(413, f"The body is larger than {self._desk.max_body_bytes} bytes; send less.")

    def _check_fed(self, size: int) -> None:
        """Counts what is fed to the parser, which keeps an endless header to itself and skips an endless comment."""
        self._fed += size
        if not self._has_head and self._fed > MAX_HEAD_BYTES + PIECE_BYTES:
            self._refuse_head()
        elif self._fed > 2 * (self._desk.max_body_bytes + MAX_HEAD_BYTES):
            self._refuse_size()

    # What the desk calls.

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    @property
    def is_idle(self) -> bool:
        return self._answering is None and not self._is_pending and self._reading_since is None

    @property
    def _is_pending(self) -> bool:
        return bool(self._waiting or self._bytes or self._refused)

    def answer(self, response: Response, request_id: bytes) -> None:
        """Writes the answer to the request that was handed in last, and goes on to the next."""
        if self._answering is None or not self.is_open:
            return
        request, keep = self._answering
        self._answering = None
        ends = self._is_last or (self._desk.draining and self._reading_since is None)
        closes = not keep or (ends and not self._is_pending)
        self._write(response, request_id, closes, with_content=request.method != "HEAD")
        if closes:
            self._close()
            return
        self._idle_since = time.monotonic()
        self._go_on()

    def check(self, now: float, request_timeout_seconds: float, keep_alive_seconds: float) -> None:
        """Ends the connection if it has kept this server waiting for too long."""
        if _past(self._blocked_since, now, request_timeout_seconds) or _past(
            self._lingering_since, now, LINGER_SECONDS
        ):
            self.abort()
        elif not self._is_paused and _past(self._reading_since, now, request_timeout_seconds):
            self._refuse(408, "The request did not arrive within the time it is given.")
            self._read_no_more()
            self._go_on()
        elif _past(self._idle_since, now, keep_alive_seconds):
            self.close_if_idle()

    def close_if_idle(self) -> None:
        if self.is_idle:
            self._close()

    def abort(self) -> None:
        self._transport.abort()

    # How it goes on.

    def _go_on(self) -> None:
        if self._is_going_on:
            return
        self._is_going_on = True
        try:
            while self.is_open:
                if self._waiting and self._answering is None and self._blocked_since is None:
                    self._answering = self._waiting.popleft()
                    self._desk.submit(self, self._answering[0])
                elif self._bytes and len(self._waiting) < MAX_PIPELINED:
                    self._parse()
                else:
                    break
        finally:
            self._is_going_on = False
        if self.is_open:
            self._settle()

    def _parse(self) -> None:
        piece, self._bytes = self._bytes[:PIECE_BYTES], self._bytes[PIECE_BYTES:]
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(bytes(piece[upgrade.args[0] :]))
        except httptools.HttpParserError:
            self._refuse(400, "The request is not HTTP/1.1.")
        if self._reading_since is not None:
            self._check_fed(len(piece))
        if self._refused:
            self._read_no_more()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Reads a request that offers another protocol as what it is in this one.

        Java's client offers HTTP/2 with its first request, whatever the method; the parser leaves such a body unread.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(400, "This server is no proxy; CONNECT is not taken.")
            return
        kept = b"".join(b"%s: %s\r\n" % header for header in self._headers.items())
        again = b"%s %s HTTP/1.1\r\n%s\r\n" % (method, self._url, kept)
        self._parser = httptools.HttpRequestParser(self)
        self._clear()
        self._bytes = memoryview(again + rest + bytes(self._bytes))

    def _read_no_more(self) -> None:
        self._is_last = True
        self._bytes = b""
        self._reading_since = None

    def _settle(self) -> None:
        """Does what is due once nothing can go on: refuses, closes, asks for a body, reads on or stops reading."""
        if self._answering is None and not self._waiting and self._lingering_since is None:
            if self._refused:
                self._end_with(self._refused)
            elif self._is_last:
                self._close()
            elif self._must_be_told_to_go_on and not self._size:
                self._must_be_told_to_go_on = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        pauses = not self._is_last and (bool(self._bytes) or len(self._waiting) >= MAX_PIPELINED)
        if pauses and not self._is_paused:
            self._transport.pause_reading()
        elif self._is_paused and not pauses:
            self._transport.resume_reading()
            if self._reading_since is not None:
                self._reading_since = time.monotonic()
        self._is_paused = pauses

    def _end_with(self, refusal: Response) -> None:
        """Refuses what cannot be read on, and reads the rest away.

        Closed with bytes unread, the system would reset the connection and the refusal would be lost.
        """
        self._write(refusal, self._desk.refused(refusal), closes=True, with_content=True)
        self._lingering_since = time.monotonic()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _close(self) -> None:
        self._read_no_more()
        self._waiting.clear()
        # It ends once the client has taken what was written, which it may never do.
        self._blocked_since = time.monotonic()
        self._transport.close()

    def _write(self, response: Response, request_id: bytes, closes: bool, with_content: bool) -> None:
        parts = [self._heads[response.status], response.kind]
        if response.kind is not HTML:
            parts.append(NO_CONTENT_RUNS)
        parts += (b"\r\ncontent-length: %d\r\nx-request-id: " % len(response.content), request_id, b"\r\n")
        for name, value in response.headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"connection: close\r\n\r\n" if closes else b"\r\n")
        if with_content:
            parts.append(response.content)
        self._transport.write(b"".join(parts))


def _target(url: bytes) -> tuple[str, bytes]:
    """Returns the decoded path and the query string of what was asked for."""
    if b"://" in url and not url.startswith(b"/"):
        # Asked as of a proxy: the whole address.
        url = b"/" + url.partition(b"://")[2].partition(b"/")[2]
    path, _, query_string = url.partition(b"?")
    if b"%" in path:
        path = unquote_to_bytes(path)
    return path.decode("utf-8", "replace"), query_string


def _past(since: float | None, now: float, seconds: float) -> bool:
    return since is not None and now - since > seconds
