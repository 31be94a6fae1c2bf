"""Two servers of one store behind a real balancer: killed, drained, restarted and swapped, and no client notices."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from tests.fixtures.bundles import requests
from tests.fixtures.contenders import digest_of
from tests.services.clients import BODY, Clients
from tests.services.haproxy import Balancer, balancer, checked, names
from tests.services.servers import free_port
from tests.unit.serve.conftest import Followed, until

REPOSITORY = Path(__file__).parents[2]
NOTICE_SECONDS = 2


class Replica:
    """One server process, on a port that stays its own when it is started again."""

    def __init__(self, followed: Followed, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, port or free_port()
        given = {"store.root": followed.layout.root, "serve.poll_seconds": 0.05}
        # A busy machine may make a request wait; being refused for that is right, and not what is asked here.
        given |= {
            "serve.host": host,
            "serve.drain_notice_seconds": NOTICE_SECONDS,
            "serve.max_wait_milliseconds": 60_000,
        }
        self._words = [sys.executable, "-m", "pipeline", "serve", "--port", str(self.port)]
        self._words += [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
        self._log = followed.layout.root.parent / f"{host}-{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def begin(self) -> None:
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(self._words, cwd=REPOSITORY, stdout=output, stderr=output)

    def await_ready(self) -> None:
        until(lambda: self.sequence() > 0, f"a server on {self.address}; its log is {self._log}")

    def start(self) -> None:
        self.begin()
        self.await_ready()

    def sequence(self) -> int:
        """Returns the ledger's sequence number of what it serves; 0 while it serves nothing."""
        try:
            return httpx.get(f"http://{self.address}/readyz").json()["sequence"] or 0
        except httpx.TransportError:
            return 0

    def alive(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def drain(self) -> int:
        """Ends it as an orchestrator does; returns its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill()


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, contenders: dict[str, Path]) -> Followed:
    """A store whose champion is the first of two bundles, under sequence number 1."""
    followed = Followed(tmp_path_factory.mktemp("replicas") / "var")
    for name in ("right", "wrong"):
        followed.publish(contenders[name])
    followed.point(contenders["right"], 1)
    return followed


@pytest.fixture(scope="module")
def replicas(followed: Followed) -> Iterator[list[Replica]]:
    made = [Replica(followed), Replica(followed)]
    try:
        for replica in made:
            replica.begin()
        for replica in made:
            replica.await_ready()
        yield made
    finally:
        for replica in made:
            replica.end()


@pytest.fixture(scope="module")
def _balancer(replicas: list[Replica]) -> Iterator[Balancer]:
    with balancer(SERVE_ONE=replicas[0].address, SERVE_TWO=replicas[1].address) as found:
        yield found


@pytest.fixture
def shop(_balancer: Balancer) -> Balancer:
    """The balancer, with both replicas in it; every test leaves both running."""
    until(lambda: _balancer.up() == {"one", "two"}, "both replicas in the balancer")
    return _balancer


def taken(shop: Balancer) -> dict[str, int]:
    """Returns how many requests each replica was given."""
    return {name: int(row["stot"]) for name, row in shop.replicas().items()}


@pytest.mark.parametrize("environment", [{}, {"SERVE_NAME": "serve"}], ids=["two addresses", "a name"])
def test_haproxy_finds_nothing_to_mend_in_the_configuration(environment):
    assert checked(**environment) == ""


def test_every_replica_answers_alike_and_the_balancer_asks_both(replicas, shop):
    before = taken(shop)
    asked = [(r["path"], r["request"]) for r in requests()]
    with httpx.Client() as client:
        for path, request in asked * 2:
            one, two, behind = (
                client.post(f"http://{address}{path}", json=request)
                for address in (replicas[0].address, replicas[1].address, f"127.0.0.1:{shop.port}")
            )
            assert one.status_code == 200
            assert one.content == two.content == behind.content
        assert client.get(f"{shop.url}/metrics").json() == {"error": "Ask a replica for its metrics."}
    after = taken(shop)
    # Of what came through the balancer, each had half.
    assert {after[name] - before[name] for name in after} == {len(asked)}


def test_a_replica_killed_under_load_loses_no_request(replicas, shop):
    with Clients(shop.url) as clients:
        clients.await_more()
        replicas[0].kill()
        clients.await_more()
        until(lambda: shop.up() == {"two"}, "the dead replica taken out")
        replicas[0].start()
        until(lambda: shop.up() == {"one", "two"}, "it taken in again")
        before = taken(shop)["one"]
        clients.await_more()
    assert clients.told == clients.all_served
    assert taken(shop)["one"] > before


def test_a_drained_replica_and_a_rolling_restart_lose_no_request(replicas, shop):
    with Clients(shop.url) as clients:
        for replica, other in zip(replicas, ("two", "one"), strict=True):
            clients.await_more()
            ending = threading.Thread(target=replica.drain)
            ending.start()
            until(lambda wanted={other}: shop.up() == wanted, "the ending replica taken out")
            clients.await_more()
            ending.join()
            assert replica.process.returncode == 0
            replica.start()
            until(lambda: shop.up() == {"one", "two"}, "it taken in again")
        clients.await_more()
    assert clients.told == clients.all_served


def test_a_swap_under_load_reaches_both_and_mixes_nothing(followed, contenders, replicas, shop):
    bundles = [contenders["right"], contenders["wrong"]]
    with Clients(shop.url) as clients:
        for sequence in range(2, 6):
            clients.await_more()
            followed.point(bundles[(sequence + 1) % 2], sequence)
            until(lambda wanted=sequence: {r.sequence() for r in replicas} == {wanted}, f"sequence {sequence}")
        clients.await_more()
    assert clients.told == clients.all_served
    answers = clients.by_digest
    assert set(answers) == {digest_of(bundle) for bundle in bundles}
    # One right answer a bundle, and not the same one, whichever replica gave it.
    assert [len(items) for items in answers.values()] == [1, 1]
    assert len(set.union(*answers.values())) == 2
    assert {replica.sequence() for replica in replicas} == {5}


def test_a_replica_without_a_champion_gets_nothing_until_it_has_one(followed, replicas, shop):
    replicas[1].kill()
    away = followed.layout.pointer.rename(followed.layout.pointer.with_suffix(".away"))
    replicas[1].begin()
    with httpx.Client() as client:
        until(lambda: replicas[1].alive(), "the server without a champion")
        until(lambda: shop.up() == {"one"}, "the balancer to know")
        assert client.post(f"http://{replicas[1].address}/v1/recommend", json=BODY).status_code == 503
        assert {client.post(f"{shop.url}/v1/recommend", json=BODY).status_code for _ in range(10)} == {200}
    away.rename(followed.layout.pointer)
    until(lambda: shop.up() == {"one", "two"}, "it taken in once it has a champion")


def test_replicas_that_come_and_go_are_found_by_their_name(followed, replicas):
    """As `docker compose up --scale serve=2` and back: the addresses of one name change while clients ask."""
    port = free_port()
    first, second = Replica(followed, "127.0.0.2", port), Replica(followed, "127.0.0.3", port)
    with ExitStack() as ending, names(first.host) as dns:
        for replica in (first, second):
            ending.callback(replica.end)
            replica.begin()
        for replica in (first, second):
            replica.await_ready()
        resolver = {"SERVE_NAME": "serve", "SERVE_PORT": str(port), "SERVE_RESOLVER": dns.address}
        with balancer(**resolver) as shop:
            until(lambda: len(shop.up()) == 1, "the first replica in the balancer")
            with Clients(shop.url) as clients:
                clients.await_more()
                dns.tell(first.host, second.host)
                until(lambda: len(shop.up()) == 2, "the second replica in the balancer")
                clients.await_more()
                dns.tell(second.host)
                until(lambda: len(shop.up()) == 1, "the first replica out of it")
                assert first.drain() == 0
                clients.await_more()
            assert clients.told == clients.all_served
            assert len([row for row in shop.replicas().values() if int(row["stot"])]) == 2


class Dying(BaseHTTPRequestHandler):
    """Says it is ready, and closes the connection over whatever else it is asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def test_a_lost_answer_is_asked_for_again_and_what_writes_is_sent_once():
    with ThreadingHTTPServer(("127.0.0.1", 0), Dying) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        with balancer(SERVE_ONE=address, SERVE_TWO=address) as shop:
            for path, times in (("/v1/recommend", 4), ("/v1/events", 1)):
                Dying.asked.clear()
                # On a connection of its own: of later requests on one, HAProxy only closes it, as HTTP/1.1 has it.
                reply = httpx.post(f"{shop.url}{path}", json=BODY)
                assert reply.status_code == 502
                assert reply.json() == {"error": "The server that was asked ended before it answered."}
                assert Dying.asked == [path] * times
        server.shutdown()
