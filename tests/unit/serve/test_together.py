"""Requests that wait are answered a few in one go; nobody's answer hangs on who waited beside them."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack

import pytest

from pipeline.core import settings as settings_module
from pipeline.model.retriever import Retriever
from pipeline.serve.desk import TOGETHER
from pipeline.serve.server import Service
from tests.fixtures.bundles import item_id
from tests.fixtures.wire import Reply, connected, request
from tests.unit.serve.conftest import running

RECOMMEND, SEARCH = "/v1/recommend", "/v1/search"
GOOD = [
    (RECOMMEND, {"history": [{"item_id": item_id(n)}, {"item_id": item_id(n + 9), "event_type": "cart"}], "k": n})
    for n in range(1, 2 * TOGETHER)
]
ODD = [
    (RECOMMEND, {"history": [{"item_id": item_id(4)}], "k": 5, "filter": {"category": "fashion"}, "explain": True}),
    (RECOMMEND, {}),
    (RECOMMEND, {"history": [{"item_id": "never seen"}]}),
    (RECOMMEND, {"k": 0}),
    (RECOMMEND, {"k": 100_000}),
    (RECOMMEND, {"filter": {"price_min": 2, "price_max": 1}}),
    (RECOMMEND, {"user_id": "u"}),
    (SEARCH, {"query": "thing of shelf 3"}),
    (SEARCH, {"query": "brand", "history": [{"item_id": item_id(6)}]}),
    (SEARCH, {}),
]


@pytest.fixture
def service(bundles):
    patient = ["serve.port=0", "serve.max_wait_milliseconds=60000", "serve.request_timeout_seconds=60"]
    service = Service(settings_module.load(patient), bundles[0])
    with running(service):
        yield service


def ask_at_once(service: Service, asked: list[tuple[str, dict]]) -> list[Reply]:
    """Sends one request on each of so many connections while nobody is answered."""
    began, goes_on = threading.Event(), threading.Event()
    with ExitStack() as stack:
        wires = [stack.enter_context(connected(service.port)) for _ in asked]
        for wire in wires:
            wire.send(request("GET", "/healthz"))
            assert wire.reply().status == 200
        service._loop.call_soon_threadsafe(lambda: (began.set(), goes_on.wait(30)))
        assert began.wait(30)
        for wire, (path, body) in zip(wires, asked, strict=True):
            wire.send(request("POST", path, json.dumps({**body, "now": "2024-05-02T10:00:00Z"}).encode()))
        goes_on.set()
        return [wire.reply() for wire in wires]


def ask_alone(service: Service, asked: list[tuple[str, dict]]) -> list[Reply]:
    return [ask_at_once(service, [each])[0] for each in asked]


def told(replies: list[Reply]) -> list[tuple[int, bytes]]:
    return [(reply.status, reply.content) for reply in replies]


@pytest.fixture
def sizes(monkeypatch) -> list[int]:
    """Returns how many were answered in each go."""
    found: list[int] = []
    each = Retriever.recommend_each
    monkeypatch.setattr(Retriever, "recommend_each", lambda self, asked: found.append(len(asked)) or each(self, asked))
    return found


def test_many_that_wait_get_byte_for_byte_what_each_gets_alone(service, sizes):
    asked = [each for pair in zip(GOOD, ODD, strict=False) for each in pair] + GOOD[len(ODD) :]
    alone = told(ask_alone(service, asked))
    assert max(sizes) == 1
    assert [status for status, _ in alone if status != 200] == [422] * 5
    sizes.clear()
    assert told(ask_at_once(service, asked)) == alone
    assert max(sizes) > 1


def test_no_more_than_a_few_are_answered_in_one_go(service, sizes):
    assert {reply.status for reply in ask_at_once(service, GOOD)} == {200}
    assert sum(sizes) == len(GOOD) and max(sizes) == TOGETHER


def test_what_the_server_fails_to_answer_fails_alone(service, monkeypatch):
    each = Retriever.recommend_each

    def fails_on_three(self, asked):
        if any(one.k == 3 for one in asked):
            raise ZeroDivisionError
        return each(self, asked)

    monkeypatch.setattr(Retriever, "recommend_each", fails_on_three)
    replies = ask_at_once(service, GOOD)
    assert [reply.status for reply in replies] == [500 if body["k"] == 3 else 200 for _, body in GOOD]
