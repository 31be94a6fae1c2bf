"""Who met what in training, and when.

Shapes: n items, N events, S sequences, P pairs of a sequence and an item it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from pipeline.core.artifacts import Artifact


@dataclass(frozen=True)
class Interactions:
    """What baselines are built from.

    Attributes:
        item_ids: by item index - 1.
        items_N: int32, item indices of all sequences end to end, oldest first.
        times_N: int64, unix seconds.
        offsets_S1: int64 [S + 1], where each sequence begins, and the end.
        horizon_seconds: how long the validation is: so far ahead is to be foretold.
    """

    item_ids: Sequence[str]
    items_N: np.ndarray
    times_N: np.ndarray
    offsets_S1: np.ndarray
    horizon_seconds: float

    @classmethod
    def load(cls, prepared: Artifact) -> Interactions:
        """Reads what `prepare` made."""
        import pyarrow.parquet as parquet

        table = parquet.read_table(prepared.file("items.parquet"), columns=["item_id"])
        split = prepared.json("split.json")
        begin, end = (datetime.fromisoformat(split[name]) for name in ("validation_start", "test_start"))
        arrays = ("sequence_items", "sequence_times", "sequence_offsets")
        return cls(
            table["item_id"].to_pylist(),
            *(np.load(prepared.file(f"{name}.npy"), mmap_mode="r") for name in arrays),
            (end - begin).total_seconds(),
        )

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 [P] each: the sequence, the item's index - 1, and the place of the item's last event in it."""
        size = len(self.item_ids)
        sequence_N = np.repeat(np.arange(len(self.offsets_S1) - 1), np.diff(self.offsets_S1))
        keys_N = sequence_N * size + (self.items_N - 1)
        keys_P, from_end_P = np.unique(keys_N[::-1], return_index=True)
        return keys_P // size, keys_P % size, len(keys_N) - 1 - from_end_P

    @cached_property
    def met_Sn(self) -> Any:
        """float32 sparse rows: 1 where the sequence holds the item."""
        sequence_P, item_P, _ = self.pairs
        return self._rows(sequence_P, item_P)

    def last_met_Sn(self, most: int) -> Any:
        """The same with so many items a sequence at most, those met last."""
        sequence_P, item_P, last_P = self.pairs
        order_P = np.argsort(last_P)
        counts_S = np.bincount(sequence_P, minlength=len(self.offsets_S1) - 1)
        kept = order_P[np.repeat(np.cumsum(counts_S), counts_S) - np.arange(len(order_P)) <= most]
        return self._rows(sequence_P[kept], item_P[kept])

    def _rows(self, sequence_P: np.ndarray, item_P: np.ndarray) -> Any:
        ones_P = np.ones(len(item_P), np.float32)
        return sparse.csr_array((ones_P, (sequence_P, item_P)), shape=(len(self.offsets_S1) - 1, len(self.item_ids)))

    @cached_property
    def people_n(self) -> np.ndarray:
        """int64: how many met each item; not how often, for on shops where people repeat this foretells more."""
        return np.bincount(self.pairs[1], minlength=len(self.item_ids))

    @cached_property
    def recent_people_n(self) -> np.ndarray:
        """float64: the same, each counting by when they met it last: half as much one horizon earlier.

        Source: Ji et al. 2020 (popularity as of the moment), with exponential decay; the half-life is derived.
        """
        _, item_P, last_P = self.pairs
        age_P = self.times_N.max(initial=0) - self.times_N[last_P]
        return np.bincount(item_P, 0.5 ** (age_P / self.horizon_seconds), minlength=len(self.item_ids))
