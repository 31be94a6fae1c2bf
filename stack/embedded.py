"""The stack as an object: for the command line, and for tests that want a whole one in a folder of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pipeline.core.errors import PipelineError, UnavailableError
from stack import processes, secrets
from stack.airflow import SECONDS_BETWEEN_LOOKS, AirflowClient, name_of
from stack.places import CODE, Places, read_state, write_state
from stack.services import pipeline_environment

SECONDS_TO_START = 300.0
SECONDS_TO_STOP = 40.0


class Stack:
    """Airflow, MLflow and the server on one root.

    Args:
        root: folder that gets all state, Airflow's home included.
        environment: variables for the services, such as `PIPELINE_TRAIN__EPOCHS` or `AIRFLOW_PORT`.
        shop: `source` and `profile` for the nightly schedule; kept from the last time when not given.
    """

    def __init__(
        self, root: Path, environment: Mapping[str, str] | None = None, shop: Mapping[str, str] | None = None
    ) -> None:
        self.places = Places(root.resolve())
        self.environment, self.shop = dict(environment or {}), shop
        self._warden: subprocess.Popen[bytes] | None = None
        self._client: AirflowClient | None = None

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def state(self) -> dict[str, Any]:
        return read_state(self.places)

    @property
    def urls(self) -> dict[str, str]:
        return self.state["urls"]

    @property
    def password(self) -> str:
        return secrets.load_or_generate(self.places)[secrets.ADMIN_PASSWORD]

    @property
    def is_running(self) -> bool:
        warden = self.state.get("warden")
        return bool(warden) and processes.is_same(warden["pid"], warden["created"])

    @property
    def is_own(self) -> bool:
        """Whether this object started it, so that it ends with this process."""
        return self._warden is not None

    def start(self, stay: bool = False) -> None:
        """Starts everything and returns once it answers; one that runs already is used as it is.

        Args:
            stay: leave it running when this process ends.

        Raises: PipelineError: a service did not come up; nothing is left running.
        """
        if self.is_running:
            return self._until_ready(None)
        self.places.root.mkdir(parents=True, exist_ok=True)
        if self.shop is not None:
            write_state(self.places, shop=dict(self.shop))
        warden = self._start_warden(stay)
        try:
            self._until_ready(warden)
        except BaseException:
            self._end(warden)
            raise
        self._warden = None if stay else warden
        return None

    def _start_warden(self, stay: bool) -> subprocess.Popen[bytes]:
        self.places.logs.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join(filter(None, (str(CODE), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, **self.environment, "PYTHONPATH": path}
        command = [sys.executable, "-m", "stack.warden", str(self.places.root), "stays" if stay else "owned"]
        with (self.places.logs / "warden.log").open("wb") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL if stay else subprocess.PIPE, stdout=log, stderr=log, cwd=CODE,
                env=environment, start_new_session=True,
            )  # fmt: skip

    def _until_ready(self, warden: subprocess.Popen[bytes] | None) -> None:
        until = time.monotonic() + SECONDS_TO_START
        while True:
            ended = warden is not None and warden.poll() is not None
            state = self.state
            ours = warden is None or (state.get("warden") or {}).get("pid") == warden.pid
            if ours and state.get("phase") == "ready":
                return
            if ended or (warden is None and not self.is_running):
                raise UnavailableError(state.get("sentence") or self._last_words())
            if time.monotonic() > until:
                raise UnavailableError(
                    f"The stack did not come up within {SECONDS_TO_START:.0f} s; see {self.places.logs}."
                )
            time.sleep(0.1)

    def _last_words(self) -> str:
        lines = (self.places.logs / "warden.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"The stack ended before it was up; see {self.places.logs}."

    def stop(self) -> None:
        """Stops everything and returns when it is gone; stopping what does not run is no error.

        Raises: PipelineError: a process would not end.
        """
        if self._client:
            self._client.close()
            self._client = None
        if self._warden:
            self._end(self._warden)
            self._warden = None
        elif self.is_running:
            self._end(psutil.Process(self.state["warden"]["pid"]))
        if (state := self.state).get("phase") == "failed" and state.get("sentence"):
            raise PipelineError(state["sentence"])

    def _end(self, warden: subprocess.Popen[bytes] | psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            warden.terminate()
        until = time.monotonic() + SECONDS_TO_STOP
        while self._is_going(warden):
            if time.monotonic() > until:
                raise PipelineError(f"The stack's owner, process {warden.pid}, does not end; see {self.places.logs}.")
            time.sleep(0.1)

    @staticmethod
    def _is_going(warden: subprocess.Popen[bytes] | psutil.Process) -> bool:
        # Another process's child may stay behind as a zombie; its own is taken note of by asking.
        return warden.poll() is None if isinstance(warden, subprocess.Popen) else processes.lives(warden.pid)

    @property
    def pids(self) -> list[int]:
        """Roots of the process tree: the warden and the services."""
        state = self.state
        warden = [state["warden"]["pid"]] if state.get("warden") else []
        return [*warden, *state.get("services", {}).values()]

    @property
    def airflow(self) -> AirflowClient:
        if self._client is None:
            self._client = AirflowClient(self.urls["airflow"], secrets.ADMIN, self.password)
        return self._client

    def pipeline_environment(self) -> dict[str, str]:
        """Returns the environment for `python -m pipeline …` on this root, as its tasks have it."""
        known = secrets.load_or_generate(self.places)
        state = self.state
        return {**pipeline_environment(self.places, state["urls"], known, state.get("shop", {})), **self.environment}

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, partition_key: str | None = None) -> str:
        """Starts a DAG run and returns its id."""
        return self.airflow.trigger(dag_id, conf, partition_key)["dag_run_id"]

    def wait(self, dag_id: str, run_id: str, timeout_seconds: float = 600) -> str:
        """Returns the state the run ended in, `success` or `failed`."""
        return self.airflow.wait(dag_id, run_id, timeout_seconds)["state"]

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Returns the state of every task by its name, that of a mapped one by task and part."""
        return {name_of(task): task["state"] for task in self.airflow.tasks(dag_id, run_id)}

    def report(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any] | None:
        return self.airflow.report(dag_id, run_id, task_id)

    def run_started_by(self, ingest_run_id: str, timeout_seconds: float = 60) -> str:
        """Returns the id of the retrain that the asset of this ingest run started.

        Raises: UnavailableError: none has begun by then.
        """
        until = time.monotonic() + timeout_seconds
        while time.monotonic() < until:
            if run_id := self.retrain_of(ingest_run_id):
                return run_id
            time.sleep(SECONDS_BETWEEN_LOOKS)
        raise UnavailableError(f"No retrain_two_tower began within {timeout_seconds:g} s of {ingest_run_id}.")

    def retrain_of(self, ingest_run_id: str) -> str | None:
        """Returns the retrain that this ingest run started, or None while there is none."""
        ingest = self.airflow.run("ingest_behaviour_logs", ingest_run_id)
        for run in reversed(self.airflow.runs("retrain_two_tower")):
            same_day = run["partition_key"] == ingest["partition_key"]
            if same_day and run["run_type"] == "asset_triggered" and run["queued_at"] > ingest["queued_at"]:
                return run["dag_run_id"]
        return None

    def task_log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1, map_index: int = -1) -> Path:
        return self.places.task_log(dag_id, run_id, task_id, attempt, map_index)
