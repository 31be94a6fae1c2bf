"""A person's word on one decision; bound to its bundle, kept in the ledger, carried out at once."""

from __future__ import annotations

from pipeline.core.errors import MissingInputError, PipelineError, UsageError
from pipeline.core.run import Layout, Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.promote import step
from pipeline.promote.binding import check_binding
from pipeline.promote.decision import Decision
from pipeline.promote.move import alone
from pipeline.promote.people import check_may_approve, check_overridable, named
from pipeline.store.ledger import Ledger

VERDICTS = ("approve", "refuse")


def review(settings: Settings, run_id: str, verdict: str, by: str, reason: str, seen: str = "") -> Report:
    """Records an approval, override or refusal, and goes on with the promotion.

    Args:
        seen: fingerprint of the decision the person was shown; empty is the one that stands.

    Raises:
        UsageError: no such verdict, or no name or reason.
        PipelineError: this person may not approve, or this decision cannot be approved.
    """
    if verdict not in VERDICTS:
        raise UsageError(f"--verdict {verdict!r} is not known; write approve or refuse.")
    who, why = named(by, "--by"), named(reason, "--reason")
    run = _run(settings, run_id)
    decision = Decision.load(run)
    if seen not in ("", decision.fingerprint):
        raise PipelineError(
            f"Run {run_id} was judged again since this was asked; look at its decision as it is now and answer anew."
        )
    if run.dry_run or run.backfill or decision.moves_nothing:
        raise PipelineError(
            f"Run {run_id} is a dry run or a backfill: it can move nothing, so there is nothing to decide."
        )
    with alone(settings):
        ledger = Ledger.open(settings.store)
        kind = _kind(run, decision, verdict, who)
        if kind != "refusal" and not _is_champion(ledger, decision):
            check_binding(decision, ledger.entries())
        _record(ledger, run, decision, kind, who, why)
        return step.promote(settings, run, decision)


def _run(settings: Settings, run_id: str) -> Run:
    layout = Layout(settings.store.root.resolve())
    if not (layout.runs / run_id / "run.json").exists():
        known = sorted(p.parent.name for p in layout.runs.glob("*/decision"))
        told = f"runs with a decision are {', '.join(known)}" if known else "no run has a decision yet"
        raise MissingInputError(f"There is no run {run_id!r} below {layout.runs}; {told}.")
    return Run.open(layout.root, run_id, settings.shop.timezone)


def _kind(run: Run, decision: Decision, verdict: str, who: str) -> str:
    if verdict == "refuse":
        return "refusal"
    check_may_approve(who, run.requested_by)
    if decision.outcome == "pass":
        return "approval"
    check_overridable(decision.open_gates())
    return "override" if decision.outcome == "fail" else "approval"


def _is_champion(ledger: Ledger, decision: Decision) -> bool:
    champion = ledger.champion()
    return champion is not None and champion.to_digest == decision.digest


def _record(ledger: Ledger, run: Run, decision: Decision, kind: str, who: str, why: str) -> None:
    entries = ledger.verify()
    last = step.last_review(entries, decision)
    if (last and last.kind == kind) or _is_champion(ledger, decision):
        return
    step.note(ledger, entries, run, decision, kind, who, why, by_hand=True, requested_by=run.requested_by)
