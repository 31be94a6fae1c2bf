"""Training killed in the middle, for real, and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import RETRY_MAY_HELP
from pipeline.train.checkpoint import STATE

CHILD = Path(__file__).with_name("child.py")
ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 300


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILD), "train", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def stop_after_a_checkpoint(child: subprocess.Popen[str], state: Path, number: signal.Signals) -> str:
    """Sends the signal once a checkpoint newer than what is there now has been written; returns what was said."""
    before = state.stat().st_mtime_ns if state.exists() else 0
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (state.exists() and state.stat().st_mtime_ns > before):
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.002)
    child.send_signal(number)
    return child.communicate(timeout=PATIENCE_SECONDS)[1]


def test_a_training_that_was_cut_twice_ends_with_the_weights_of_an_unbroken_one(
    prepared_shop: Artifact, tmp_path: Path
) -> None:
    cut = (prepared_shop.path, tmp_path / "checkpoints", tmp_path / "cut")
    state = tmp_path / "checkpoints" / STATE

    asked = start(*cut)
    said = stop_after_a_checkpoint(asked, state, signal.SIGTERM)
    assert asked.returncode == RETRY_MAY_HELP
    assert "run the same command again" in said

    killed = start(*cut)
    stop_after_a_checkpoint(killed, state, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "cut" / "towers.json").exists()

    unbroken = (prepared_shop.path, tmp_path / "other", tmp_path / "unbroken")
    last = start(*cut, *unbroken)
    assert last.wait(timeout=PATIENCE_SECONDS) == 0, last.stderr.read()
    ours, theirs = (np.load(tmp_path / name / "item_vectors.npy") for name in ("cut", "unbroken"))
    assert np.array_equal(ours, theirs)
    for name in ("query_tower.weights.h5", "item_tower.weights.h5"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
