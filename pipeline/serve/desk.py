"""Who is answered next, and who is told to come again: the one queue of a server.

Requests are answered on the event loop, since an answer is nothing but computing: one at a time, or those that wait for
the same route a few in one go, which takes less time for each. So a request waits for those before it, and when more
wait than can be answered in time the rest are refused at once, which costs next to nothing, instead of everybody being
late. Probes do not wait, and who may not ask is told so without a place in it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import secrets
import time
from collections import Counter, deque
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline.serve.app import Answered, App, Route
from pipeline.serve.exchange import REQUEST_ID, RETRY_AFTER, Request, Response, allowed_id
from pipeline.serve.messages import Limits
from pipeline.serve.metrics import Metrics

if TYPE_CHECKING:
    from pipeline.serve.connection import Connection

SWEEP_SECONDS = 0.5
TELL_SECONDS = 1.0
TOGETHER = 8
"""So many that wait are answered in one go; twice as many take hardly less each, and hold up who comes meanwhile."""
log = logging.getLogger("serve")


class Asked(NamedTuple):
    """A request and where its answer goes."""

    connection: Connection
    route: Route
    request: Request
    request_id: bytes


class Desk:
    """Takes requests from connections and gives answers back. All of it runs on the event loop."""

    def __init__(self, app: App, limits: Limits, metrics: Metrics, access_log_share: float = 0.0) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._access_log_share = access_log_share
        self.max_body_bytes = limits.max_body_bytes
        self.draining = False
        self._connections: set[Connection] = set()
        self._queue: deque[Asked] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._prefix, self._numbers = secrets.token_hex(6).encode(), itertools.count(1)
        self._untold: Counter[str] = Counter()
        self._told_at = 0.0
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

    def refused(self, refusal: Response) -> bytes:
        """Counts what a connection refused before there was a request; returns the id it is known by."""
        self._metrics.unread(refusal.status)
        return self._new_id()

    def submit(self, connection: Connection, request: Request) -> None:
        """Answers a request now or later, in turn."""
        route = self._app.route(request.path)
        asked = Asked(connection, route, request, self._named(request))
        refusal = self._app.refusal(route, request, asked.request_id)
        if refusal:
            self._done(asked, refusal)
        elif not route.waits:
            self._answer(asked)
        elif len(self._queue) >= self._limits.max_queue or len(self._tasks) >= self._limits.max_queue:
            sentence = "This server has more to do than it can in time; ask again in a second."
            self._done(asked, self._shed("queue", sentence))
        else:
            self._queue.append(asked)
            if len(self._queue) == 1:
                self._running.call_soon(self._work)

    @property
    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _work(self) -> None:
        """Answers those whose turn it is, and lets the loop read what has arrived before the next."""
        turn = self._turn()
        try:
            self._take(turn)
        finally:
            # Taken out last, so that whoever submits meanwhile does not set off a second worker.
            for _ in turn:
                self._queue.popleft()
            if self._queue:
                self._running.call_soon(self._work)

    def _turn(self) -> list[Asked]:
        """Returns the first that waits, and those behind it that can be answered with it."""
        first = self._queue[0]
        if first.route.answer_each is None:
            return [first]
        waiting = itertools.islice(self._queue, TOGETHER)
        return list(itertools.takewhile(lambda asked: asked.route is first.route, waiting))

    def _take(self, turn: Sequence[Asked]) -> None:
        kept = [asked for asked in turn if self._is_in_time(asked)]
        if len(kept) == 1:
            self._answer(kept[0])
        elif kept:
            ids = [asked.request_id for asked in kept]
            found = self._app.answer_each(kept[0].route, [asked.request for asked in kept], ids)
            for asked, answered in zip(kept, found, strict=True):
                self._give(asked, answered)

    def _is_in_time(self, asked: Asked) -> bool:
        waited = time.perf_counter() - asked.request.arrived
        self._metrics.stages.observe("queue", waited)
        if not asked.connection.is_open:
            self._metrics.shed("gone")
            return False
        if waited > self._limits.max_wait_seconds:
            sentence = "This request waited longer than it may; ask again in a second."
            self._done(asked, self._shed("wait", sentence))
            return False
        return True

    def _answer(self, asked: Asked) -> None:
        self._give(asked, self._app.answer(asked.route, asked.request, asked.request_id))

    def _give(self, asked: Asked, answered: Answered) -> None:
        if isinstance(answered, Response):
            self._done(asked, answered)
        else:
            task = self._running.create_task(self._later(asked, answered))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _later(self, asked: Asked, response: Awaitable[Response]) -> None:
        self._done(asked, await response)

    def _done(self, asked: Asked, response: Response) -> None:
        seconds = time.perf_counter() - asked.request.arrived
        self._metrics.answered(asked.route.name, response.status, seconds)
        if self._access_log_share and random.random() < self._access_log_share:
            _tell_access(asked, response.status, seconds)
        asked.connection.answer(response, asked.request_id)

    def _shed(self, reason: str, sentence: str) -> Response:
        self._metrics.shed(reason)
        self._untold[reason] += 1
        return Response.refusal(503, sentence, RETRY_AFTER)

    def _named(self, request: Request) -> bytes:
        """Returns the id the client gave, if it is one that may stand in a log, else one of ours."""
        return allowed_id(request.headers.get(REQUEST_ID)) or self._new_id()

    def _new_id(self) -> bytes:
        return b"%s-%d" % (self._prefix, next(self._numbers))

    # What the server calls.

    async def sweep(self) -> None:
        """Ends connections that keep this server waiting and tells what was shed, until it is cancelled."""
        limits = self._limits
        while True:
            pause, began = min(SWEEP_SECONDS, limits.request_timeout_seconds / 4), time.monotonic()
            await asyncio.sleep(pause)
            now = time.monotonic()
            self._metrics.lagged(now - began - pause)
            for connection in list(self._connections):
                connection.check(now, limits.request_timeout_seconds, limits.keep_alive_seconds)
            if now - self._told_at >= TELL_SECONDS:
                self._tell_shed()
                self._told_at = now

    def _tell_shed(self) -> None:
        if not self._untold:
            return
        counts = dict(self._untold)
        self._untold.clear()
        told = ", ".join(f"{count} for {reason}" for reason, count in sorted(counts.items()))
        log.warning("refused for load: %s", told, extra={"event": "shed", "status": 503, "counts": counts})

    async def drain(self, seconds: float) -> None:
        """Answers what was asked, closes what is idle, and cuts what is left after `seconds`."""
        self.draining = True
        until = time.monotonic() + seconds
        while self._connections and time.monotonic() < until:
            # First what has arrived already is read, so that nobody's request is met by a closed connection.
            await asyncio.sleep(0.01)
            for connection in list(self._connections):
                connection.close_if_idle()
        for connection in list(self._connections):
            connection.abort()
        self._tell_shed()


def _tell_access(asked: Asked, status: int, seconds: float) -> None:
    method, route, milliseconds = asked.request.method, asked.route.name, round(seconds * 1e3, 3)
    facts = {"route": route, "method": method, "status": status, "milliseconds": milliseconds}
    facts |= {"event": "request", "request_id": asked.request_id.decode()}
    log.info("%s %s: %d in %.3f ms", method, route, status, milliseconds, extra=facts)
