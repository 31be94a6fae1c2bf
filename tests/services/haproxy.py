"""HAProxy with the configuration that ships, its ports filled in."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.services.servers import free_port, listens, running, scratch

CONFIGURATION = Path(__file__).parents[2] / "docker" / "haproxy" / "haproxy.cfg"
USER = "haproxy"


@dataclass(frozen=True)
class Balancer:
    """A running HAProxy.

    Attributes:
        port: what clients ask.
        status_port: its page of figures.
    """

    port: int
    status_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def replicas(self) -> dict[str, dict[str, str]]:
        """Returns what it knows of each replica, by name: `status`, `stot` (requests), `wretr`, `wredis`, …"""
        text = httpx.get(f"http://127.0.0.1:{self.status_port}/;csv").text.removeprefix("# ")
        rows = list(csv.DictReader(io.StringIO(text)))
        return {r["svname"]: r for r in rows if r["pxname"] == "replicas" and r["svname"] != "BACKEND"}

    def up(self) -> set[str]:
        """Returns the names of the replicas it gives requests to."""
        return {name for name, row in self.replicas().items() if row["status"].startswith("UP")}


def checked(**environment: str) -> str:
    """Returns what HAProxy finds wrong with the configuration; nothing is the empty string."""
    words = ["haproxy", "-c", "-f", str(CONFIGURATION)]
    done = subprocess.run(words, env={"PATH": "/usr/sbin:/usr/bin", **environment}, capture_output=True, text=True)
    return "\n".join(line for line in done.stderr.splitlines() if not line.startswith("[NOTICE]"))


@contextmanager
def balancer(**environment: str) -> Iterator[Balancer]:
    """Runs HAProxy until the block ends; `environment` says where the replicas are."""
    found = Balancer(free_port(), free_port())
    binds = {"SERVE_BIND": f"127.0.0.1:{found.port}", "STATUS_BIND": f"127.0.0.1:{found.status_port}"}
    with scratch("haproxy", USER) as folder:
        words = ["haproxy", "-db", "-f", CONFIGURATION]

        def answers() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{found.status_port}/;csv").status_code == 200
            except httpx.TransportError:
                return False

        with running(words, folder, answers, USER, **binds, **environment):
            yield found


@dataclass(frozen=True)
class Names:
    """A DNS server that knows one name, `serve`, as Docker's does inside its networks.

    Attributes:
        address: to ask it at.
    """

    address: str
    _process: subprocess.Popen[bytes]
    _hosts: Path

    def tell(self, *addresses: str) -> None:
        """Makes these the name's addresses, and no others."""
        _write_hosts(self._hosts, addresses)
        self._process.send_signal(signal.SIGHUP)


def _write_hosts(hosts: Path, addresses: Sequence[str]) -> None:
    hosts.write_text("".join(f"{address} serve\n" for address in addresses))


@contextmanager
def names(*addresses: str) -> Iterator[Names]:
    """Runs dnsmasq until the block ends."""
    port = free_port()
    with scratch("names") as folder:
        hosts = folder / "hosts"
        _write_hosts(hosts, addresses)
        options = [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts"]
        options += [f"--addn-hosts={hosts}", "--local-ttl=0", "--user=root", "--conf-file=/dev/null", "--pid-file="]
        with running(["dnsmasq", "--keep-in-foreground", *options], folder, listens(port)) as process:
            yield Names(f"127.0.0.1:{port}", process, hosts)
