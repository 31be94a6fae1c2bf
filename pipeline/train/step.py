"""Trains the two towers and hands on their weights, item vectors and figures beside the baselines'."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact
from pipeline.core.locks import only_one
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report

STAGE = "train"


def run(settings: Settings, run: Run) -> Report:
    """Trains unless a model with the same inputs, settings and code exists; goes on where an earlier attempt was cut.

    Raises:
        DataError: too little to train on, or a loss that is no number.
        BusyError: another process trains this very model.
        UnavailableError: SIGTERM came, or MLflow does not answer; a retry goes on from the checkpoint.
    """
    prepared = run.artifact("prepare")
    inputs, sections = {"prepare": prepared.key}, settings.keyed("train", "shop")
    folder = run.layout.checkpoints(artifacts.input_key(STAGE, inputs, sections))

    def fill(out: Path) -> Report:
        return _train(settings, run, prepared, folder, out)

    with only_one(folder.with_suffix(".lock"), f"Training {folder.name}"):
        report = run.once(STAGE, inputs, sections, fill)
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _train(settings: Settings, run: Run, prepared: Artifact, folder: Path, out: Path) -> Report:
    from pipeline.store.tracking import Tracking
    from pipeline.train.learn import learn

    with Tracking.connect(settings).child(run.run_id, STAGE) as tracked:
        return learn(settings, prepared, folder, out, tracked)
