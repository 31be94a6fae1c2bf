"""Who is answered next, and who is told to come again: the one queue of a server.

One request is answered at a time, on the event loop, since an answer is nothing but computing. So a request waits for
those before it, and when more wait than can be answered in time the rest are refused at once, which costs next to
nothing, instead of everybody being late. Probes do not wait.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from pipeline.serve.app import App, Route
from pipeline.serve.exchange import REQUEST_ID, Request, Response
from pipeline.serve.messages import Limits
from pipeline.serve.metrics import Metrics

if TYPE_CHECKING:
    from pipeline.serve.connection import Connection

SWEEP_SECONDS = 0.5
LINGER_SECONDS = 2.0
MAX_REQUEST_ID = 64
RETRY_AFTER = (b"retry-after", b"1")
_NAMED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


class Desk:
    """Takes requests from connections and gives answers back. All of it runs on the event loop."""

    def __init__(self, app: App, limits: Limits, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self.max_body_bytes = limits.max_body_bytes
        self.draining = False
        self._connections: set[Connection] = set()
        self._queue: deque[tuple[Connection, Route, Request, bytes]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._prefix, self._numbers = secrets.token_hex(6).encode(), itertools.count(1)
        metrics.watch(lambda: len(self._queue), lambda: len(self._connections))

    # What connections call.

    def welcome(self, connection: Connection) -> Response | None:
        """Returns the refusal for a connection too many, else None."""
        self._connections.add(connection)
        if len(self._connections) > self._limits.max_connections:
            return self._shed("connections", "This server holds as many connections as it may; try another or wait.")
        return None

    def farewell(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def refused(self, refusal: Response) -> None:
        """Counts what a connection refused before there was a request."""
        self._metrics.unread(refusal.status)

    def submit(self, connection: Connection, request: Request) -> None:
        """Answers a request now or later, in turn."""
        route = self._app.route(request.path)
        request_id = self._named(request)
        if not route.waits:
            self._answer(connection, route, request, request_id)
        elif len(self._queue) >= self._limits.max_queue or len(self._tasks) >= self._limits.max_queue:
            refusal = self._shed("queue", "This server has more to do than it can in time; ask again in a second.")
            self._done(connection, route, refusal, request, request_id)
        else:
            self._queue.append((connection, route, request, request_id))
            if len(self._queue) == 1:
                self._running.call_soon(self._work)

    @property
    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _work(self) -> None:
        """Answers one request, and lets the loop read what has arrived before the next."""
        connection, route, request, request_id = self._queue[0]
        waited = time.perf_counter() - request.arrived
        self._metrics.stages.observe("queue", waited)
        if waited > self._limits.max_wait_seconds:
            refusal = self._shed("wait", "This request waited longer than it may; ask again in a second.")
            self._done(connection, route, refusal, request, request_id)
        else:
            self._answer(connection, route, request, request_id)
        # Taken out last, so that whoever submits meanwhile does not set off a second worker.
        self._queue.popleft()
        if self._queue:
            self._running.call_soon(self._work)

    def _answer(self, connection: Connection, route: Route, request: Request, request_id: bytes) -> None:
        response = self._app.respond(route, request, request_id)
        if isinstance(response, Response):
            self._done(connection, route, response, request, request_id)
        else:
            task = self._running.create_task(self._later(connection, route, response, request, request_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _later(
        self, connection: Connection, route: Route, response: Awaitable[Response], request: Request, request_id: bytes
    ) -> None:
        self._done(connection, route, await response, request, request_id)

    def _done(
        self, connection: Connection, route: Route, response: Response, request: Request, request_id: bytes
    ) -> None:
        self._metrics.answered(route.name, response.status, time.perf_counter() - request.arrived)
        connection.answer(response, request_id)

    def _shed(self, reason: str, sentence: str) -> Response:
        self._metrics.shed(reason)
        return Response.refusal(503, sentence, RETRY_AFTER)

    def _named(self, request: Request) -> bytes:
        """Returns the id the client gave, if it is one that may stand in a log, else one of ours."""
        given = request.headers.get(REQUEST_ID)
        if given and len(given) <= MAX_REQUEST_ID and _NAMED.issuperset(given):
            return given
        return b"%s-%d" % (self._prefix, next(self._numbers))

    # What the server calls.

    async def sweep(self) -> None:
        """Ends connections that keep this server waiting, until it is cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(SWEEP_SECONDS)
            self._metrics.lagged(time.perf_counter() - began - SWEEP_SECONDS)
            now, limits = time.monotonic(), self._limits
            for connection in list(self._connections):
                stuck = _past(connection.blocked_since, now, limits.request_timeout_seconds)
                if stuck or _past(connection.lingering_since, now, LINGER_SECONDS):
                    connection.abort()
                elif _past(connection.reading_since, now, limits.request_timeout_seconds):
                    connection.time_out()
                elif _past(connection.idle_since, now, limits.keep_alive_seconds):
                    connection.close_if_idle()

    async def drain(self, seconds: float) -> None:
        """Answers what was asked, closes what is idle, and cuts what is left after `seconds`."""
        self.draining = True
        until = time.monotonic() + seconds
        while self._connections and time.monotonic() < until:
            for connection in list(self._connections):
                connection.close_if_idle()
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()


def _past(since: float | None, now: float, seconds: Any) -> bool:
    return since is not None and now - since > seconds
