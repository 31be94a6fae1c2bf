"""Where the stack keeps what; everything lies below one root."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import write_beside

CODE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Places:
    root: Path

    @property
    def airflow_home(self) -> Path:
        return self.root / "airflow"

    @property
    def passwords(self) -> Path:
        return self.airflow_home / "passwords.json"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.env"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def state(self) -> Path:
        return self.root / "stack.json"

    @property
    def lock(self) -> Path:
        return self.root / "stack.lock"

    def task_log(self, dag_id: str, run_id: str, task_id: str, attempt: int, map_index: int = -1) -> Path:
        """Args: map_index: of a mapped task, which one; -1: it is none."""
        folder = self.airflow_home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        if map_index >= 0:
            folder /= f"map_index={map_index}"
        return folder / f"attempt={attempt}.log"


def read_state(places: Places) -> dict[str, Any]:
    """Returns what is remembered of this root's stack: ports, shop, processes; empty when there was none."""
    try:
        return json.loads(places.state.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def write_state(places: Places, **changes: Any) -> dict[str, Any]:
    """Remembers these fields beside those already remembered."""
    state = {**read_state(places), **changes}
    write_beside(places.state, json.dumps(state, indent=1))
    return state


def executable(name: str) -> str:
    """Returns the path of a command installed beside this Python."""
    return str(Path(sys.executable).parent / name)
