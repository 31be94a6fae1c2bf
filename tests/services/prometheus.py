"""A Prometheus of the tests' own, which scrapes what it is told while it runs."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.servers import free_port, running, scratch

USER = "prometheus"
CONFIGURATION = """
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: tests
    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]
"""


@dataclass(frozen=True)
class Prometheus:
    """A running server.

    Attributes:
        url: of its HTTP API.
    """

    url: str
    folder: Path

    def scrape(self, *targets: str) -> None:
        """Scrapes these `host:port` from now on, and no others."""
        beside = self.folder / "targets.json.new"
        beside.write_text(json.dumps([{"targets": targets}]))
        beside.chmod(0o644)
        beside.replace(self.folder / "targets.json")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Returns the series an expression gives now."""
        words = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=10) as response:
            return json.load(response)["data"]["result"]

    def await_series(self, expression: str, seconds: float = 60.0) -> list[dict[str, Any]]:
        """Asks until an expression gives something.

        Raises: TimeoutError: it gave nothing.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := self.query(expression):
                return found
            time.sleep(0.2)
        raise TimeoutError(f"Prometheus has no series for {expression} after {seconds} s.")


@contextmanager
def prometheus() -> Iterator[Prometheus]:
    """Runs Prometheus until the block ends."""
    with scratch("prometheus", USER) as folder:
        (folder / "prometheus.yml").write_text(CONFIGURATION)
        address = f"127.0.0.1:{free_port()}"
        options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "data"}
        options["web.listen-address"] = address  # type: ignore[assignment]
        command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
        with running(command, folder, lambda: _ready(address), USER):
            yield Prometheus(f"http://{address}", folder)


def _ready(address: str) -> bool:
    with urllib.request.urlopen(f"http://{address}/-/ready", timeout=2) as response:
        return response.status == 200
