"""Many servers in docker/compose.yaml: what one file says of another is so. No container is started here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"
CONFIGURATION = DOCKER / "haproxy" / "haproxy.cfg"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


def test_a_server_can_be_had_many_times(services):
    """One that takes a port of the host, or has a name of its own, is there once."""
    assert not {"ports", "container_name"} & set(services["serve"])


def test_the_balancer_mounts_the_configuration_that_is_tested(services):
    (mounted,) = services["balancer"]["volumes"]
    source, target, mode = mounted.split(":")
    assert (DOCKER / source).resolve() == CONFIGURATION
    assert (target, mode) == ("/usr/local/etc/haproxy/haproxy.cfg", "ro")


def test_the_balancer_is_told_only_what_its_configuration_reads_and_looks_for_a_service_there_is(services):
    told = services["balancer"]["environment"]
    read = set(re.findall(r"\$\{([A-Z_]+)", CONFIGURATION.read_text()))
    assert set(told) <= read
    assert told["SERVE_NAME"] in services
    dockerfile = (DOCKER / "serve.Dockerfile").read_text()
    assert f'"--port", "{told["SERVE_PORT"]}"' in dockerfile
    published = [port.rsplit(":", 1)[1] for port in services["balancer"]["ports"]]
    assert published == [told["SERVE_BIND"].lstrip(":")]


def test_a_replica_that_ends_gives_longer_notice_than_the_balancer_takes_to_see_it(services):
    """A look every half second at most, and another after that until it counts: .5 + 2 * .1 s."""
    line = next(each for each in CONFIGURATION.read_text().splitlines() if "default-server" in each)
    milliseconds = {name: int(value) for name, value in re.findall(r"(\w*inter) (\d+)ms", line)}
    fall = int(re.search(r"fall (\d+)", line)[1])
    seen_after = milliseconds["inter"] + fall * milliseconds["fastinter"]
    assert float(services["serve"]["environment"]["PIPELINE_SERVE__DRAIN_NOTICE_SECONDS"]) * 1000 > 2 * seen_after
