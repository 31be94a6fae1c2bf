"""What users did, looked up when a request names one and written as the shop tells it.

An answer never hangs on Redis: what is not back within the limit the answer goes without. When every lookup has failed
for a while none is tried any more, until Redis has answered a question of the server's own, over a connection made
anew, so that no request ever waits for one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from pipeline.core.histories import History
from pipeline.core.pseudonyms import Hashed, hashers
from pipeline.core.settings import Settings
from pipeline.serve.exchange import Response
from pipeline.serve.line import Line, Reply
from pipeline.serve.messages import (
    Event,
    EventsBody,
    EventsRequest,
    HistorySource,
    Limits,
    RecommendRequest,
    Refusal,
    SearchRequest,
    ToldEvent,
)
from pipeline.serve.metrics import Metrics
from pipeline.store.histories import (
    HEARD_SECONDS,
    KEPT_TYPES,
    SAME_SECONDS,
    WRITE,
    Keeping,
    Past,
    milliseconds,
    pool,
    sentence,
    told_once,
)

FAILING_LIMITS = 10
"""When all lookups have failed for so many times the limit, none is tried until Redis is seen to answer. A single pause
of its, or of this machine, that all lookups under way fall into is shorter."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0
TURNS_OF_GRACE = 4
"""A loop that was busy itself may not have read yet what arrived in time: so often it looks before a lookup is late."""
CALL_SECONDS = 1.0
WRITES_AT_ONCE = 8
LATE = "late"
AHEAD_SECONDS = 300
"""A shop's clock may be so much ahead of the server's."""
log = logging.getLogger("serve")
Asked = RecommendRequest | SearchRequest
Failed = (redis.RedisError, OSError)


def names_user(asked: Asked | ToldEvent) -> bool:
    return asked.user_id is not None or asked.pseudonym is not None


