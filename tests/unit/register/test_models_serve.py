"""`mlflow models serve` of a registered version: a process of its own that knows nothing but what the model packs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.core.settings import Settings
from pipeline.model.goldens import differences
from pipeline.register import step
from pipeline.register.packaging import requests_frame
from tests.fixtures.nights import bundle_of, make_night

SECONDS_TO_START = 180


@contextmanager
def _served(uri: str, tracking_uri: str, folder: Path) -> Iterator[str]:
    """Serves a model away from this repository, and ends the server with all its workers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    words = ["models", "serve", "-m", uri, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    passed = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{passed['PATH']}"
    environment = {**passed, "PATH": path, "MLFLOW_TRACKING_URI": tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("w") as log:
        command = [sys.executable, "-m", "mlflow", *words, "--workers", "1"]
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _await(f"http://127.0.0.1:{port}/ping", server, folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _await(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and server.poll() is None:
        try:
            if httpx.get(address, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"mlflow models serve did not come up:\n{log.read_text()[-3000:]}")


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(answer["item_ids"], answer["scores"], strict=True)
    return {"items": [{"item_id": item, "score": score} for item, score in pairs], "fallback": answer["fallback"]}


def test_a_served_version_answers_over_http_as_its_bundle_does(
    tracked: Settings, tiny_bundle: Path, tmp_path: Path
) -> None:
    run = make_night(tracked, tiny_bundle, "2024-05-01")
    step.run(tracked, run)
    version = json.loads((run.folder / "register.json").read_text())["version"]
    goldens, model = bundle_of(run).goldens, f"models:/{tracked.register.model_name}/{version}"
    asked = json.loads(requests_frame(bundle_of(run)).to_json(orient="records"))

    with _served(model, tracked.register.tracking_uri, tmp_path) as server:
        answer = httpx.post(f"{server}/invocations", json={"dataframe_records": asked}, timeout=60)
        # Alone, so that no field of another row lends it a column.
        alone = httpx.post(f"{server}/invocations", json={"dataframe_records": [{"query": "x", **EMPTY}]}, timeout=60)

    assert answer.status_code == 200, answer.text
    answers = json.loads(answer.text, parse_constant=pytest.fail)["predictions"]
    assert len(answers) == len(goldens) > 0
    for golden, found in zip(goldens, answers, strict=True):
        assert differences(golden["answer"], _told(found)) == []
        assert found["item_ids"] == [item["item_id"] for item in golden["answer"]["items"]]
    assert len(alone.json()["predictions"][0]["item_ids"]) == 20


EMPTY = {"history_item_ids": [], "history_event_types": []}
