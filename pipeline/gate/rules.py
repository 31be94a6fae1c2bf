"""What a gate reads, and the row it leaves in the decision record; the table itself is in `pipeline/core/gates.py`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from typing_extensions import TypedDict

from pipeline.model.statistics import Interval

Verdict = Literal["pass", "fail", "inconclusive", "reported"]


class Timed(TypedDict):
    """How latency was measured.

    Attributes:
        rate: requests/s to each server, open loop.
        rounds: of fresh processes, in all looks.
        requests: to each server in all.
        confidence: of the intervals at the last look.
        client_late_ms: within which 99 % of the client's own delays were.
    """

    rate: float
    looks: int
    most_looks: int
    rounds: int
    requests: int
    confidence: float
    client_late_ms: float


@dataclass(frozen=True)
class Evidence:
    """What was measured for one gate.

    Attributes:
        users: how many the queries are of; None where the figure does not rest on queries.
        differing: how many of them got another recall than from the other side; None where nobody compared.
        holds: for `holds`; None when it could not be found out.
        value: for `at_most` and `at_least`: the figure and its interval; None and a `detail` where nobody can know it.
        challenger, champion: mean recall of both sides, whichever the other side is.
        difference: challenger minus the other side, paired.
        against: the other side in words.
        detail: what to say when it does not hold, or instead of judging.
        helps: what would tell, where the interval does not.
        reported: not to be judged; `detail` says why.
        failed: the metric is broken, as NaN is; `detail` says how.
    """

    slice: str = ""
    n: int = 0
    users: int | None = None
    differing: int | None = None
    holds: bool | None = None
    value: Interval | None = None
    challenger: float | None = None
    champion: float | None = None
    difference: Interval | None = None
    against: str = "the champion"
    detail: str = ""
    helps: str = ""
    reported: bool = False
    failed: bool = False
    queries_per_day: float = 0.0


@dataclass
class Measured:
    """All evidence by metric, and the times behind the latency picture.

    Attributes:
        times_ms: float64, one a request, of `challenger` and `champion`; `timed` says how.
        server_cpu_seconds, server_requests: CPU time of the challenger's servers over so many requests, all rounds.
    """

    rows: dict[str, list[Evidence]] = field(default_factory=dict)
    times_ms: dict[str, np.ndarray] = field(default_factory=dict)
    timed: Timed | None = None
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
