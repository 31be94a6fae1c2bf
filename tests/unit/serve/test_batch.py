"""Many requests in one: each answered as if it had come alone, all by one bundle, and nobody kept waiting for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from pipeline.core import settings as settings_module
from pipeline.model.retriever import Retriever
from pipeline.serve.batch import Batches
from pipeline.serve.champion import Served
from pipeline.serve.exchange import Request
from pipeline.serve.histories import Asked
from pipeline.serve.messages import HistorySource, Limits, Refusal
from pipeline.serve.metrics import Metrics
from pipeline.serve.server import Service
from tests.fixtures.bundles import item_id
from tests.fixtures.contenders import digest_of
from tests.unit.serve.conftest import running

NOW = "2024-05-02T10:00:00Z"


@pytest.fixture(scope="module")
def client(bundles: list[Path]) -> Iterator[httpx.Client]:
    given = ["serve.max_batch=40", "serve.max_k=30", "serve.max_history=6", "serve.port=0"]
    with running(Service(settings_module.load(given), bundles[0])) as found:
        yield found


def _bodies(count: int) -> list[dict]:
    draw = np.random.default_rng(3)
    bodies = []
    for number in range(count):
        history = [{"item_id": item_id(int(n)), "event_time": NOW} for n in draw.integers(1, 51, number % 6)]
        body = {"history": history, "k": int(draw.integers(1, 30)), "now": NOW}
        bodies.append({**body, "query": f"thing of shelf {number % 7}"} if number % 3 == 0 else body)
    return bodies


def test_every_answer_of_a_batch_is_the_one_it_gets_alone(client, bundles):
    bodies = [*_bodies(36), {"k": 3, "explain": True, "filter": {"brand": "brand-1"}}]
    batch = client.post("/v1/batch", json={"requests": bodies}).json()
    alone = [client.post("/v1/search" if body.get("query") else "/v1/recommend", json=body).json() for body in bodies]
    assert batch["answers"] == alone
    assert (batch["bundle_digest"], batch["model_version"]) == (digest_of(bundles[0]), None)


def test_a_request_that_is_wrong_gets_its_sentence_in_its_place(client):
    wrong = [{"k": 31}, {"histroy": []}, {"query": 5}, 7, {"history": [{"item_id": "a"}] * 7}, {"k": 30, "explain": 1}]
    batch = client.post("/v1/batch", json={"requests": [{"k": 2}, *wrong, {"k": 3}]}).json()["answers"]
    assert [len(batch[0]["items"]), len(batch[-1]["items"])] == [2, 3]
    assert [answer["status"] for answer in batch[1:-1]] == [422] * 6
    assert [answer["error"] for answer in batch[1:4]] == [
        "The field k is 31; at most 30 items are given, ask for fewer.",
        "The field histroy is not known here.",
        "The field query is wrong: expected str, got int.",
    ]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "The field requests is missing."),
        ({"requests": {}}, "The field requests is wrong: expected array, got object."),
        ({"requests": [{}] * 41}, "The field requests holds 41; send 40 in a batch at most."),
        ({"requests": [], "k": 3}, "The field k is not known here."),
    ],
)
def test_what_is_no_batch_gets_422_and_a_sentence(client, body, sentence):
    answer = client.post("/v1/batch", json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, sentence)


def test_one_who_names_a_user_where_no_histories_are_kept_is_refused_alone(client):
    batch = client.post("/v1/batch", json={"requests": [{"user_id": "u"}, {"k": 1}]}).json()["answers"]
    assert batch[0]["error"].startswith("This server keeps no histories") and len(batch[1]["items"]) == 1


def test_a_batch_of_nothing_is_answered_with_nothing(client):
    assert client.post("/v1/batch", json={"requests": []}).json()["answers"] == []


async def _nobody(asked: Asked) -> tuple[Asked, HistorySource]:
    """A server without stored histories."""
    raise Refusal(422, "No histories are kept.")


def _batches(bundle: Path, *given: str) -> tuple[Batches, list[Served]]:
    """Batches of a bundle that can be changed while they are answered: the last of a list is served."""
    settings = settings_module.load(list(given))
    served = [Served(Retriever.load(bundle), "1", 1)]
    return Batches(lambda: served[-1], _nobody, Limits.of(settings.serve, settings.shop), Metrics()), served


def _asked(count: int, arrived: float = float("inf")) -> Request:
    """Args: arrived: by default so late that it never waits too long."""
    return Request("POST", "/v1/batch", body=json.dumps({"requests": _bodies(count)}).encode(), arrived=arrived)


def test_others_are_let_in_and_the_whole_batch_is_of_one_bundle_though_another_comes(bundles):
    batches, served = _batches(bundles[0])
    following, turns = Served(Retriever.load(bundles[1]), "2", 2), []

    async def meanwhile() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(len(turns))
            # By then all are read and the first are answered.
            if len(turns) == 6:
                served.append(following)

    async def both() -> bytes:
        other = asyncio.create_task(meanwhile())
        response = await batches.answer(_asked(100))
        other.cancel()
        return response.content

    told = json.loads(asyncio.run(both()))
    # A hundred answers take far longer than the millisecond after which others are let in.
    assert len(served) == 2
    assert {answer["bundle_digest"] for answer in told["answers"]} == {told["bundle_digest"]} == {digest_of(bundles[0])}


def test_batches_wait_for_each_other_and_not_for_ever(bundles):
    batches, _ = _batches(bundles[0], "serve.max_wait_milliseconds=1")

    async def all_of_them() -> list:
        # The last two arrived when the clock began, so their time is long over.
        return await asyncio.gather(*(batches.answer(_asked(5, at)) for at in (float("inf"), 0.0, 0.0)))

    first, *late = asyncio.run(all_of_them())
    assert first.status == 200
    assert [(answer.status, answer.headers) for answer in late] == [(503, ((b"retry-after", b"1"),))] * 2


def test_a_batch_before_the_first_champion_is_refused(bundles):
    def nothing() -> Served:
        raise Refusal(503, "No champion yet.")

    settings = settings_module.load([])
    batches = Batches(nothing, _nobody, Limits.of(settings.serve, settings.shop), Metrics())
    with pytest.raises(Refusal, match="No champion yet"):
        asyncio.run(batches.answer(_asked(1)))
