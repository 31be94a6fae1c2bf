"""Carries out one recipe: transforms, conversion, bundle, recall through the index."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model.retriever import Retriever
from pipeline.optimize.algorithms import ALGORITHMS, Plan, apply
from pipeline.optimize.bundling import Contents, make_bundle
from pipeline.optimize.inputs import SEED, Inputs
from pipeline.optimize.recipes import Recipe

BUNDLE = "bundle"
PER_QUERY = "per_query_recall.npy"
NOTES = "recipe.json"
LEAST_STEPS = 60
PROBES = 256


TRANSFORMS: dict[str, Callable[[Any, Plan], Any]] = {name: partial(apply, name) for name in ALGORITHMS}


def _plan(recipe: Recipe, inputs: Inputs, settings: Settings) -> Plan:
    learns = any(ALGORITHMS[name].learns for name in recipe.transforms)
    steps = _steps(inputs, settings) if learns else 0
    return Plan(lambda: inputs.lessons, steps, SEED, settings.optimize, inputs.config)


def _steps(inputs: Inputs, settings: Settings) -> int:
    from pipeline.optimize.distil import BATCH

    return max(LEAST_STEPS, settings.optimize.finetune_epochs * -(-len(inputs.lessons) // BATCH))


def carry_out(recipe: Recipe, inputs: Inputs, settings: Settings, folder: Path) -> Report:
    """Fills a folder with the recipe's bundle, its recall query by query, and notes."""
    from pipeline.optimize.convert import to_litert

    k, judged, vectors = settings.shop.k, inputs.judged, inputs.item_vectors
    tower = inputs.query_tower
    plan = _plan(recipe, inputs, settings)
    for name in recipe.transforms:
        tower = TRANSFORMS[name](tower, plan)
    contents = Contents(
        config=inputs.config,
        catalogue=inputs.catalogue,
        query_tower=to_litert(tower, recipe.weights),
        item_tower=_item_tower(inputs, recipe.weights),
        item_vectors=vectors,
        repeats=inputs.repeats,
        lexical=inputs.lexical,
        index_kind=recipe.index,
        requests=judged.requests(k, inputs.catalogue.top_categories()),
        probes=_probes(inputs),
        facts={"recipe": recipe.name, **inputs.facts},
    )
    bundle = make_bundle(folder / BUNDLE, contents, k)
    recall_Q = judged.recall(Retriever.load(folder / BUNDLE, bundle.digest), k)
    np.save(folder / PER_QUERY, recall_Q)
    notes = {"digest": bundle.digest, "bytes": bundle.bytes, "dense_sparsity": _sparsity(tower)}
    (folder / NOTES).write_text(json.dumps(notes, indent=1))
    return Report(
        f"{recipe.name}: recall@{k} {recall_Q.mean():.4f} on {len(judged):,} queries, {bundle.bytes:,} bytes.",
        counts={"bytes": bundle.bytes, "queries": len(judged)},
        metrics={f"recall_at_{k}": float(recall_Q.mean())},
        digests={"bundle": bundle.digest},
    )


def _sparsity(tower: Any) -> float:
    from pipeline.model.towers import dense_layers

    kernels = [tower.get_layer(name).kernel.numpy() for name in dense_layers(tower)]
    return float(sum((kernel == 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels))


@lru_cache(maxsize=2)
def _item_tower(inputs: Inputs, weights: str) -> bytes:
    """The item tower answers no request, it only places new items; fine-tuning it would buy nothing."""
    from pipeline.optimize.convert import to_litert

    return to_litert(inputs.item_tower, weights)


def _probes(inputs: Inputs) -> np.ndarray:
    from pipeline.model.features import encode_queries

    features = encode_queries(inputs.config, inputs.catalogue.tower_index, inputs.judged.queries[:PROBES])
    return inputs.query_tower.predict(features, batch_size=PROBES, verbose=0)
