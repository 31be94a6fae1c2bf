"""The load client of `benchmarks.load` against servers whose answers and waits are known."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from benchmarks.load import SUMMED_EVERY, Client, Plan, Seen, drive, prebuilt
from pipeline.core import settings as settings_module
from pipeline.serve.server import Service

WAIT = 0.2
Answer = Callable[[int], bytes]
"""From how many were answered before to the bytes of an answer; none ends the connection."""


def _answer(status: int, body: bytes = b"{}", close: bool = False) -> bytes:
    more = b"connection: close\r\n" if close else b""
    return b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), more, body)


@contextmanager
def _server(answer: Answer, wait: float = 0.0) -> Iterator[int]:
    """Answers one request at a time, whatever the connection, each after a wait."""
    listener = socket.create_server(("127.0.0.1", 0))
    turn, counted = threading.Lock(), iter(range(1_000_000))

    def talk(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65_536):
                with turn:
                    time.sleep(wait)
                    said = answer(next(counted))
                if not said:
                    return
                connection.sendall(said)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _plan(port: int, folder: Path, **given: object) -> Plan:
    requests = folder / "requests.json"
    requests.write_text(json.dumps([{"method": "POST", "path": "/", "body": {"k": k}} for k in (1, 2, 3)]))
    return Plan(port, str(requests), **{"seconds": 0.3, "connections": 1, "linger_seconds": 60.0, **given})


def test_a_wait_behind_others_counts_from_when_a_request_was_meant_to_be_sent(tmp_path: Path) -> None:
    with _server(lambda _: _answer(200), WAIT) as port:
        # Ten a second for .3 s: meant at 0, .1 and .2 s, answered one after the other at .2, .4 and .6 s or later.
        seen = Client(_plan(port, tmp_path, rate=10, poisson=False)).run()
    assert np.allclose(seen.meant_N, [0, 0.1, 0.2])
    done_N = seen.meant_N + seen.latency_N
    assert (done_N >= [WAIT, 2 * WAIT, 3 * WAIT]).all()
    # The only connection was taken, so they were sent late, and their latency holds that too.
    assert (seen.late_N[1:] >= [WAIT - 0.1, 2 * WAIT - 0.2]).all()
    assert (seen.latency_N >= seen.late_N + WAIT).all()


def test_each_status_and_each_lost_request_is_counted(tmp_path: Path) -> None:
    answers = [_answer(200), _answer(503), b"", _answer(422, close=True), _answer(200)]
    with _server(lambda number: answers[number % 5]) as port:
        seen = Client(_plan(port, tmp_path, rate=50, poisson=False)).run()
    # Fifteen in .3 s, three of each kind; after a lost one and after one that closes it goes on, on a new connection.
    assert seen.statuses == {"0": 3, "200": 6, "422": 3, "503": 3}
    assert np.isnan(seen.latency_N[seen.status_N == 0]).all()
    assert np.isfinite(seen.latency_N[seen.status_N > 0]).all()


def test_what_is_not_answered_in_time_is_unanswered(tmp_path: Path) -> None:
    held = threading.Event()

    def never(_: int) -> bytes:
        held.wait()
        return b""

    with _server(never) as port:
        seen = Client(_plan(port, tmp_path, rate=10, poisson=False, linger_seconds=0.1)).run()
        held.set()
    assert seen.statuses == {"0": 3}
    assert np.isnan(seen.late_N[1:]).all()


def test_a_closed_loop_asks_again_only_when_it_is_answered(tmp_path: Path) -> None:
    with _server(lambda _: _answer(200), WAIT) as port:
        seen = Client(_plan(port, tmp_path, connections=2)).run()
    # In .3 s a server that takes .2 s answers one and begins a second; each of two connections waits for its own.
    assert 2 <= len(seen.meant_N) <= 3
    assert (seen.latency_N[0] >= WAIT) and (seen.latency_N[1] >= WAIT)


def test_answers_are_marked_and_summed_by_request(tmp_path: Path) -> None:
    bodies = [b'{"bundle_digest": "old"}', b'{"bundle_digest": "new"}']
    with _server(lambda number: _answer(200, bodies[number >= 10])) as port:
        seen = Client(_plan(port, tmp_path, rate=100, poisson=False, mark="bundle_digest")).run()
    assert seen.marks == ["old", "new"]
    assert seen.mark_N.tolist() == [0] * 10 + [1] * 20
    # Requests 0, 7, 14, 21 and 28 are looked at: the 1st, 2nd, 3rd, 1st and 2nd of the three in turn.
    assert SUMMED_EVERY == 7
    old, new = map(crc32, bodies)
    assert seen.sums == {0: sorted({old, new}), 1: sorted({old, new}), 2: [new]}


def test_an_answer_in_pieces_is_put_together(tmp_path: Path) -> None:
    body = b"x" * 3_000_000
    with _server(lambda _: _answer(200, body)) as port:
        seen = Client(_plan(port, tmp_path, rate=10, poisson=False)).run()
    assert seen.statuses == {"200": 3}
    assert seen.sums == {0: [crc32(body)]}


def test_arrivals_that_are_independent_come_at_the_rate_asked(tmp_path: Path) -> None:
    with _server(lambda _: _answer(200)) as port:
        seen = drive(_plan(port, tmp_path, seconds=0.5, rate=400, connections=8))
    # 200 are expected with a standard deviation of 14; seed 1 draws the same each time.
    assert 140 < len(seen.meant_N) < 260
    assert (np.diff(seen.meant_N) > 0).all()
    assert seen.meant_N[-1] < 0.5
    assert seen.statuses == {"200": len(seen.meant_N)}


def test_the_server_answers_an_open_loop_from_one_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    service = Service(settings_module.load(["serve.port=0"]), tiny_bundle)
    bundle = service.champion.current.bundle
    asked = [{"method": "POST", "path": each["path"], "body": each["request"]} for each in bundle.goldens]
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    try:
        plan = _plan(service.port, tmp_path, rate=60, seconds=0.5, connections=8, mark="bundle_digest")
        Path(plan.requests).write_text(json.dumps(asked))
        seen = drive(plan)
    finally:
        service.stop()
        thread.join()
    assert seen.statuses == {"200": len(seen.meant_N)}
    assert seen.marks == [bundle.digest]
    assert (seen.mark_N == 0).all()
    # What hangs on when it is asked says when, so each is answered by the same bytes each time.
    assert all(len(sums) == 1 for sums in seen.sums.values())


def test_what_was_seen_is_read_back_as_it_was(tmp_path: Path) -> None:
    numbers = np.array([0.0, 1.0])
    seen = Seen(5.0, 2.0, numbers, numbers, numbers, np.array([200, 0]), np.array([0, -1]), ["a"], {3: [7, 8]})
    seen.save(tmp_path / "seen.npz")
    again = Seen.load(tmp_path / "seen.npz")
    assert (again.begun, again.marks, again.sums, again.statuses) == (5.0, ["a"], {3: [7, 8]}, {"0": 1, "200": 1})
    # One of two in two seconds was answered, and at 0 s.
    assert again.rate == 0.5


def test_answers_after_the_last_arrival_do_not_count_as_what_a_server_can_do() -> None:
    # Of three within a second, one is answered at 1.5 s.
    meant, latency = np.array([0.0, 0.5, 0.9]), np.array([0.1, 0.1, 0.6])
    seen = Seen(0.0, 1.0, meant, meant * 0, latency, np.full(3, 200), np.full(3, -1), [], {})
    assert seen.rate == 2


def test_a_port_nobody_listens_on_is_said_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(SystemExit, match="No server answers on port"):
            Client(_plan(taken.getsockname()[1], tmp_path, rate=10))


def test_a_request_is_built_as_it_is_sent() -> None:
    sent = prebuilt(80, {"method": "POST", "path": "/v1", "body": "{[}"})
    assert sent.startswith(b"POST /v1 HTTP/1.1\r\nhost: 127.0.0.1:80\r\n")
    assert sent.endswith(b"content-length: 3\r\n\r\n{[}")
    assert prebuilt(80, {"method": "GET", "path": "/"}).endswith(b"host: 127.0.0.1:80\r\n\r\n")
