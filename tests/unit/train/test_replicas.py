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

CHILD = Path(__file__).with_name("child.py")
ROOT = Path(__file__).parents[3]


def test_two_replicas_give_the_loss_and_the_weights_of_one(prepared_shop: Artifact) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(CHILD), "replicas", str(prepared_shop.path)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = [(line.split()[0], float(line.split()[1])) for line in told.splitlines() if len(line.split()) == 2]
    figures = dict(found)
    assert [name for name, _ in found] == ["moved", "moved", "losses", "weights"]
    assert min(value for name, value in found if name == "moved") > 1e-3
    assert figures["losses"] < 1e-5
    assert figures["weights"] < 1e-5


@pytest.mark.parametrize("field", ["batch_size", "uniform_negatives"])
def test_a_number_that_replicas_cannot_share_evenly_is_refused(field: str) -> None:
    from pipeline.train.replicas import shared_evenly

    with pytest.raises(SettingsError, match=rf"train\.{field} is 33, which 2 replicas cannot share evenly"):
        shared_evenly(Train(**{field: 33}), 2)
