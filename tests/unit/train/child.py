"""Trains in a process of its own, so that it can be killed or given two replicas: `child.py JOB FOLDER …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import PipelineError
from pipeline.core.sections import Shop, Train
from pipeline.core.settings import Settings
from pipeline.train.checkpoint import Checkpoints
from pipeline.train.warm import Start

SMALL = Train(
    dim=8, hidden_units=8, text_buckets=64, batch_size=32, uniform_negatives=8, hard_negatives=4, exposed_negatives=2,
    history_length=4, epochs=4, patience_epochs=9,
)  # fmt: skip


CLIP_NORM = 0.1


class Silent:
    """Logs nothing."""

    def params(self, values: Any) -> None: ...
    def metrics(self, values: Any, step: int | None = None) -> None: ...
    def tags(self, values: Any) -> None: ...
    def artifact(self, path: Path) -> None: ...


def settings_with(**given: Any) -> Settings:
    return Settings(train=SMALL.model_copy(update=given), shop=Shop(k=3))


def train(prepared: Path, checkpoints: Path, out: Path) -> None:
    """Trains with a checkpoint after every step, on one thread, the same way each time."""
    from pipeline.train.learn import learn

    out.mkdir(parents=True, exist_ok=True)
    settings = settings_with(checkpoint_seconds=0, deterministic=True, epochs=2)
    learn(settings, Artifact(prepared), Start("a test"), Checkpoints(checkpoints), out, Silent())


def compare_replicas(prepared: Path, replicas: int) -> None:
    """Prints how far losses, gradients and weights of several replicas lie from those of one, in eight steps.

    Plain gradient descent, so that a step shows its gradient; clipped, so that the norm must be that of the sum.
    """
    from pipeline.train.prepared import Prepared

    data = Prepared.load(Artifact(prepared))
    losses, gradients, weights = _learnt(data, replicas)
    one = _learnt(data, 1)
    print("norm", float(np.sqrt(sum((g**2).sum() for g in gradients[0]))))
    print("moved", max(float(np.abs(g).max()) for g in gradients[-1]))
    print("losses", float(np.abs(np.subtract(losses, one[0])).max()))
    for name, ours, theirs in (("gradients", gradients, one[1]), ("weights", weights, one[2])):
        steps = zip(ours, theirs, strict=True)
        print(name, max(float(np.abs(a - b).max()) for mine, its in steps for a, b in zip(mine, its, strict=True)))


def _learnt(data: Any, replicas: int) -> tuple[list[float], list[list[np.ndarray]], list[list[np.ndarray]]]:
    """Returns the loss, the gradient and the weights of every step."""
    from pipeline.model.keras import keras
    from pipeline.train.learn import prepare_training, tower_config

    settings = settings_with(replicas=replicas, dropout=0.0, clip_norm=CLIP_NORM, learning_rate=1.0)
    trainer, examples = prepare_training(settings, data, tower_config(settings, data))
    with trainer.strategy.scope():
        trainer.optimizer = keras.optimizers.SGD(1.0)
        trainer.optimizer.build(trainer.weights)
    losses, gradients, weights = [], [], [_numbers(trainer)]
    for step in range(8):
        losses.append(float(trainer.step(examples.batch(examples.order(0), 0, step), step)))
        weights.append(_numbers(trainer))
        rate = trainer.learning_rate(step)
        gradients.append([(old - new) / rate for old, new in zip(weights[-2], weights[-1], strict=True)])
    return losses, gradients, weights


def _numbers(trainer: Any) -> list[np.ndarray]:
    return [weight.numpy() for weight in trainer.weights]


def main(job: str, *paths: str) -> None:
    try:
        if job == "replicas":
            compare_replicas(Path(paths[0]), int(paths[1]))
        for start in range(0, len(paths) if job == "train" else 0, 3):
            train(*(Path(path) for path in paths[start : start + 3]))
    except PipelineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
