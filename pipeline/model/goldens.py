"""Golden requests: asked of a bundle when it is made, asked again before it is trusted, answers held to each other.

A golden is `{"path", "request", "answer"}`: the HTTP path, its JSON body, and `{"items": [{"item_id", "score"}],
"fallback"}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.model.answer import Answer
from pipeline.model.context import pairs_of, told
from pipeline.model.features import Query
from pipeline.model.filters import Filter
from pipeline.model.retriever import Retriever

RECOMMEND = "/v1/recommend"
SEARCH = "/v1/search"
SCORE_TOLERANCE = 2e-3
"""Kernels differ a little from one processor to the next; a wrong tower, index or catalogue differs by far more."""


def recommend_request(query: Query, k: int = 20, **options: Any) -> dict[str, Any]:
    """Returns the request a shop would send for this query; `options` are `exclude_seen` and `filter`."""
    times = [_told_time(time) for time in query.times] or [None] * len(query.item_ids)
    triples = zip(query.item_ids, query.event_types, times, strict=True)
    history = [{"item_id": item, "event_type": kind, "event_time": time} for item, kind, time in triples]
    asked: dict[str, Any] = {} if query.now is None else {"now": _told_time(query.now)}
    asked |= {"context": pairs_of(query.context)} if query.context else {}
    body = {"history": history, "query": query.text, "k": k, "exclude_seen": True, **asked, **options}
    return {"path": RECOMMEND, "request": body}


def _told_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def search_request(text: str, k: int = 20) -> dict[str, Any]:
    """Returns the request a shop would send for a typed query without history."""
    return {"path": SEARCH, "request": {"query": text, "k": k}}


def answer(retriever: Retriever, request: Mapping[str, Any]) -> Answer:
    """Answers a golden's request without a server; missing fields mean what they mean to the server."""
    body = request["request"]
    exclude_seen = body.get("exclude_seen", request["path"] != SEARCH)
    return retriever.recommend(query_of(body), body.get("k", 20), exclude_seen, Filter.of(body.get("filter")))


def query_of(body: Mapping[str, Any]) -> Query:
    """Returns the query in the body of a golden's request."""
    history, now = body.get("history", []), body.get("now")
    ids, kinds, times = ([event[name] for event in history] for name in ("item_id", "event_type", "event_time"))
    seconds = [_seconds(time) for time in times] if all(times) else []
    context = told(body.get("context") or {})
    return Query(ids, kinds, body.get("query"), seconds, _seconds(now) if now else None, context)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def with_answers(retriever: Retriever, requests: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the requests as goldens."""
    return [{**request, "answer": _plain(answer(retriever, request))} for request in requests]


def _plain(given: Answer) -> dict[str, Any]:
    items = [{"item_id": item.item_id, "score": round(item.score, 6)} for item in given.items]
    return {"items": items, "fallback": given.fallback}


def differences(expected: Mapping[str, Any], found: Mapping[str, Any], tolerance: float = SCORE_TOLERANCE) -> list[str]:
    """Holds an answer against a golden's; items whose scores tie within the tolerance may change places.

    Args: both `{"items": [{"item_id", "score", …}], "fallback", …}`; other fields are not looked at.
    Returns: one sentence a difference, none when the answer is right.
    """
    wrong = []
    if expected["fallback"] != found.get("fallback"):
        wrong.append(f"fallback is {found.get('fallback')!r}, expected {expected['fallback']!r}")
    if len(expected["items"]) != len(found["items"]):
        wrong.append(f"{len(found['items'])} items were answered, expected {len(expected['items'])}")
    scores = {item["item_id"]: item["score"] for item in expected["items"]}
    last = expected["items"][-1]["score"] if expected["items"] else 0.0
    for place, (want, got) in enumerate(zip(expected["items"], found["items"], strict=False), start=1):
        stated = scores.get(got["item_id"], last)
        if abs(want["score"] - got["score"]) > tolerance or abs(stated - got["score"]) > tolerance:
            wrong.append(f"place {place} is {_told(got)}, expected {_told(want)}")
    return wrong


def _told(item: Mapping[str, Any]) -> str:
    return f"{item['item_id']} ({item['score']:.4f})"


def check_goldens(retriever: Retriever, tolerance: float = SCORE_TOLERANCE) -> list[str]:
    """Asks a loaded bundle its own goldens; returns a sentence for each that is not answered as sealed."""
    wrong = []
    for number, golden in enumerate(retriever.bundle.goldens if retriever.bundle else [], start=1):
        found = differences(golden["answer"], _plain(answer(retriever, golden)), tolerance)
        wrong += [f"golden {number} ({golden['path']}): {sentence}" for sentence in found]
    return wrong
