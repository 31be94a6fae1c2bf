"""The ASGI application: routes, limits, refusals. One event loop answers; nothing here waits."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.serve import answers
from pipeline.serve.champion import Champion, Served
from pipeline.serve.messages import AnswerBody, Limits, Refusal, encode
from pipeline.serve.metrics import Metrics

log = logging.getLogger("serve")
JSON = b"application/json"
BODY_TIMEOUT_SECONDS = 10.0
UNKNOWN_ROUTE = "unknown"


class App:
    """What uvicorn calls."""

    def __init__(self, champion: Champion, limits: Limits, metrics: Metrics) -> None:
        self._champion, self._limits, self._metrics = champion, limits, metrics
        self._pages: dict[str, Callable[[], tuple[int, bytes, bytes]]] = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/v1/model": self._model,
            "/metrics": lambda: (200, metrics.text(), metrics.content_type.encode()),
        }

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"this application speaks http, not {scope['type']}")
        route, began = self._route(scope["path"]), time.perf_counter()
        try:
            body = await self._body(receive) if scope["method"] == "POST" else b""
            began = time.perf_counter()
            status, content, kind = self._respond(route, scope, body)
        except Refusal as refusal:
            status, content, kind = refusal.status, encode({"error": refusal.sentence}), JSON
        except TimeoutError:
            status, content, kind = 408, encode({"error": "The body did not arrive within ten seconds."}), JSON
        self._metrics.answered(route, status, time.perf_counter() - began)
        await _send(send, status, content, kind, close=status in (408, 413))

    def _route(self, path: str) -> str:
        if path in answers.BY_PATH or path in self._pages:
            return path
        return answers.SIMILAR if answers.similar_item(path) is not None else UNKNOWN_ROUTE

    async def _body(self, receive: Any) -> bytes:
        parts, size, more = [], 0, True
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "The connection closed before the body had arrived.")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > self._limits.max_body_bytes:
                    raise Refusal(413, f"The body is larger than {self._limits.max_body_bytes} bytes; send less.")
                more = message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _respond(self, route: str, scope: dict[str, Any], body: bytes) -> tuple[int, bytes, bytes]:
        if route == UNKNOWN_ROUTE:
            known = ", ".join([*answers.BY_PATH, answers.SIMILAR, *self._pages])
            raise Refusal(404, f"There is nothing here; known are {known}.")
        allowed = "POST" if route in answers.BY_PATH else "GET"
        if scope["method"] != allowed:
            raise Refusal(405, f"This route takes {allowed}, not {scope['method'][:16]}.")
        if route in self._pages:
            return self._pages[route]()
        served = self._champion.current
        if served is None:
            raise Refusal(503, self._champion.problem)
        answer = self._answer(served, route, scope, body)
        if answer.fallback:
            self._metrics.fell_back(answer.fallback)
        return 200, encode(answer), JSON

    def _answer(self, served: Served, route: str, scope: dict[str, Any], body: bytes) -> AnswerBody:
        try:
            if route == answers.SIMILAR:
                item_id = answers.similar_item(scope["path"]) or ""
                return answers.similar(served, self._limits, item_id, scope["query_string"])
            return answers.BY_PATH[route](served, self._limits, body)
        except Refusal:
            raise
        except PipelineError as error:
            raise Refusal(422, str(error)) from None
        except Exception as error:
            # The message of an unexpected error may quote the request, so only its kind and place are logged.
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s failed: %s at %s:%s", route, type(error).__name__, place.filename, place.lineno)
            raise Refusal(500, "The server failed to answer this request; its log says where.") from None

    def _health(self) -> tuple[int, bytes, bytes]:
        return 200, encode({"alive": True}), JSON

    def _ready(self) -> tuple[int, bytes, bytes]:
        served, problem = self._champion.current, self._champion.problem
        state = {"ready": served is not None, **_name(served), "problem": problem or None}
        return 200 if served else 503, encode(state), JSON

    def _model(self) -> tuple[int, bytes, bytes]:
        served = self._champion.current
        if served is None:
            raise Refusal(503, self._champion.problem)
        bundle = served.bundle
        facts = {
            "items": len(served.retriever.catalogue),
            "recipe": bundle.recipe,
            "data_end": bundle.data_end,
            "index": bundle.manifest["index"],
        }
        return 200, encode({**_name(served), **facts, "bytes": bundle.bytes}), JSON


def _name(served: Served | None) -> dict[str, Any]:
    if served is None:
        return {"model_version": None, "bundle_digest": None, "sequence": None}
    return {"model_version": served.version, "bundle_digest": served.digest, "sequence": served.sequence}


async def _send(send: Any, status: int, content: bytes, kind: bytes, close: bool) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
