"""From evidence to verdicts: one function a comparison, none of which ever reads a file or a clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.core.gates import METRICS, QUERIES, Gate
from pipeline.core.gating import Gate as Limits
from pipeline.gate.rules import Evidence, Finding, Verdict
from pipeline.model.statistics import (
    Interval,
    detectable_margin,
    harm_probability,
    holm,
    normal_interval,
    queries_needed,
)

EvidenceOf = Mapping[str, Sequence[Evidence]]


def judge(evidence: EvidenceOf, limits: Limits, has_champion: bool) -> list[Finding]:
    """Returns a row for every gate and slice, in the order of the table.

    Args:
        evidence: by metric; a metric that is not there fails its gate.
        has_champion: whether there is one to compare with; gates that compare with it judge nothing without.
    """
    findings, harms = [], _harms(evidence, limits)
    for gate in limits.table:
        rows = _rows_of(gate, evidence)
        if not gate.without_champion and not has_champion:
            rows = [_unjudged(row) for row in rows if row.challenger is not None or row.value is not None]
            findings += [_row(gate, row, "reported", "There is no champion to compare with.") for row in rows]
        elif not rows:
            where = f" for {gate.slice}" if gate.slice else ""
            why = f"{gate.metric} was not measured{where}; a gate without evidence is not passed."
            findings.append(_row(gate, Evidence(gate.slice), "fail", why))
        elif gate.comparison == "not_harmed":
            findings += [_judge_slice(gate, row, limits, harms.get((gate.name, row.slice))) for row in rows]
        else:
            findings += [_judge_one(gate, row, limits) for row in rows]
    return findings


def _rows_of(gate: Gate, evidence: EvidenceOf) -> list[Evidence]:
    """Returns the evidence of its slice alone; of every slice where it is about slices and names none."""
    rows = evidence.get(gate.metric) or []
    every = METRICS[gate.metric].kind == "slices" and not gate.slice
    return [row for row in rows if every or row.slice == gate.slice]


def _unjudged(row: Evidence) -> Evidence:
    return replace(row, difference=None, champion=None)


def _judge_one(gate: Gate, row: Evidence, limits: Limits) -> Finding:
    if row.failed:
        return _row(gate, row, "fail", row.detail)
    if row.reported or gate.comparison == "report":
        return _row(gate, row, "reported", row.detail or _versus(row))
    if METRICS[gate.metric].kind in QUERIES:
        row = _at_confidence(row, gate.confidence)
        problem = _too_few(row, _least(gate, limits))
        if problem:
            return _row(gate, row, "inconclusive", problem)
    return COMPARISONS[gate.comparison](gate, row, limits)


def _at_confidence(row: Evidence, confidence: float | None) -> Evidence:
    """Returns the evidence with intervals of a gate's own confidence, where it has one."""
    if confidence is None:
        return row
    spans = {name: getattr(row, name) for name in ("value", "difference")}
    return replace(row, **{name: normal_interval(span, confidence) for name, span in spans.items() if span})


def _least(gate: Gate, limits: Limits) -> int:
    """Returns the fewest queries it judges by."""
    return gate.min_queries or (limits.min_slice_queries if gate.slice else limits.min_queries)


def _judge_holds(gate: Gate, row: Evidence, _: Limits) -> Finding:
    if row.holds is None:
        return _row(gate, row, "inconclusive", row.detail)
    return _row(gate, row, "pass" if row.holds else "fail", row.detail)


def _judge_at_most(gate: Gate, row: Evidence, limits: Limits) -> Finding:
    return _judge_bound(
        gate, row, limits, lambda value, limit: value.high <= limit, lambda value, limit: value.low > limit
    )


def _judge_at_least(gate: Gate, row: Evidence, limits: Limits) -> Finding:
    return _judge_bound(
        gate, row, limits, lambda value, limit: value.low >= limit, lambda value, limit: value.high < limit
    )


Holds = Callable[[Interval, float], bool]


def _judge_bound(gate: Gate, row: Evidence, limits: Limits, kept: Holds, broken: Holds) -> Finding:
    value, limit = row.value, _limit(gate, limits)
    if value is None and row.detail:
        return _row(gate, row, "inconclusive", row.detail, limit)
    if value is None or not all(map(math.isfinite, (value.mean, value.low, value.high))):
        return _row(gate, row, "fail", f"{gate.metric} is not a number; the measurement is broken.", limit)
    unit = f" {gate.unit}" if gate.unit else ""
    found = f"{_short(value.mean)}{unit}"
    spread = f" (interval {_short(value.low)} to {_short(value.high)})" if value.high > value.low else ""
    bound = f"{gate.comparison.replace('_', ' ')} {_short(limit)}{unit}"
    if kept(value, limit):
        return _row(gate, row, "pass", f"{found}{spread} is {bound}.", limit)
    if broken(value, limit):
        return _row(gate, row, "fail", f"{found}{spread} is not {bound}.", limit)
    return _row(gate, row, "inconclusive", f"{found}{spread} is not surely {bound}: {row.helps or HELPS}.", limit)


