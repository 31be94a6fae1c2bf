"""Puts towers, index, catalogue and goldens together as one release bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import CorruptArtifactError
from pipeline.model import bundle as names
from pipeline.model.bundle import Bundle, seal_bundle
from pipeline.model.catalogue import Catalogue
from pipeline.model.config import TowerConfig
from pipeline.model.goldens import check_goldens, with_answers
from pipeline.model.item_index import ItemIndex
from pipeline.model.lexical import Lexical
from pipeline.model.packed import write_json, write_packed
from pipeline.model.repeats import Repeats
from pipeline.model.retriever import Retriever
from pipeline.model.words import Words


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        query_tower, item_tower: LiteRT files of towers without tables, as `model.stripping` makes them.
        item_vectors: float32 [n, dim], row = item's place in the catalogue, as trained.
        index, words: the same and the vectors of words, as stored.
        repeats, lexical: what is added to scores.
        requests: the golden requests, `{"path", "request"}`.
        probes: float32 [Q, dim], query vectors the index is held against exact search with.
        facts: `recipe`, `data_end`, `keys`.
    """

    config: TowerConfig
    catalogue: Catalogue
    query_tower: bytes
    item_tower: bytes
    item_vectors: np.ndarray
    index: ItemIndex
    words: Words
    repeats: Repeats
    lexical: Lexical
    requests: Sequence[Mapping[str, Any]]
    probes: np.ndarray
    facts: Mapping[str, Any]


def make_bundle(folder: Path, contents: Contents, k: int) -> Bundle:
    """Writes, answers its goldens with the very files written, seals and proves the bundle.

    Raises: CorruptArtifactError: the sealed bundle does not answer its own goldens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents.config.save(folder / names.TOWERS)
    contents.catalogue.save(folder / names.ITEMS)
    contents.repeats.save(folder / names.REPEATS)
    contents.lexical.save(folder / names.LEXICAL)
    write_packed(folder / names.QUERY_TOWER, contents.query_tower)
    write_packed(folder / names.ITEM_TOWER, contents.item_tower)
    contents.index.save(folder / names.INDEX)
    contents.words.save(folder)
    write_json(folder / names.GOLDEN, with_answers(Retriever(folder), contents.requests))
    found = index_recall(contents.index, contents.item_vectors, contents.probes, k)
    facts = {**contents.facts, "index": {**contents.index.facts, f"recall_at_{k}_against_exact": found}}
    bundle = seal_bundle(folder, facts)
    wrong = check_goldens(Retriever.load(folder, bundle.digest))
    if wrong:
        raise CorruptArtifactError(f"{folder}: the bundle does not answer its own requests: {wrong[0]}; make it again.")
    return bundle


def index_recall(index: ItemIndex, vectors_nD: np.ndarray, probes_QD: np.ndarray, k: int) -> float:
    """Returns the share of the exact top k (float32 vectors) that the index finds among its own top k."""
    if not len(probes_QD):
        return 1.0
    _, exact_QK = ItemIndex.build(vectors_nD, "float32").search(probes_QD, k)
    _, found_QK = index.search(probes_QD, k)
    hits = [len(set(e) & set(f)) for e, f in zip(exact_QK.tolist(), found_QK.tolist(), strict=True)]
    return round(float(np.mean(hits)) / exact_QK.shape[1], 6)
