"""Carries out one recipe: transforms, conversion, bundle, recall through the index."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model.item_index import ItemIndex
from pipeline.model.retriever import Retriever
from pipeline.model.served import looked_up
from pipeline.model.words import Words
from pipeline.optimize.making.bundling import Contents, make_bundle
from pipeline.optimize.making.inputs import SEED, Inputs
from pipeline.optimize.making.recipes import Recipe
from pipeline.optimize.towers.algorithms import Plan, apply
from pipeline.optimize.towers.keras_tower import keep
from pipeline.optimize.towers.weights import Weights

BUNDLE = "bundle"
PER_QUERY = "per_query_recall.npy"
NOTES = "recipe.json"
LEAST_STEPS = 60
SAMPLES = 512
"""Real queries that are enough to fix ranges by."""


def _steps(inputs: Inputs, settings: Settings) -> int:
    from pipeline.optimize.towers.distil import BATCH

    return max(LEAST_STEPS, settings.optimize.finetune_epochs * -(-len(inputs.lessons) // BATCH))


def carry_out(recipe: Recipe, inputs: Inputs, settings: Settings, folder: Path) -> Report:
    """Fills a folder with the recipe's bundle, its recall query by query, its tower for exports, and notes."""
    from pipeline.model.stripping import without_tables
    from pipeline.optimize.towers.convert import to_litert

    k, judged = settings.shop.k, inputs.judged
    index = ItemIndex.build(inputs.item_vectors, recipe.items, inputs.probes)
    words = Words.build(*inputs.words, recipe.words)
    tower = _query_tower(recipe, inputs, settings, index, words)
    bare = without_tables(tower)
    keep(bare, folder)
    contents = Contents(
        config=inputs.config,
        catalogue=inputs.catalogue,
        query_tower=to_litert(bare, recipe.weights, _samples(recipe, inputs, index, words)),
        item_tower=_item_tower(inputs, recipe.weights),
        index=index,
        words=words,
        repeats=inputs.repeats,
        lexical=inputs.lexical,
        requests=judged.requests(k, inputs.catalogue.top_categories()),
        facts={"recipe": recipe.name, **inputs.facts},
    )
    bundle = make_bundle(folder / BUNDLE, contents)
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


def _query_tower(recipe: Recipe, inputs: Inputs, settings: Settings, index: ItemIndex, words: Words) -> Any:
    """What learns reads the vectors as they are stored, and learns to answer as the float tower did."""
    from pipeline.model.stripping import with_tables

    tower = inputs.query_tower
    if not recipe.learns:
        return tower
    tower = with_tables(tower, index.vectors(np.arange(len(index))), words.vectors())
    plan = Plan(lambda: inputs.lessons, _steps(inputs, settings), SEED, settings.optimize, inputs.config)
    for name in recipe.transforms:
        tower = apply(name, tower, plan)
    return tower


def _samples(recipe: Recipe, inputs: Inputs, index: ItemIndex, words: Words) -> dict[str, np.ndarray] | None:
    """Returns what the tower without tables reads of real training queries, where its ranges are fixed by them."""
    if recipe.weights != "full_int8":
        return None
    features = {name: values[:SAMPLES] for name, values in inputs.lessons.features.items()}
    return looked_up(features, index, words)


def _sparsity(tower: Any) -> float:
    from pipeline.model.towers import dense_layers

    kernels = [tower.get_layer(name).kernel.numpy() for name in dense_layers(tower)]
    return float(sum((kernel == 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels))


@lru_cache(maxsize=2)
def _item_tower(inputs: Inputs, weights: Weights) -> bytes:
    """The item tower answers no request, it only places new items; fine-tuning it would buy nothing."""
    from pipeline.model.stripping import for_new_items
    from pipeline.optimize.towers.convert import to_litert

    return to_litert(for_new_items(inputs.item_tower, inputs.config), "int8" if weights == "full_int8" else weights)
