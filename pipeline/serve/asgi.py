"""A replica as an ASGI app, for servers of others that bring the socket and the queue."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pipeline.serve.connection import NO_CONTENT_RUNS, SECURITY
from pipeline.serve.exchange import HTML, READ, REQUEST_ID, Request, Response, allowed_id
from pipeline.serve.replica import Replica

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_SECURITY = [tuple(line.split(b": ", 1)) for line in SECURITY.splitlines()]
_NO_CONTENT_RUNS = tuple(NO_CONTENT_RUNS.strip().split(b": ", 1))
_NOT_ONE_OF_MANY = Response.refusal(
    404, "One replica's figures would mislead, and which one answers is not known; read those of what runs them."
)


class Gone(Exception):
    """The client left before its request had arrived."""


class Asgi:
    """Answers by one replica; one request at a time, for an answer is nothing but computing."""

    def __init__(self, replica: Replica, name: str) -> None:
        """`name` tells this replica from others, in a header of every answer."""
        self._replica, self._app = replica, replica.app
        self._name = (b"x-replica", name.encode())
        self._prefix, self._numbers = secrets.token_hex(6).encode(), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._exchange(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._replica.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._app.draining = True
        await self._replica.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value for name, value in scope["headers"] if name in READ}
        request_id = allowed_id(headers.get(REQUEST_ID)) or b"%s-%d" % (self._prefix, next(self._numbers))
        try:
            body = await self._body(receive)
        except Gone:
            return
        arrived = time.perf_counter()
        if body is None:
            response = self._too_large
            self._replica.metrics.unread(response.status)
        else:
            request = Request(scope["method"], scope["path"], scope["query_string"], headers, body, arrived)
            name, response = await self._answer(request, request_id)
            self._replica.metrics.answered(name, response.status, time.perf_counter() - arrived)
        await self._send(send, response, with_content=scope["method"] != "HEAD")

    async def _answer(self, request: Request, request_id: bytes) -> tuple[str, Response]:
        route = self._app.route(request.path)
        if route.name == "/metrics":
            return route.name, _NOT_ONE_OF_MANY
        answered = self._app.respond(route, request, request_id)
        return route.name, answered if isinstance(answered, Response) else await answered

    async def _body(self, receive: Receive) -> bytes | None:
        """Returns what was sent, or None once it is more than may be.

        Raises: Gone: it never came whole.
        """
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._replica.limits.max_body_bytes:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)

    @property
    def _too_large(self) -> Response:
        sentence = f"The body is larger than {self._replica.limits.max_body_bytes} bytes; send less."
        return Response.refusal(413, sentence)

    async def _send(self, send: Send, response: Response, with_content: bool) -> None:
        headers = [(b"content-type", response.kind), (b"content-length", b"%d" % len(response.content))]
        headers += [*_SECURITY, self._name, *response.headers]
        if response.kind is not HTML:
            headers.append(_NO_CONTENT_RUNS)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.content if with_content else b""})
