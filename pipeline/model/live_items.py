"""Items put since a bundle was made, in a retriever of that bundle: found, shown, filtered, and met in histories.

An item the bundle does not know gets a vector from its item tower. One it knows keeps its vector and is shown as put.

Shapes: B items, D dim.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.model.breath import breaths
from pipeline.model.catalogue import SHOWN
from pipeline.model.features import Item, encode_items
from pipeline.model.retriever import Retriever
from pipeline.model.served import LEAST_LENGTH, NewItemTower

EMBEDDED = 16
"""So many vectors are made in a piece of work that does not give way."""


@dataclass(frozen=True)
class LiveItem:
    """One item as it was put.

    Attributes:
        at: unix seconds, when.
        vector: made elsewhere, of an image or a text.
    """

    item_id: str
    at: float
    title: str | None = None
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    in_stock: bool | None = None
    vector: Sequence[float] | None = None


class LiveItems:
    """What was put into one retriever; changed by the thread that asks the retriever."""

    def __init__(self, folder: Path, retriever: Retriever) -> None:
        self._retriever, self._tower = retriever, NewItemTower.load(folder)
        self._known = len(retriever.catalogue)
        self._embedding = threading.Lock()
        self._put: dict[str, LiveItem] = {}

    def __len__(self) -> int:
        return len(self._put)

    def holds(self, item: LiveItem) -> bool:
        """Returns whether just this was put last."""
        return self._put.get(item.item_id) == item

    def knows(self, item_id: str) -> bool:
        """Returns whether the bundle itself knows an item."""
        return 0 < self._retriever.catalogue.tower_index.get(item_id, 0) <= self._known

    def vectors_of(self, items: Sequence[LiveItem]) -> np.ndarray:
        """Returns float32 [B, D] of unit length, for those the bundle does not know; zeros for the others.

        A vector of another length than the towers read counts as none: it was made for another bundle. Any thread may
        ask.
        """
        vectors_BD = np.zeros((len(items), self._retriever.config.dim), np.float32)
        new = [place for place, item in enumerate(items) if not self.knows(item.item_id)]
        for places in breaths(new, EMBEDDED):
            encoded = encode_items(self._retriever.config, [self._encoded(items[place]) for place in places])
            with self._embedding:
                made_BD = self._tower(encoded)
            lengths_B1 = np.linalg.norm(made_BD, axis=1, keepdims=True)
            vectors_BD[list(places)] = made_BD / np.maximum(lengths_B1, LEAST_LENGTH)
        # Found by its words then; a bundle must load whatever was put before it was made.
        vectors_BD[~np.isfinite(vectors_BD).all(axis=1)] = 0.0
        return vectors_BD

    def _encoded(self, item: LiveItem) -> Item:
        fits = item.vector is not None and len(item.vector) == self._retriever.config.vector_dim
        vector = np.array(item.vector, np.float64) if fits else None
        return Item(0, item.item_id, item.category, item.brand, item.title, item.price, vector=vector)

    def put(self, items: Sequence[LiveItem], vectors_BD: np.ndarray) -> None:
        """Takes items in, later ones over earlier ones of the same id. Args: vectors_BD: as `vectors_of` gives them."""
        catalogue, index = self._retriever.catalogue, self._retriever.index
        for item, vector_D in zip(items, vectors_BD, strict=True):
            row = catalogue.put(item.item_id, {name: getattr(item, name) for name in SHOWN})
            if row == len(index):
                index.add(vector_D[None])
            elif row >= self._known:
                index.replace(row, vector_D)
            self._retriever.lexical.put(row, item.title)
            self._put[item.item_id] = item

    def drop(self, item_ids: Iterable[str]) -> None:
        """Forgets what was put of these items, where anything was."""
        for item_id in item_ids:
            if self._put.pop(item_id, None):
                row = self._retriever.catalogue.drop(item_id)
                self._retriever.lexical.drop(row)
                if row >= self._known:
                    self._retriever.index.drop(row)
