"""What every route answers: who may ask, limits, refusals. Knows nothing of sockets."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from pipeline.core.errors import PipelineError
from pipeline.serve import answers, messages, openapi, page
from pipeline.serve.answers import Given
from pipeline.serve.audit import Audit
from pipeline.serve.batch import Batches
from pipeline.serve.champion import Champion, Served
from pipeline.serve.exchange import RETRY_AFTER, Request, Response
from pipeline.serve.guard import Guard
from pipeline.serve.histories import Asked, UserHistories, names_user
from pipeline.serve.messages import HistorySource, Limits, Refusal
from pipeline.serve.metrics import Metrics
from pipeline.serve.new_items import NewItems
from pipeline.serve.status import AliveBody, ModelBody, ReadyBody
from pipeline.serve.tokens import Scope

log = logging.getLogger("serve")
Answered = Response | Awaitable[Response]


class Route(NamedTuple):
    """One thing that can be asked.

    Attributes:
        name: as it is counted; never what a client sent.
        method: HEAD is taken where GET is.
        scope: of the token it asks for.
        waits: in the queue; probes do not.
        answer_each: answers several as `answer` would each, in less time; None where they are answered one by one.
    """

    name: str
    method: str
    answer: Callable[[Request], Answered]
    scope: Scope = Scope.READ
    waits: bool = True
    answer_each: Callable[[Sequence[Request]], list[Answered | Refusal]] | None = None


class App:
    """Answers requests by the bundle that is served at that moment."""

    def __init__(
        self,
        champion: Champion,
        limits: Limits,
        metrics: Metrics,
        guard: Guard,
        audit: Audit,
        histories: UserHistories | None = None,
        new_items: NewItems | None = None,
    ) -> None:
        """Args: new_items: None where a bundle is served by hand."""
        self._champion, self._limits, self._metrics, self._histories = champion, limits, metrics, histories
        self._guard, self._audit = guard, audit
        self._new_items = new_items
        self.draining = False
        metrics.count_live(lambda: len(champion.current.live) if champion.current else 0)
        routes = [
            self._retrieval(answers.RECOMMEND, messages.read_recommend),
            self._retrieval(answers.SEARCH, messages.read_search),
            Route(answers.BATCH, "POST", Batches(self._served, self.completed, limits, metrics).answer),
            Route("/v1/events", "POST", self._told, Scope.WRITE),
            Route("/v1/items", "PUT", self._put, Scope.ADMIN),
            Route("/v1/model", "GET", self._model),
            # A server that has too much to do must still be able to say so.
            Route("/metrics", "GET", self._measured, waits=False),
            Route("/healthz", "GET", lambda _: Response.of(AliveBody(True)), Scope.OPEN, waits=False),
            Route("/readyz", "GET", self._ready, Scope.OPEN, waits=False),
            Route("/openapi.json", "GET", lambda _: self._described(), Scope.OPEN, waits=False),
            Route("/", "GET", lambda _: page.response(), Scope.OPEN, waits=False),
        ]
        self._routes = {route.name: route for route in routes}
        self._similar = Route(answers.SIMILAR, "GET", self._similar_to)
        known = ", ".join(route.name for route in self.routes)
        lost = Response.refusal(404, f"There is nothing here; known are {known}.")
        self._nothing = Route("unknown", "", lambda _: lost, Scope.OPEN, waits=False)
        self._description: Response | None = None
        metrics.watch_ready(lambda: self.is_ready)

    @property
    def routes(self) -> list[Route]:
        return [*self._routes.values(), self._similar]

    def route(self, path: str) -> Route:
        found = self._routes.get(path)
        if found:
            return found
        return self._similar if answers.similar_item(path) is not None else self._nothing

    def respond(self, route: Route, request: Request, request_id: bytes) -> Answered:
        """Answers at once, or returns what will have the answer. Raises nothing."""
        return self.refusal(route, request, request_id) or self.answer(route, request, request_id)

    def refusal(self, route: Route, request: Request, request_id: bytes) -> Response | None:
        """Returns None for what may be asked, by this method and by whoever asks."""
        if route.method and request.method not in (route.method, "HEAD" if route.method == "GET" else ""):
            sentence = f"This route takes {route.method}, not {request.method[:16]}."
            takes = f"{route.method}, HEAD" if route.method == "GET" else route.method
            return Response.refusal(405, sentence, (b"allow", takes.encode()))
        refusal = self._guard.refusal(route.scope, request.headers)
        if refusal and route.scope is Scope.ADMIN and refusal.status == 403:
            self._note(route, request, request_id, refusal)
        return refusal

    def answer(self, route: Route, request: Request, request_id: bytes) -> Answered:
        """Answers what `refusal` lets through, as `respond` does."""
        if route.scope is Scope.ADMIN and not self._audit.is_writable():
            return Response.refusal(503, "The record of admin calls cannot be written, so none is taken; see its log.")
        try:
            answered = route.answer(request)
        except Exception as error:
            answered = self._failed(route, request_id, error)
        if not isinstance(answered, Response):
            return self._awaited(route, request, request_id, answered)
        return self._noted(route, request, request_id, answered)

    def answer_each(self, route: Route, requests: Sequence[Request], request_ids: Sequence[bytes]) -> list[Answered]:
        """Answers several as `answer` does each; what goes wrong with one does not touch the others."""
        pairs = list(zip(requests, request_ids, strict=True))
        if route.answer_each and len(pairs) > 1:
            # Whose fault a failure is, is seen when each is asked alone.
            with suppress(Exception):
                found = route.answer_each(requests)
                return [self._of(route, *pair, answered) for pair, answered in zip(pairs, found, strict=True)]
        return [self.answer(route, *pair) for pair in pairs]

    def _of(self, route: Route, request: Request, request_id: bytes, answered: Answered | Refusal) -> Answered:
        if isinstance(answered, Refusal):
            return self._failed(route, request_id, answered)
        return answered if isinstance(answered, Response) else self._awaited(route, request, request_id, answered)

    async def _awaited(
        self, route: Route, request: Request, request_id: bytes, answered: Awaitable[Response]
    ) -> Response:
        try:
            response = await answered
        except Exception as error:
            response = self._failed(route, request_id, error)
        return self._noted(route, request, request_id, response)

    def _noted(self, route: Route, request: Request, request_id: bytes, response: Response) -> Response:
        if route.scope is Scope.ADMIN:
            self._note(route, request, request_id, response)
        return response

    def _note(self, route: Route, request: Request, request_id: bytes, response: Response) -> None:
        who = self._guard.who(request.headers)
        self._audit.note(who, f"{route.method} {route.name}", request_id.decode(), response.status)

    def _failed(self, route: Route, request_id: bytes, error: Exception) -> Response:
        if isinstance(error, Refusal):
            return Response.refusal(error.status, error.sentence, *([RETRY_AFTER] if error.status == 503 else []))
        if isinstance(error, PipelineError):
            return Response.refusal(422, str(error))
        # The message of an unexpected error may quote the request, so only its kind and place are logged.
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__} at {place.filename}:{place.lineno}"
        facts = {"event": "failure", "route": route.name, "status": 500, "request_id": request_id.decode()}
        log.error("%s failed: %s, request %s", route.name, told, facts["request_id"], extra=facts)
        return Response.refusal(500, "The server failed to answer this request; its log says where.")

    def _retrieval(self, route: str, read: Callable[[bytes], Asked]) -> Route:
        def each(requests: Sequence[Request]) -> list[Answered | Refusal]:
            several = [self._read(read, request) for request in requests]
            alone = [asked for asked in several if not isinstance(asked, Refusal) and not names_user(asked)]
            served = self._served()
            given = iter(answers.retrieve_each(served, self._limits, alone))
            answered: list[Answered | Refusal] = []
            for asked in several:
                if not isinstance(asked, Refusal):
                    asked = self._personal(route, asked) if names_user(asked) else next(given)
                answered.append(self._given(route, asked) if isinstance(asked, Given) else asked)
            return answered

        def one(request: Request) -> Answered:
            (answered,) = each([request])
            if isinstance(answered, Refusal):
                raise answered
            return answered

        return Route(route, "POST", one, answer_each=each)

    def _read(self, read: Callable[[bytes], Asked], request: Request) -> Asked | Refusal:
        begun = time.perf_counter()
        try:
            return read(request.body)
        except Refusal as refusal:
            return refusal
        finally:
            self._metrics.stages.observe("decode", time.perf_counter() - begun)

    async def _personal(self, route: str, asked: Asked) -> Response:
        """Answers by what is stored of the user as well; the bundle is the one served once that is known."""
        asked, source = await self.completed(asked)
        served = self._served()
        given = answers.retrieve(served, self._limits, asked)
        given.body.history_source = source
        return self._given(route, given)

    async def completed(self, asked: Asked) -> tuple[Asked, HistorySource]:
        """Raises: Refusal: no histories are kept, or as `UserHistories.completed`."""
        if self._histories is None:
            raise Refusal(422, "This server keeps no histories; send history, not user_id or pseudonym.")
        return await self._histories.completed(asked, self._limits)

    def _told(self, request: Request) -> Answered:
        if self._histories is None:
            raise Refusal(404, "This server keeps no histories; set history.redis_url, or send history when you ask.")
        return self._histories.told(messages.read_events(request.body))

    def _similar_to(self, request: Request) -> Response:
        item_id = answers.similar_item(request.path) or ""
        served = self._served()
        given = answers.similar(served, self._limits, item_id, request.query_string)
        return self._given(answers.SIMILAR, given)

    def _given(self, route: str, given: Given) -> Response:
        answers.count(self._metrics, route, given)
        begun = time.perf_counter()
        response = Response.of(given.body)
        self._metrics.stages.observe("encode", time.perf_counter() - begun)
        return response

    def _put(self, request: Request) -> Awaitable[Response]:
        if self._new_items is None:
            raise Refusal(409, "This server was given one bundle and takes no items; put them to one that follows.")
        return self._new_items.answer(request)

    def _served(self) -> Served:
        served = self._champion.current
        if served is None:
            raise Refusal(503, self._champion.problem)
        return served

    @property
    def is_ready(self) -> bool:
        return self._champion.current is not None and not self.draining

    async def _measured(self, _: Request) -> Response:
        return Response(200, await self._metrics.text(), self._metrics.content_type.encode())

    def _ready(self, _: Request) -> Response:
        served, problem = self._champion.current, self._champion.problem
        if self.draining:
            problem = "This server is ending; ask another."
        ready = self.is_ready
        body = ReadyBody(ready=ready, problem=problem or None)
        if served:
            body.model_version, body.bundle_digest, body.sequence = served.version, served.digest, served.sequence
        return Response.of(body, 200 if ready else 503)

    def _model(self, _: Request) -> Response:
        served = self._served()
        bundle = served.bundle
        body = ModelBody(
            model_version=served.version,
            bundle_digest=served.digest,
            sequence=served.sequence,
            items=len(served.retriever.catalogue),
            live_items=len(served.live),
            recipe=bundle.recipe,
            data_end=bundle.data_end,
            index=bundle.manifest["index"],
            bytes=bundle.bytes,
        )
        return Response.of(body)

    def _described(self) -> Response:
        if self._description is None:
            knows_users = self._histories is not None
            self._description = Response.of(openapi.document(self.routes, self._limits, knows_users))
        return self._description
