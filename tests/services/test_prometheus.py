"""What the server says of itself, to a real Prometheus."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures.bundles import item_id, requests
from tests.fixtures.dashboards import asked, family, names, rules, shown
from tests.services.prometheus import Prometheus
from tests.services.servers import free_port, running, scratch

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[str]:
    """A server of a tiny bundle, as `host:port`; it was asked everything once."""
    address = f"127.0.0.1:{(port := free_port())}"
    words = ["-m", "pipeline", "serve", "--bundle", str(tiny_bundle), "--port", str(port)]

    def ready() -> bool:
        try:
            return httpx.get(f"http://{address}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    with scratch("serve") as folder, running([sys.executable, *words], folder, ready, PYTHONPATH=str(REPOSITORY)):
        ask_everything(address)
        yield address


def ask_everything(server: str) -> None:
    """Asks each route, is refused in each way a client can be, and gets an answer that is too short."""
    with httpx.Client(base_url=f"http://{server}") as client:
        for request in requests():
            client.post(request["path"], json=request["request"]).raise_for_status()
        bags = {"history": [{"item_id": item_id(3)}], "k": 30, "filter": {"category": "fashion/bags"}}
        client.post("/v1/recommend", json=bags).raise_for_status()
        client.get(f"/v1/items/{item_id(3)}/similar?k=3").raise_for_status()
        assert client.post("/v1/search", json={}).status_code == 422
        assert client.get("/v2").status_code == 404
    host, _, port = server.partition(":")
    with socket.create_connection((host, int(port)), 5) as rude:
        rude.sendall(b"this is no request\r\n\r\n")
        assert rude.recv(64).startswith(b"HTTP/1.1 400")


def test_promtool_finds_nothing_to_mend_in_the_metrics(server: str) -> None:
    text = httpx.get(f"http://{server}/metrics").text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr


@pytest.fixture(scope="module")
def watched(server: str, prometheus: Prometheus) -> Prometheus:
    """A Prometheus that has seen a server be asked everything, and then everything once more."""
    prometheus.scrape(server, job="serve")
    prometheus.await_series(f'serve_ready{{job="serve", instance="{server}"}}')
    ask_everything(server)
    prometheus.await_series('route:serve_request_seconds:p99_5m{job="serve", route="/v1/search"} > 0')
    return prometheus


def test_prometheus_sees_requests_bundle_fallbacks_and_short_answers(watched: Prometheus, server: str) -> None:
    def value(expression: str) -> float:
        (found,) = watched.query(expression)
        return float(found["value"][1])

    of = f'instance="{server}"'
    # Everything is five recommendations of the fixture's, two of them by popularity, and one of too few bags; twice.
    assert value(f'serve_requests_total{{{of}, route="/v1/recommend", status="200"}}') == 12
    assert value(f'serve_request_seconds_count{{{of}, route="/v1/recommend"}}') == 12
    assert value(f"sum(serve_fallbacks_total{{{of}}})") == 4
    assert value(f"sum(serve_short_answers_total{{{of}}})") >= 2
    assert value(f'serve_best_score_count{{{of}, route="/v1/recommend"}}') == 8
    (info,) = watched.query(f"serve_model_info{{{of}}}")
    assert len(info["metric"]["digest"]) == 64 and info["metric"]["recipe"] == "test_int8"


def test_every_query_of_the_dashboards_is_understood_and_names_what_the_server_tells(watched: Prometheus) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    told = set(watched.ask("metadata")) | recorded | {"up", "ALERTS"}
    for expression in [*asked(), *(rule["expr"] for rule in rules())]:
        # It is an error of HTTP, with a sentence, where the query cannot be read.
        watched.query(expression)
        assert {family(name) for name in names(expression)} <= told, expression


UNFED = {"ALERTS"}
"""What has no value here: nothing is wrong."""


def test_every_panel_shows_something_once_the_server_was_asked(watched: Prometheus) -> None:
    expected = [each for each in shown() if " offset " not in each and not names(each) <= UNFED]
    assert len(expected) > 30
    assert [each for each in expected if not watched.query(each)] == []


def test_every_rule_that_ships_is_evaluated_without_an_error(watched: Prometheus) -> None:
    found = {rule["name"]: rule for group in watched.ask("rules")["groups"] for rule in group["rules"]}
    assert set(found) == {rule.get("alert") or rule["record"] for rule in rules()}
    assert {name: rule["lastError"] for name, rule in found.items() if rule["health"] != "ok"} == {}


def test_a_server_that_is_gone_sets_off_its_alert(watched: Prometheus, server: str) -> None:
    gone = f"127.0.0.1:{free_port()}"
    watched.scrape(server, gone, job="serve")
    alert = f'ALERTS{{alertname="ServeDown", severity="page", instance="{gone}"}}'
    (pending,) = watched.await_series(alert)
    assert pending["metric"]["alertstate"] == "pending"
    assert watched.query(f'ALERTS{{alertname="ServeDown", instance="{server}"}}') == []
