"""From a request's body to an answer, by one bundle; the server and its rehearsal take the same way."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from pipeline.core.errors import CorruptArtifactError
from pipeline.model import context
from pipeline.model.answer import Answer
from pipeline.model.breath import breathe
from pipeline.model.explain import explain
from pipeline.model.features import Query
from pipeline.model.filters import EVERYTHING
from pipeline.model.goldens import RECOMMEND, SEARCH, differences
from pipeline.model.retriever import Asked, UnknownItemError
from pipeline.serve import messages
from pipeline.serve.champion import Served, WrongAnswerError
from pipeline.serve.exchange import Request
from pipeline.serve.messages import (
    AnswerBody,
    Event,
    Limits,
    RecommendRequest,
    Refusal,
    SearchRequest,
)
from pipeline.serve.metrics import Metrics
from pipeline.serve.parameters import read_parameters

SIMILAR, BATCH = "/v1/items/{id}/similar", "/v1/batch"
_ITEMS, _SIMILAR = "/v1/items/", "/similar"


class Given(NamedTuple):
    """An answer, and what was asked for.

    Attributes:
        k: how many items.
        history: how many events it is answered by; None where none are asked for.
        spent: seconds its parts took.
    """

    body: AnswerBody
    k: int
    history: int | None
    spent: dict[str, float]


def count(metrics: Metrics, route: str, given: Given) -> None:
    """Counts an answer: what its parts took and what it is like."""
    body, k, history, spent = given
    for stage, seconds in spent.items():
        metrics.stages.observe(stage, seconds)
    best = body.items[0].score if body.items else None
    metrics.gave(route, k, len(body.items), best, body.fallback, history)


def similar_item(path: str) -> str | None:
    """Returns the item id in `/v1/items/{id}/similar`, or None when the path is another."""
    inside = path.removeprefix(_ITEMS).removesuffix(_SIMILAR)
    return inside if inside and path == f"{_ITEMS}{inside}{_SIMILAR}" else None


def recommend(served: Served, limits: Limits, request: Request) -> Given:
    """Raises: Refusal."""
    return retrieve(served, limits, messages.read_recommend(request.body))


def search(served: Served, limits: Limits, request: Request) -> Given:
    """Raises: Refusal."""
    return retrieve(served, limits, messages.read_search(request.body))


def similar(served: Served, limits: Limits, item_id: str, query_string: bytes) -> Given:
    """Raises: Refusal."""
    asked = read_parameters(query_string)
    k, allowed = limits.k_of(asked.k), asked.asked
    try:
        answer = served.retriever.similar(item_id, k, allowed)
        return Given(_body(served, answer), k, None, answer.spent)
    except UnknownItemError as error:
        raise Refusal(404, str(error)) from None


def retrieve(served: Served, limits: Limits, asked: RecommendRequest | SearchRequest) -> Given:
    """Answers by the history in the request itself. Raises: Refusal."""
    (given,) = retrieve_each(served, limits, [asked])
    if isinstance(given, Refusal):
        raise given
    return given


def retrieve_each(
    served: Served, limits: Limits, several: Sequence[RecommendRequest | SearchRequest]
) -> list[Given | Refusal]:
    """Answers each as `retrieve` would, in less time."""
    wanted = [_wanted(limits, asked) for asked in several]
    told = [each for each in wanted if not isinstance(each, Refusal)]
    answers = iter(served.retriever.recommend_each(told))
    return [
        each if isinstance(each, Refusal) else _given(served, asked, each, next(answers))
        for asked, each in zip(several, wanted, strict=True)
    ]


def _wanted(limits: Limits, asked: RecommendRequest | SearchRequest) -> Asked | Refusal:
    try:
        limits.check_history(asked.history)
        k, allowed = limits.k_of(asked.k), asked.filter.asked if asked.filter else EVERYTHING
    except Refusal as refusal:
        return refusal
    events: list[Event] = messages.oldest_first(asked.history)
    ids, kinds, times = [e.item_id for e in events], [e.event_type for e in events], messages.times_of(events)
    now = asked.now.timestamp() if asked.now else time.time()
    query = Query(ids, kinds, asked.query, times, now, context.told(asked.context))
    return Asked(query, k, asked.exclude_seen, allowed)


def _given(served: Served, asked: RecommendRequest | SearchRequest, wanted: Asked, answer: Answer) -> Given:
    if asked.explain:
        begun = time.perf_counter()
        explain(served.retriever, wanted.query, answer, asked.exclude_seen)
        answer.spent["explain"] = time.perf_counter() - begun
    return Given(_body(served, answer), wanted.k, len(wanted.query.item_ids), answer.spent)


def _body(served: Served, answer: Answer) -> AnswerBody:
    return AnswerBody(answer.items, served.version, served.digest, answer.fallback)


def answer_path(served: Served, limits: Limits, target: str, request: Any) -> Given:
    """Answers a request as it is kept in a bundle: its path and its body as a JSON value.

    Raises: Refusal: the path or the body is not one the server knows.
    """
    path, _, query_string = target.partition("?")
    item_id = similar_item(path)
    if item_id is not None:
        return similar(served, limits, unquote(item_id), query_string.encode())
    if path not in BY_PATH:
        raise Refusal(404, f"There is no {path} here.")
    return BY_PATH[path](served, limits, Request("POST", path, body=json.dumps(request).encode()))


BY_PATH = {RECOMMEND: recommend, SEARCH: search}


def rehearsal(limits: Limits) -> Any:
    """Returns the check every bundle goes through before it serves: goldens answered as sealed, then warm-up."""

    def rehearse(served: Served) -> None:
        try:
            for number, golden in enumerate(served.bundle.goldens, start=1):
                given = answer_path(served, limits, golden["path"], golden["request"])
                found = json.loads(messages.encode(given.body))
                breathe()
                wrong = differences(golden["answer"], found)
                if wrong:
                    raise WrongAnswerError(
                        f"Bundle {served.digest[:12]} answers its golden request {number} wrongly: {wrong[0]}."
                    )
            for warmup in served.bundle.warmups:
                answer_path(served, limits, warmup["path"], warmup["request"])
                breathe()
        except Refusal as refusal:
            raise CorruptArtifactError(
                f"Bundle {served.digest[:12]} holds a request this server refuses: {refusal.sentence}"
            ) from None

    return rehearse
