"""Many requests in one: all answered by the bundle that is served when their turn comes.

A few at a time, each to the last bit as alone: an answer must not hang on who asked beside it. Others are let in
between, and batches wait for each other, so however many are sent a request that comes alone waits for a few answers of
one batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from msgspec import Raw

from pipeline.core.errors import PipelineError
from pipeline.serve import answers, messages
from pipeline.serve.answers import Given
from pipeline.serve.champion import Served
from pipeline.serve.exchange import Request, Response
from pipeline.serve.histories import Asked, names_user
from pipeline.serve.messages import AnswerBody, BatchBody, HistorySource, Limits, Refusal, RefusalBody
from pipeline.serve.metrics import Metrics

TOGETHER = 4
"""So many are answered without a pause: about a millisecond, where a catalogue has 100,000 items."""
Completed = Callable[[Asked], Awaitable[tuple[Asked, HistorySource]]]


class Batches:
    """Answers batches. All of it runs on the event loop."""

    def __init__(self, served: Callable[[], Served], completed: Completed, limits: Limits, metrics: Metrics) -> None:
        """Args:
        served: the bundle of this moment; raises Refusal where there is none.
        completed: a request that names a user, with their history; raises Refusal where none are kept.
        """
        self._served, self._completed, self._limits, self._metrics = served, completed, limits, metrics
        self._turn = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """Raises: Refusal: no batch, too large a one, or nothing is served."""
        bodies = messages.read_batch(request.body)
        if len(bodies) > self._limits.max_batch:
            raise Refusal(
                422, f"The field requests holds {len(bodies)}; send {self._limits.max_batch} in a batch at most."
            )
        async with self._turn:
            if time.perf_counter() - request.arrived > self._limits.max_wait_seconds:
                self._metrics.shed("batch")
                return Response.refusal(
                    503, "Batches before this one took longer than it may wait; ask again.", (b"retry-after", b"1")
                )
            # Histories of all at once: each may take its time, and together they take no more.
            asked = await asyncio.gather(*map(self._read, bodies))
            served = self._served()
            given = await self._each(served, asked)
        return Response.of(BatchBody(given, served.version, served.digest))

    async def _read(self, body: Raw) -> tuple[Asked, HistorySource | None] | RefusalBody:
        try:
            asked = messages.read_either(body)
            return await self._completed(asked) if names_user(asked) else (asked, None)
        except Refusal as refusal:
            return RefusalBody(refusal.status, refusal.sentence)

    async def _each(
        self, served: Served, asked: Sequence[tuple[Asked, HistorySource | None] | RefusalBody]
    ) -> list[AnswerBody | RefusalBody]:
        given: list[AnswerBody | RefusalBody] = []
        for begin in range(0, len(asked), TOGETHER):
            given += self._together(served, asked[begin : begin + TOGETHER])
            await asyncio.sleep(0)
        return given

    def _together(
        self, served: Served, some: Sequence[tuple[Asked, HistorySource | None] | RefusalBody]
    ) -> list[AnswerBody | RefusalBody]:
        found = iter(self._found(served, [each[0] for each in some if not isinstance(each, RefusalBody)]))
        return [each if isinstance(each, RefusalBody) else self._told(next(found), each[1]) for each in some]

    def _found(self, served: Served, asked: Sequence[Asked]) -> list[Given | Refusal]:
        with suppress(PipelineError):
            return answers.retrieve_each(served, self._limits, asked)
        # Whose fault it is, is seen when each is asked alone.
        return [self._alone(served, each) for each in asked]

    def _alone(self, served: Served, asked: Asked) -> Given | Refusal:
        try:
            return answers.retrieve(served, self._limits, asked)
        except Refusal as refusal:
            return refusal
        except PipelineError as error:
            return Refusal(422, str(error))

    def _told(self, given: Given | Refusal, source: HistorySource | None) -> AnswerBody | RefusalBody:
        if isinstance(given, Refusal):
            return RefusalBody(given.status, given.sentence)
        answers.count(self._metrics, answers.BATCH, given)
        if source:
            given.body.history_source = source
        return given.body
