"""Trains in a process of its own, so that it can be killed or given two replicas: `child.py JOB FOLDER …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import PipelineError
from pipeline.core.sections import Prepare, Shop, Train
from pipeline.core.settings import Settings

SMALL = Train(dim=8, hidden_units=8, text_buckets=64, batch_size=32, uniform_negatives=8, epochs=4, patience_epochs=9)


class Silent:
    """Logs nothing."""

    def params(self, values: Any) -> None: ...
    def metrics(self, values: Any, step: int | None = None) -> None: ...
    def artifact(self, path: Path) -> None: ...


def settings_with(**given: Any) -> Settings:
    return Settings(train=SMALL.model_copy(update=given), shop=Shop(k=3), prepare=Prepare(history_length=4))


def train(prepared: Path, checkpoints: Path, out: Path) -> None:
    """Trains with a checkpoint after every step, on one thread, the same way each time."""
    from pipeline.train.learn import learn

    out.mkdir(parents=True, exist_ok=True)
    learn(settings_with(checkpoint_seconds=0, deterministic=True), Artifact(prepared), checkpoints, out, Silent())


def compare_replicas(prepared: Path) -> None:
    """Prints the largest difference of any weight after eight steps, between one replica and two."""
    from pipeline.model.keras import keras
    from pipeline.train.learn import prepare_training, tower_config
    from pipeline.train.prepared import Prepared

    data = Prepared.load(Artifact(prepared))
    found = []
    for replicas in (2, 1):
        settings = settings_with(replicas=replicas, dropout=0.0)
        trainer, examples = prepare_training(settings, data, tower_config(settings, data))
        before = trainer.weight_values()
        with trainer.strategy.scope():
            trainer.optimizer = keras.optimizers.SGD(0.1)
            trainer.optimizer.build(trainer.weights)
        losses = [float(trainer.step(examples.batch(examples.order(0), 0, step), step)) for step in range(8)]
        found.append((losses, trainer.weight_values()))
        moved = max(float(np.abs(a - b).max()) for a, b in zip(before, found[-1][1], strict=True))
        print("moved", moved)
    (two_losses, two), (one_losses, one) = found
    print("losses", max(abs(a - b) for a, b in zip(two_losses, one_losses, strict=True)))
    print("weights", max(float(np.abs(a - b).max()) for a, b in zip(two, one, strict=True)))


def main(job: str, *paths: str) -> None:
    try:
        if job == "replicas":
            compare_replicas(Path(paths[0]))
        for start in range(0, len(paths) if job == "train" else 0, 3):
            train(*(Path(path) for path in paths[start : start + 3]))
    except PipelineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
