"""Real servers on real tiny bundles."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pipeline.core import settings as settings_module
from pipeline.core.artifacts import write_beside
from pipeline.core.run import Layout
from pipeline.serve.server import Service
from tests.fixtures.contenders import digest_of


@pytest.fixture(scope="session")
def bundles(contenders: dict[str, Path]) -> list[Path]:
    """Three bundles: two of other towers, and the first again with another data end, hence another digest."""
    return [contenders["right"], contenders["wrong"], contenders["old_right"]]


@contextmanager
def running(service: Service) -> Iterator[httpx.Client]:
    """Runs a service in a thread and hands out a client; ends it by a drain."""
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=20) as client:
            yield client
    finally:
        service.stop()
        thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def client(bundles: list[Path]) -> Iterator[httpx.Client]:
    """A server of the first bundle, with small limits."""
    limits = ["serve.max_body_bytes=4096", "serve.max_k=30", "serve.max_history=6", "serve.port=0"]
    with running(Service(settings_module.load(limits), bundles[0])) as found:
        yield found


class Followed:
    """A server that follows the pointer of a store in a test's folder."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        # However busy the machine is, nobody is turned away for having waited.
        patient = ["serve.max_wait_milliseconds=60000", "serve.request_timeout_seconds=60"]
        given = [f"store.root={root}", "serve.port=0", "serve.poll_seconds=0.02", *patient]
        self.settings = settings_module.load(given)

    def publish(self, bundle: Path) -> Path:
        """Copies a bundle to where promotion puts it."""
        final = self.layout.bundle(digest_of(bundle))
        shutil.copytree(bundle, final, dirs_exist_ok=True)
        return final

    def point(self, bundle: Path, sequence: int, version: str = "1") -> None:
        fields = {"sequence": sequence, "digest": digest_of(bundle), "version": version}
        write_beside(self.layout.pointer, json.dumps(fields))


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path / "var")


def until(holds: Callable[[], bool], what: str) -> None:
    """Waits for something a background thread brings about; a minute without it fails the test."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"waited a minute for: {what}"
        time.sleep(0.01)
