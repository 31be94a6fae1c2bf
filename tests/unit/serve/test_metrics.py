"""What is counted, beside the client library's own, and that no label says what a client sent."""

from __future__ import annotations

import asyncio
import gc
import math
import re

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client import Histogram as Theirs
from prometheus_client.exposition import generate_latest

from pipeline.core import settings as settings_module
from pipeline.core.errors import CorruptArtifactError, MissingInputError, UnavailableError
from pipeline.serve.champion import Champion, LowerSequenceError, WrongAnswerError
from pipeline.serve.metrics import Metrics, Model
from pipeline.serve.series import Histogram, Readings, Tally, timed_collections
from pipeline.serve.server import Service
from tests.fixtures.bundles import item_id
from tests.unit.serve.conftest import running

BOUNDS = (0.0, 0.25, 0.5, 1.0, 2.5)


def written(series: object) -> set[str]:
    """Returns the lines a series is exposed as, the client library's moment of creation aside."""
    registry = CollectorRegistry()
    registry.register(series)
    return {line for line in generate_latest(registry).decode().splitlines() if "_created" not in line}


def lines(metrics: Metrics) -> list[str]:
    return asyncio.run(metrics.text()).decode().splitlines()


def value(metrics: Metrics, line: str) -> float | None:
    found = [each for each in lines(metrics) if each.startswith(f"{line} ")]
    return float(found[0].split()[-1]) if found else None


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0],
        [0.25, 0.5, 1.0, 2.5],
        [math.nextafter(bound, math.inf) for bound in BOUNDS],
        [math.nextafter(bound, -math.inf) for bound in BOUNDS[1:]],
        [2.6, 1e9, math.inf],
        [0.1, 0.1, 0.3, 0.7, 0.7, 2.0, 3.0],
    ],
    ids=["none", "zero", "on the bounds", "just above", "just below", "beyond the last", "some of each"],
)
def test_a_histogram_is_written_as_the_client_library_writes_its_own(values: list[float]) -> None:
    ours = Histogram("waits", "How long.", "stage", BOUNDS)
    theirs = Theirs("waits", "How long.", ["stage"], buckets=BOUNDS, registry=None)
    for value in values:
        for label in ("queue", "tower"):
            ours.observe(label, value)
            theirs.labels(label).observe(value)
    assert written(ours) == written(theirs)


def test_a_histogram_without_a_label_is_written_as_the_client_library_writes_its_own() -> None:
    ours = Histogram("lag_seconds", "How late.", "", BOUNDS)
    theirs = Theirs("lag_seconds", "How late.", buckets=BOUNDS, registry=None)
    for value in (0.1, 0.5, 7.0):
        ours.observe("", value)
        theirs.observe(value)
    assert written(ours) == written(theirs)


def test_a_tally_is_written_as_the_client_library_writes_its_own() -> None:
    ours = Tally("asked", "How often.", ("route", "status"), known=[("/healthz", 200)])
    theirs = Counter("asked", "How often.", ["route", "status"], registry=None)
    theirs.labels("/healthz", "200").inc(0)
    for route, status, count in (("/v1/search", 200, 1), ("/v1/search", 422, 3), ("/v1/search", 200, 2)):
        ours.add(route, status, count=count)
        theirs.labels(route, str(status)).inc(count)
    assert written(ours) == written(theirs)


def test_a_gauge_nobody_feeds_is_named_without_a_value_and_an_unknown_one_is_an_error() -> None:
    readings = Readings({"fed": "Fed.", "idle": "Idle."})
    readings.watch("fed", lambda: 7)
    found = written(readings)
    assert {"fed 7.0", "# TYPE idle gauge"} <= found
    assert not [line for line in found if line.startswith("idle")]
    with pytest.raises(KeyError):
        readings.watch("feed", lambda: 7)


def test_everything_told_of_the_bundle_is_of_one_bundle() -> None:
    metrics = Metrics()
    assert value(metrics, "serve_sequence") is None
    metrics.swapped(Model("11", "a" * 64, "float32", 4, 50, 100.0, 200.0, 0.5))
    metrics.swapped(Model("12", "b" * 64, "pq2", 5, 60, 300.0, 400.0, 0.25))
    infos = [line for line in lines(metrics) if line.startswith("serve_model_info{")]
    assert infos == [f'serve_model_info{{digest="{"b" * 64}",recipe="pq2",version="12"}} 1.0']
    told = ("serve_sequence", "serve_model_items", "serve_model_data_end_timestamp_seconds", "serve_swaps_total")
    assert [value(metrics, name) for name in told] == [5, 60, 300, 2]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WrongAnswerError("Golden 1."), "goldens"),
        (LowerSequenceError("4 after 5."), "sequence"),
        (CorruptArtifactError("Torn."), "corrupt"),
        (MissingInputError("Gone."), "missing"),
        (UnavailableError("No space is left."), "unavailable"),
        (ValueError("?"), "unexpected"),
    ],
)
def test_a_refused_bundle_is_counted_by_why(error: Exception, reason: str) -> None:
    metrics = Metrics()
    Champion(metrics).keep("Nothing is served: for a reason.", error)
    told = [line for line in lines(metrics) if line.startswith("serve_swap_failures_total{")]
    assert f'serve_swap_failures_total{{reason="{reason}"}} 1.0' in told
    assert sum(float(line.split()[-1]) for line in told) == 1


