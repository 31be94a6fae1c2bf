"""From a training set to everything `train` hands on: build, fit, evaluate beside the baselines, write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import SettingsError
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model.config import TowerConfig
from pipeline.model.features import Item, encode_items
from pipeline.train.checkpoint import Checkpoints
from pipeline.train.evaluate import evaluate
from pipeline.train.examples import Examples, recency_weights
from pipeline.train.export import ranker_of, save_towers
from pipeline.train.fit import Fit
from pipeline.train.prepared import Prepared
from pipeline.train.replicas import mirrored_strategy
from pipeline.train.start import start_vectors
from pipeline.train.tracked import Tracked
from pipeline.train.trainer import Trainer
from pipeline.train.validation import Validation

PRICE_BANDS = 10


def learn(settings: Settings, artifact: Artifact, checkpoints: Checkpoints, out: Path, tracked: Tracked) -> Report:
    """Trains from the last checkpoint, if any, and writes the artifact's files to `out`."""
    prepared = Prepared.load(artifact)
    validation = Validation.load(artifact, settings.shop.k, settings.shop.metric)
    config = tower_config(settings, prepared)
    tracked.params({f"train.{n}": v for n, v in settings.train.model_dump().items()} | {"items": config.items})
    trainer, examples = prepare_training(settings, prepared, config)

    def tell(record: Mapping[str, Any]) -> None:
        live = {f"validation.recall.{validation.k}": record["recall"]}
        live |= {name: record[name] for name in ("loss", "learning_rate", "targets_per_second")}
        tracked.metrics(live, step=record["epoch"])

    def judge() -> float:
        return validation.judged_recall(ranker_of(trainer, prepared))

    position = Fit(trainer, examples, settings.train, checkpoints, judge, tell).run()
    counts = {"targets": len(examples.places_T), "items": config.items}
    report = evaluate(artifact, validation, ranker_of(trainer, prepared), position, counts, out, tracked)
    save_towers(out, trainer, prepared)
    return report


def tower_config(settings: Settings, prepared: Prepared) -> TowerConfig:
    """Derives the towers' shape from settings and catalogue; price bands hold equal numbers of items.

    Raises: SettingsError: the heads do not divide the width.
    """
    if settings.train.dim % settings.train.heads:
        raise SettingsError(
            f"train.dim is {settings.train.dim}, which train.heads={settings.train.heads} cannot share evenly; make it "
            f"a multiple of {settings.train.heads}."
        )
    prices = np.array([item.price for item in prepared.items if item.price is not None], np.float64)
    shares = np.linspace(0, 1, PRICE_BANDS + 1)[1:-1]
    edges = np.unique(np.quantile(prices[np.isfinite(prices)], shares)) if np.isfinite(prices).any() else np.empty(0)
    return TowerConfig(
        items=len(prepared.items),
        dim=settings.train.dim,
        hidden_units=settings.train.hidden_units,
        blocks=settings.train.blocks,
        heads=settings.train.heads,
        history_length=settings.prepare.history_length,
        text_buckets=settings.train.text_buckets,
        price_edges=tuple(edges.tolist()),
    )


def prepare_training(settings: Settings, prepared: Prepared, config: TowerConfig) -> tuple[Trainer, Examples]:
    """Builds towers on every replica, and the examples they learn from."""
    inputs = encode_items(config, [Item(0, ""), *prepared.items])
    strategy = mirrored_strategy(settings.train)
    examples = Examples.build(prepared, config, settings.train, inputs["title"], strategy.num_replicas_in_sync)
    steps = examples.steps * settings.train.epochs
    start_n1D = _start(settings, prepared, config)
    trainer = Trainer(
        config, settings.train, inputs, prepared.probability_n1, examples.categories, steps, strategy, start_n1D
    )
    return trainer, examples


def _start(settings: Settings, prepared: Prepared, config: TowerConfig) -> np.ndarray | None:
    wanted = settings.train
    if not wanted.start_moments:
        return None
    weights_N = recency_weights(prepared.times_N, wanted.half_life_days)
    return start_vectors(prepared, config.dim, wanted.start_moments, weights_N)
