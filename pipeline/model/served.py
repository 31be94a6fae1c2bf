"""The towers as they are served: vectors of items and words come from the bundle's stores, the rest from LiteRT.

A history is read in the very vectors that are searched, so the bundle holds them once, however they are stored.

Shapes: B queries or items, L history length, E places of all histories, D dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.model.bundle import INDEX, ITEM_TOWER, QUERY_TOWER
from pipeline.model.item_index import ItemIndex
from pipeline.model.lite_tower import LiteTower
from pipeline.model.words import Words

LEAST_LENGTH = 1e-6


def looked_up(features: Mapping[str, np.ndarray], items: Vectors, words: Words) -> dict[str, np.ndarray]:
    """Returns what a query tower without tables reads: `history_vectors` and `query_words` beside most features."""
    read = dict(features)
    read["query_words"] = words.pooled(read.pop("query_text"))
    items_BL = features["history_items"]
    items_E = items_BL.ravel()
    vectors_ED = np.zeros((len(items_E), items.dim), np.float32)
    met = items_E.nonzero()[0]
    if len(met):
        vectors_ED[met] = items.vectors(items_E[met] - 1)
    read["history_vectors"] = vectors_ED.reshape(*items_BL.shape, items.dim)
    return read


class Vectors(Protocol):
    """Where a history's vectors are read: the item index, with or without items put since."""

    @property
    def dim(self) -> int: ...

    def vectors(self, rows_R: np.ndarray) -> np.ndarray: ...


class QueryTower:
    """From `features.encode_queries` to float32 [B, D] of unit length. Not for two threads at once."""

    def __init__(self, folder: Path, items: Vectors, words: Words) -> None:
        self._tower, self._items, self._words = LiteTower(folder / QUERY_TOWER), items, words

    @property
    def dim(self) -> int:
        return self._tower.dim

    def __call__(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        vectors_BD = self._tower(looked_up(features, self._items, self._words))
        # Integers leave lengths rough, and what is added for words and items met counts beside a length of 1.
        lengths_B1 = np.sqrt(np.vecdot(vectors_BD, vectors_BD))[:, None]
        return vectors_BD / np.maximum(lengths_B1, LEAST_LENGTH)


class NewItemTower:
    """From `features.encode_items` of items nobody trained on to float32 [B, D]. Not for two threads at once."""

    def __init__(self, folder: Path, words: Words) -> None:
        self._tower, self._words = LiteTower(folder / ITEM_TOWER), words

    @classmethod
    def load(cls, folder: Path) -> NewItemTower:
        return cls(folder, Words.load(folder))

    def __call__(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        read = {name: values for name, values in features.items() if name != "title"}
        read |= {"item": np.zeros_like(features["item"]), "title_words": self._words.pooled(features["title"])}
        return self._tower(read)


def load_stores(folder: Path) -> tuple[ItemIndex, Words]:
    """Raises: CorruptArtifactError: a store is torn."""
    return ItemIndex.load(folder / INDEX), Words.load(folder)
