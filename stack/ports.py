"""Free ports, remembered and taken again, so that bookmarks survive a restart."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

from pipeline.core.errors import UsageError

# Below the range the kernel hands out for outgoing connections, so that none of those takes one in between.
FIRST, LAST = 20_000, 32_000
SERVICES = ("airflow", "mlflow", "serve", "worker_logs", "trigger_logs")
VARIABLE_OF = {"airflow": "AIRFLOW_PORT", "mlflow": "MLFLOW_PORT", "serve": "SERVE_PORT"}


def is_free(port: int) -> bool:
    """Tells whether nobody listens on the port, on any address of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def settle(asked: Mapping[str, str], remembered: Mapping[str, int]) -> dict[str, int]:
    """Returns a port for every service: the one asked for, else the one remembered if free, else a free one.

    Args:
        asked: values of `AIRFLOW_PORT`, `MLFLOW_PORT`, `SERVE_PORT`, where given.

    Raises: UsageError: one asked for is no port, is in use, or was asked for twice.
    """
    ports: dict[str, int] = {}
    for service in SERVICES:
        if text := asked.get(VARIABLE_OF.get(service, "")):
            ports[service] = _asked(VARIABLE_OF[service], text, ports)
    for service in SERVICES:
        if service not in ports:
            known = remembered.get(service, 0)
            ports[service] = known if known and known not in ports.values() and is_free(known) else _any(ports)
    return ports


def _asked(variable: str, text: str, taken: Mapping[str, int]) -> int:
    port = int(text) if text.isdecimal() else 0
    if not 1024 <= port <= 65535:
        raise UsageError(f"{variable}={text} is no port; give a whole number from 1024 to 65535.")
    if port in taken.values():
        raise UsageError(f"{variable}={port} is asked for twice; give each server its own port.")
    if not is_free(port):
        raise UsageError(
            f"Port {port} ({variable}) is in use; free it, choose another, or leave {variable} out for a free one."
        )
    return port


def _any(taken: Mapping[str, int]) -> int:
    for _ in range(1000):
        port = random.randint(FIRST, LAST)
        if port not in taken.values() and is_free(port):
            return port
    raise UsageError(f"No free port was found between {FIRST} and {LAST}; set {', '.join(VARIABLE_OF.values())}.")
