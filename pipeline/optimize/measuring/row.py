"""One line of the table of recipes: what was measured of one, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.model.statistics import Interval

NOT_MEASURED = ("failed", "not tried")


@dataclass(frozen=True)
class Row:
    """One recipe as measured.

    Attributes:
        recall: through the index; difference: paired with float32, query by query; relative_loss: of its mean.
        p50_ms, p99_ms, cpu_ms: CPU time of tower and index, one thread, batch 1; `cpu_ms` is the mean.
        p50_ratio, p99_ratio: to float32's, call by call; below 1 is faster.
        memory_mb: resident, of a fresh process that answers from the bundle; peak_memory_mb: the most while loading;
            plain_memory_mb: before it loaded anything.
        bytes: of all files of the bundle.
        verdict: `chosen`, `front`, `rejected`, `failed` or `not tried`.
    """

    recipe: str
    doc: str
    transforms: int
    recall: Interval | None = None
    difference: Interval | None = None
    relative_loss: float | None = None
    recall_by_kind: dict[str, float] | None = None
    index_recall: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_ms: float | None = None
    p50_interval: Interval | None = None
    p99_interval: Interval | None = None
    p50_ratio: Interval | None = None
    p99_ratio: Interval | None = None
    memory_mb: float | None = None
    peak_memory_mb: float | None = None
    plain_memory_mb: float | None = None
    bytes: int | None = None
    dense_sparsity: float | None = None
    digest: str = ""
    verdict: str = ""
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Row:
        """Reads a row another night wrote; raises TypeError where its fields are not today's."""
        spans = {
            name: Interval(**value)
            for name, value in plain.items()
            if isinstance(value, dict) and value.keys() == Interval.__dataclass_fields__.keys()
        }
        return cls(**{**plain, **spans})
