"""What `prepare` handed on, as arrays that are read where they lie.

Shapes: n items, N events, S sequences, T targets, X exposures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as arrow
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError
from pipeline.model.features import Item, sequence_pauses
from pipeline.model.lexical import Postings

LEAST_ITEMS, LEAST_TARGETS = 2, 8
CONTEXT_BUCKETS = 1024
ARRAYS = (
    *("sequence_items", "sequence_types", "sequence_times", "sequence_contexts", "sequence_offsets"),
    *("targets", "target_queries", "target_searched", "exposed_items", "exposed_offsets"),
)


@dataclass(frozen=True)
class Prepared:
    """Training sequences end to end, their targets, and the items.

    Attributes:
        items: by index - 1.
        probability_n1: float64 [n + 1], share of training targets by item index; 0 for padding.
        items_N, types_N, times_N: int32, uint8, int64: item index, index in `EVENT_TYPES`, unix seconds.
        contexts_N: int32, place in `contexts`, or -1.
        offsets_S1: int64 [S + 1], where each sequence begins, and the end.
        targets_T: int64, places in the flat arrays; queries_T: int32, index in `queries` or -1.
        searched_T: int64, place of the first event after that search, or -1.
        exposed_X: int32, item indices of what was shown before each target and not chosen, oldest first;
            exposed_offsets_T1: int64 [T + 1], where each target's begin, and the end.
        queries: the searches that targets answer.
    """

    items: list[Item]
    probability_n1: np.ndarray
    items_N: np.ndarray
    types_N: np.ndarray
    times_N: np.ndarray
    contexts_N: np.ndarray
    offsets_S1: np.ndarray
    targets_T: np.ndarray
    queries_T: np.ndarray
    searched_T: np.ndarray
    exposed_X: np.ndarray
    exposed_offsets_T1: np.ndarray
    queries: list[str]
    contexts: list[str]

    @classmethod
    def load(cls, artifact: Artifact) -> Prepared:
        """Raises: DataError: too little to train on, or the arrays contradict each other."""
        columns = ["index", "item_id", "category", "brand", "title", "price", "age_days"]
        table = parquet.read_table(artifact.file("items.parquet")).sort_by("index")
        rows = zip(*(table[name].to_pylist() for name in columns), _vectors(table), strict=True)
        prepared = cls(
            [Item(*row) for row in rows],
            np.concatenate([[0.0], table["probability"].to_numpy()]),
            *(np.load(artifact.file(f"{name}.npy"), mmap_mode="r") for name in ARRAYS),
            artifact.json("queries.json"),
            artifact.json("contexts.json"),
        )
        prepared._check(artifact)
        return prepared

    @property
    def described_n1(self) -> np.ndarray:
        """Returns bool [n + 1], which items have any content but their id."""
        content = ((item.category, item.brand, item.title, item.price, item.vector) for item in self.items)
        return np.array([False, *(any(field is not None for field in fields) for fields in content)])

    @cached_property
    def postings(self) -> Postings:
        """Which words stand in which titles."""
        return Postings.of([item.title for item in self.items])

    def new_n1(self, days: int) -> np.ndarray:
        """Returns bool [n + 1], which items nobody met and are listed for less than so many days."""
        young = [item.age_days is not None and item.age_days < days for item in self.items]
        return np.array([False, *young]) & (np.bincount(self.items_N, minlength=len(self.items) + 1) == 0)

    def _check(self, artifact: Artifact) -> None:
        if len(self.items) < LEAST_ITEMS or len(self.targets_T) < LEAST_TARGETS:
            raise DataError(
                f"{artifact.path}: {len(self.targets_T)} training targets over {len(self.items)} items are too few to "
                f"train on; at least {LEAST_TARGETS} over {LEAST_ITEMS} are needed, so prepare a longer window."
            )
        whole = len(self.items_N) == len(self.types_N) == len(self.times_N) == self.offsets_S1[-1]
        whole &= len(self.contexts_N) == len(self.items_N)
        whole &= len(self.queries_T) == len(self.targets_T) == len(self.searched_T) == len(self.exposed_offsets_T1) - 1
        whole &= len(self.exposed_X) == self.exposed_offsets_T1[-1]
        if not whole or self.items_N.max(initial=0) > len(self.items):
            raise DataError(f"{artifact.path}: its arrays do not fit each other; run prepare again with --force.")

    @cached_property
    def pauses_N1(self) -> np.ndarray:
        """`features.sequence_pauses` of the training sequences."""
        return sequence_pauses(self.times_N, self.offsets_S1)


def vector_dim(artifact: Artifact) -> int:
    """Returns the length of the items' vectors made elsewhere; 0 where there are none."""
    vectors = parquet.read_table(artifact.file("items.parquet"), columns=["vector"])["vector"]
    return pc.max(pc.list_value_length(vectors)).as_py() or 0


def context_buckets(contexts: Sequence[str]) -> int:
    """Returns how many hash buckets the log's contexts get; 0 where there are none."""
    return CONTEXT_BUCKETS if contexts else 0


def _vectors(table: arrow.Table) -> list[np.ndarray | None]:
    """Returns each item's vector as a view, for as lists of numbers they would be many times as large."""
    column = table["vector"].combine_chunks()
    numbers, ends = column.values.to_numpy(), column.offsets.to_numpy()
    return [numbers[a:b] if there else None for a, b, there in zip(ends[:-1], ends[1:], column.is_valid(), strict=True)]
