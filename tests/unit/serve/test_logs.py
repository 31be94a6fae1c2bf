"""What the server writes down, and what it never does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from pipeline.serve import tokens
from tests.fixtures.wire import connected, request
from tests.unit.serve.conftest import until


@pytest.fixture
def logged(tmp_path):
    """Returns a function that runs the server without a bundle, lets it be asked, and gives what it wrote."""

    def run(asks, *given: str) -> list[str]:
        port_file = tmp_path / "port"
        port_file.unlink(missing_ok=True)
        words = [sys.executable, "-m", "pipeline", "serve", "--port=0", f"--port-file={port_file}"]
        words += [f"--parent={os.getpid()}", f"--set=store.root={tmp_path}", *(f"--set={each}" for each in given)]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            try:
                until(lambda: port_file.exists() or process.poll() is not None, "the port file")
                if process.poll() is None:
                    asks(int(port_file.read_text()))
            finally:
                process.send_signal(signal.SIGTERM)
                said = process.communicate(timeout=30)[1]
        return said.splitlines()

    return run


def test_every_line_is_an_object_with_the_requests_id(logged):
    def asks(port: int) -> None:
        with connected(port) as wire:
            for sent in (
                request("POST", "/v1/search", b'{"query": "secret words"}', x_request_id="shop-1"),
                request("GET", "/v1/items/secret-item/similar?k=3", x_request_id="shop-2"),
                request("GET", "/secret/path", x_request_id="shop-3"),
            ):
                wire.send(sent)
                wire.reply()

    lines = [json.loads(line) for line in logged(asks, "serve.log_format=json", "serve.access_log_share=1")]
    assert all({"time", "level", "event", "message"} <= set(line) for line in lines)
    told = [line for line in lines if line["event"] == "request"]
    assert [(line["request_id"], line["route"], line["method"], line["status"]) for line in told] == [
        ("shop-1", "/v1/search", "POST", 503),
        ("shop-2", "/v1/items/{id}/similar", "GET", 503),
        ("shop-3", "unknown", "GET", 404),
    ]
    assert all(line["milliseconds"] >= 0 for line in told)
    assert "secret" not in json.dumps(lines)


def test_requests_are_not_logged_unless_asked_for(logged):
    def asks(port: int) -> None:
        with connected(port) as wire:
            wire.send(request("GET", "/healthz") * 5)
            assert [wire.reply().status for _ in range(5)] == [200] * 5

    lines = logged(asks)
    assert "listening on http://127.0.0.1" in lines[0] and lines[-1].endswith("drained and ended")
    assert not [line for line in lines if "healthz" in line]


def test_what_is_shed_is_counted_in_one_line(logged):
    def asks(port: int) -> None:
        with ExitStack() as stack:
            wires = [stack.enter_context(connected(port)) for _ in range(3)]
            for wire in wires:
                wire.send(request("POST", "/v1/recommend", b"{}") * 10)
            for wire in wires:
                assert [wire.reply().status for _ in range(10)] == [503] * 10

    lines = logged(asks, "serve.log_format=json", "serve.max_wait_milliseconds=0.0001")
    shed = [line for line in map(json.loads, lines) if line["event"] == "shed"]
    # Thirty of them, told at most once a second and at the end.
    assert sum(line["counts"]["wait"] for line in shed) == 30
    assert all(line["level"] == "warning" and line["status"] == 503 for line in shed)
    assert len(shed) < 30


def test_tokens_reach_no_log(logged, tmp_path):
    token = tokens.add(tmp_path / "serve" / "tokens.json", "shop", "read")

    def asks(port: int) -> None:
        with connected(port) as wire:
            for sent in (token, token + "x"):
                wire.send(request("GET", "/v1/model", authorization=f"Bearer {sent}"))
                wire.reply()

    lines = logged(asks, "serve.access_log_share=1")
    assert len([line for line in lines if "/v1/model" in line]) == 2
    assert token not in "\n".join(lines)


def test_a_public_address_in_the_clear_is_warned_of(logged):
    stated = json.dumps([f"shop:read:{tokens.digest_of(b'x')}"])
    lines = logged(lambda port: None, "serve.host=0.0.0.0", f"serve.token_digests={stated}")
    assert [line for line in lines if "tokens travel in the clear" in line]
    assert logged(lambda port: None, "serve.host=0.0.0.0")[-1].startswith("serve.host 0.0.0.0 lets other machines ask")
