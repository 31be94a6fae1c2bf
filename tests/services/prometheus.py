"""A Prometheus of the tests' own, with the rules that ship, which scrapes what it is told while it runs."""

from __future__ import annotations

import json
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.servers import free_port, own, running, scratch

USER = "prometheus"
RULES = Path(__file__).parents[2] / "docker" / "prometheus" / "rules"
CONFIGURATION = """
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules/*.yml]
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

    def scrape(self, *targets: str, job: str = "tests") -> None:
        """Scrapes these `host:port` from now on, and no others."""
        beside = self.folder / "targets.json.new"
        beside.write_text(json.dumps([{"targets": targets, "labels": {"job": job}}]))
        beside.chmod(0o644)
        beside.replace(self.folder / "targets.json")

    def ask(self, path: str, **words: str) -> Any:
        """Returns the data its API answers below /api/v1."""
        asked = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(asked, timeout=10) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Returns the series an expression gives now."""
        return self.ask("query", query=expression)["result"]

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
        shutil.copytree(RULES, folder / "rules")
        own(folder, USER)
        address = f"127.0.0.1:{free_port()}"
        options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "data"}
        options["web.listen-address"] = address  # type: ignore[assignment]
        command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
        with running(command, folder, lambda: _ready(address), USER):
            yield Prometheus(f"http://{address}", folder)


def _ready(address: str) -> bool:
    with urllib.request.urlopen(f"http://{address}/-/ready", timeout=2) as response:
        return response.status == 200
