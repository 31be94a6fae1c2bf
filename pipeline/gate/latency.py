"""Latency across rounds of fresh processes, looked at a stated number of times at most.

Which core a process gets and where its memory lies make it faster or slower for as long as it lives, so a round, not a
request, is what is drawn: an interval is Student's over the logarithms of the rounds' quantiles, or of their ratios
where two servers were timed side by side. Looking again until it passes would pass anything, so the error rate of
`gate.confidence` is spent over the looks; what a look has settled stays settled.

Source: Lan & DeMets 1983, the Pocock-like spending function, its increments summed as Bonferroni does, which asks
nothing of how looks hang together.
Shapes: S servers, challenger first; N rounds; R requests a round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit

from pipeline.core.errors import DataError
from pipeline.core.gating import Gate as Limits
from pipeline.gate import judge
from pipeline.gate.rules import Evidence, Timed
from pipeline.model.statistics import Interval

RATIOS = {"p50_ratio": 0.5, "p95_ratio": 0.95, "p99_ratio": 0.99}
ALONE = Evidence(reported=True, detail="There is no champion's server to compare with.")
MOST_ROUNDS_NAMED = 200
"""A number of rounds beyond which nobody would wait for is not worth naming."""


@dataclass
class Looks:
    """What was timed so far, and what that settled.

    Attributes:
        rounds: float64 [S, R] each, milliseconds.
        late_ms: float64 [any] each, the client's own delays.
        settled: evidence of metrics whose gates pass or fail for good.
    """

    gate: Limits
    rounds: list[np.ndarray] = field(default_factory=list)
    late_ms: list[np.ndarray] = field(default_factory=list)
    look: int = 0
    settled: dict[str, Evidence] = field(default_factory=dict)

    def add(self, rounds: Sequence[np.ndarray], late_ms: Sequence[np.ndarray]) -> bool:
        """Looks once more, with so many more rounds; returns whether that is the end.

        Raises: DataError: a time is no positive number.
        """
        for times in rounds:
            _check(times)
        self.rounds += rounds
        self.late_ms += late_ms
        self.look += 1
        rows = self.evidence()
        found = judge.judge({metric: [row] for metric, row in rows.items()}, self.gate, has_champion=True)
        verdicts = {metric: {f.verdict for f in found if f.metric == metric} for metric in rows}
        decided = {name for name, said in verdicts.items() if said & {"pass", "fail"} and "inconclusive" not in said}
        self.settled |= {name: rows[name] for name in decided}
        unclear = any("inconclusive" in said for said in verdicts.values())
        failed = any("fail" in said for said in verdicts.values())
        return failed or not unclear or self.look == self.gate.latency_looks

    @property
    def confidence(self) -> float:
        """Of the intervals at this look, two-sided."""
        return 1 - (1 - self.gate.confidence) * spent(self.look, self.gate.latency_looks)

    @property
    def timed(self) -> Timed:
        return Timed(
            rate=self.gate.latency_rate,
            looks=self.look,
            most_looks=self.gate.latency_looks,
            rounds=len(self.rounds),
            requests=sum(times.shape[1] for times in self.rounds),
            confidence=round(self.confidence, 4),
            client_late_ms=round(self._client_late_ms, 3),
        )

    def evidence(self) -> dict[str, Evidence]:
        """Returns the latency rows."""
        times_SNR = np.stack(self.rounds, axis=1)
        ours, theirs = times_SNR[0], times_SNR[1] if len(times_SNR) > 1 else None
        p99_SN = np.quantile(times_SNR, 0.99, axis=2)
        champion = None if theirs is None else float(np.exp(np.log(p99_SN[1]).mean()))
        rows = {"p99_ms": self._row(p99_SN[0], "max_p99_ms", champion)}
        for metric, quantile in RATIOS.items():
            if theirs is None:
                rows[metric] = ALONE
            else:
                ratio_N = np.quantile(ours, quantile, axis=1) / np.quantile(theirs, quantile, axis=1)
                rows[metric] = self._row(ratio_N, "max_latency_ratio")
        return rows | self.settled

    def _row(self, values_N: np.ndarray, setting: str, champion: float | None = None) -> Evidence:
        found, requests = across_rounds(values_N, self.confidence), self.timed["requests"]
        helps = self._helps(values_N, getattr(self.gate, setting))
        return Evidence(n=requests, value=found, champion=champion, helps=helps, detail=_told(found))

    @property
    def _client_late_ms(self) -> float:
        late = np.concatenate(self.late_ms) if self.late_ms else np.empty(0)
        return float(np.quantile(late, 0.99)) if late.size else 0.0

    def _helps(self, values_N: np.ndarray, limit: float) -> str:
        logs_N = np.log(values_N)
        spread, rounds = math.expm1(float(logs_N.std(ddof=1))), len(values_N)
        needed = rounds_needed(logs_N, math.log(limit), self.confidence)
        more = f"about {needed} rounds would do" if needed else "more rounds alone would hardly decide it"
        return (
            f"too noisy after look {self.look} of {self.gate.latency_looks}, {rounds} rounds that differ by "
            f"{spread:.0%}, while the timing client itself was up to {self._client_late_ms:.2g} ms late; {more} "
            "(gate.latency_rounds, gate.latency_looks), or a machine that does nothing else"
        )


def spent(look: int, looks: int) -> float:
    """Returns the share of the error rate a look may spend; over all looks they add up to 1."""
    return _spent_by(look / looks) - _spent_by((look - 1) / looks)


def _spent_by(part: float) -> float:
    return math.log1p((math.e - 1) * part)


def across_rounds(values_N: np.ndarray, confidence: float) -> Interval:
    """Returns the geometric mean of one positive value a round with Student's two-sided interval of its logarithm."""
    logs_N = np.log(values_N)
    se = float(logs_N.std(ddof=1)) / math.sqrt(len(logs_N))
    half, mean = student(len(logs_N), confidence) * se, float(logs_N.mean())
    value, low, high = (math.exp(min(end, 700.0)) for end in (mean, mean - half, mean + half))
    return Interval(value, low, high, se * value, len(logs_N))


def student(rounds: int, confidence: float) -> float:
    """Returns how many standard errors a two-sided interval over so many rounds reaches."""
    return float(stdtrit(rounds - 1, (1 + confidence) / 2))


def rounds_needed(logs_N: np.ndarray, limit: float, confidence: float) -> int | None:
    """Returns how many rounds would tell the mean seen from the limit; None where nobody would wait for so many."""
    distance, spread = abs(limit - float(logs_N.mean())), float(logs_N.std(ddof=1))
    more = range(len(logs_N) + 1, MOST_ROUNDS_NAMED)
    return next((n for n in more if student(n, confidence) * spread <= distance * n**0.5), None)


def _told(found: Interval) -> str:
    return f"{found.mean:.3g} (interval {found.low:.3g} to {found.high:.3g})."


def _check(times: np.ndarray) -> None:
    if not times.size:
        raise DataError("No request was timed; latency cannot be judged.")
    if not np.isfinite(times).all() or (times <= 0).any():
        raise DataError("A request's time is not a positive number of milliseconds; the measurement is broken.")
