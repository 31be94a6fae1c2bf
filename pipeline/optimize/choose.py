"""Which recipe ships: a stated rule over measured rows; every rejection carries its figures.

1. A recipe is out when it failed, or breaks a budget: its relative loss, 1 - recall / recall of float32 (point estimate
   on the same validation queries, all kinds together), above `max_recall_loss`; p99 above `max_p99_ms`; bundle above
   `max_bundle_mb`.
2. A recipe other than float32 is out when it pays in nothing: neither `LEAST_SMALLER` times smaller nor
   `LEAST_FASTER` times faster (p50, interleaved) than float32.
3. Of the rest the one with the fewest bytes ships. Among recipes within `SAME_BYTES` of it, the one with the highest
   recall; among those whose paired difference to it does not leave zero, the one with the fewest transforms.
4. What is then no smaller, no faster and not provably better at finding than another of the rest is rejected as
   dominated; the others stay on the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.sections import Optimize
from pipeline.model.statistics import Interval, paired_interval
from pipeline.optimize.recipes import YARDSTICK

LEAST_SMALLER = 1.05
LEAST_FASTER = 1.15
"""Below it nothing is decided on a shared machine."""
SAME_BYTES = 1.01
MEGA = 1e6


@dataclass(frozen=True)
class Row:
    """One recipe as measured.

    Attributes:
        recall: through the index; difference: paired with float32, query by query; relative_loss: of its mean.
        p50_ms, p99_ms: CPU time of tower and index, one thread.
        bytes: of all files of the bundle.
        verdict: `chosen`, `front`, `rejected` or `failed`.
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
    bytes: int | None = None
    dense_sparsity: float | None = None
    digest: str = ""
    verdict: str = ""
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def choose(rows: Sequence[Row], per_query: dict[str, np.ndarray], users: Sequence[str], budgets: Optimize) -> list[Row]:
    """Returns the rows with verdicts and reasons, exactly one of them chosen.

    Args: per_query: float64 [Q], recall by recipe; users: [Q], whose query it is.
    Raises: DataError: no recipe stays within the budgets.
    """
    yardstick = next(row for row in rows if row.recipe == YARDSTICK)
    verdicts = {row.recipe: _out(row, yardstick, budgets) for row in rows}
    eligible = [row for row in rows if not verdicts[row.recipe]]
    if not eligible:
        told = "; ".join(f"{row.recipe}: {verdicts[row.recipe]}" for row in rows)
        raise DataError(f"No recipe can ship ({told}); raise the budget under optimize that refuses, or add a recipe.")
    no_better = _NoBetter(per_query, users)
    winner = _winner(eligible, no_better)
    return [_judged(row, verdicts[row.recipe], winner, eligible, yardstick, no_better) for row in rows]


def _out(row: Row, yardstick: Row, budgets: Optimize) -> str:
    if row.verdict == "failed":
        return row.reason
    limits = (
        ("loses {:.2%} of float32's recall, budget {:.2%}", row.relative_loss, budgets.max_recall_loss),
        ("p99 {:.3f} ms, budget {:.3f} ms", row.p99_ms, budgets.max_p99_ms),
        ("bundle {:.3f} MB, budget {:.3f} MB", row.bytes / MEGA, budgets.max_bundle_mb),
    )
    broken = [text.format(found, limit) for text, found, limit in limits if not found <= limit]
    if not broken and row.recipe != YARDSTICK and not _pays(row, yardstick):
        broken = [f"pays in nothing: {against(row, yardstick)}"]
    return ", ".join(broken)


def _pays(row: Row, yardstick: Row) -> bool:
    return yardstick.bytes >= LEAST_SMALLER * row.bytes or yardstick.p50_ms >= LEAST_FASTER * row.p50_ms


def against(row: Row, other: Row) -> str:
    """Returns a recipe's bytes, p50 and recall relative to another's, for a person."""
    found = row.recall.mean / other.recall.mean if other.recall.mean else float("nan")
    return (
        f"{row.bytes / other.bytes:.3f}x the bytes, {row.p50_ms / other.p50_ms:.2f}x the p50 "
        f"and {found:.1%} of the recall of {other.recipe}"
    )


@dataclass(frozen=True)
class _NoBetter:
    """Whether a recipe's recall is not provably above another's: the paired interval does not lie above zero."""

    per_query: dict[str, np.ndarray]
    users: Sequence[str]

    def __call__(self, row: Row, other: Row) -> bool:
        if row.recall.mean <= other.recall.mean:
            return True
        return paired_interval(self.per_query[row.recipe], self.per_query[other.recipe], self.users).low <= 0


def _winner(eligible: Sequence[Row], no_better: _NoBetter) -> Row:
    least = min(row.bytes for row in eligible)
    small = [row for row in eligible if row.bytes <= SAME_BYTES * least]
    finder = max(small, key=lambda row: row.recall.mean)
    return min((row for row in small if no_better(finder, row)), key=lambda row: (row.transforms, row.bytes))


def _judged(row: Row, out: str, winner: Row, eligible: Sequence[Row], yardstick: Row, no_better: _NoBetter) -> Row:
    if row.verdict == "failed":
        return row
    if out:
        return replace(row, verdict="rejected", reason=out)
    if row is winner:
        told = "" if row is yardstick else f": {against(row, yardstick)}"
        return replace(row, verdict="chosen", reason=f"fewest bytes within the budgets{told}")
    for other in [winner, *eligible]:
        if other is not row and _dominates(other, row, no_better):
            return replace(
                row, verdict="rejected", reason=f"no smaller, no faster, finds no more: {against(row, other)}"
            )
    return replace(row, verdict="front", reason=f"on the front, more bytes: {against(row, winner)}")


def _dominates(other: Row, row: Row, no_better: _NoBetter) -> bool:
    no_bigger = other.bytes <= SAME_BYTES * row.bytes
    no_slower = other.p50_ms <= LEAST_FASTER * row.p50_ms
    return no_bigger and no_slower and no_better(row, other) and _simpler(other, row)


def _simpler(other: Row, row: Row) -> bool:
    """Keeps two recipes that are alike in everything from rejecting each other."""
    return (other.transforms, other.bytes) < (row.transforms, row.bytes) or other.bytes * SAME_BYTES < row.bytes
