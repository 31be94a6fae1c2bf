"""Servers on Ray Serve: a second comes with load and goes without it, and every answer is the plain server's."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import httpx
import psutil
import pytest

from pipeline.core import settings as settings_module
from pipeline.model.bundle import open_bundle
from pipeline.serve.server import Service
from tests.fixtures.contenders import digest_of
from tests.services import servers
from tests.services.clients import BODY, Clients
from tests.services.servers import free_port, scratch
from tests.unit.serve.conftest import Followed, running

REPOSITORY = Path(__file__).parents[2]
SECONDS = 180
"""Ray starts a process, and that a Python, for everything."""


@dataclass(frozen=True)
class OnRay:
    """The command that serves on Ray.

    Attributes:
        followed: the store its replicas follow.
    """

    process: psutil.Process
    port: int
    followed: Followed

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def replicas(self) -> int:
        """Returns how many processes of replicas there are."""
        return sum(_is_replica(child) for child in self.process.children(recursive=True))

    def sequences(self, asked: int = 40) -> dict[str, int]:
        """Returns what each replica that answers says it serves, by replica."""
        told = [httpx.get(f"{self.url}/readyz") for _ in range(asked)]
        return {reply.headers["x-replica"]: reply.json()["sequence"] for reply in told}


def _is_replica(process: psutil.Process) -> bool:
    try:
        # What it is just called for may stand behind its name.
        return "".join(process.cmdline()).startswith("ray::ServeReplica:shop:shop")
    except psutil.NoSuchProcess:
        return False


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited {SECONDS} s for: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory, contenders: dict[str, Path]) -> Iterator[OnRay]:
    """One to two replicas that follow the first bundle; a seventh of a core is enough for one, and delays are short."""
    followed = Followed(tmp_path_factory.mktemp("on-ray") / "var")
    for name in ("right", "wrong"):
        followed.publish(contenders[name])
    followed.point(contenders["right"], 1)
    given = [f"store.root={followed.layout.root}", "serve.poll_seconds=0.05", "replicas.target_busy=0.15"]
    given += ["replicas.up_after_seconds=1", "replicas.down_after_seconds=2", "replicas.look_back_seconds=2"]
    port = free_port()
    words = [sys.executable, "-m", "pipeline", "serve", "--replicas", "1..2", "--port", str(port)]
    words += [word for each in given for word in ("--set", each)]

    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    with scratch("on-ray") as folder, servers.running(words, folder, ready, PYTHONPATH=str(REPOSITORY)) as process:
        yield OnRay(psutil.Process(process.pid), port, followed)
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_it_answers_as_the_plain_server_does(on_ray, contenders):
    goldens = open_bundle(contenders["right"]).goldens
    with (
        running(Service(settings_module.load(["serve.port=0"]), contenders["right"])) as plain,
        httpx.Client() as client,
    ):
        for golden in goldens:
            own, wanted = (
                client.post(f"{url}{golden['path']}", json=golden["request"]) for url in (on_ray.url, plain.base_url)
            )
            assert own.status_code == wanted.status_code == 200
            # The version is the pointer's, and there is none of a bundle by hand.
            assert {**own.json(), "model_version": None} == wanted.json()
        refused = client.post(f"{on_ray.url}/v1/recommend", json={"k": 0})
        assert (refused.status_code, refused.json()) == (422, plain.post("/v1/recommend", json={"k": 0}).json())


def test_load_brings_a_second_replica_swaps_reach_both_and_rest_takes_it_away(on_ray, contenders):
    assert on_ray.replicas() == 1
    with Clients(on_ray.url) as clients:
        until(lambda: len({answer.replica for answer in clients.answers}) == 2, "answers of a second replica")
        on_ray.followed.point(contenders["wrong"], 2)
        until(lambda: list(on_ray.sequences().values()) == [2, 2], "both on the second bundle")
        clients.await_more()
    assert clients.told == clients.all_served
    answers = clients.by_digest
    assert set(answers) == {digest_of(contenders[name]) for name in ("right", "wrong")}
    assert [len(items) for items in answers.values()] == [1, 1]
    assert len(set.union(*answers.values())) == 2
    statuses = set()

    def alone() -> bool:
        statuses.add(httpx.post(f"{on_ray.url}/v1/recommend", json=BODY).status_code)
        return on_ray.replicas() == 1

    until(alone, "the second replica's end")
    assert statuses == {200}
    assert list(on_ray.sequences().values()) == [2]


def test_nothing_of_ray_but_what_is_told_in_the_guide_listens_beyond_this_machine(on_ray):
    """A port a replica for other replicas, and HAProxy's page of figures."""
    family = [on_ray.process, *on_ray.process.children(recursive=True)]
    open_to_all = set()
    for process in family:
        for connection in process.net_connections("tcp"):
            address = ip_address(connection.laddr.ip)
            within = (getattr(address, "ipv4_mapped", None) or address).is_loopback
            if connection.status == psutil.CONN_LISTEN and not within:
                open_to_all.add(process.name()[:15])
    assert open_to_all == {"haproxy", "ray::ServeRepli"}
