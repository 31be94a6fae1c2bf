"""Ours in `accuracy`: trained by the very code of the step, answering by exact retrieval with the float towers."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy_data import Asked
from benchmarks.peers.search import ALL_ITEMS, NEW_ITEMS, Histories, Scores, Settings, Task, main
from benchmarks.untracked import Untracked
from pipeline.core import settings as settings_module
from pipeline.core.artifacts import Artifact
from pipeline.core.errors import UnavailableError
from pipeline.core.schema import EVENT_TYPES
from pipeline.core.settings import Settings as PipelineSettings
from pipeline.model.bundle import REPEATS
from pipeline.model.config import TowerConfig
from pipeline.model.features import Query, encode_queries
from pipeline.model.repeats import Repeats
from pipeline.train.checkpoint import Checkpoints
from pipeline.train.prepared import Prepared
from pipeline.train.warm import Start

FIRST: Settings = {}
CHOICES = {
    "train.epochs": [3, 5, 8],
    "train.dim": [64, 128, 256],
    "train.learning_rate": [0.001, 0.002],
    "train.temperature": [0.05, 0.07, 0.1],
    "train.half_life_share": [0, 0.1, 0.5],
    "train.next_visit_share": [0.0, 0.5],
    "train.dropout": [0.1, 0.2, 0.4],
    "train.blocks": [1, 2],
    "shop.metric": [NEW_ITEMS, ALL_ITEMS],
}
QUERIES_PER_CALL = 1024
FINISHING_SECONDS = 45
"""Of the budget are kept for writing what was learnt and judging it beside the baselines, as the step does."""


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Scores]]:
    senses = {} if NEW_ITEMS in task.senses else {"shop.metric": ALL_ITEMS}
    artifact = Artifact(Path(json.loads((task.data / "artifact.json").read_text())))
    with tempfile.TemporaryDirectory(dir=task.data) as scratch:
        out = Path(scratch) / "out"
        out.mkdir()
        chosen = {"train.seed": task.seed, **settings, **senses}
        learn_within(task.seconds_left - FINISHING_SECONDS, chosen, artifact, Path(scratch) / "checkpoints", out)
        yield senses, scorer(artifact, _load(chosen), out)


def learn_within(seconds: float, settings: Mapping[str, Any], artifact: Artifact, checkpoints: Path, out: Path) -> None:
    """Trains as the step does, but ends it when the budget is spent, with the best epoch that was finished.

    It is ended as an operator would: by SIGTERM, again and again until training has begun to listen. A second call then
    finds as many epochs done as it is asked for, and writes what the first would have.
    """
    from pipeline.train.learn import learn

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1.0), 1.0)
    try:
        learn(_load(settings), artifact, Start("a benchmark"), Checkpoints(checkpoints), out, Untracked())
    except UnavailableError:
        signal.setitimer(signal.ITIMER_REAL, 0)
        found = Checkpoints(checkpoints).load()
        done = found[0].epoch if found else 0
        again = _load({**settings, "train.epochs": done})
        learn(again, artifact, Start("a benchmark"), Checkpoints(checkpoints), out, Untracked())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _load(settings: Mapping[str, Any]) -> PipelineSettings:
    return settings_module.load([f"{name}={value}" for name, value in settings.items()])


def scorer(artifact: Artifact, settings: PipelineSettings, out: Path) -> Scores:
    from pipeline.model.towers import build_query_tower

    config = TowerConfig.load(out / "towers.json")
    tower = build_query_tower(config)
    tower.load_weights(str(out / "query_tower.weights.h5"))
    vectors_nD = np.load(out / "item_vectors.npy")[1:]
    ids = [item.item_id for item in Prepared.load(artifact).items]
    index = {item_id: row for row, item_id in enumerate(ids, start=1)}

    repeats, said = Repeats.load(out / REPEATS), _contexts(artifact, {item_id: row for row, item_id in enumerate(ids)})

    def scores(histories: Histories) -> np.ndarray:
        parts = [histories[begin : begin + QUERIES_PER_CALL] for begin in range(0, len(histories), QUERIES_PER_CALL)]
        return np.concatenate([_scores(part) for part in parts])

    def _scores(part: Histories) -> np.ndarray:
        kinds, times = (np.split(values, part.offsets[1:-1]) for values in (part.types, part.times))
        asked = [
            Query(
                [ids[item] for item in items],
                [EVENT_TYPES[kind] for kind in types],
                None,
                moments.tolist(),
                now,
                said.get((int(now), tuple(items.tolist()))),
            )
            for items, types, moments, now in zip(part.rows, kinds, times, part.asked, strict=True)
        ]
        inputs = encode_queries(config, index, asked)
        scores_Qn = tower([inputs[spec.name] for spec in tower.inputs]).numpy() @ vectors_nD.T
        for scores_n, query in zip(scores_Qn, asked, strict=True):
            repeats.add_to(scores_n, query, index)
        return scores_Qn

    return scores


def _contexts(artifact: Artifact, row: Mapping[str, int]) -> dict[tuple[int, tuple[int, ...]], str]:
    """Returns where and on what was asked, by second and history; what all models are handed holds none."""
    asked = [each for part in ("validation", "test") for each in Asked.load(artifact, part).rows if each["context"]]
    return {
        (int(each["time"].timestamp()), tuple(row[i] for i in each["history_item_ids"] if i in row)): each["context"]
        for each in asked
    }


if __name__ == "__main__":
    main(fit, FIRST, CHOICES)
