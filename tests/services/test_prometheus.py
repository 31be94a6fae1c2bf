"""What the server says of itself, to a real Prometheus."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures.bundles import requests
from tests.services.prometheus import Prometheus
from tests.services.servers import free_port, running, scratch

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[str]:
    """A server of a tiny bundle, as `host:port`; it has answered one recommendation and one empty history."""
    address = f"127.0.0.1:{(port := free_port())}"
    words = ["-m", "pipeline", "serve", "--bundle", str(tiny_bundle), "--port", str(port)]

    def ready() -> bool:
        try:
            return httpx.get(f"http://{address}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    with scratch("serve") as folder, running([sys.executable, *words], folder, ready, PYTHONPATH=str(REPOSITORY)):
        known, *_, nothing, _ = requests()
        for request in (known, nothing):
            httpx.post(f"http://{address}{request['path']}", json=request["request"]).raise_for_status()
        yield address


def test_promtool_finds_nothing_to_mend_in_the_metrics(server: str) -> None:
    text = httpx.get(f"http://{server}/metrics").text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr


def test_prometheus_scrapes_requests_bundle_and_fallbacks(server: str, prometheus: Prometheus) -> None:
    prometheus.scrape(server)
    (requests,) = prometheus.await_series(f'serve_requests_total{{instance="{server}",route="/v1/recommend"}} == 2')
    assert requests["metric"]["status"] == "200"
    (info,) = prometheus.query(f'serve_model_info{{instance="{server}"}}')
    assert len(info["metric"]["digest"]) == 64
    (fallbacks,) = prometheus.query(f'sum(serve_fallbacks_total{{instance="{server}"}})')
    assert fallbacks["value"][1] == "1"
    (count,) = prometheus.query(f'serve_request_seconds_count{{instance="{server}",route="/v1/recommend"}}')
    assert count["value"][1] == "2"
