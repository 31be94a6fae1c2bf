"""A training set of any size, as `prepare` would leave it, for measuring how learning grows.

Items lie in clusters of twenty, popular ones first; a sequence stays in one cluster, so that there is something to
learn. All items are in the table and share in the targets; only the first `targets` events are learnt from, so that a
larger catalogue costs what it costs by itself. Sequences behind all those may be asked about: what came last is wanted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from pipeline.core.artifacts import Artifact, build
from pipeline.core.schema import QUERY
from pipeline.simulate import lexicon

CLUSTER = 20
EVENTS_AN_ITEM = 2
FIRST_SECOND, SECONDS_APART = 1_767_225_600, 600
VIEW = 1


@dataclass(frozen=True)
class Made:
    """How much of everything.

    Attributes:
        length: mean events of a sequence.
        queries: of validation and of test, so many each.
    """

    items: int
    targets: int
    length: int
    seed: int = 5
    queries: int = 0

    def write(self, folder: Path) -> Artifact:
        return build(folder, self._fill)

    def _fill(self, folder: Path) -> None:
        import ibis

        draw = np.random.default_rng(self.seed)
        offsets_S1 = self._offsets(draw)
        items_N = self._items_met(draw, offsets_S1)
        learnt = len(offsets_S1) - 1 - 2 * self.queries
        asked = [items_N[begin:end] for begin, end in pairwise(offsets_S1[learnt:].tolist())]
        offsets_S1 = offsets_S1[: learnt + 1]
        events = int(offsets_S1[-1])
        items_N = items_N[:events]
        arrays = {
            "sequence_items": items_N,
            "sequence_types": np.full(events, VIEW, np.uint8),
            "sequence_times": FIRST_SECOND + np.arange(events) * SECONDS_APART,
            "sequence_contexts": np.full(events, -1, np.int32),
            "sequence_offsets": offsets_S1,
            "targets": np.arange(self.targets),
            "target_queries": np.full(self.targets, -1, np.int32),
            "target_searched": np.full(self.targets, -1, np.int64),
            "exposed_items": np.zeros(0, np.int32),
            "exposed_offsets": np.zeros(self.targets + 1, np.int64),
        }
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values)
        (folder / "queries.json").write_text(json.dumps([]))
        (folder / "contexts.json").write_text(json.dumps([]))
        parquet.write_table(self._catalogue(draw, items_N), folder / "items.parquet")
        for name, some in (("validation", asked[: self.queries]), ("test", asked[self.queries :])):
            rows = [_query(number, met.tolist()) for number, met in enumerate(some)]
            parquet.write_table(pa.Table.from_pylist(rows, ibis.schema(QUERY).to_pyarrow()), folder / f"{name}.parquet")
        moment = datetime.fromtimestamp(FIRST_SECOND + events * SECONDS_APART, UTC).isoformat()
        dates = dict.fromkeys(("validation_start", "test_start", "test_end", "data_end"), moment)
        (folder / "split.json").write_text(json.dumps({**dates, "grown_from": None, "counts": {}}))

    def _offsets(self, draw: np.random.Generator) -> np.ndarray:
        wanted = max(self.items * EVENTS_AN_ITEM, self.targets) + 2 * self.queries * (self.length + 2)
        lengths = 2 + draw.geometric(1 / self.length, 1 + 2 * wanted // self.length)
        ends = np.cumsum(lengths)
        return np.concatenate([[0], ends[: np.searchsorted(ends, wanted) + 1]])

    def _items_met(self, draw: np.random.Generator, offsets_S1: np.ndarray) -> np.ndarray:
        """Returns int32 [N]; chances fall with rank as Zipf's law, among clusters and within one."""
        clusters = max(1, self.items // CLUSTER)
        cluster_S = _ranked(draw, clusters, len(offsets_S1) - 1)
        cluster_N = np.repeat(cluster_S, np.diff(offsets_S1))
        return (cluster_N * CLUSTER + _ranked(draw, min(CLUSTER, self.items), len(cluster_N)) + 1).astype(np.int32)

    def _catalogue(self, draw: np.random.Generator, items_N: np.ndarray) -> pa.Table:
        index_n = np.arange(1, self.items + 1, dtype=np.int32)
        events_n = np.bincount(items_N, minlength=self.items + 1)[1:]
        leaf_n = (index_n - 1) // CLUSTER % len(lexicon.LEAVES)
        words = [np.array(lexicon.COLOURS)[draw.integers(len(lexicon.COLOURS), size=self.items)]]
        words += [np.array(lexicon.MATERIALS)[draw.integers(len(lexicon.MATERIALS), size=self.items)]]
        words += [np.array([noun for _, noun in lexicon.LEAVES])[leaf_n], index_n.astype(str)]
        columns = {
            "index": index_n,
            "item_id": [f"sku{number}" for number in index_n.tolist()],
            "category": np.array([path for path, _ in lexicon.LEAVES])[leaf_n],
            "brand": [lexicon.brand_name(number) for number in (index_n % 500).tolist()],
            "title": [" ".join(each) for each in zip(*words, strict=True)],
            "price": np.round(np.exp(draw.normal(3, 1, self.items)), 2),
            "vector": pa.nulls(self.items, pa.list_(pa.float64())),
            "age_days": np.zeros(self.items, np.int32),
            "in_stock": np.ones(self.items, bool),
            "events": events_n,
            "previous_index": np.zeros(self.items, np.int32),
            "probability": events_n / max(events_n.sum(), 1),
        }
        return pa.table({name: pa.array(values) for name, values in columns.items()})


def _query(number: int, met: list[int]) -> dict[str, Any]:
    times = [datetime.fromtimestamp(FIRST_SECOND + place * SECONDS_APART, UTC) for place in range(len(met))]
    ids = [f"sku{item}" for item in met]
    return {
        "query_id": number,
        "user": f"made-{number}",
        "kind": "recommend",
        "time": times[-1],
        "history_item_ids": ids[:-1],
        "history_event_types": ["view"] * (len(ids) - 1),
        "history_times": times[:-1],
        "query": None,
        "context": None,
        "target_item_ids": ids[-1:],
        "new_target_item_ids": [] if ids[-1] in ids[:-1] else ids[-1:],
    }


def _ranked(draw: np.random.Generator, ranks: int, count: int) -> np.ndarray:
    """Returns int64 [count] in [0, ranks)."""
    return np.minimum(((ranks + 1.0) ** draw.random(count)).astype(np.int64) - 1, ranks - 1)
