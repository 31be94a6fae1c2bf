"""Airflow over its REST API: log in, trigger, look, wait."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from pipeline.core.errors import UnavailableError, UsageError

ENDED = frozenset({"success", "failed"})
SECONDS_BETWEEN_LOOKS = 0.5
# Airflow answers 500 when its database stays locked; what is asked here may be asked again.
SECONDS_TO_ASK_AGAIN = 30.0


class AirflowClient:
    """Speaks to one Airflow as one of its users."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._login = {"username": user, "password": password}
        # A proxy set for the outer world has no part in a talk on one machine.
        # The timeout is longer than its database waits for a lock.
        self._http = httpx.Client(base_url=url, timeout=90, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, **more: Any) -> Any:
        """Returns the answer's JSON.

        Raises: UsageError: Airflow refuses the request. UnavailableError: it does not answer.
        """
        return _told(self._answer(method, path, **more), f"{method} {path}")

    def _answer(self, method: str, path: str, **more: Any) -> httpx.Response:
        until = time.monotonic() + SECONDS_TO_ASK_AGAIN
        while (answer := self._ask(method, path, **more)).is_server_error:
            if time.monotonic() > until:
                raise UnavailableError(
                    f"Airflow at {self._http.base_url}{path} answered {answer.status_code}: {answer.text[:300]}"
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return answer

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, f"/api/v2{path}", **more)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                self._log_in()
                answer = self._http.request(method, f"/api/v2{path}", **more)
        except httpx.TransportError as error:
            raise UnavailableError(
                f"Airflow at {self._http.base_url} does not answer ({error}); see `make status`."
            ) from None
        return answer

    def _log_in(self) -> None:
        answer = self._http.post("/auth/token", json=self._login)
        if answer.is_error:
            raise UsageError(f"Airflow refuses the login of {self._login['username']}; see var/secrets.env.")
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def put_pool(self, name: str, slots: int, why: str) -> None:
        body = {"name": name, "slots": slots, "description": why, "include_deferred": False}
        known = {pool["name"] for pool in self.call("GET", "/pools")["pools"]}
        if name not in known:
            self.call("POST", "/pools", json=body)

    def trigger(
        self, dag_id: str, conf: Mapping[str, Any] | None = None, partition_key: str | None = None
    ) -> dict[str, Any]:
        """Starts a DAG run and returns it."""
        run_id = f"manual__{datetime.now(UTC).isoformat()}__{uuid4().hex[:8]}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        if partition_key:
            body["partition_key"] = partition_key
        path = f"/dags/{dag_id}/dagRuns"
        answer = self._answer("POST", path, json=body)
        if answer.status_code == httpx.codes.CONFLICT:
            # An earlier try began the run and failed after it.
            return self.run(dag_id, run_id)
        return _told(answer, f"POST {path}")

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Returns the newest runs of a DAG, newest first."""
        return self.call("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "-id", "limit": 50})["dag_runs"]

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]

    def report(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any] | None:
        """Returns what a task handed back, or None when it handed back nothing."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        try:
            return self.call("GET", path, params={"deserialize": True})["value"]
        except UsageError:
            return None

    def stop_run(self, dag_id: str, run_id: str) -> None:
        """Ends a run that goes on; its tasks are killed."""
        self.call("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})

    def wait(self, dag_id: str, run_id: str, timeout_seconds: float) -> dict[str, Any]:
        """Returns the run once it has ended.

        Raises: UnavailableError: it has not ended by then.
        """
        until = time.monotonic() + timeout_seconds
        while (run := self.run(dag_id, run_id))["state"] not in ENDED:
            if time.monotonic() > until:
                raise UnavailableError(f"{dag_id} {run_id} is still {run['state']} after {timeout_seconds:g} s.")
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return run


def name_of(task: Mapping[str, Any]) -> str:
    """Returns what a task instance is called: one of a mapped task by its part's name, while it waits by a number."""
    return task["task_id"] if task["map_index"] < 0 else f"{task['task_id']} {task['rendered_map_index']}"


def _told(answer: httpx.Response, asked: str) -> Any:
    """Raises: UsageError: Airflow refuses what was asked."""
    if answer.is_error:
        raise UsageError(f"Airflow refuses {asked}: {_reason(answer)}")
    return answer.json() if answer.content else None


def _reason(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text[:300]}"
    return detail if isinstance(detail, str) else str(detail)[:500]
