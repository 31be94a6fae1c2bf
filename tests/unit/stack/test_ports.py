from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pipeline.core.errors import UsageError
from stack import ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_every_service_gets_a_free_port_of_its_own() -> None:
    settled = ports.settle({}, {})
    assert sorted(settled) == sorted(ports.SERVICES)
    assert len(set(settled.values())) == len(ports.SERVICES)
    assert all(ports.is_free(port) for port in settled.values())


def test_a_remembered_port_is_taken_again_while_it_is_free() -> None:
    first = ports.settle({}, {})
    assert ports.settle({}, first) == first


def test_a_remembered_port_that_is_in_use_is_replaced(taken: int) -> None:
    settled = ports.settle({}, {"airflow": taken})
    assert settled["airflow"] != taken


def test_a_port_asked_for_is_given() -> None:
    free = ports.settle({}, {})["serve"]
    assert ports.settle({"SERVE_PORT": str(free)}, {})["serve"] == free


def test_a_port_asked_for_that_is_in_use_is_refused_by_name(taken: int) -> None:
    with pytest.raises(UsageError, match=rf"Port {taken} \(MLFLOW_PORT\) is in use; free it"):
        ports.settle({"MLFLOW_PORT": str(taken)}, {})


@pytest.mark.parametrize("text", ["eighty", "80", "70000", "-1"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"AIRFLOW_PORT=.* is no port"):
        ports.settle({"AIRFLOW_PORT": text}, {})


def test_one_port_for_two_servers_is_refused() -> None:
    free = str(ports.settle({}, {})["serve"])
    with pytest.raises(UsageError, match="asked for twice"):
        ports.settle({"AIRFLOW_PORT": free, "SERVE_PORT": free}, {})


def test_an_empty_make_variable_asks_for_nothing() -> None:
    assert ports.settle({"AIRFLOW_PORT": ""}, {})["airflow"] >= ports.FIRST
