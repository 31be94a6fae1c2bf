"""The OpenAPI document: made of the routes there are and the structs that read and write their bodies.

A route is described by one entry of `ABOUT`; a test holds that each is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pipeline.serve import answers
from pipeline.serve.messages import (
    MAX_DENIED,
    MAX_NAMED,
    MAX_TEXT,
    AnswerBody,
    BatchBody,
    BatchRequest,
    EventsBody,
    EventsRequest,
    Limits,
    PutBody,
    PutItems,
    RecommendRequest,
    RefusalBody,
    SearchRequest,
)
from pipeline.serve.status import AliveBody, ErrorBody, ModelBody, ReadyBody
from pipeline.serve.tokens import Scope

if TYPE_CHECKING:
    from pipeline.serve.app import Route

SCHEMAS = "#/components/schemas/{name}"
NAMES_OF_USERS = ("user_id", "pseudonym")
_HISTORY = [{"item_id": "85123A", "event_type": "view", "event_time": "2011-12-08T10:00:00Z"}]
_K = {
    "name": "k",
    "in": "query",
    "description": "How many items; as many as the shop shows unless given.",
    "schema": {"type": "integer", "minimum": 1},
    "example": 5,
}
_ITEM_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The item's id, percent-encoded.",
    "schema": {"type": "string", "minLength": 1, "pattern": r"^[^/]+$"},
    "example": "85123A",
}


def _allowing(name: str, schema: Mapping[str, Any], says: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": says, "schema": schema}


_TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}}
_FILTERS = (
    _allowing("category", {**_TEXTS, "maxItems": MAX_NAMED}, "Only items at or below one of these paths."),
    _allowing("brand", {**_TEXTS, "maxItems": MAX_NAMED}, "Only items of one of these brands."),
    _allowing("price_min", {"type": "number", "minimum": 0}, "Only items that cost so much at least."),
    _allowing("price_max", {"type": "number", "minimum": 0}, "Only items that cost so much at most."),
    _allowing("in_stock", {"type": "boolean"}, "True leaves out what is known not to be in stock."),
    _allowing("deny", {**_TEXTS, "maxItems": MAX_DENIED}, "Never these items."),
)


class About(NamedTuple):
    """What the document says of a route.

    Attributes:
        answer: struct of the body of 200; text for a media type.
        body: struct of the request's body.
        examples: of the body, by a name; each is answered.
        parameters: as OpenAPI states them.
        more: further refusals it gives, beside those of every route: status and when.
    """

    summary: str
    answer: type | str
    body: type | None = None
    examples: Mapping[str, Any] = {}
    parameters: Sequence[Mapping[str, Any]] = ()
    more: Mapping[int, str] = {}


_UNFIT = "The body or a parameter is not what is asked for; the sentence names the field."
_NOT_READY = "Nothing is served yet, or there is more to do than can be done in time: ask again."
ABOUT: dict[str, About] = {
    answers.RECOMMEND: About(
        "Recommends items to follow what somebody did.",
        AnswerBody,
        RecommendRequest,
        {
            "history": {"history": _HISTORY, "k": 5, "exclude_seen": True, "now": "2011-12-08T10:20:00Z"},
            "nobody known": {"k": 5},
            "within a category": {"history": _HISTORY, "k": 5, "filter": {"category": "home", "price_max": 20}},
            "explained": {"history": _HISTORY, "k": 5, "explain": True},
        },
        more={422: _UNFIT, 503: _NOT_READY},
    ),
    answers.SEARCH: About(
        "Finds items for a text; a history makes the answer personal.",
        AnswerBody,
        SearchRequest,
        {"text": {"query": "white lantern", "k": 5}, "personal": {"query": "bag", "history": _HISTORY, "k": 5}},
        more={422: _UNFIT, 503: _NOT_READY},
    ),
    answers.BATCH: About(
        "Answers many requests in one, all by one bundle; each is a recommendation, or with a query a search.",
        BatchBody,
        BatchRequest,
        {"two": {"requests": [{"history": _HISTORY, "k": 5}, {"query": "bag", "k": 5}]}},
        more={422: _UNFIT, 503: _NOT_READY},
    ),
    "/v1/events": About(
        "Tells what users did, as it happens, so that later answers know it.",
        EventsBody,
        EventsRequest,
        {"a view": {"events": [{"user_id": "u-17", "item_id": "85123A", "event_type": "view"}]}},
        more={404: "This server keeps no histories.", 422: _UNFIT, 503: "The histories cannot be written: send again."},
    ),
    "/v1/items": About(
        "Shows items as they are from now on, and finds those no bundle knows yet.",
        PutBody,
        PutItems,
        {"a new one": {"items": [{"item_id": "n-1", "title": "white lantern", "category": "home", "price": 9.5}]}},
        more={
            409: "This server was given one bundle and follows none.",
            422: _UNFIT,
            503: "The items cannot be kept now: send again.",
            507: "There is no room for more items.",
        },
    ),
    answers.SIMILAR: About(
        "Gives an item's neighbours.",
        AnswerBody,
        parameters=(_ITEM_ID, _K, *_FILTERS),
        more={404: "The bundle that is served does not hold this item.", 422: _UNFIT, 503: _NOT_READY},
    ),
    "/v1/model": About("Says which bundle is served.", ModelBody, more={503: _NOT_READY}),
    "/healthz": About("Tells that the process answers.", AliveBody),
    "/readyz": About(
        "Tells whether requests should be sent here.", ReadyBody, more={503: "Not now; `problem` says why."}
    ),
    "/metrics": About("Gives what Prometheus reads.", "text/plain"),
    "/openapi.json": About("Gives this document.", "application/json"),
    "/": About("Gives a page to try all this on.", "text/html"),
}
_EVERYWHERE = {
    400: "The request is not HTTP/1.1.",
    405: "The route takes another method.",
    408: "The request did not arrive in time.",
    413: "The body is larger than the server reads.",
    431: "The request's line and headers are longer than the server reads.",
    500: "The server failed; its log says where.",
}
_GUARDED = {
    401: "A token is asked for, or the one sent is not known.",
    403: "The token's scope is too small, or a page of another site asks.",
}


def document(routes: Sequence[Route], limits: Limits, knows_users: bool) -> dict[str, Any]:
    """Returns the document of these routes under these limits.

    Args:
        knows_users: histories are kept, so that a request may name a user.
    """
    described = [(route, ABOUT[route.name]) for route in routes]
    structs = {kind for _, about in described for kind in (about.answer, about.body) if isinstance(kind, type)}
    ordered = sorted(structs | {ErrorBody, RefusalBody}, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=SCHEMAS)
    for schema in schemas.values():
        _bound(schema, limits)
        for name in () if knows_users else NAMES_OF_USERS:
            schema.get("properties", {}).pop(name, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Nightshift",
            "version": "1",
            "description": "Recommendations, search and similar items of a shop. Every refusal is one sentence.",
        },
        "servers": [{"url": "/"}],
        "paths": {route.name: {route.method.lower(): _operation(route, about, limits)} for route, about in described},
        "components": {"schemas": schemas, "securitySchemes": {"token": _SCHEME}},
    }


_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "Made with `python -m pipeline token add`; scopes read, write and admin, each with those before it.",
}


def _bound(schema: dict[str, Any], limits: Limits) -> None:
    """States the server's own limits where its structs leave them to settings."""
    fields = schema.get("properties", {})
    if "k" in fields and "history" in fields:
        fields["history"]["maxItems"] = limits.max_history
        for each in fields["k"].get("anyOf", []):
            if each.get("type") == "integer":
                each["maximum"] = limits.max_k
    if "requests" in fields:
        says = "A body of /v1/recommend, or with a query of /v1/search; one that is wrong is refused in its place."
        fields["requests"] |= {"maxItems": limits.max_batch, "items": {"description": says}}
    if "answers" in fields:
        either = [{"$ref": SCHEMAS.format(name=kind.__name__)} for kind in (AnswerBody, RefusalBody)]
        fields["answers"]["items"] = {"anyOf": either}


