"""DAG files and plugins as Airflow sees them: their folders on the path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CODE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home for Airflow, so that no test reads or writes the user's own."""
    home = tmp_path_factory.mktemp("airflow")
    os.environ.setdefault("AIRFLOW_HOME", str(home))
    os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    return home


@pytest.fixture
def plugins(airflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a test import `step_tasks` and `step_process` as DAG files do."""
    monkeypatch.syspath_prepend(str(CODE / "plugins"))


@pytest.fixture(scope="session")
def in_fresh_process(airflow_home: Path) -> Any:
    """Runs Python code in a fresh process with dags/ and plugins/ on its path; returns what it prints as JSON."""

    def run(code: str) -> Any:
        path = os.pathsep.join(str(CODE / folder) for folder in ("", "dags", "plugins"))
        environment = {**os.environ, "PYTHONPATH": path, "AIRFLOW_HOME": str(airflow_home)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=CODE, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run
