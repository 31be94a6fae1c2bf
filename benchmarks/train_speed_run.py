"""One training of ours, timed from within: `python -m benchmarks.train_speed_run ARTIFACT OUT [--set …]`.

Writes the seconds from first reading the arrays to the end of each epoch, validation not counted; how good the answers
were then; targets a second; and the share of the time that was the compiled step, what feeds it being gathered by
another thread meanwhile.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.train_questions import Questions
from pipeline.core import settings as settings_module
from pipeline.core.artifacts import Artifact
from pipeline.core.settings import Settings
from pipeline.model.metrics import recall_at_k
from pipeline.train.checkpoint import Checkpoints
from pipeline.train.export import ranker_of
from pipeline.train.fit import Fit
from pipeline.train.learn import prepare_training, tower_config
from pipeline.train.prepared import Prepared
from pipeline.train.sizes import sized


class Timed:
    """A trainer that notes how long its steps take."""

    def __init__(self, trainer: Any) -> None:
        self._trainer, self.seconds = trainer, 0.0

    def step(self, batch: Any, number: int) -> Any:
        begun = perf_counter()
        loss = self._trainer.step(batch, number)
        float(loss)
        self.seconds += perf_counter() - begun
        return loss

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    given = parser.parse_args()
    told = _learn(settings_module.load(given.settings), Artifact(given.artifact))
    given.out.write_text(json.dumps(told))


def _learn(settings: Settings, artifact: Artifact) -> dict[str, Any]:
    prepared, questions = Prepared.load(artifact), Questions.load(artifact, settings.shop.k)
    begun = perf_counter()
    settings = sized(settings, prepared)
    trainer, examples = prepare_training(settings, prepared, tower_config(settings, prepared))
    before_seconds = perf_counter() - begun
    timed, epochs = Timed(trainer), []

    def judge() -> float:
        if not questions.queries:
            return float(len(epochs))
        ranked = ranker_of(trainer, prepared).rank(questions.queries, questions.k, exclude_seen=True)
        return float(np.mean(recall_at_k(ranked, questions.targets, questions.k)))

    def tell(record: dict[str, Any]) -> None:
        spent = (epochs[-1]["seconds"] if epochs else before_seconds) + record["seconds"]
        share, timed.seconds = timed.seconds / record["seconds"], 0.0
        facts = {name: record[name] for name in ("recall", "targets_per_second")}
        epochs.append({"seconds": spent, **facts, "step_share": share})

    with TemporaryDirectory() as scratch:
        Fit(timed, examples, settings.train, Checkpoints(Path(scratch)), judge, tell).run()
    return {"targets": len(examples.places_T), "before_seconds": before_seconds, "epochs": epochs}


if __name__ == "__main__":
    main()