def test_what_is_refused_for_load_is_counted_and_not_timed() -> None:
    metrics = Metrics()
    metrics.answered("/v1/search", 200, 0.02)
    metrics.answered("/v1/search", 503, 0.0001)
    assert value(metrics, 'serve_requests_total{route="/v1/search",status="503"}') == 1
    assert value(metrics, 'serve_request_seconds_count{route="/v1/search"}') == 1
    assert value(metrics, 'serve_request_seconds_sum{route="/v1/search"}') == 0.02


def test_an_answer_is_counted_by_its_best_score_its_history_and_whether_it_is_whole() -> None:
    metrics = Metrics()
    metrics.gave("/v1/recommend", 20, 20, 0.75, None, 3)
    metrics.gave("/v1/recommend", 20, 4, -0.5, None, 8)
    # A fallback's score is a share of events, which is no score of the towers; of no item there is none.
    metrics.gave("/v1/recommend", 20, 20, 0.01, "empty_history", 0)
    metrics.gave("/v1/recommend", 20, 0, None, None, 5)
    metrics.gave("/v1/items/{id}/similar", 20, 20, 0.9, None, None)
    assert value(metrics, 'serve_best_score_count{route="/v1/recommend"}') == 2
    assert value(metrics, 'serve_best_score_bucket{le="0.0",route="/v1/recommend"}') == 1
    # The one below 0 adds nothing, for a sum that falls would look like a restart.
    assert value(metrics, 'serve_best_score_sum{route="/v1/recommend"}') == 0.75
    assert value(metrics, 'serve_history_length_sum{route="/v1/recommend"}') == 3 + 8 + 0 + 5
    assert value(metrics, 'serve_history_length_count{route="/v1/items/{id}/similar"}') is None
    assert value(metrics, 'serve_short_answers_total{route="/v1/recommend"}') == 2
    assert value(metrics, 'serve_fallbacks_total{fallback="empty_history"}') == 1


def test_collections_of_garbage_are_timed_while_it_runs_and_no_longer() -> None:
    pauses = Histogram("pauses", "Pauses.", "generation", (10.0,))
    with timed_collections(pauses):
        gc.collect(1)
    gc.collect(1)
    assert 'pauses_bucket{generation="1",le="10.0"} 1.0' in written(pauses)


def test_no_label_holds_what_a_client_sent(bundles) -> None:
    secret = "sec-ret"
    body = {"history": [{"item_id": secret}], "query": secret}
    with running(Service(settings_module.load(["serve.port=0"]), bundles[0])) as client:
        client.post("/v1/recommend", json={**body, "filter": {"category": secret}})
        client.post(f"/v1/{secret}", json=body)
        client.get(f"/{secret}?{secret}={secret}", headers={"x-request-id": secret, secret: secret})
        client.get(f"/v1/items/{secret}/similar?k=3", headers={"authorization": f"Bearer {secret}"})
        client.request(secret.upper(), "/v1/search")
        client.request("PATCH", "/v1/search", content=secret)
        text = client.get("/metrics").text
    assert secret not in text.lower()
    routes = set(re.findall(r'route="([^"]*)"', text))
    assert routes >= {"/v1/recommend", "/v1/items/{id}/similar", "unknown"}
    assert set(re.findall(r'status="([^"]*)"', text)) <= {"200", "400", "404", "405", "422"}


def test_a_server_tells_what_it_serves_how_it_answered_and_what_it_promises(client: httpx.Client) -> None:
    client.post("/v1/recommend", json={"history": [{"item_id": item_id(3)}, {"item_id": item_id(9)}], "k": 5})
    # Twelve bags and the two seen: fewer than asked for.
    bags = {"history": [{"item_id": item_id(3)}], "k": 30, "filter": {"category": "fashion/bags"}}
    client.post("/v1/recommend", json=bags)
    text = client.get("/metrics").text
    value = {name: float(number) for name, number in re.findall(r"(?m)^(\S+) (\S+)$", text)}
    assert (value["serve_ready"], value["serve_model_items"]) == (1, 50)
    assert value["serve_promised_p99_seconds"] == settings_module.load([]).gate.max_p99_ms / 1000
    # The fixture's data end with 7 May 2024.
    assert value["serve_model_data_end_timestamp_seconds"] == 1_715_126_400
    assert 0 < value["serve_model_load_seconds"] < value["serve_model_since_timestamp_seconds"]
    assert value['serve_short_answers_total{route="/v1/recommend"}'] >= 1
    assert value['serve_history_length_bucket{le="1.0",route="/v1/recommend"}'] >= 1
    assert value['serve_best_score_count{route="/v1/recommend"}'] >= 2
