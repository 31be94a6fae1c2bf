"""Carries out one recipe: transforms, conversion, bundle, recall through the index."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model.item_index import ItemIndex
from pipeline.model.retriever import Retriever
from pipeline.model.words import Words
from pipeline.optimize.bundling import Contents, make_bundle
from pipeline.optimize.inputs import SEED, Inputs
from pipeline.optimize.recipes import Recipe

BUNDLE = "bundle"
PER_QUERY = "per_query_recall.npy"
NOTES = "recipe.json"
LEAST_STEPS = 60
PROBES = 256


def _pruned(tower: Any, inputs: Inputs, settings: Settings) -> Any:
    from pipeline.optimize.prune import prune

    return prune(tower, inputs.lessons, _steps(inputs, settings), settings.optimize.sparsity, SEED)


def _quantization_aware(tower: Any, inputs: Inputs, settings: Settings) -> Any:
    from pipeline.optimize.quantize_aware import quantize_aware

    return quantize_aware(tower, inputs.lessons, _steps(inputs, settings), SEED)


TRANSFORMS: dict[str, Callable[[Any, Inputs, Settings], Any]] = {
    "prune": _pruned,
    "quantize_aware": _quantization_aware,
}


def _steps(inputs: Inputs, settings: Settings) -> int:
    from pipeline.optimize.distil import BATCH

    return max(LEAST_STEPS, settings.optimize.finetune_epochs * -(-len(inputs.lessons) // BATCH))


def carry_out(recipe: Recipe, inputs: Inputs, settings: Settings, folder: Path) -> Report:
    """Fills a folder with the recipe's bundle, its recall query by query, and notes."""
    from pipeline.model.stripping import without_tables
    from pipeline.optimize.convert import to_litert

    k, judged = settings.shop.k, inputs.judged
    index, words = ItemIndex.build(inputs.item_vectors, recipe.items), Words.build(*inputs.words, recipe.words)
    tower = _query_tower(recipe, inputs, settings, index, words)
    contents = Contents(
        config=inputs.config,
        catalogue=inputs.catalogue,
        query_tower=to_litert(without_tables(tower), recipe.weights),
        item_tower=_item_tower(inputs, recipe.weights),
        item_vectors=inputs.item_vectors,
        index=index,
        words=words,
        repeats=inputs.repeats,
        lexical=inputs.lexical,
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


def _query_tower(recipe: Recipe, inputs: Inputs, settings: Settings, index: ItemIndex, words: Words) -> Any:
    """What learns reads the vectors as they are stored, and learns to answer as the float tower did."""
    from pipeline.model.stripping import with_tables

    tower = inputs.query_tower
    if recipe.transforms:
        tower = with_tables(tower, index.vectors(np.arange(len(index))), words.vectors())
    for name in recipe.transforms:
        tower = TRANSFORMS[name](tower, inputs, settings)
    return tower


def _sparsity(tower: Any) -> float:
    from pipeline.model.towers import dense_layers

    kernels = [tower.get_layer(name).kernel.numpy() for name in dense_layers(tower)]
    return float(sum((kernel == 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels))


@lru_cache(maxsize=2)
def _item_tower(inputs: Inputs, weights: str) -> bytes:
    """The item tower answers no request, it only places new items; fine-tuning it would buy nothing."""
    from pipeline.model.stripping import for_new_items
    from pipeline.optimize.convert import to_litert

    return to_litert(for_new_items(inputs.item_tower, inputs.config), weights)


def _probes(inputs: Inputs) -> np.ndarray:
    from pipeline.model.features import encode_queries

    features = encode_queries(inputs.config, inputs.catalogue.tower_index, inputs.judged.queries[:PROBES])
    return inputs.query_tower.predict(features, batch_size=PROBES, verbose=0)
