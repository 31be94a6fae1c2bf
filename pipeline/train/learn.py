"""From a training set to everything `train` hands on: build, fit, evaluate beside the baselines, write."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model.bundle import LEXICAL, REPEATS
from pipeline.model.config import TowerConfig
from pipeline.model.features import Item, encode_items
from pipeline.train.checkpoint import Checkpoints, Position
from pipeline.train.evaluate import evaluate
from pipeline.train.examples import Examples, recency_weights
from pipeline.train.export import ranker_of, save_towers
from pipeline.train.fit import Fit
from pipeline.train.half_life import aged
from pipeline.train.matching import fitted_lexical
from pipeline.train.prepared import Prepared, context_buckets
from pipeline.train.repeating import fitted_repeats
from pipeline.train.replicas import mirrored_strategy
from pipeline.train.sizes import sized
from pipeline.train.start import start_vectors, vectors_beside
from pipeline.train.tracked import Tracked
from pipeline.train.trainer import Trainer
from pipeline.train.validation import Validation, VectorRanker
from pipeline.train.warm import Start, carried_over, grown_config
from pipeline.train.watch import Board, profile

PRICE_BANDS = 10
BOARD = "tensorboard"
LIVE = ("loss", "learning_rate", "targets_per_second")


def learn(
    settings: Settings, artifact: Artifact, start: Start, checkpoints: Checkpoints, out: Path, tracked: Tracked
) -> Report:
    """Trains from the last checkpoint, or else from the start, and writes the artifact's files to `out`."""
    start.save(out, settings, artifact)
    prepared = Prepared.load(artifact)
    settings = sized(start.settings(settings), prepared)
    validation = Validation.load(artifact, settings.shop.k, settings.shop.metric)
    settings = aged(settings, prepared, validation)
    config = grown_config(start.trained, len(prepared.items)) if start.trained else tower_config(settings, prepared)
    tracked.params({f"train.{n}": v for n, v in settings.train.model_dump().items()} | {"items": config.items})
    trainer, examples = prepare_training(settings, prepared, config, start.trained)
    listeners = [tracked, *([Board(checkpoints.folder / BOARD)] if settings.train.tensorboard else [])]

    def tell_step(figures: Mapping[str, float], number: int) -> None:
        for listener in listeners:
            listener.metrics(figures, number)

    def tell(record: Mapping[str, Any]) -> None:
        live = {f"validation.recall.{validation.k}": record["recall"]}
        tell_step(live | {name: record[name] for name in LIVE}, record["epoch"])

    def answering() -> VectorRanker:
        ranker = ranker_of(trainer, prepared)
        repeats = fitted_repeats(ranker, validation, settings.train.temperature)
        return ranker.adding(repeats, fitted_lexical(ranker, validation, prepared.postings))

    def judge() -> float:
        return validation.judged_recall(answering())

    fit = Fit(trainer, examples, settings.train, checkpoints, judge, tell, tell_step)
    if settings.train.profile_steps:
        batches = (batch for epoch in count() for batch in fit.batches(Position(epoch)))
        found = profile(trainer, batches, settings.train.profile_steps, out)
        tracked.metrics({f"profile.{name}": value for name, value in found.items()})
    position = fit.run()
    counts = {"targets": len(examples.places_T), "items": config.items}
    ranker = answering()
    report = evaluate(artifact, validation, ranker, position, counts, out, tracked)
    save_towers(out, trainer, prepared)
    ranker.repeats.save(out / REPEATS)
    ranker.lexical.save(out / LEXICAL)
    if settings.train.tensorboard:
        shutil.copytree(checkpoints.folder / BOARD, out / BOARD)
    return replace(report, sentence=f"{report.sentence} {start.sentence}")


def tower_config(settings: Settings, prepared: Prepared) -> TowerConfig:
    """Returns the towers' shape; price bands hold equal numbers of items."""
    prices = np.array([item.price for item in prepared.items if item.price is not None], np.float64)
    shares = np.linspace(0, 1, PRICE_BANDS + 1)[1:-1]
    edges = np.unique(np.quantile(prices[np.isfinite(prices)], shares)) if np.isfinite(prices).any() else np.empty(0)

    def told(field: str) -> bool:
        return any(getattr(item, field) for item in prepared.items)

    return TowerConfig(
        items=len(prepared.items),
        dim=settings.train.dim,
        hidden_units=settings.train.hidden_units,
        blocks=settings.train.blocks,
        heads=settings.train.heads,
        history_length=settings.train.history_length,
        # A table for what the log never tells would be random numbers in every bundle.
        text_buckets=settings.train.text_buckets if prepared.queries or told("title") else 1,
        category_buckets=TowerConfig.category_buckets if told("category") else 1,
        brand_buckets=TowerConfig.brand_buckets if told("brand") else 1,
        price_edges=tuple(edges.tolist()),
        context_buckets=context_buckets(prepared.contexts),
        vector_dim=max((len(item.vector) for item in prepared.items if item.vector is not None), default=0),
    )


def prepare_training(
    settings: Settings, prepared: Prepared, config: TowerConfig, trained: Artifact | None = None
) -> tuple[Trainer, Examples]:
    """Builds towers on every replica, with the weights of an earlier training if given, and what they learn from."""
    new_n1 = prepared.new_n1(settings.train.new_item_days)
    items = zip(prepared.items, new_n1[1:], strict=True)
    inputs = encode_items(config, [Item(0, ""), *(replace(item, age_days=0) if new else item for item, new in items)])
    strategy = mirrored_strategy(settings.train)
    examples = Examples.build(prepared, config, settings.train, inputs["title"], strategy.num_replicas_in_sync)
    steps = examples.steps * settings.train.epochs
    met = {"moments_apart": settings.train.start_moments}
    met["weights_N"] = recency_weights(prepared.times_N, settings.train.half_life_share)
    start_n1D = start_vectors(prepared, config.dim, **met) if settings.train.start_moments and not trained else None
    trainer = Trainer(
        config, settings.train, inputs, prepared.probability_n1, new_n1, examples.categories, steps, strategy, start_n1D
    )
    if trained:
        beside = partial(vectors_beside, prepared, **met) if settings.train.start_moments else None
        trainer.load_weights(carried_over(trained, prepared, beside))
    return trainer, examples
