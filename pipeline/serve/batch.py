"""Many requests in one: all answered by the bundle that is served when their turn comes.

One after the other, each by the very steps it would take alone: kernels for many rows at once round otherwise than
those for one, and an answer must not hang on who asked beside it. Others are let in between, and batches wait for each
other, so however many are sent a request that comes alone waits for one answer of one batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from msgspec import Raw

from pipeline.core.errors import PipelineError
from pipeline.serve import answers, messages
from pipeline.serve.champion import Served
from pipeline.serve.exchange import Request, Response
from pipeline.serve.histories import Asked, names_user
from pipeline.serve.messages import AnswerBody, BatchBody, HistorySource, Limits, Refusal, RefusalBody
from pipeline.serve.metrics import Metrics

AT_ONCE_SECONDS = 0.001
"""Answers that take less than this together are given without a pause."""


class Batches:
    """Answers batches. All of it runs on the event loop."""

    def __init__(
        self,
        served: Callable[[], Served],
        completed: Callable[[Asked], Awaitable[tuple[Asked, HistorySource]]],
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        """Args:
        served: the bundle of this moment; raises Refusal where there is none.
        completed: a request that names a user with what is stored of them; raises Refusal.
        """
        self._served, self._completed, self._limits, self._metrics = served, completed, limits, metrics
        self._turn = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """Raises: Refusal: no batch, too large a one, or nothing is served."""
        asked = messages.read_batch(request.body)
        if len(asked) > self._limits.max_batch:
            raise Refusal(
                422, f"The field requests holds {len(asked)}; send {self._limits.max_batch} in a batch at most."
            )
        async with self._turn:
            if time.perf_counter() - request.arrived > self._limits.max_wait_seconds:
                self._metrics.shed("batch")
                return Response.refusal(
                    503, "Batches before this one took longer than it may wait; ask again.", (b"retry-after", b"1")
                )
            served = self._served()
            return Response.of(BatchBody(await self._each(served, asked), served.version, served.digest))

    async def _each(self, served: Served, asked: list[Raw]) -> list[AnswerBody | RefusalBody]:
        given, begun = [], time.perf_counter()
        for body in asked:
            given.append(await self._one(served, body))
            if time.perf_counter() - begun > AT_ONCE_SECONDS:
                await asyncio.sleep(0)
                begun = time.perf_counter()
        return given

    async def _one(self, served: Served, body: Raw) -> AnswerBody | RefusalBody:
        """Answers one request as if it had come alone. Raises: nothing for what is wrong with the request."""
        try:
            asked, source = messages.read_either(body), None
            if names_user(asked):
                asked, source = await self._completed(asked)
            given = answers.retrieve(served, self._limits, asked)
        except Refusal as refusal:
            return RefusalBody(refusal.status, refusal.sentence)
        except PipelineError as error:
            return RefusalBody(422, str(error))
        answers.count(self._metrics, answers.BATCH, served, given)
        if source:
            given.body.history_source = source
        return given.body
