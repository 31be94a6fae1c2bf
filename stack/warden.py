"""The process that owns the services: starts them, says when they are up, and never leaves one behind.

It ends when told to, when its owner closes the pipe at its stdin (also by dying), or when a service dies. If it is
killed itself, the kernel interrupts its services.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil

from pipeline.core.errors import BusyError, PipelineError, UnavailableError
from pipeline.core.locks import only_one
from stack import ports, processes, secrets
from stack.airflow import AirflowClient
from stack.places import CODE, Places, read_state, write_state
from stack.services import DAGS, Service, services, urls_of

SECONDS_TO_START = 240.0
SECONDS_BETWEEN_LOOKS = 0.25


class Told(Exception):
    """It was told to stop."""


class Warden:
    """Args: owned: whether stdin is a pipe whose other end the owner holds."""

    def __init__(self, root: Path, owned: bool) -> None:
        self.places, self.owned = Places(root.resolve()), owned
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def watch(self) -> None:
        """Starts everything, stays until the end, stops everything."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._told)
        with only_one(self.places.lock, f"A stack on {self.places.root}"):
            try:
                processes.adopt_orphans()
                self._start()
                while True:
                    self._look()
            except Told:
                self._end("stopped", "")
            except PipelineError as error:
                self._end("failed", str(error))
                raise

    def _told(self, number: int, frame: object) -> None:
        raise Told

    def _start(self) -> None:
        state = read_state(self.places)
        me = psutil.Process()
        settled = ports.settle(os.environ, state.get("ports", {}))
        write_state(
            self.places, phase="starting", sentence="", ports=settled, urls=urls_of(settled), services={},
            warden={"pid": me.pid, "created": me.create_time()},
        )  # fmt: skip
        known = secrets.load_or_generate(self.places)
        wanted = services(self.places, settled, known, state.get("shop", {}))
        for service in wanted:
            log = self.places.logs / f"{service.name}.log"
            self.running[service.name] = processes.start(service.command, service.environment, log, CODE)
        write_state(self.places, services={name: service.pid for name, service in self.running.items()})
        self._until_up(wanted)
        self._prepare_airflow(urls_of(settled)["airflow"], known)
        write_state(self.places, phase="ready")

    def _until_up(self, wanted: list[Service]) -> None:
        waiting = {service.name: service for service in wanted}
        until = time.monotonic() + SECONDS_TO_START
        while waiting:
            self._look()
            waiting = {name: service for name, service in waiting.items() if not _is_up(service)}
            if time.monotonic() > until:
                names = " and ".join(waiting)
                raise UnavailableError(
                    f"{names} did not answer within {SECONDS_TO_START:.0f} s; see {self.places.logs}."
                )

    def _prepare_airflow(self, url: str, known: Mapping[str, str]) -> None:
        client = AirflowClient(url, secrets.ADMIN, known[secrets.ADMIN_PASSWORD])
        client.put_pool("training", 1, "One heavy step at a time: training, compression, timing.")
        until = time.monotonic() + SECONDS_TO_START
        while missing := set(DAGS) - {dag["dag_id"] for dag in client.call("GET", "/dags")["dags"]}:
            self._look()
            if time.monotonic() > until:
                raise UnavailableError(
                    f"Airflow does not see {', '.join(sorted(missing))}; see {self.places.logs}/airflow.log."
                )
        client.close()

    def _look(self) -> None:
        """Waits a moment.

        Raises: Told: the owner is gone. UnavailableError: a service died.
        """
        readable, _, _ = select.select([sys.stdin] if self.owned else [], [], [], SECONDS_BETWEEN_LOOKS)
        if readable and not os.read(sys.stdin.fileno(), 1):
            raise Told
        processes.reap(self.running.values())
        for name, service in self.running.items():
            if service.poll() is not None:
                log = self.places.logs / f"{name}.log"
                raise UnavailableError(
                    f"{name} ended by itself (code {service.returncode}); its last words are in {log}."
                )

    def _end(self, phase: str, sentence: str) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        left = processes.stop(list(self.running.values()))
        if left:
            phase, sentence = "failed", f"{sentence} Processes {left} would not end.".strip()
        write_state(self.places, phase=phase, sentence=sentence, services={}, warden=None)


def _is_up(service: Service) -> bool:
    try:
        answer = httpx.get(f"{service.url}{service.health}", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    if service.name != "airflow":
        return answer.status_code < 500
    parts = answer.json() if answer.is_success else {}
    return all(
        parts.get(part, {}).get("status") == "healthy" for part in ("metadatabase", "scheduler", "dag_processor")
    )


def main() -> None:
    root, owned = Path(sys.argv[1]), sys.argv[2] == "owned"
    try:
        Warden(root, owned).watch()
    except BusyError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except PipelineError as error:
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
