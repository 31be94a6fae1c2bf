"""What is asked of two models while they learn: the validation recommendations whose reader met something new."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.parquet as parquet

from pipeline.core.artifacts import Artifact
from pipeline.model.features import Query


@dataclass(frozen=True)
class Questions:
    """Queries with a history, and the items, new to them, that were right."""

    queries: list[Query]
    targets: list[list[str]]
    k: int

    @classmethod
    def load(cls, prepared: Artifact, k: int) -> Questions:
        rows = parquet.read_table(prepared.file("validation.parquet")).to_pylist()
        rows = [r for r in rows if r["kind"] == "recommend" and r["history_item_ids"] and r["new_target_item_ids"]]
        queries = [Query.of(row) for row in rows]
        return cls(queries, [row["new_target_item_ids"] for row in rows], k)