class UserHistories:
    """The histories, for requests. All of it runs on the event loop."""

    def __init__(self, history: History, names: Sequence[Hashed], metrics: Metrics) -> None:
        """Raises: SettingsError: no address of a Redis."""
        self._metrics, self._names, self._keeping = metrics, names, Keeping.of(history)
        self._wait_seconds = history.wait_milliseconds / 1000
        options = {"socket_timeout": CALL_SECONDS, "socket_connect_timeout": CALL_SECONDS}
        retry = Retry(NoBackoff(), 1)
        self._pool = pool(
            redis.ConnectionPool, history.redis_url, max_connections=WRITES_AT_ONCE, retry=retry, **options
        )
        self._redis = redis.Redis(connection_pool=self._pool)
        self._write = self._redis.register_script(WRITE)
        self._reachable, self._writing = False, 0
        self._failing_since: float | None = None
        self._line: Line | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.watch_histories(lambda: self._reachable)

    @classmethod
    def open(cls, settings: Settings, metrics: Metrics) -> UserHistories | None:
        """Returns None where no histories are kept.

        Raises: SettingsError: no address of a Redis. MissingSecretError: no key for pseudonyms.
        """
        history = settings.history
        return cls(history, hashers(settings.secrets), metrics) if history.redis_url else None

    def start(self) -> None:
        """Connects, from within the event loop; until it has, answers go without."""
        self._keep(self._mend(0.0))

    async def close(self) -> None:
        if self._line:
            self._line.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(*Failed):
            await self._redis.aclose()
            await self._pool.disconnect()

    # Reading.

    async def completed(self, asked: Asked, limits: Limits) -> tuple[Asked, HistorySource]:
        """Returns the request with what is stored of its user added to its history, and where that came from.

        Raises: Refusal: it names a user twice, or holds too long a history.
        """
        names = self._called(asked)
        limits.check_history(asked.history)
        found = await self._looked_up(names)
        if found is None:
            return asked, "unavailable"
        if not found:
            return asked, "request" if asked.history else "none"
        history = merged(found, asked.history, limits.max_history)
        source: HistorySource = "both" if asked.history else "stored"
        return msgspec.structs.replace(asked, history=history), source

    def _called(self, asked: Asked | ToldEvent) -> tuple[str, ...]:
        """Returns what the user is called under each key, the present one first."""
        if asked.pseudonym is None:
            return tuple(hashed(asked.user_id) for hashed in self._names)
        if asked.user_id is not None:
            raise Refusal(422, "The fields user_id and pseudonym both name the user; send one of them.")
        return (asked.pseudonym,)

    async def _looked_up(self, names: Sequence[str]) -> list[Past] | None:
        """Returns what a user did, oldest first; None where that cannot be known in time."""
        began = time.perf_counter()
        outcome, found = await self._tried(names) if self._reachable else ("skipped", None)
        self._metrics.looked_up(outcome, time.perf_counter() - began)
        return found

    async def _tried(self, names: Sequence[str]) -> tuple[str, list[Past] | None]:
        told = await self._within_limit(names)
        problem = next((each for each in told if not isinstance(each, list)), None)
        if isinstance(problem, Exception):
            self._failed(sentence(problem, self._pool))
            return "error", None
        if problem is not None:
            self._failed(self._slow())
            return "timeout", None
        self._failing_since = None
        found = told_once(told)
        return "found" if found else "empty", found

    async def _within_limit(self, names: Sequence[str]) -> list[Any]:
        """Returns for each name members, an error, or `LATE`."""
        now = milliseconds(datetime.now(UTC))
        replies = [self._line.ask(*self._keeping.read(name, now)) for name in names] if self._line else []
        loop = asyncio.get_running_loop()
        limit = loop.call_later(self._wait_seconds, _end, loop, replies, TURNS_OF_GRACE)
        try:
            return [await reply for reply in replies]
        finally:
            limit.cancel()

    # Whether to ask at all.

    def _failed(self, problem: str) -> None:
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if self._reachable and now - self._failing_since >= FAILING_LIMITS * self._wait_seconds:
            log.warning("answers go without stored histories: %s", problem)
            self._begin_to_mend(FIRST_PAUSE_SECONDS)

    def _lost(self) -> None:
        """Makes another line at once, unless somebody is at it."""
        if self._reachable:
            self._begin_to_mend(0.0)

    def _begin_to_mend(self, pause_seconds: float) -> None:
        if self._line:
            self._line.close()
        self._line, self._reachable = None, False
        self._keep(self._mend(pause_seconds))

    async def _mend(self, pause_seconds: float) -> None:
        """Tries, ever more seldom, until Redis answers as fast as lookups need it."""
        told = ""
        while True:
            await asyncio.sleep(pause_seconds)
            problem = await self._problem()
            if problem is None:
                break
            if problem != told:
                log.warning("stored histories are not there: %s", problem)
                told = problem
            pause_seconds = min(max(2 * pause_seconds, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self._failing_since, self._reachable = None, True
        log.info("stored histories are there")

    async def _problem(self) -> str | None:
        """Makes the line; returns what keeps it from being of use."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                self._line = await Line.open(self._pool, self._lost)
                # Not held to the limit: whatever comes first in the life of a connection takes longer.
                first = await self._line.ask(*self._keeping.read("nobody", 0))
        except Failed as error:
            return self._without_line(sentence(error, self._pool))
        if isinstance(first, Exception):
            return self._without_line(sentence(first, self._pool))
        (told,) = await self._within_limit(("nobody",))
        return None if isinstance(told, list) else self._without_line(self._slow())

    def _without_line(self, problem: str) -> str:
        if self._line:
            self._line.close()
        self._line = None
        return problem

    def _slow(self) -> str:
        return f"Redis takes longer than the {1000 * self._wait_seconds:g} ms of history.wait_milliseconds."

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Writing.

    async def told(self, asked: EventsRequest) -> Response:
        """Adds what users did to their histories.

        Raises: Refusal: an event names no user or two, or lies in the future; or Redis does not take it.
        """
        by_user = self._sorted(asked.events)
        if self._writing >= WRITES_AT_ONCE:
            raise self._given_back(len(asked.events), "The histories take too many events at once already.")
        self._writing += 1
        try:
            async with asyncio.timeout(CALL_SECONDS):
                added = await self._added(by_user)
        except Failed as error:
            raise self._given_back(len(asked.events), sentence(error, self._pool)) from None
        finally:
            self._writing -= 1
        accepted = sum(max(new, 0) for new in added)
        known = sum(len(pasts) for pasts, new in zip(by_user.values(), added, strict=True) if new >= 0) - accepted
        body = EventsBody(accepted, known, len(asked.events) - accepted - known)
        for outcome, events in zip(body.__struct_fields__, msgspec.structs.astuple(body), strict=True):
            self._metrics.told(outcome, events)
        return Response.of(body, 202)

    def _sorted(self, events: Sequence[ToldEvent]) -> Mapping[tuple[str, ...], list[Past]]:
        """Returns what is to be kept, by what its user may be called."""
        now = milliseconds(datetime.now(UTC))
        oldest, latest = self._keeping.oldest(now), now + AHEAD_SECONDS * 1000
        by_user: dict[tuple[str, ...], list[Past]] = {}
        for number, event in enumerate(events):
            if not names_user(event):
                raise Refusal(422, f"The field events[{number}] names no user; give its user_id or pseudonym.")
            at = now if event.event_time is None else milliseconds(event.event_time)
            if at > latest:
                raise Refusal(422, f"The field events[{number}].event_time is in the future; see to the shop's clock.")
            if event.event_type in KEPT_TYPES and at >= oldest:
                past = Past(event.item_id, event.event_type, at, event.event_time is not None)
                by_user.setdefault(self._called(event), []).append(past)
        return by_user

    async def _added(self, by_user: Mapping[tuple[str, ...], Sequence[Past]]) -> list[int]:
        now = milliseconds(datetime.now(UTC))
        async with self._redis.pipeline(transaction=False) as together:
            for names, pasts in by_user.items():
                await self._write(**self._keeping.write(names, pasts, now), client=together)
            return await together.execute() if by_user else []

    def _given_back(self, events: int, problem: str) -> Refusal:
        self._metrics.told("refused", events)
        return Refusal(503, f"{problem} These events were not taken as a whole; send all of them again.")


def _end(loop: asyncio.AbstractEventLoop, replies: Sequence[Reply], turns: int) -> None:
    """Ends the wait for what is still open, after some more turns of the loop."""
    still = [reply for reply in replies if not reply.done()]
    if turns and still:
        loop.call_soon(_end, loop, still, turns - 1)
        return
    for reply in still:
        reply.set_result(LATE)


def merged(stored: Sequence[Past], sent: Sequence[Event], most: int) -> list[Event]:
    """Returns one history of both, the newest `most` events; what was sent and is stored too is there once.

    An event sent without a time stands for every stored one of its type and item.
    """
    times: dict[tuple[str, str], list[float]] = {}
    for event in sent:
        at = event.event_time.timestamp() if event.event_time else math.nan
        times.setdefault((event.item_id, event.event_type), []).append(at)

    def is_sent(past: Past) -> bool:
        near, at = SAME_SECONDS if past.timed else HEARD_SECONDS, past.milliseconds / 1000
        # Nothing is farther away than no number at all, so an unknown time counts as near.
        return any(not abs(each - at) > near for each in times.get((past.item_id, past.event_type), ()))

    kept = [past for past in stored if not is_sent(past)] if sent else stored
    room = most - len(sent)
    return [*map(_event, kept[-room:] if room > 0 else ()), *sent]


def _event(past: Past) -> Event:
    return Event(past.item_id, past.event_type, datetime.fromtimestamp(past.milliseconds / 1000, UTC))
