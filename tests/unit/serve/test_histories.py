"""A server asked for histories that are not there; a real Redis is among the tests against services."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.core import settings as settings_module
from pipeline.core.errors import MissingSecretError
from pipeline.serve.histories import merged
from pipeline.serve.messages import Event
from pipeline.serve.server import Service
from pipeline.store.histories import Past
from tests.conftest import PSEUDONYM_KEY
from tests.fixtures.bundles import item_id
from tests.unit.serve.conftest import running

BEGIN = 1_770_000_000
PSEUDONYM = "ab" * 32 + ".01234567"


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """The address of something that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def client(bundles: list[Path], silent: str) -> Iterator[httpx.Client]:
    given = ["serve.port=0", "serve.max_history=6", f"history.redis_url={silent}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", PSEUDONYM_KEY)
        service = Service(settings_module.load(given), bundles[0])
    with running(service) as found:
        yield found


@pytest.fixture(scope="module")
def without(bundles: list[Path]) -> Iterator[httpx.Client]:
    """A server that keeps no histories."""
    with running(Service(settings_module.load(["serve.port=0"]), bundles[0])) as found:
        yield found


def view(number: int, at: int | None) -> Event:
    return Event(item_id(number), "view", None if at is None else datetime.fromtimestamp(BEGIN + at, UTC))


def past(number: int, at: int, timed: bool = True) -> Past:
    return Past(item_id(number), "view", (BEGIN + at) * 1000, timed)


def test_a_redis_that_never_answers_leaves_answers_as_they_are_without_it(client: httpx.Client) -> None:
    body: dict[str, Any] = {"history": [{"item_id": item_id(3)}], "k": 5}
    plain = client.post("/v1/recommend", json=body).json()
    for path, more in (("/v1/recommend", {"user_id": "anna"}), ("/v1/recommend", {"pseudonym": PSEUDONYM})):
        answer = client.post(path, json={**body, **more})
        assert (answer.status_code, answer.json()) == (200, {**plain, "history_source": "unavailable"})
    found = client.post("/v1/search", json={"query": "lamp", "user_id": "anna"})
    assert (found.status_code, found.json()["history_source"]) == (200, "unavailable")


def test_an_answer_that_names_no_user_says_nothing_of_where_its_history_came_from(client: httpx.Client) -> None:
    assert "history_source" not in client.post("/v1/recommend", json={"k": 5}).json()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"user_id": "anna", "pseudonym": PSEUDONYM}, "The fields user_id and pseudonym both name the user; send one"),
        ({"user_id": ""}, "The field user_id is wrong"),
        ({"user_id": 17}, "The field user_id is wrong: expected str | null, got int."),
        ({"pseudonym": "anna"}, "The field pseudonym is wrong"),
        ({"user_id": "anna", "history": [{"item_id": "x"}] * 7}, "The field history holds 7 events; send the newest 6"),
    ],
)
def test_a_request_that_names_its_user_wrongly_gets_422(client: httpx.Client, fields: Any, sentence: str) -> None:
    answer = client.post("/v1/recommend", json=fields)
    assert answer.status_code == 422 and sentence in answer.json()["error"]


SOON = (datetime.now(UTC) + timedelta(hours=2)).isoformat()


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([], "The field events is wrong: expected array of length >= 1."),
        ([{"user_id": "anna", "item_id": "x"}] * 1001, "The field events is wrong: expected array of length <= 1000."),
        ([{"item_id": "x"}], "The field events[0] names no user; give its user_id or pseudonym."),
        ([{"user_id": "anna"}], "item_id is missing."),
        ([{"user_id": "anna", "item_id": "x", "event_type": "stare"}], "expected one of impression, view"),
        ([{"user_id": "anna", "item_id": "x", "event_time": SOON}], "The field events[0].event_time is in the future"),
        ([{"user_id": "anna", "item_id": "x", "email": "a@b.c"}], "email is not known here."),
        ([{"user_id": "anna", "pseudonym": PSEUDONYM, "item_id": "x"}], "both name the user"),
    ],
)
def test_events_that_make_no_sense_get_422(client: httpx.Client, events: Any, sentence: str) -> None:
    answer = client.post("/v1/events", json={"events": events})
    assert answer.status_code == 422 and sentence in answer.json()["error"]


def test_events_that_cannot_be_kept_are_given_back_with_503(client: httpx.Client) -> None:
    answer = client.post("/v1/events", json={"events": [{"user_id": "anna", "item_id": "x"}]})
    assert answer.status_code == 503
    assert "does not answer in time" in answer.json()["error"] and "send all of them again" in answer.json()["error"]


def test_a_server_without_histories_says_so(without: httpx.Client) -> None:
    answer = without.post("/v1/recommend", json={"user_id": "anna"})
    assert (answer.status_code, answer.json()["error"][:32]) == (422, "This server keeps no histories; ")
    answer = without.post("/v1/events", json={"events": [{"user_id": "anna", "item_id": "x"}]})
    assert (answer.status_code, answer.json()["error"][:32]) == (404, "This server keeps no histories; ")
    assert "\nserve_history_reachable" not in without.get("/metrics").text


def test_a_server_of_histories_needs_the_key_of_pseudonyms(bundles: list[Path], silent: str) -> None:
    with pytest.raises(MissingSecretError, match="PIPELINE_SECRETS__PSEUDONYM_KEY"):
        Service(settings_module.load(["serve.port=0", f"history.redis_url={silent}"]), bundles[0])


def test_what_was_sent_and_is_stored_too_is_there_once() -> None:
    stored = [past(1, 0), past(2, 10), past(3, 20)]
    assert merged(stored, [view(2, 11), view(4, 30)], 9) == [view(1, 0), view(3, 20), view(2, 11), view(4, 30)]
    # Ten seconds apart it is another event.
    assert len(merged(stored, [view(2, 20)], 9)) == 4
    # Unless the stored one's time is when it was heard of.
    assert merged([past(2, 10, timed=False)], [view(2, 20)], 9) == [view(2, 20)]


def test_an_event_sent_without_a_time_stands_for_what_is_stored_of_it() -> None:
    assert merged([past(1, 0), past(2, 10)], [view(1, None)], 9) == [view(2, 10), view(1, None)]


def test_the_newest_of_both_count_and_what_was_sent_first() -> None:
    stored = [past(number, number) for number in range(1, 6)]
    assert merged(stored, [view(8, 30), view(9, 40)], 4) == [view(4, 4), view(5, 5), view(8, 30), view(9, 40)]
    assert merged(stored, [view(8, 30), view(9, 40)], 2) == [view(8, 30), view(9, 40)]
