"""The quality floor on real logs: what is promoted finds more new items than popularity, with the interval's lower end.

Online Retail's last four months where BEHAVIOUR_LOGS_DIR names real logs, else a generated shop; step by step through
the command line, as an engineer would run them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.steps import STEPS
from tests.conftest import PSEUDONYM_KEY

CODE = Path(__file__).resolve().parents[2]


def _pipeline(environment: dict[str, str], *words: str) -> None:
    line = [sys.executable, "-m", "pipeline", *words]
    done = subprocess.run(line, cwd=CODE, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def decision(tmp_path_factory: pytest.TempPathFactory) -> dict:
    root = tmp_path_factory.mktemp("floor")
    logs = os.environ.get("BEHAVIOUR_LOGS_DIR")
    days = "2011-08-01..2011-12-08" if logs else "2026-01-01..2026-01-12"
    source = Path(logs) / "online_retail" / "raw" if logs else root / "source"
    environment = {
        "PIPELINE_SECRETS__PSEUDONYM_KEY": PSEUDONYM_KEY,
        "PIPELINE_STORE__ROOT": str(root / "var"),
        "PIPELINE_INGEST__SOURCE": str(source),
        "PIPELINE_INGEST__PROFILE": "online_retail" if logs else "generated",
        "PIPELINE_TRAIN__EPOCHS": "2",
        # Latency is not what is asked here, and the machine need not be quiet.
        "PIPELINE_OPTIMIZE__MAX_P99_MS": "1000",
        "PIPELINE_GATE__MAX_P99_MS": "5000",
    }
    if not logs:
        _pipeline(environment, "simulate", "--days", days, "--to", str(source))
    for step in STEPS:
        _pipeline(environment, step.name, "--run", "floor", "--days", days)
    return json.loads((root / "var" / "runs" / "floor" / "decision" / "decision.json").read_text())


def test_the_promoted_model_finds_more_new_items_than_popularity(decision: dict) -> None:
    gates = {gate["gate"]: gate for gate in decision["gates"]}
    floor = gates["beats popularity"]
    assert decision["metric"] == "new_items"
    assert decision["outcome"] == "pass", decision["sentence"]
    assert floor["low"] > 0, floor["reason"]
    assert gates["item-KNN"]["champion"] is not None
