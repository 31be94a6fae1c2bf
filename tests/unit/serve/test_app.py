"""Routes, answers and refusals of a real server on one bundle."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from tests.fixtures.bundles import item_id
from tests.fixtures.contenders import digest_of


def event(number: int, kind: str = "view", time: str = "2024-05-01T10:00:00Z") -> dict:
    return {"item_id": item_id(number), "event_type": kind, "event_time": time}


def ids(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [item["item_id"] for item in response.json()["items"]]


def test_recommend_answers_items_best_first_with_what_a_shop_shows(client, bundles):
    body = {"history": [event(3), event(9, "cart")], "query": None, "k": 7, "exclude_seen": True}
    answer = client.post("/v1/recommend", json=body).json()
    scores = [item["score"] for item in answer["items"]]
    assert len(scores) == 7 and scores == sorted(scores, reverse=True)
    assert set(answer["items"][0]) == {"item_id", "score", "title", "category", "brand", "price"}
    assert answer["fallback"] is None and answer["model_version"] is None
    assert answer["bundle_digest"] == digest_of(bundles[0])


def test_seen_items_are_left_out_only_when_asked(client):
    # An answer holds at most thirty of the fifty items, so the seen two are looked for among those of their category.
    body = {"history": [event(3), event(7)], "k": 30, "filter": {"category": "fashion/bags"}}
    # Items 3, 7, 11 … 47 are bags: twelve.
    assert not {item_id(3), item_id(7)} & set(ids(client.post("/v1/recommend", json=body)))
    assert {item_id(3), item_id(7)} <= set(ids(client.post("/v1/recommend", json={**body, "exclude_seen": False})))


def test_a_category_filter_holds_everything_below_it(client):
    found = client.post("/v1/recommend", json={"history": [event(3)], "k": 30, "filter": {"category": "fashion"}})
    assert {item["category"] for item in found.json()["items"]} == {"fashion/shoes", "fashion/bags"}


def test_an_empty_history_is_answered_by_popularity_and_says_so(client):
    answer = client.post("/v1/recommend", json={"k": 3})
    # The fixture's first items are the most popular.
    assert ids(answer) == [item_id(1), item_id(2), item_id(3)]
    assert answer.json()["fallback"] == "empty_history"


def test_unknown_items_are_answered_by_popularity_and_say_so(client):
    answer = client.post("/v1/recommend", json={"history": [{"item_id": "never-seen"}], "k": 2})
    assert ids(answer) == [item_id(1), item_id(2)]
    assert answer.json()["fallback"] == "unknown_items"


def test_history_is_read_in_order_of_time_whatever_order_it_is_sent_in(client):
    early, late = event(3, time="2024-05-01T10:00:00Z"), event(20, "cart", time="2024-05-01T12:00:00+01:00")
    one = client.post("/v1/recommend", json={"history": [early, late]})
    other = client.post("/v1/recommend", json={"history": [late, early]})
    assert one.json() == other.json()


def test_when_things_happened_and_when_it_is_asked_tell(client):
    history = [event(3), event(20, time="2024-05-01T10:00:09Z")]
    asked = {"history": history, "k": 9, "now": "2024-05-01T10:30:00Z"}
    scores = [
        [item["score"] for item in client.post("/v1/recommend", json=body).json()["items"]]
        for body in (asked, {**asked, "now": "2024-05-09T10:30:00Z"}, {**asked, "history": [event(3), event(20)]})
    ]
    assert scores[0] != scores[1] and scores[0] != scores[2]


def test_asked_now_unless_it_is_said_when(client):
    body = {"history": [event(3)], "k": 9}
    # Far enough from the event that minutes between the two requests change no digit of the pause.
    assert client.post("/v1/recommend", json=body).json() == (
        client.post("/v1/recommend", json={**body, "now": datetime.now(UTC).isoformat()}).json()
    )


@pytest.mark.parametrize(("path", "asked"), [("/v1/recommend", {}), ("/v1/search", {"query": "thing of shelf 3"})])
def test_where_it_is_asked_tells_and_what_nobody_met_does_no_harm(client, path: str, asked: dict):
    body = {"history": [event(3)], "k": 9, "now": "2024-05-01T10:30:00Z", **asked}
    answers = [
        [item["score"] for item in client.post(path, json={**body, **said}).json()["items"]]
        for said in ({}, {"context": {}}, {"context": {"device": " "}},
                     {"context": {"device": "tv"}}, {"context": {"device": " TV"}}, {"context": {"odd": "odder"}})
    ]  # fmt: skip
    assert answers[0] == answers[1] == answers[2] != answers[3]
    assert answers[3] == answers[4] and len(answers[5]) == 9


def test_a_history_that_lacks_a_time_is_one_without_times(client):
    timed, bare = event(3), {"item_id": item_id(20), "event_type": "view"}
    untimed = [{**event, "event_time": None} for event in (timed, bare)]
    assert client.post("/v1/recommend", json={"history": [timed, bare]}).json() == (
        client.post("/v1/recommend", json={"history": untimed}).json()
    )


def test_a_cancelled_purchase_leaves_no_trace(client):
    bought = [event(3), event(20, "purchase"), event(20, "cancel")]
    assert client.post("/v1/recommend", json={"history": bought}).json() == (
        client.post("/v1/recommend", json={"history": [event(3)]}).json()
    )


def test_the_default_k_is_the_shops(client):
    assert len(ids(client.post("/v1/recommend", json={}))) == 20


def test_search_answers_a_text(client):
    answer = client.post("/v1/search", json={"query": "thing of shelf 3", "k": 4})
    assert len(ids(answer)) == 4 and answer.json()["fallback"] is None
    assert ids(answer) != ids(client.post("/v1/search", json={"query": "something else", "k": 4}))


def test_similar_items_leave_the_item_itself_out(client):
    found = ids(client.get(f"/v1/items/{item_id(3)}/similar?k=30"))
    assert len(found) == 30 and item_id(3) not in found


def test_similar_of_an_item_the_bundle_lacks_is_404_with_a_sentence(client):
    answer = client.get("/v1/items/no%20such/similar")
    assert answer.status_code == 404
    assert "'no such' is not among the 50 items" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b'{"query": "\xff"}', "not a JSON object in UTF-8"),
        (b"[1]", "The body is wrong: expected object, got array."),
        (b'{"k": "ten"}', "The field k is wrong: expected int | null, got str."),
        (b'{"k": 0}', "The field k is wrong: expected int >= 1."),
        (b'{"k": true}', "The field k is wrong: expected int | null, got bool."),
        (b'{"k": 31}', "The field k is 31; at most 30 items are given, ask for fewer."),
        (b'{"k": 99999999999999999999}', "at most 30 items"),
        (b'{"hist": []}', "The field hist is not known here."),
        (b'{"history": [{"event_type": "view"}]}', "The field history[0].item_id is missing."),
        (b'{"history": [{"item_id": 7}]}', "The field history[0].item_id is wrong: expected str, got int."),
        (b'{"history": [{"item_id": ""}]}', "The field history[0].item_id is wrong: expected str of length >= 1."),
        (b'{"history": [{"item_id": "a", "event_type": "vew"}]}', "expected one of impression, view, cart"),
        (b'{"history": [{"item_id": "a", "event_time": "yesterday"}]}', "The field history[0].event_time is wrong"),
        (b'{"history": [{"item_id": "a", "event_time": "2024-05-01T10:00:00"}]}', "with a timezone"),
        (b'{"now": "2024-05-01T10:00:00"}', "The field now is wrong"),
        (b'{"context": "France"}', "The field context is wrong: expected object, got str."),
        (b'{"context": {"country": 7}}', "The field context[...] is wrong: expected str, got int."),
        (
            b'{"context": {"a": "1", "b": "1", "c": "1", "d": "1", "e": "1"}}',
            "The field context is wrong: expected object of length <= 4.",
        ),
        (b'{"filter": {"colour": "red"}}', "The field filter.colour is not known here."),
        (b'{"history": [' + b",".join([b'{"item_id": "a"}'] * 7) + b"]}", "holds 7 events; send the newest 6 at most"),
    ],
)
def test_malformed_input_gets_422_and_a_sentence_naming_the_field(client, body, sentence):
    answer = client.post("/v1/recommend", content=body)
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


def test_a_search_without_query_gets_422(client):
    answer = client.post("/v1/search", json={"k": 3})
    assert (answer.status_code, answer.json()["error"]) == (422, "The field query is missing.")


@pytest.mark.parametrize("query", ["k=0", "k=-1", "k=x", "limit=3", "k=", "k=31", "k=1&k=2"])
def test_similar_refuses_a_bad_k(client, query):
    answer = client.get(f"/v1/items/{item_id(3)}/similar?{query}")
    assert answer.status_code == 422 and answer.json()["error"].endswith(".")


def test_a_body_beyond_the_limit_gets_413(client):
    answer = client.post("/v1/recommend", content=b'{"query": "' + b"a" * 5000 + b'"}')
    assert answer.status_code == 413
    assert "larger than 4096 bytes" in answer.json()["error"]


def test_a_chunked_body_beyond_the_limit_gets_413(client):
    answer = client.post("/v1/recommend", content=(b"a" * 1000 for _ in range(6)))
    assert answer.status_code == 413


def test_unknown_routes_and_methods_are_named(client):
    lost = client.get("/v2/recommend")
    assert lost.status_code == 404 and "/v1/recommend" in lost.json()["error"]
    wrong = client.get("/v1/recommend")
    assert (wrong.status_code, wrong.json()["error"]) == (405, "This route takes POST, not GET.")


def test_health_readiness_and_model_name_the_bundle(client, bundles):
    assert client.get("/healthz").json() == {"alive": True}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["bundle_digest"] == digest_of(bundles[0]) and ready.json()["problem"] is None
    model = client.get("/v1/model").json()
    assert (model["items"], model["recipe"]) == (50, "test_int8")
    assert model["data_end"].startswith("2024-05-08")


def test_metrics_count_requests_by_route_and_status_and_fallbacks(client, bundles):
    def value(name: str) -> float:
        lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name + " ")]
        return float(lines[0].split()[-1]) if lines else 0.0

    refused = 'serve_requests_total{route="/v1/search",status="422"}'
    empty = 'serve_fallbacks_total{fallback="empty_history"}'
    before = value(refused), value(empty)
    client.post("/v1/search", json={})
    client.post("/v1/recommend", json={})
    assert (value(refused), value(empty)) == (before[0] + 1, before[1] + 1)
    labels = f'digest="{digest_of(bundles[0])}",recipe="test_int8",version="None"'
    assert value(f"serve_model_info{{{labels}}}") == 1
    assert value("serve_swaps_total") == 1 and value('serve_swap_failures_total{reason="corrupt"}') == 0


def test_logs_hold_no_item_id_and_no_query_text(client, caplog):
    caplog.set_level("DEBUG")
    client.post("/v1/recommend", json={"history": [{"item_id": "secret-item"}], "query": "secret words"})
    client.post("/v1/recommend", content=b'{"history": [{"item_id": "secret-item", "event_type": "secret words"}]}')
    client.get("/v1/items/secret-item/similar")
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert not [message for message in ours if "secret" in message]
