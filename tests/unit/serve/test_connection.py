"""What a client may do with its connection, by real sockets: order, closing, waiting, and being too many."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, contextmanager

import pytest

from pipeline.core import settings as settings_module
from pipeline.serve.server import Service
from tests.fixtures.wire import Wire, connected, request
from tests.unit.serve.conftest import running, until

ALIVE = request("GET", "/healthz")
ASKED = request("POST", "/v1/recommend", b"{}")
CLOSES = request("GET", "/healthz", connection="close")


@pytest.fixture
def serving(tmp_path):
    """Returns a server without a bundle, which needs none to take and refuse requests; its settings are given."""
    with ExitStack() as stack:

        def start(*given: str) -> Service:
            service = Service(settings_module.load([f"store.root={tmp_path}", "serve.port=0", *given]))
            stack.enter_context(running(service))
            return service

        yield start


def metrics(wire: Wire) -> bytes:
    wire.send(request("GET", "/metrics"))
    return wire.reply().content


@contextmanager
def held(service: Service):
    """Keeps the event loop busy while the block runs, as an answer that takes very long would."""
    began, goes_on = threading.Event(), threading.Event()
    service._loop.call_soon_threadsafe(lambda: (began.set(), goes_on.wait(30)))
    assert began.wait(30)
    yield
    goes_on.set()


def test_answers_come_in_the_order_of_their_questions(serving):
    # Probes are answered at once and the others wait in the queue; on one connection that changes nothing.
    with connected(serving().port) as wire:
        wire.send((ASKED + ALIVE) * 40)
        assert [wire.reply().status for _ in range(80)] == [503, 200] * 40


def test_a_thousand_requests_at_once_are_all_answered(serving):
    with connected(serving().port) as wire:
        sender = threading.Thread(target=wire.send, args=(ALIVE * 1000 + CLOSES,))
        sender.start()
        assert {wire.reply().status for _ in range(1001)} == {200}
        sender.join()
        assert wire.ended()


def test_what_was_asked_before_nonsense_is_answered_before_the_refusal(serving):
    with connected(serving().port) as wire:
        wire.send(ASKED + ASKED + b"nonsense\r\n\r\n" + ALIVE)
        assert [wire.reply().status for _ in range(3)] == [503, 503, 400]
        assert wire.ended()


def test_a_connection_is_kept_unless_the_client_says_otherwise(serving):
    port = serving().port
    with connected(port) as wire:
        wire.send(ALIVE)
        assert "connection" not in wire.reply().headers
        wire.send(CLOSES + ALIVE)
        assert wire.reply().headers["connection"] == "close"
        assert wire.ended()
    with connected(port) as wire:
        wire.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert wire.reply().status == 200
        assert wire.ended()


def test_who_closes_one_half_still_reads_all_answers(serving):
    with connected(serving().port) as wire:
        wire.send((ASKED + ALIVE) * 20 + b"GET /hea")
        wire.half_close()
        assert [wire.reply().status for _ in range(40)] == [503, 200] * 20
        assert wire.ended()


def test_a_refusal_reaches_who_is_still_sending(serving):
    # Closed with megabytes unread, the connection would be reset and the sentence lost.
    with connected(serving().port) as wire:
        wire.send(request("POST", "/v1/search", content_length=str(10**8)) + b"a" * 3_000_000)
        reply = wire.reply()
        assert (reply.status, reply.headers["connection"]) == (413, "close")
        assert "larger than 262144 bytes" in reply.json["error"]


def test_every_answer_has_an_id_and_keeps_the_clients_where_it_may_stand_in_a_log(serving):
    with connected(serving().port) as wire:
        ids = []
        for given in ("shop-17.a_b", "", "a b", "x" * 65, '{"level":"info"}'):
            wire.send(request("GET", "/healthz", x_request_id=given))
            ids.append(wire.reply().headers["x-request-id"])
        wire.send(b"nonsense\r\n\r\n")
        ids.append(wire.reply().headers["x-request-id"])
    assert ids[0] == "shop-17.a_b"
    assert len(set(ids)) == 6 and all(name.replace("-", "").isalnum() for name in ids[1:])


def test_every_answer_says_what_a_browser_may_do_with_it(serving):
    with connected(serving().port) as wire:
        wire.send(ALIVE + b"nonsense\r\n\r\n")
        for reply in (wire.reply(), wire.reply()):
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert reply.headers["cache-control"] == "no-store"
            assert "strict-transport-security" not in reply.headers


def test_a_body_is_asked_for_once_it_is_its_turn(serving):
    waits = request("POST", "/v1/recommend", content_length="2", expect="100-continue")
    with connected(serving().port) as wire:
        wire.send(ASKED + waits)
        assert [wire.reply().status for _ in range(2)] == [503, 100]
        wire.send(b"{}")
        assert wire.reply().status == 503
        wire.send(waits + b"{}")
        assert wire.reply().status == 503
        wire.send(request("POST", "/v1/recommend", content_length=str(10**9), expect="100-continue"))
        assert wire.reply().status == 413


def test_another_protocol_is_not_spoken_and_the_request_is_answered_whole(serving):
    offers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAEAAEAAAAIAAAAB"}
    with connected(serving().port) as wire:
        wire.send(request("POST", "/healthz", b"{}" * 3000, **offers) + ALIVE)
        assert [wire.reply().status for _ in range(2)] == [405, 200]
        wire.send(
            request("POST", "/v1/recommend", transfer_encoding="chunked", **offers) + b"2\r\n{}\r\n0\r\n\r\n" + ALIVE
        )
        assert [wire.reply().status for _ in range(2)] == [503, 200]
        wire.send(request("GET", "/healthz", **offers, sec_websocket_version="13"))
        assert wire.reply().status == 200
        wire.send(request("CONNECT", "elsewhere:443"))
        assert wire.reply().status == 400


def test_a_token_behind_the_body_is_no_token(serving):
    head = request("POST", "/v1/recommend", transfer_encoding="chunked", trailer="x-request-id")
    with connected(serving().port) as wire:
        wire.send(head + b"2\r\n{}\r\n0\r\nx-request-id: late\r\n\r\n")
        assert wire.reply().headers["x-request-id"] != "late"


@pytest.mark.parametrize(
    "begun", [b"GET /healthz HTTP/1.1\r\nhost: a\r\n", request("POST", "/v1/search", content_length="20") + b"{"]
)
def test_a_request_that_does_not_arrive_is_refused_in_time(serving, begun):
    with connected(serving("serve.request_timeout_seconds=0.2").port) as wire:
        wire.send(ALIVE + begun)
        assert wire.reply().status == 200
        reply = wire.reply()
        assert (reply.status, reply.json["error"]) == (
            408, "The request did not arrive within the time it is given."
        )  # fmt: skip
        assert wire.ended()


def test_bytes_one_by_one_are_no_way_around_the_time_limit(serving):
    with connected(serving("serve.request_timeout_seconds=0.2").port) as wire:
        wire.send(request("POST", "/v1/search", content_length="4000"))
        ended = threading.Event()

        def drip() -> None:
            while not ended.wait(0.01):
                wire.send(b"a")

        dripping = threading.Thread(target=drip)
        dripping.start()
        reply = wire.reply()
        ended.set()
        dripping.join()
        assert reply.status == 408


def test_who_never_speaks_is_closed(serving):
    service = serving("serve.keep_alive_seconds=0.2", "serve.request_timeout_seconds=0.4")
    with connected(service.port) as silent, connected(service.port) as babbling:
        babbling.send(b"\r\n\r\n")
        assert silent.ended() and babbling.ended()


def test_who_does_not_take_his_answers_is_cut_off(serving):
    service = serving("serve.request_timeout_seconds=0.2")
    asks = request("GET", "/openapi.json") * 20
    with socket.socket() as carrier:
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        carrier.connect(("127.0.0.1", service.port))
        carrier.settimeout(0.05)

        def is_cut() -> bool:
            try:
                carrier.sendall(asks)
            except TimeoutError:
                return False
            except ConnectionError:
                return True
            return False

        until(is_cut, "the connection to be cut")
    with connected(service.port) as wire:
        wire.send(ALIVE)
        assert wire.reply().status == 200


def test_a_connection_too_many_is_refused_and_leaves_room_for_the_next(serving):
    service = serving("serve.max_connections=2")
    with ExitStack() as stack:
        wires = [stack.enter_context(connected(service.port)) for _ in range(2)]
        # The client of the fixture holds none yet; both are in once they are answered.
        for wire in wires:
            wire.send(ALIVE)
            assert wire.reply().status == 200
        with connected(service.port) as third:
            reply = third.reply()
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert third.ended()
        wires[0].send(CLOSES)
        assert wires[0].reply().status == 200 and wires[0].ended()

        def is_in() -> bool:
            with connected(service.port) as fourth:
                fourth.send(ALIVE)
                return fourth.reply().status == 200

        until(is_in, "room for another connection")


def test_more_than_may_wait_is_refused_at_once_and_probes_are_answered(serving):
    service = serving("serve.max_queue=1")
    with ExitStack() as stack:
        wires = [stack.enter_context(connected(service.port)) for _ in range(6)]
        for wire in wires:
            wire.send(ALIVE)
            assert wire.reply().status == 200
        with held(service):
            # All of it has arrived when the loop looks again: it reads every connection before it answers anybody.
            for wire in wires:
                wire.send(ASKED)
            wires[-1].send(ALIVE)
        said = [wire.reply().json["error"] for wire in wires]
        assert sorted("more to do" in sentence for sentence in said) == [False] + [True] * 5
        assert wires[-1].reply().status == 200


def test_what_waited_too_long_is_refused(serving):
    with connected(serving("serve.max_wait_milliseconds=0.0001").port) as wire:
        wire.send(ASKED + ALIVE)
        reply = wire.reply()
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "waited longer" in reply.json["error"]
        assert wire.reply().status == 200


def test_nothing_is_computed_for_who_is_gone(serving):
    service = serving()
    with connected(service.port) as wire:
        wire.send(ALIVE)
        assert wire.reply().status == 200

        def ask_and_leave() -> None:
            (connection,) = service._desk._connections
            connection.data_received(ASKED)
            connection.abort()

        service._loop.call_soon_threadsafe(ask_and_leave)
        assert wire.ended()
    with connected(service.port) as other:
        until(lambda: b'serve_shed_total{reason="gone"} 1.0' in metrics(other), "one that is gone")


def test_at_the_end_what_was_begun_is_answered_what_is_idle_is_closed_and_nobody_new_gets_in(serving):
    service = serving()
    with connected(service.port) as idle, connected(service.port) as begun:
        idle.send(ALIVE)
        begun.send(ALIVE + request("POST", "/v1/recommend", content_length="2"))
        assert idle.reply().status == begun.reply().status == 200
        port = service.port
        service.stop()
        assert idle.ended()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5).close()
        begun.send(b"{}")
        reply = begun.reply()
        assert (reply.status, reply.headers["connection"]) == (503, "close")
        assert begun.ended()


def test_it_gives_notice_before_it_ends_and_a_second_word_cuts_that_short(serving):
    service = serving("serve.drain_notice_seconds=600")
    with connected(service.port) as wire:
        service.stop()

        def says_so() -> bool:
            wire.send(request("GET", "/readyz"))
            return wire.reply().json["problem"] == "This server is ending; ask another."

        until(says_so, "the notice")
        with connected(service.port) as late:
            late.send(ASKED)
            assert late.reply().status == 503
        service.stop()
        assert wire.ended()


def test_what_is_left_at_the_end_of_the_time_to_drain_is_cut(serving):
    service = serving("serve.drain_seconds=0.2")
    with connected(service.port) as wire:
        wire.send(ALIVE + request("POST", "/v1/recommend", content_length="2"))
        assert wire.reply().status == 200
        service.stop()
        assert wire.ended()
