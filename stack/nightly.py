"""One night from beginning to end: logs, stack, both DAGs through the real scheduler, and what came of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from subprocess import PIPE, STDOUT
from typing import Any

import yaml

from pipeline.core.days import Days
from pipeline.core.errors import PipelineError, UsageError
from pipeline.core.locks import only_one
from pipeline.core.run import Layout, run_id_from
from pipeline.steps import STEPS
from stack import answers, processes
from stack.embedded import Stack
from stack.following import Follower
from stack.places import CODE
from stack.secrets import ADMIN
from stack.shop import Shop
from stack.terminal import View

INGEST, RETRAIN = "ingest_behaviour_logs", "retrain_two_tower"
TASKS = [task for step in STEPS for task in step.tasks]
# A person may be asked first.
TASKS.insert(TASKS.index("promote"), "approve")
SECONDS_BETWEEN_WEIGHINGS = 2.0
SECONDS_FOR_RETRAIN_TO_BEGIN = 60.0
GATE_COLUMNS = (
    "gate",
    "slice",
    "challenger",
    "champion",
    "difference",
    "interval",
    "threshold",
    "n",
    "verdict",
    "reason",
)


@dataclass
class Night:
    """Args: settings: `section.field` → value, for both DAGs."""

    shop: Shop
    days: Days
    settings: Mapping[str, Any]
    stack: Stack = field(init=False)
    view: View = field(init=False)
    follower: Follower = field(init=False)
    running: tuple[str, str] | None = None
    retrain_id: str = ""
    peak_bytes: int = 0
    _weighed: float = 0.0

    def __post_init__(self) -> None:
        self.stack = Stack(self.shop.root, shop=self.shop.named)
        self.view = View(TASKS)
        self.follower = Follower(self.stack, self.view, self._weigh)

    def run(self) -> int:
        """Returns the exit code: 0 when a decision was reached, promoted or refused."""
        with only_one(self.shop.root / "nightly.lock", f"A night on {self.shop.root}"), _told_to_stop():
            try:
                with self.view:
                    code = self._through()
                self._sum_up(code)
            except BaseException:
                self._interrupt()
                raise
            finally:
                if self.stack.is_own:
                    self.view.say("Stopping what was started.")
                    self.stack.stop()
        return code

    def _through(self) -> int:
        self._up()
        conf = {"days": str(self.days), **self.shop.named, "settings": dict(self.settings)}
        ingest_id = self.stack.trigger(INGEST, conf, str(self.days.last))
        if self._follow(INGEST, ingest_id) != "success":
            return self._failed(f"{RETRAIN} was not started, the champion stays as it was.")
        self.retrain_id = self.stack.run_started_by(ingest_id, SECONDS_FOR_RETRAIN_TO_BEGIN)
        state = self._follow(RETRAIN, self.retrain_id)
        return 0 if state == "success" else self._failed("The champion stays as it was.")

    def _up(self) -> None:
        if self.stack.is_running:
            self._check_same_shop()
        self.view.say(
            "The stack runs already." if self.stack.is_running else "Starting Airflow, MLflow and the server."
        )
        with self._logs_being_made():
            self.stack.start()
        urls = self.stack.urls
        self.view.say(f"Up. Airflow {urls['airflow']}, MLflow {urls['mlflow']}, server {urls['serve']}.")

    @contextmanager
    def _logs_being_made(self) -> Iterator[None]:
        """Generates the shop's logs while the block runs, where they are not one's own."""
        if not self.shop.is_generated:
            yield
            return
        self.view.say(f"Generating logs of a small shop for {self.days}.")
        settings = [word for name, value in self.settings.items() for word in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", "pipeline", "simulate", "--days", str(self.days), "--to", self.shop.source]
        made = subprocess.Popen([*command, *settings], cwd=CODE, stdout=PIPE, stderr=STDOUT, text=True)
        try:
            yield
            last = (made.communicate()[0].strip().splitlines() or ["simulate said nothing."])[-1]
        finally:
            made.kill()
        if made.returncode:
            raise PipelineError(last)
        self.view.say(last)

    def _check_same_shop(self) -> None:
        known = self.stack.state.get("shop", {})
        if known and known != self.shop.named:
            raise UsageError(
                f"The stack on {self.shop.root} runs for {known['source']}; `make down` first, or give another ROOT."
            )

    def _follow(self, dag_id: str, run_id: str) -> str:
        self.running = (dag_id, run_id)
        self.view.say(f"{dag_id} {run_id}")
        state = self.follower.follow(dag_id, run_id)
        self.running = None
        return state

    def _failed(self, consequence: str) -> int:
        bad = [f"{name}: {row.says}" for name, row in self.view.rows.items() if row.state == "failed"]
        for sentence in bad:
            self.view.say(sentence)
        self.view.say(consequence)
        return 1

    def _weigh(self) -> None:
        if time.monotonic() - self._weighed >= SECONDS_BETWEEN_WEIGHINGS:
            self.peak_bytes = max(self.peak_bytes, processes.memory_bytes([os.getpid(), *self.stack.pids]))
            self._weighed = time.monotonic()

    def _interrupt(self) -> None:
        """Ends the DAG run under way, so that the next start of the stack does not take it up again."""
        if self.running and self.stack.is_running:
            with suppress(Exception):
                self.stack.airflow.stop_run(*self.running)

    def _sum_up(self, code: int) -> None:
        if code == 0:
            self._decision()
            self._answers()
        rows = [(name, row.state, f"{row.seconds:.1f}") for name, row in self.view.rows.items()]
        self.view.table("Time per stage", ("stage", "state", "seconds"), rows)
        wall_seconds, peak_gib = time.monotonic() - self.view.began, self.peak_bytes / 2**30
        self.view.text(f"Wall time {wall_seconds:.0f} s; peak memory of all processes {peak_gib:.2f} GiB.")
        self._pages()

    def _decision(self) -> None:
        run_id = run_id_from(self.retrain_id)
        if record := answers.decision_of(self.shop.root, run_id):
            self.view.table("Gates", GATE_COLUMNS, (_gate_row(gate) for gate in record["gates"]))
        for task in ("gate", "promote"):
            if report := self.stack.report(RETRAIN, self.retrain_id, task):
                self.view.text(f"{task}: {report['sentence']}")
        self.view.text(f"Report: {Layout(self.shop.root).runs / run_id / 'decision' / 'decision.html'}")

    def _answers(self) -> None:
        url = self.stack.urls["serve"]
        answers.await_champion(url, self.shop.root)
        for exchange in answers.ask(url, self.shop.root):
            self.view.text(f"POST {exchange.path} {exchange.body} → {exchange.status}")
            for item in exchange.answer.get("items", []):
                self.view.text(f"  {item['score']:.3f}  {item['item_id']}  {item.get('title') or ''}")
            if "items" not in exchange.answer:
                self.view.text(f"  {exchange.answer}")

    def _pages(self) -> None:
        urls = self.stack.urls
        login = f"user {ADMIN}, password {self.stack.password}"
        self.view.text(f"Airflow {urls['airflow']} ({login}), MLflow {urls['mlflow']} (no login).")
        if self.stack.is_own:
            self.view.text("Both end with this command; `make up` brings them back.")


def _gate_row(gate: Mapping[str, Any]) -> list[object]:
    ends = [gate.get("low"), gate.get("high")]
    interval = None if None in ends else "{:.4g} to {:.4g}".format(*ends)
    return [{**gate, "interval": interval}.get(column) for column in GATE_COLUMNS]


def parse_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """Returns `section.field=value` words as a mapping, and refuses what the settings refuse.

    Raises: SettingsError: a name is misspelt, or a value is of the wrong type or out of range.
    """
    from pipeline.core import settings as settings_module

    settings_module.load(assignments)
    return {name: yaml.safe_load(value) for name, _, value in (word.partition("=") for word in assignments)}


class _told_to_stop:
    """While the block runs, SIGTERM and SIGHUP end it as Ctrl-C does."""

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._raise) for number in (signal.SIGTERM, signal.SIGHUP)}

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @staticmethod
    def _raise(number: int, frame: object) -> None:
        raise KeyboardInterrupt
