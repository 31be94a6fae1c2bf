"""A shop of real parts that may be let down: a store with a champion, its ledger, an MLflow, two servers."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx

from pipeline.core import settings as settings_module
from pipeline.core.run import Layout, Run
from pipeline.core.settings import Settings
from pipeline.store.ledger import Ledger
from pipeline.store.tracking import Tracking
from tests.fixtures.nights import assignments, bundle_of, decide, make_night, note_registered, with_section

REPOSITORY = Path(__file__).parents[3]
FIRST_DAY = date(2024, 5, 1)
DISK_MB = 96
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, minus the signal that ended it, or None while it is stopped; its last line."""

    code: int | None
    said: str
    pid: int = 0


class Server:
    """One real server that follows the pointer of a store; it comes back on the port it had."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._folder = root, folder
        self.port, self.silent = 0, False
        self.start()

    def start(self) -> None:
        port_file = self._folder / "port"
        port_file.unlink(missing_ok=True)
        words = ["serve", "--port", str(self.port), "--port-file", str(port_file), "--parent", str(os.getpid())]
        given = [f"store.root={self._root}", "serve.host=127.0.0.1", "serve.poll_seconds=0.05"]
        options = [word for each in given for word in ("--set", each)]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *words, *options], stdout=log, stderr=log, cwd=REPOSITORY
            )
        wait_for(port_file.exists)
        self.port, self.silent = int(port_file.read_text()), False

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> dict[str, Any] | None:
        """Returns what `/readyz` says; None while it is stopped or gone."""
        return None if self.silent else httpx.get(f"{self.base}/readyz", timeout=PATIENCE_SECONDS).json()

    def send(self, number: int) -> None:
        """Sends a signal that ends it, stops it or lets it go on."""
        self.silent = number != signal.SIGCONT
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()


def wait_for(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError("what should come about within a minute did not")
        time.sleep(0.02)


@dataclass
class Shop:
    """A store with a champion, its ledger, an MLflow, two servers, and a process that carries out commands.

    Attributes:
        disk: whether the store has a small disk of its own that may be filled and made read-only.
    """

    settings: Settings
    bundle: Path
    forks: subprocess.Popen[str]
    disk: bool
    servers: list[Server] = field(default_factory=list)
    days: Iterator[int] = field(default_factory=itertools.count)

    @property
    def root(self) -> Path:
        return self.settings.store.root

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(self.settings.store)

    def night(self) -> Run:
        """Returns a run of the next day that only promote is missing from, judged against whoever stands now."""
        run = make_night(self.settings, self.bundle, str(FIRST_DAY + timedelta(days=next(self.days))))
        tracking = Tracking.connect(self.settings)
        night = tracking.night(run.run_id)
        version = tracking.register(f"runs:/{night.run_id}/model", night.run_id, {"digest": bundle_of(run).digest})
        note_registered(run, version)
        decide(run, version, champion=self.ledger.champion())
        return run

    def carry_out(self, *words: str, moment: Sequence[Any] = (), number: int = signal.SIGKILL, **promote: Any) -> Ended:
        """Carries out a command; at a moment it gets a signal. `promote` as in the settings' section."""
        given = with_section(self.settings, "promote", servers=tuple(s.base for s in self.servers), **promote)
        return self._ask({"words": [*words, *assignments(given)], "moment": moment or None, "signal": number})

    def promote(self, run: Run, **given: Any) -> Ended:
        return self.carry_out("promote", "--run", run.run_id, **given)

    def resume(self, stopped: Ended) -> Ended:
        return self._ask({"resume": stopped.pid})

    def _ask(self, asked: dict[str, Any]) -> Ended:
        self.forks.stdin.write(json.dumps(asked) + "\n")
        self.forks.stdin.flush()
        return Ended(**json.loads(self.forks.stdout.readline()))

    def pointed(self) -> dict[str, Any] | None:
        """Returns what servers are pointed to; None where the pointer is torn."""
        with suppress(ValueError):
            return json.loads(self.layout.pointer.read_text())
        return None


@contextmanager
def opened(folder: Path, bundle: Path, mlflow_uri: str) -> Iterator[Shop]:
    """Opens a shop whose champion is its second."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / "disk"))
        root = folder / "disk" / "var"
        given = [f"store.root={root}", f"register.tracking_uri={mlflow_uri}", "promote.confirm_timeout_seconds=60"]
        settings = settings_module.load([*given, "register.experiment=faults", "register.model_name=faults"])
        made = Shop(settings, bundle, stack.enter_context(_forks(folder / "forks")), disk)
        for _ in range(2):
            ended = made.promote(made.night())
            assert ended.code == 0, ended.said
        for number in (1, 2):
            (folder / f"server-{number}").mkdir()
            made.servers.append(Server(root, folder / f"server-{number}"))
            stack.callback(made.servers[-1].send, signal.SIGKILL)
        yield made


def _forks(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.unit.promote.forks", str(folder)]
    return subprocess.Popen(command, text=True, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mounts a small disk where this process may; says whether it did."""
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    mounted = not os.geteuid() and not subprocess.run(mounting, check=False, capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
