"""One replica and two learn the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import SettingsError
from pipeline.core.sections import Train
from tests.unit.train.child import CLIP_NORM

CHILD = Path(__file__).with_name("child.py")
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_give_the_losses_gradients_and_weights_of_one(prepared_shop: Artifact, replicas: int) -> None:
    """Without dropout: what each replica leaves out is its own draw."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(CHILD), "replicas", str(prepared_shop.path), str(replicas)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    figures = {name: float(value) for name, value in (line.split() for line in told.splitlines())}
    assert list(figures) == ["norm", "moved", "losses", "gradients", "weights"]
    assert figures["norm"] == pytest.approx(CLIP_NORM, rel=1e-3)
    assert figures["moved"] > 1e-3
    assert max(figures[name] for name in ("losses", "gradients", "weights")) < 1e-5, figures


@pytest.mark.parametrize("field", ["batch_size", "uniform_negatives"])
def test_a_number_that_replicas_cannot_share_evenly_is_refused(field: str) -> None:
    from pipeline.train.replicas import shared_evenly

    with pytest.raises(SettingsError, match=rf"train\.{field} is 33, which 2 replicas cannot share evenly"):
        shared_evenly(Train(**{field: 33}), 2)
