"""Follows a DAG run: the states of its tasks and the lines their steps print, as they come."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stack.airflow import ENDED, SECONDS_BETWEEN_LOOKS, name_of
from stack.embedded import Stack
from stack.terminal import View

STEP_LOGGER = "pipeline.step"
# What TensorFlow's C++ says before anybody can tell it to be quiet, and MLflow's pointers to pages named at the end.
NOISE = re.compile(
    r"WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:\d\d|INFO: Created TensorFlow Lite"
    r"|🏃 View run|🧪 View experiment"
)


class Tail:
    """Reads what was appended to a file of JSON lines since the last look."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset = path, 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Yields every whole new line; a torn last one waits for the next look."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                try:
                    yield json.loads(line)
                except ValueError:
                    continue


class Follower:
    """Shows one DAG run in a view.

    Args:
        each_look: called at every look, for what else must be done meanwhile.
    """

    def __init__(self, stack: Stack, view: View, each_look: Callable[[], None]) -> None:
        self.stack, self.view, self.each_look = stack, view, each_look
        self._tails: dict[Path, Tail] = {}
        self._names: dict[tuple[str, int], str] = {}
        self.seconds: dict[str, float] = {}

    def follow(self, dag_id: str, run_id: str) -> str:
        """Returns the state the run ended in."""
        while True:
            state = self.stack.airflow.run(dag_id, run_id)["state"]
            for task in self.stack.airflow.tasks(dag_id, run_id):
                self._show(dag_id, run_id, task)
            self.each_look()
            if state in ENDED:
                return state
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _show(self, dag_id: str, run_id: str, task: dict[str, Any]) -> None:
        name, attempt = self._name(task), max(task["try_number"], 1)
        if not name:
            return
        # Before a retry Airflow already counts the attempt to come, whose log does not exist yet.
        for number in range(1, attempt + 1):
            path = self.stack.task_log(dag_id, run_id, task["task_id"], number, task["map_index"])
            for entry in self._tails.setdefault(path, Tail(path)).new():
                if entry.get("logger") == STEP_LOGGER and not NOISE.match(entry["event"]):
                    self.view.line(name, entry["event"])
        took = _seconds(task)
        self.seconds[name] = took
        self.view.task(name, task["state"], took, attempt)

    def _name(self, task: dict[str, Any]) -> str:
        """Returns what a task is called; empty of a mapped one that has not begun."""
        place = task["task_id"], task["map_index"]
        # Airflow forgets a part's name while it waits for its next attempt.
        if task["map_index"] < 0 or task["rendered_map_index"] != str(task["map_index"]):
            self._names[place] = name_of(task)
        return self._names.get(place, "")


def _seconds(task: dict[str, Any]) -> float:
    if task["start_date"] is None:
        return 0.0
    end = datetime.fromisoformat(task["end_date"]) if task["end_date"] else datetime.now(UTC)
    return max((end - datetime.fromisoformat(task["start_date"])).total_seconds(), 0.0)
