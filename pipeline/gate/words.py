"""The first line of the record, in a manager's words: what is recommended, and why."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.gate.contenders import Contender
from pipeline.gate.rules import Finding, Verdict
from pipeline.model.baselines import BASELINES
from pipeline.model.standing import Standing, told


def sentence(
    verdict: Verdict, findings: Sequence[Finding], champion: Contender | None, k: int, backfill: bool, dry_run: bool
) -> str:
    """Returns one or two sentences."""
    said = {"pass": _passed, "fail": _failed, "inconclusive": _unclear}[verdict](findings, champion, k)
    if backfill:
        why = "a backfill, marked as-of or on data that end no later than the champion's, never moves it"
        return f"Report only: {why}. The verdict alone: {said[0].lower()}{said[1:]}"
    return f"{said} (Dry run: nothing will be moved.)" if dry_run else said


def standing(findings: Sequence[Finding], k: int) -> str:
    """Returns which baselines the challenger does not clearly beat, whether or not a gate holds it against them."""
    titles = {f"recall_{name}": baseline.title for name, baseline in BASELINES.items()}
    found = [
        Standing(titles[f.metric], "", f.challenger, f.champion, f.low, f.high)
        for f in findings
        if f.metric in titles and None not in (f.challenger, f.champion, f.low, f.high)
    ]
    return told(found, k)


def already_champion(digest: str) -> str:
    return f"Nothing to promote: the challenger is the champion already, bundle {digest[:12]} byte for byte."


def _passed(findings: Sequence[Finding], champion: Contender | None, k: int) -> str:
    speed = _one(findings, "p99_ms")
    fast = (
        f"99 % of answers come within {speed.challenger:.1f} ms" if speed and speed.challenger else "it answers in time"
    )
    if champion is None:
        floor = _one(findings, "recall_popularity")
        return f"Promote: this is the first model; {_level(floor, k, 'popularity')}, and {fast}."
    return f"Promote: {_level(_one(findings, 'recall'), k, 'the champion')}, and {fast}."


def _failed(findings: Sequence[Finding], champion: Contender | None, k: int) -> str:
    bad = [f for f in findings if f.verdict == "fail"]
    return f"Do not promote{_keep(champion)}: {_named(bad[0], k)}{_more(len(bad) - 1, 'failed')}"


def _unclear(findings: Sequence[Finding], champion: Contender | None, k: int) -> str:
    open_ = [f for f in findings if f.verdict == "inconclusive"]
    why = _named(open_[0], k) if open_ else "no gate could be judged."
    return f"Not decided, a person is asked{_keep(champion)}: {why}{_more(len(open_) - 1, 'also unclear')}"


def _more(gates: int, what: str) -> str:
    if gates < 1:
        return ""
    return (
        f" ({gates} more gate{'s are' if gates > 1 else ' is'} {what}.)"
        if "also" in what
        else f" ({gates} more {what}.)"
    )


def _keep(champion: Contender | None) -> str:
    return ", the champion stays" if champion else ""


def _named(finding: Finding, k: int) -> str:
    title = f"recall@{k}" if finding.metric.startswith("recall") else finding.gate
    where = f" for {finding.slice}" if finding.slice else ""
    return f"{title}{where}: {finding.reason[0].lower()}{finding.reason[1:]}"


def _level(finding: Finding | None, k: int, other: str) -> str:
    if finding is None or finding.challenger is None or finding.champion is None:
        return "every gate passed"
    words = f"recall@{k} is {finding.challenger:.4f} against {other}'s {finding.champion:.4f}"
    if not finding.champion or finding.low is None or finding.difference is None:
        return words
    if finding.low > finding.champion:
        return f"{words}, {finding.challenger / finding.champion:.1f} times as much"
    gained, surely = finding.difference / finding.champion, finding.low / finding.champion
    least = f"surely better by {surely:.1%}" if surely > 0 else f"surely no more than {abs(surely):.1%} worse"
    return f"{words} ({gained:+.1%}, {least})"


def _one(findings: Sequence[Finding], metric: str) -> Finding | None:
    return next((f for f in findings if f.metric == metric), None)
