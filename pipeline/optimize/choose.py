"""Which recipe ships: a stated rule over measured rows; every rejection carries its figures. `RULE` says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.sections import Optimize
from pipeline.model.recipe_table import YARDSTICK
from pipeline.model.statistics import paired_interval
from pipeline.optimize.measuring.latency import QUIET, Timing
from pipeline.optimize.measuring.row import NOT_MEASURED, Row

LEAST_SMALLER = 1.05
LEAST_FASTER = 1.15
"""Below it nothing is decided on a shared machine."""
SAME_BYTES = 1.01
MEGA = 1e6

RULE = (
    "A recipe is out when it failed, was not tried, or breaks a budget: recall lost, relative to float32's on the same "
    "validation queries; the upper end of p99's interval; resident memory; bytes of the bundle.",
    f"A recipe other than float32 is out when it pays in nothing: neither {LEAST_SMALLER:g} times smaller nor, by the "
    f"whole interval of the paired ratio of medians, {LEAST_FASTER:g} times faster than float32.",
    f"Of the rest the one with the fewest bytes ships. Among recipes within {SAME_BYTES - 1:.0%} of it, the one with "
    "the highest recall; among those whose paired difference to that one does not leave zero, the one with the fewest "
    "transforms. float32 may win.",
    "What is then no smaller, not provably faster and not provably better at finding than another of the rest is "
    "rejected as dominated; the others stay on the front.",
    f"float32 is timed twice. Where the interval of its median to itself leaves {1 / QUIET:.2f} to {QUIET:.2f}, the "
    "machine is noisy, and speed, p99's budget included, decides nothing.",
)


@dataclass(frozen=True)
class Evidence:
    """What two rows are held against each other by.

    Attributes:
        per_query: by recipe, float64 [Q], recall.
        users: [Q], whose query it is.
    """

    per_query: Mapping[str, np.ndarray]
    users: Sequence[str]
    timing: Timing

    def no_better(self, row: Row, other: Row) -> bool:
        """Says whether a recipe's recall is not provably above another's."""
        if row.recall.mean <= other.recall.mean:
            return True
        return paired_interval(self.per_query[row.recipe], self.per_query[other.recipe], self.users).low <= 0

    def faster(self, row: Row, other: Row) -> bool:
        """Says whether a recipe is provably so much faster than another that it counts."""
        if self.timing.noisy or row.p50_ms >= other.p50_ms:
            return False
        return self.timing.ratio(row.recipe, other.recipe, 0.5).high <= 1 / LEAST_FASTER

    def against(self, row: Row, other: Row) -> str:
        """Returns a recipe's bytes, p50 and recall relative to another's, for a person."""
        found = row.recall.mean / other.recall.mean if other.recall.mean else float("nan")
        speed = "" if self.timing.noisy else f", {row.p50_ms / other.p50_ms:.2f}x the p50"
        return f"{row.bytes / other.bytes:.3f}x the bytes{speed} and {found:.1%} of the recall of {other.recipe}"


def choose(rows: Sequence[Row], evidence: Evidence, budgets: Optimize) -> list[Row]:
    """Returns the rows with verdicts and reasons, exactly one of them chosen.

    Args: rows: those that failed or were not tried bring verdict and reason along.
    Raises: DataError: no recipe stays within the budgets.
    """
    yardstick = next(row for row in rows if row.recipe == YARDSTICK)
    out = {row.recipe: _out(row, yardstick, evidence, budgets) for row in rows}
    eligible = [row for row in rows if not out[row.recipe]]
    if not eligible:
        told = "; ".join(f"{row.recipe}: {out[row.recipe]}" for row in rows)
        raise DataError(f"No recipe can ship ({told}); raise the budget under optimize that refuses, or add a recipe.")
    winner = _winner(eligible, evidence)
    judged = [_judged(row, out[row.recipe], winner, eligible, evidence) for row in rows]
    told = "" if winner is yardstick else f": {evidence.against(winner, yardstick)}"
    won = f"fewest bytes within the budgets{told}"
    return [replace(row, reason=won) if row.verdict == "chosen" else row for row in judged]


def _out(row: Row, yardstick: Row, evidence: Evidence, budgets: Optimize) -> str:
    """Returns why a row cannot ship; empty where it can."""
    if row.verdict in NOT_MEASURED:
        return row.reason or row.verdict
    broken = _broken(row, evidence, budgets)
    if not broken and row.recipe != YARDSTICK and not _pays(row, yardstick, evidence):
        broken = [f"pays in nothing: {evidence.against(row, yardstick)}"]
    return ", ".join(broken)


def _broken(row: Row, evidence: Evidence, budgets: Optimize) -> list[str]:
    limits = [
        ("loses {:.2%} of float32's recall, budget {:.2%}", row.relative_loss, budgets.max_recall_loss),
        ("bundle {:.3f} MB, budget {:.3f} MB", row.bytes / MEGA, budgets.max_bundle_mb),
    ]
    if not evidence.timing.noisy:
        limits.append(("p99 up to {:.3f} ms, budget {:.3f} ms", row.p99_interval.high, budgets.max_p99_ms))
    if row.memory_mb is not None:  # a system that does not tell refuses nothing
        limits.append(("memory {:.1f} MB, budget {:.1f} MB", row.memory_mb, budgets.max_memory_mb))
    # Asked this way round, what is no number breaks the budget.
    return [text.format(found, limit) for text, found, limit in limits if not found <= limit]


def _pays(row: Row, yardstick: Row, evidence: Evidence) -> bool:
    return yardstick.bytes >= LEAST_SMALLER * row.bytes or evidence.faster(row, yardstick)


def _winner(eligible: Sequence[Row], evidence: Evidence) -> Row:
    least = min(row.bytes for row in eligible)
    small = [row for row in eligible if row.bytes <= SAME_BYTES * least]
    finder = max(small, key=lambda row: row.recall.mean)
    return min((row for row in small if evidence.no_better(finder, row)), key=lambda row: (row.transforms, row.bytes))


def _judged(row: Row, out: str, winner: Row, eligible: Sequence[Row], evidence: Evidence) -> Row:
    if row.verdict in NOT_MEASURED:
        return row
    if out:
        return replace(row, verdict="rejected", reason=out)
    if row is winner:
        return replace(row, verdict="chosen")
    for other in [winner, *eligible]:
        if other is not row and _dominates(other, row, evidence):
            speed = "" if evidence.timing.noisy else "faster or "
            told = f"no smaller, not provably {speed}better: {evidence.against(row, other)}"
            return replace(row, verdict="rejected", reason=told)
    return replace(row, verdict="front", reason=f"on the front, more bytes: {evidence.against(row, winner)}")


def _dominates(other: Row, row: Row, evidence: Evidence) -> bool:
    no_bigger = other.bytes <= SAME_BYTES * row.bytes
    return no_bigger and _simpler(other, row) and evidence.no_better(row, other) and not evidence.faster(row, other)


def _simpler(other: Row, row: Row) -> bool:
    """Keeps two recipes that are alike in everything from rejecting each other."""
    return (other.transforms, other.bytes) < (row.transforms, row.bytes) or other.bytes * SAME_BYTES < row.bytes
