"""Trains the two towers and hands on their weights, item vectors and figures beside the baselines'."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.store.leases import leased, while_held
from pipeline.train.checkpoint import Checkpoints
from pipeline.train.warm import Start, find_start

STAGE = "train"


def run(settings: Settings, run: Run) -> Report:
    """Trains unless a model with the same inputs, settings and code exists; goes on where an earlier attempt was cut.

    Raises:
        DataError: too little to train on, or a loss that is no number.
        BusyError: another run trains this very model, or took it over from this one.
        UnavailableError: SIGTERM came, or MLflow does not answer; a retry goes on from the checkpoint.
    """
    prepared = run.artifact("prepare")
    start = find_start(settings, run, prepared)
    inputs, sections = {"prepare": prepared.key, **start.inputs}, settings.keyed("train", "shop")
    key = artifacts.input_key(STAGE, inputs, sections)
    checkpoints = Checkpoints(run.layout.checkpoints(key), partial(while_held, settings))

    def fill(out: Path) -> Report:
        report = _train(settings, run, prepared, start, checkpoints, out)
        with while_held(settings):
            return report

    with leased(settings, f"{STAGE}-{key}", run.run_id):
        report = run.once(STAGE, inputs, sections, fill)
        checkpoints.remove()
    return report


def _train(
    settings: Settings, run: Run, prepared: Artifact, start: Start, checkpoints: Checkpoints, out: Path
) -> Report:
    from pipeline.store.live import live_child
    from pipeline.store.tracking import Tracking
    from pipeline.train.learn import learn

    with live_child(Tracking.connect(settings), run.run_id, STAGE) as tracked:
        return learn(settings, prepared, start, checkpoints, out, tracked)