def _operation(route: Route, about: About, limits: Limits) -> dict[str, Any]:
    refusals = {**_EVERYWHERE, **(_GUARDED if route.scope else {}), **about.more}
    found: dict[str, Any] = {
        "summary": about.summary,
        "operationId": f"{route.method.lower()}{route.name.translate(_NAMING)}",
        "responses": {"200": _given(about.answer), **{str(s): _refused(s, refusals[s]) for s in sorted(refusals)}},
    }
    if about.answer is ReadyBody:
        found["responses"]["503"] = {"description": about.more[503], "content": _json(ReadyBody)}
    if about.parameters:
        found["parameters"] = [_parameter(each, limits) for each in about.parameters]
    if about.body:
        examples = {name: {"value": value} for name, value in about.examples.items()}
        content = {"application/json": {**_json(about.body)["application/json"], "examples": examples}}
        found["requestBody"] = {"required": True, "content": content}
    if route.scope:
        scope = route.scope.name.lower()
        found |= {"security": [{"token": []}], "description": f"Asks for a token with the scope {scope}."}
        if route.scope < Scope.ADMIN:
            found["description"] += " A server that has no tokens answers its own machine without."
    return found


_NAMING = str.maketrans({"/": "_", "{": None, "}": None, ".": "_"})


def _parameter(stated: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    if stated["name"] == "k":
        return {**stated, "schema": {**stated["schema"], "maximum": limits.max_k}}
    return dict(stated)


def _given(answer: type | str) -> dict[str, Any]:
    content = {answer: {"schema": {}}} if isinstance(answer, str) else _json(answer)
    return {"description": "The answer.", "headers": _NAMED, "content": content}


def _refused(status: int, when: str) -> dict[str, Any]:
    headers = {**_NAMED, **_HEADERS.get(status, {})}
    return {"description": when, "headers": headers, "content": _json(ErrorBody)}


def _header(says: str) -> dict[str, Any]:
    return {"description": says, "schema": {"type": "string"}}


_NAMED = {"x-request-id": _header("The id the request has in logs: the caller's, or one made here.")}
_HEADERS = {
    401: {"www-authenticate": _header("Bearer.")},
    405: {"allow": _header("What the route takes.")},
    503: {"retry-after": _header("Seconds to wait.")},
}


def _json(kind: type) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": SCHEMAS.format(name=kind.__name__)}}}