HELPS = "more test queries are needed to tell"


def _judge_superior(gate: Gate, row: Evidence, _: Limits) -> Finding:
    if row.difference is None:
        return _row(gate, row, "inconclusive", row.detail, 0.0)
    if row.difference.low > 0:
        return _row(gate, row, "pass", f"Better than {row.against}: {_versus(row)}", 0.0)
    if row.difference.high <= 0:
        return _row(gate, row, "fail", f"Not better than {row.against}: {_versus(row)}", 0.0)
    return _row(gate, row, "inconclusive", f"Not proven better than {row.against}: {_versus(row)}", 0.0)


def _judge_non_inferior(gate: Gate, row: Evidence, limits: Limits) -> Finding:
    if row.difference is None or row.champion is None:
        return _row(gate, row, "inconclusive", row.detail)
    limits = limits.model_copy(update={"confidence": gate.confidence or limits.confidence})
    difference, most = row.difference, _limit(gate, limits) * row.champion
    # The anchor's margin is the sum of what all nights since may have lost: the shop's limit itself.
    derived = detectable_margin(difference.se, limits.confidence, limits.power)
    margin = most if gate.metric == "recall_anchor" else min(derived, most)
    within = f"{row.against} by more than {_share(margin, row)}"
    if difference.high < -margin:
        return _row(gate, row, "fail", f"Worse than {within}: {_versus(row)}", -margin)
    blind = _blind_margin(row, limits)
    if blind > most and difference.low <= 0:
        return _row(gate, row, "inconclusive", _too_rare(row, blind, most), -margin)
    if derived > most and difference.low < 0:
        return _row(gate, row, "inconclusive", _too_coarse(row, derived, most, limits), -margin)
    if difference.low >= -margin:
        return _row(gate, row, "pass", f"Not worse than {within}: {_versus(row)}", -margin)
    needed = _more_queries(row, _queries_to_decide(difference, margin, limits))
    return _row(gate, row, "inconclusive", f"May be worse than {within}: {_versus(row)} {needed}", -margin)


LEAST_DIFFERING = 5
"""Of differences that are zero for all but so few users a bootstrap tells too narrow an interval, or none."""


def _blind_margin(row: Evidence, limits: Limits) -> float:
    """Returns a loss that may well have gone unseen: the margin if one user more had lost all; 0 where many differ.

    Source: Hanley & Lippman-Hand 1983, on zero numerators.
    """
    if row.difference is None or not row.users or row.differing is None or row.differing >= LEAST_DIFFERING:
        return 0.0
    return detectable_margin(math.hypot(row.difference.se, 1 / row.users), limits.confidence, limits.power)


def _too_rare(row: Evidence, blind: float, most: float) -> str:
    needed = math.ceil(row.n * blind / most) if most else None
    return (
        f"Only {row.differing} of {row.users:,} users got another recall, so a loss of up to {_share(blind, row)} may "
        f"be unseen and the shop risks at most {_share(most, row)}: {_versus(row)} {_more_queries(row, needed)}"
    )


def _too_coarse(row: Evidence, derived: float, most: float, limits: Limits) -> str:
    se = row.difference.se if row.difference else 0.0
    needed = queries_needed(row.n, se, most, limits.confidence, limits.power) if most else None
    return (
        f"{row.n:,} queries can only rule out a loss above {_share(derived, row)} and the shop risks at most "
        f"{_share(most, row)}: {_versus(row)} {_more_queries(row, needed)}"
    )


def _queries_to_decide(difference: Interval, margin: float, limits: Limits) -> int | None:
    """Returns how many queries would decide if the difference seen is the true one; None when it is near the margin.

    Within one standard error of it that is ten times as many queries and more: a number nobody can act on.
    """
    distance = abs(difference.mean + margin)
    if distance < difference.se:
        return None
    return queries_needed(difference.n, difference.se, distance, limits.confidence, limits.power)


def _more_queries(row: Evidence, needed: int | None) -> str:
    if needed is None:
        return "More queries alone would hardly decide this."
    more = max(1, needed - row.n)
    days = f" (about {math.ceil(more / row.queries_per_day)} more test days)" if row.queries_per_day else ""
    return f"About {more:,} more queries are needed{days}."


@dataclass(frozen=True)
class _Harm:
    """The chance of so great a loss if no more than the share `allowed` is lost, corrected for all slices looked at."""

    chance: float
    allowed: float


def _harms(evidence: EvidenceOf, limits: Limits) -> dict[tuple[str, str], _Harm]:
    """Returns what can be judged of each slice by gate and slice; the slices of all gates are one family."""
    places, chances, shares = [], [], []
    for gate in limits.table:
        if gate.comparison != "not_harmed":
            continue
        allowed = allowed_share(gate, evidence, limits)
        for row in _rows_of(gate, evidence):
            if row.difference and not row.failed and not _too_few(row, _least_in_slice(gate, limits)):
                places.append((gate.name, row.slice))
                chances.append(harm_probability(row.difference, allowed * (row.champion or 0.0)))
                shares.append(allowed)
    return dict(zip(places, map(_Harm, holm(chances), shares), strict=True))


