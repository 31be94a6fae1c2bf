"""OpenStack Swift with its s3api: a real S3 server on one machine, with encryption at rest."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.servers import free_port, listens, own, running, scratch

USER = "swift"
KEY_ID, SECRET = "test:tester", "testing"
REGION = "us-east-1"

SWIFT_CONF = """
[swift-hash]
swift_hash_path_suffix = tests
[storage-policy:0]
name = only
default = yes
"""

BACKEND = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
devices = {folder}/node
mount_check = false
[pipeline:main]
pipeline = healthcheck {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
[filter:healthcheck]
use = egg:swift#healthcheck
"""

PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache s3api tempauth copy slo symlink keymaster encryption proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:s3api]
use = egg:swift#s3api
location = {region}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:symlink]
use = egg:swift#symlink
[filter:keymaster]
use = egg:swift#keymaster
encryption_root_secret = bmlnaHRzaGlmdCB0ZXN0cyBrZWVwIG5vIHNlY3JldHM=
[filter:encryption]
use = egg:swift#encryption
"""


@dataclass(frozen=True)
class Endpoint:
    """Where an S3 server listens and who may ask it."""

    url: str
    key_id: str = KEY_ID
    secret: str = SECRET
    region: str = REGION


@contextmanager
def swift() -> Iterator[Endpoint]:
    """Runs Swift until the block ends."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch("swift"))
        proxy, memcached = free_port(), free_port()
        ports = {kind: free_port() for kind in ("account", "container", "object")}
        _configure(folder, ports, proxy, memcached)
        start = [["memcached", "-l", "127.0.0.1", "-p", str(memcached), "-u", USER]]
        start += [[f"swift-{kind}-server", folder / f"{kind}.conf", "-v"] for kind in ports]
        for command in start:
            stack.enter_context(running(command, folder, lambda: True, USER))
        whole = _serves(proxy, (memcached, *ports.values()))
        stack.enter_context(running(["swift-proxy-server", folder / "proxy.conf", "-v"], folder, whole, USER))
        yield Endpoint(f"http://127.0.0.1:{proxy}")


def _configure(folder: Path, ports: dict[str, int], proxy: int, memcached: int) -> None:
    (folder / "node" / "d1").mkdir(parents=True)
    (folder / "swift.conf").write_text(SWIFT_CONF)
    (folder / "proxy.conf").write_text(PROXY.format(port=proxy, folder=folder, memcached=memcached, region=REGION))
    for kind, port in ports.items():
        (folder / f"{kind}.conf").write_text(BACKEND.format(kind=kind, port=port, folder=folder))
        for words in (["create", "2", "1", "1"], ["add", f"r1z1-127.0.0.1:{port}/d1", "1"], ["rebalance"]):
            command = ["swift-ring-builder", f"{kind}.builder", *words]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
    own(folder, USER)


def _serves(proxy: int, backends: Sequence[int]) -> Callable[[], bool]:
    def answers() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{proxy}/healthcheck", timeout=2) as response:
            return response.status == 200 and all(listens(port)() for port in backends)

    return answers
