"""A replica that another's server carries requests to answers as the plain server does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from pipeline.core import settings as settings_module
from pipeline.model.bundle import open_bundle
from pipeline.serve.asgi import Asgi
from pipeline.serve.replica import Replica
from tests.fixtures.contenders import digest_of
from tests.unit.serve.conftest import until

LIMITS = ["serve.max_body_bytes=4096", "serve.max_k=30", "serve.max_history=6"]


@pytest.fixture(scope="module")
def asgi(bundles):
    return Asgi(Replica(settings_module.load(LIMITS), "127.0.0.1", bundles[0]), "r1")


def asked(app: Asgi, ask: Callable[[httpx.AsyncClient], Coroutine[Any, Any, httpx.Response]]) -> httpx.Response:
    async def within() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await ask(client)

    return asyncio.run(within())


def test_it_answers_as_the_plain_server_does(asgi, client, bundles):
    requests = [(g["path"], g["request"]) for g in open_bundle(bundles[0]).goldens]
    requests += [("/v1/recommend", {"k": "many"}), ("/v1/nothing", {}), ("/v1/model", {})]
    for path, body in requests:
        own = asked(asgi, lambda other, path=path, body=body: other.post(path, json=body))
        plain = client.post(path, json=body)
        assert (own.status_code, own.content) == (plain.status_code, plain.content)
        mine, theirs = dict(own.headers), dict(plain.headers)
        assert mine.pop("x-replica") == "r1"
        theirs.pop("x-request-id")
        assert mine == theirs
    got = asked(asgi, lambda other: other.get("/v1/items/item-003/similar", params={"k": 3}))
    assert got.content == client.get("/v1/items/item-003/similar", params={"k": 3}).content
    assert got.status_code == 200


def test_too_large_a_body_is_refused_before_it_is_read_whole(asgi):
    read = []

    async def chunks():
        for number in range(100):
            read.append(number)
            yield b" " * 1024

    refused = asked(asgi, lambda other: other.post("/v1/recommend", content=chunks()))
    assert (refused.status_code, refused.json()) == (
        413, {"error": "The body is larger than 4096 bytes; send less."}
    )  # fmt: skip
    assert len(read) == 5


def test_a_head_has_the_length_and_no_content(asgi):
    head, whole = (asked(asgi, lambda other, m=method: other.request(m, "/healthz")) for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


def test_it_keeps_the_figures_of_one_of_many_to_itself(asgi):
    refused = asked(asgi, lambda other: other.get("/metrics"))
    assert refused.status_code == 404
    assert refused.json()["error"].startswith("One replica's figures would mislead")


def test_a_client_that_leaves_gets_nothing(asgi):
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/recommend", "query_string": b"", "headers": []}
    asyncio.run(asgi(scope, receive, send))
    assert sent == []


def test_a_websocket_is_closed(asgi):
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(asgi({"type": "websocket"}, send, send))
    assert sent == [{"type": "websocket.close", "code": 1003}]


def test_it_follows_the_pointer_from_startup_to_shutdown(followed, bundles):
    for bundle in bundles[:2]:
        followed.publish(bundle)
    followed.point(bundles[0], 1)
    replica = Replica(followed.settings, "127.0.0.1")
    app = Asgi(replica, "r1")

    async def live() -> None:
        told: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        said: asyncio.Queue[Any] = asyncio.Queue()
        living = asyncio.create_task(app({"type": "lifespan"}, told.get, said.put))
        await told.put({"type": "lifespan.startup"})
        assert await said.get() == {"type": "lifespan.startup.complete"}
        followed.point(bundles[1], 2)
        await asyncio.to_thread(until, lambda: replica.champion.current.sequence == 2, "the swap")
        await told.put({"type": "lifespan.shutdown"})
        assert await said.get() == {"type": "lifespan.shutdown.complete"}
        await living

    asyncio.run(live())
    assert replica.champion.current.digest == digest_of(bundles[1])
    ready = asked(app, lambda other: other.get("/readyz"))
    assert (ready.status_code, ready.json()["problem"]) == (503, "This server is ending; ask another.")
