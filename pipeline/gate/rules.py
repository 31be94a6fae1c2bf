"""The gates, as data, and the row each leaves in the decision record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from pipeline.core.sections import Gate as Limits
from pipeline.model.statistics import Interval

Verdict = Literal["pass", "fail", "inconclusive", "reported"]
Comparison = Literal["holds", "at_most", "non_inferior", "superior", "not_harmed", "report"]


@dataclass(frozen=True)
class Gate:
    """One rule.

    Attributes:
        metric: the evidence it reads.
        comparison: how evidence is held against the limit, see `judge.COMPARISONS`.
        limit: the threshold or the largest margin, from the settings; None where there is nothing to set.
        without_champion: whether it also judges a first model.
        on_inconclusive: `ask` makes the decision inconclusive, `note` only says so.
        overridable: whether a person may promote against it, giving a reason.
    """

    name: str
    metric: str
    comparison: Comparison
    limit: Callable[[Limits], float] | None = None
    without_champion: bool = True
    on_inconclusive: Literal["ask", "note"] = "ask"
    overridable: bool = True
    unit: str = ""


GATES: tuple[Gate, ...] = (
    Gate("bundle whole", "bundle_whole", "holds", overridable=False),
    Gate("server starts", "start_seconds", "at_most", lambda g: g.start_timeout_seconds, overridable=False, unit="s"),
    Gate("requests answered", "requests_answered", "holds", overridable=False),
    Gate("memory", "memory_mb", "at_most", lambda g: g.max_memory_mb, unit="MB"),
    Gate("goldens", "goldens", "holds", overridable=False),
    Gate("champion readable", "champion_readable", "holds"),
    Gate("accuracy", "recall", "non_inferior", lambda g: g.max_margin, without_champion=False),
    Gate("anchor", "recall_anchor", "non_inferior", lambda g: g.max_margin, without_champion=False),
    Gate("beats popularity", "recall_popularity", "superior"),
    Gate("recent popularity", "recall_recently_popular", "report"),
    Gate("own items again", "recall_own_items", "report"),
    Gate("item-KNN", "recall_item_knn", "report"),
    Gate("session-KNN", "recall_session_knn", "report"),
    Gate("slice", "recall_slice", "not_harmed", lambda g: g.max_margin, without_champion=False, on_inconclusive="note"),
    Gate("latency p99", "p99_ms", "at_most", lambda g: g.max_p99_ms, unit="ms"),
    Gate("latency p50 ratio", "p50_ratio", "at_most", lambda g: g.max_latency_ratio, without_champion=False),
    Gate("latency p95 ratio", "p95_ratio", "at_most", lambda g: g.max_latency_ratio, without_champion=False),
)


@dataclass(frozen=True)
class Evidence:
    """What was measured for one gate.

    Attributes:
        holds: for `holds`; None when it could not be found out.
        value: for `at_most`: the figure and its interval.
        challenger, champion: mean recall of both sides, whichever the other side is.
        difference: challenger minus the other side, paired.
        against: the other side in words.
        detail: what to say when it does not hold, or instead of judging.
        reported: not to be judged; `detail` says why.
        failed: the metric is broken, as NaN is; `detail` says how.
    """

    slice: str = ""
    n: int = 0
    holds: bool | None = None
    value: Interval | None = None
    challenger: float | None = None
    champion: float | None = None
    difference: Interval | None = None
    against: str = "the champion"
    detail: str = ""
    reported: bool = False
    failed: bool = False
    queries_per_day: float = 0.0


@dataclass
class Measured:
    """All evidence by metric, and the times behind the latency picture.

    Attributes:
        times_ms: float64, one a request, of `challenger` and `champion`.
        server_cpu_seconds, server_requests: CPU time of the challenger's servers over so many requests, all rounds.
    """

    rows: dict[str, list[Evidence]] = field(default_factory=dict)
    times_ms: dict[str, np.ndarray] = field(default_factory=dict)
    server_cpu_seconds: float = 0.0
    server_requests: int = 0

    @property
    def server_cpu_ms(self) -> float | None:
        """CPU time of the challenger's server for a request; None where it could not be timed."""
        return 1e3 * self.server_cpu_seconds / self.server_requests if self.server_requests else None

    def add(self, metric: str, *rows: Evidence) -> None:
        self.rows.setdefault(metric, []).extend(rows)


@dataclass(frozen=True)
class Finding:
    """One row of the decision record; levels and differences in the metric's own unit."""

    gate: str
    metric: str
    slice: str
    challenger: float | None
    champion: float | None
    difference: float | None
    low: float | None
    high: float | None
    threshold: float | None
    n: int
    verdict: Verdict
    reason: str
    overridable: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