def allowed_share(gate: Gate, evidence: EvidenceOf, limits: Limits) -> float:
    """Returns the relative loss a slice must provably exceed to veto: its own limit, and at most accuracy's."""
    accuracy = next(row for row in limits.table if row.name == "accuracy")
    most, rows = min(_limit(gate, limits), _limit(accuracy, limits)), evidence.get("recall") or []
    if not rows or rows[0].difference is None or not rows[0].champion:
        return most
    derived = detectable_margin(rows[0].difference.se, limits.confidence, limits.power)
    return min(most, derived / rows[0].champion)


def _least_in_slice(gate: Gate, limits: Limits) -> int:
    return gate.min_queries or limits.min_slice_queries


def _judge_slice(gate: Gate, row: Evidence, limits: Limits, harm: _Harm | None) -> Finding:
    if row.failed:
        return _row(gate, row, "fail", row.detail)
    if row.n == 0:
        return _row(gate, row, "reported", "The test holds no query of this slice; nothing is known of it.")
    if harm is None:
        return _row(gate, row, "reported", _too_few(row, _least_in_slice(gate, limits)) or row.detail)
    threshold = -harm.allowed * (row.champion or 0.0)
    figures = f"{_versus(row)} p = {harm.chance:.3g} after Holm."
    if harm.chance < 1 - (gate.confidence or limits.confidence):
        return _row(gate, row, "fail", f"Proven harm beyond the {harm.allowed:.1%} allowed: {figures}", threshold)
    return _row(gate, row, "pass", f"No harm beyond the {harm.allowed:.1%} allowed is proven: {figures}", threshold)


LEAST_USERS = 20
"""A bootstrap over fewer tells too narrow an interval; of one user it has no width at all.

Source: Cameron, Gelbach & Miller 2008, on few clusters.
"""


def _too_few(row: Evidence, least: int) -> str:
    if row.n < least:
        return f"Only {row.n} test queries; at least {least} are needed, {least - row.n} more."
    if row.users is not None and row.users < LEAST_USERS:
        return f"{row.n} test queries, but only of {row.users} users; an interval over users needs {LEAST_USERS}."
    return ""


def _versus(row: Evidence) -> str:
    if row.challenger is None or row.champion is None or row.difference is None:
        return row.detail
    d = row.difference
    return f"{row.challenger:.4f} against {row.champion:.4f}, {_span(d, row.champion)}."


def _span(d: Interval, other: float) -> str:
    """Returns a difference and its interval: in per cent of the other side while that says something."""
    if other and max(abs(d.low), abs(d.high)) < 2 * other:
        return f"{d.mean / other:+.1%} (interval {d.low / other:+.1%} to {d.high / other:+.1%})"
    return f"{d.mean:+.4f} (interval {d.low:+.4f} to {d.high:+.4f})"


def _share(value: float, row: Evidence) -> str:
    return f"{value / row.champion:.1%}" if row.champion else f"{value:.4f}"


def _short(value: float) -> str:
    return f"{value:.4g}"


def _limit(gate: Gate, limits: Limits) -> float:
    if gate.limit is not None:
        return gate.limit
    return float(getattr(limits, gate.setting)) if gate.setting else 0.0


def _row(gate: Gate, row: Evidence, verdict: Verdict, reason: str, threshold: float | None = None) -> Finding:
    span = row.difference or row.value
    return Finding(
        gate=gate.name,
        metric=gate.metric,
        slice=row.slice,
        challenger=_number(row.value.mean if row.value and not row.difference else row.challenger),
        champion=_number(row.champion),
        difference=_number(row.difference.mean if row.difference else None),
        low=_number(span.low if span else None),
        high=_number(span.high if span else None),
        threshold=_number(threshold),
        n=row.n,
        verdict=verdict,
        reason=reason,
        overridable=gate.overridable,
    )


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


COMPARISONS = {
    "holds": _judge_holds,
    "at_most": _judge_at_most,
    "at_least": _judge_at_least,
    "superior": _judge_superior,
    "non_inferior": _judge_non_inferior,
}


def outcome(findings: Sequence[Finding], limits: Limits) -> Verdict:
    """Returns `fail` if any gate failed, else `inconclusive` if any that must be answered is, else `pass`."""
    asks = {gate.name for gate in limits.table if gate.on_inconclusive == "ask"}
    verdicts = {f.verdict for f in findings if f.verdict == "fail" or f.gate in asks}
    if "fail" in verdicts:
        return "fail"
    return "inconclusive" if "inconclusive" in verdicts or "pass" not in verdicts else "pass"
