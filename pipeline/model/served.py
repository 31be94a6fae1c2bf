"""The towers as they are served: vectors of items and words come from the bundle's stores, the rest from LiteRT.

A history is read in the very vectors that are searched, so the bundle holds them once, however they are stored.

Shapes: B queries or items, L history length, D dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.model.bundle import INDEX, ITEM_TOWER, QUERY_TOWER
from pipeline.model.item_index import ItemIndex
from pipeline.model.lite_tower import LiteTower
from pipeline.model.words import Words


class QueryTower:
    """From `features.encode_queries` to float32 [B, D] of unit length. Not for two threads at once."""

    def __init__(self, folder: Path, items: ItemIndex, words: Words) -> None:
        self._tower, self._items, self._words = LiteTower(folder / QUERY_TOWER), items, words

    @property
    def dim(self) -> int:
        return self._tower.dim

    def __call__(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        read = {name: values for name, values in features.items() if name != "query_text"}
        read["history_vectors"] = self._history(features["history_items"])
        read["query_words"] = self._words.pooled(features["query_text"])
        return self._tower(read)

    def _history(self, items_BL: np.ndarray) -> np.ndarray:
        vectors_BLD = np.zeros((*items_BL.shape, self._items.dim), np.float32)
        met_BL = items_BL > 0
        if met_BL.any():
            vectors_BLD[met_BL] = self._items.vectors(items_BL[met_BL] - 1)
        return vectors_BLD


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
