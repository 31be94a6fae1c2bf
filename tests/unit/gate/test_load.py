"""The client that loads servers under test, on a server that stalls when told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.gate import load
from pipeline.gate.trial import HOST, Client, TrialError, post

STALL_SECONDS = 0.2
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
REFUSAL = b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy"


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        while request := connection.recv(65536):
            if b"stall" in request:
                time.sleep(STALL_SECONDS)
            connection.sendall(REFUSAL if b"refuse" in request else ANSWER)


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as listener:
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def test_a_stall_is_felt_by_all_that_were_due_meanwhile(port):
    requests = [post("/", "stall" if place == 4 else "go") for place in range(load.BLOCK)]
    (times,), _ = load.time_blocks([Client(port, "challenger")], requests, 1, rate=200, seed=1)
    due = 1e3 * load.arrivals(load.BLOCK, 200, 1)
    waiting = due[5:] < due[4] + 1e3 * STALL_SECONDS
    assert waiting.sum() > 10
    assert (times[5:][waiting] >= (1e3 * STALL_SECONDS - (due[5:] - due[4]))[waiting]).all()


def test_what_the_client_oversleeps_is_told_apart(port, monkeypatch):
    sleep = time.sleep
    monkeypatch.setattr(load.time, "sleep", lambda seconds: sleep(seconds + 0.02))
    _, late = load.time_blocks([Client(port, "challenger")], [post("/", "go")], 1, rate=20, seed=1)
    assert np.median(late) >= 19


def test_both_servers_are_asked_the_same_at_the_same_moments(port):
    clients = [Client(port, name) for name in ("challenger", "champion")]
    times, _ = load.time_blocks(clients, [post("/", "go")], 3, rate=5000, seed=1)
    assert times.shape == (2, 3 * load.BLOCK) and (times > 0).all()


def test_arrivals_come_at_the_rate_stated():
    due = load.arrivals(10_000, 200, seed=0)
    assert 9_500 < due[-1] * 200 < 10_500 and (np.diff(due) > 0).all()


@pytest.mark.parametrize(
    "ask", [lambda c, r: load.time_blocks([c], r, 1, 1000, 0), lambda c, r: load.requests_per_second([c], r, 1)]
)
def test_an_answer_that_is_not_200_names_the_server(port, ask):
    with pytest.raises(TrialError, match="The champion's server answered a test request with 503: busy"):
        ask(Client(port, "champion"), [post("/", "refuse")])
