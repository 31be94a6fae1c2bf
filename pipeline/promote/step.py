"""Commits the gate's verdict: a promotion, a refusal, or a question to a person."""

from __future__ import annotations

import json
from dataclasses import replace

from pipeline.core.artifacts import write_beside
from pipeline.core.errors import PipelineError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model.headline import Headline
from pipeline.promote.binding import check_binding, judged_bundle
from pipeline.promote.decision import Decision
from pipeline.promote.fate import REVIEWS, Fate, tell, without_advice
from pipeline.promote.move import Move, Outcome, alone, commit, settle
from pipeline.promote.reconcile import reconcile, set_aliases_back
from pipeline.store.ledger import Entry, Ledger, stood


def run(settings: Settings, run: Run) -> Report:
    """Promotes, refuses or waits; a second time it says the same and adds nothing.

    Raises:
        PipelineError: the decision is of another bundle, or was given against another champion than stands.
        BusyError: another promotion is under way, or came between.
    """
    decision = Decision.load(run)
    if run.dry_run or run.backfill or decision.moves_nothing:
        why = "a dry run" if run.dry_run or decision.raw["dry_run"] else "a backfill"
        return _report(
            "unchanged", f"Nothing was moved: run {run.run_id} is {why}; its verdict was {decision.outcome}.", decision
        )
    with alone(settings):
        return promote(settings, run, decision)


def promote(settings: Settings, run: Run, decision: Decision) -> Report:
    """Does what `run` does; the caller is alone."""
    ledger = Ledger.open(settings.store)
    entries = ledger.verify()
    standing = stood(entries)
    champion = standing[-1] if standing else None
    if champion and champion.to_digest == decision.digest:
        return _already(settings, run, decision, ledger, champion)
    review = last_review(entries, decision)
    held = _held(settings, run, decision, review)
    if held:
        return _told(settings, run, decision, ledger, _hold(ledger, run, decision, *held))
    check_binding(decision, entries)
    source = judged_bundle(run, decision)
    head = entries[-1].sequence if entries else 0
    entry = commit(settings, ledger, _move(run, decision, review), source, head)
    return _settled(run, decision, settle(settings, ledger, entry))


def last_review(entries: list[Entry], decision: Decision) -> Entry | None:
    """Returns what a person last said of this very decision, or None."""
    spoken = [e for e in entries if e.kind in REVIEWS and e.details.get("by_hand")]
    of_it = [e for e in spoken if e.details.get("decision") == decision.fingerprint and e.to_digest == decision.digest]
    return of_it[-1] if of_it else None


def _held(settings: Settings, run: Run, decision: Decision, review: Entry | None) -> tuple[str, str] | None:
    """Returns the report's verdict and why, when the champion is to be kept."""
    approved = review is not None and review.kind in ("approval", "override")
    if approved:
        return None
    if review is not None:
        return "refused", f"{review.who} refused it: {review.reason}"
    if decision.outcome == "fail":
        return "refused", decision.sentence
    ask = f"decide with `python -m pipeline review --run {run.run_id}`"
    if decision.outcome == "inconclusive":
        return "waiting", f"{decision.sentence} A person must {ask}."
    if settings.promote.approval != "automatic":
        return "waiting", f"The gates passed and promote.approval is {settings.promote.approval}; {ask}."
    return None


def _hold(ledger: Ledger, run: Run, decision: Decision, verdict: str, why: str) -> Report:
    """Records a verdict other than pass once for each run, bundle and verdict; the champion stays."""
    entries = ledger.entries()
    if decision.outcome != "pass" and not _is_recorded(entries, run, decision):
        note(ledger, entries, run, decision, "refusal", run.requested_by, decision.sentence)
    champion = ledger.champion()
    kept = f"version {champion.version} stays champion" if champion else "there is still no champion"
    report = _report(verdict, f"Version {decision.version} {_WORDS[verdict]}, {kept}: {why}", decision)
    return _noted(run, report, None)


def _told(settings: Settings, run: Run, decision: Decision, ledger: Ledger, report: Report) -> Report:
    """Says on the decision's page and version what became of it, and sets back what was moved by hand meanwhile."""
    waits = {decision.version: Fate(run.run_id, Headline("waiting", "for approval", without_advice(decision.sentence)))}
    unknown_to_ledger = decision.outcome == "pass" and report.verdict == "waiting"
    entries = ledger.verify()
    try:
        tell(settings, entries, waits if unknown_to_ledger else None)
        moved = set_aliases_back(settings, ledger, stood(entries))
    except PipelineError as error:
        return replace(report, sentence=f"{report.sentence} MLflow does not say so yet: {error}")
    return replace(report, sentence=f"{report.sentence} {moved}".rstrip())


def note(
    ledger: Ledger, entries: list[Entry], run: Run, decision: Decision, kind: str, who: str, reason: str, **more: object
) -> None:
    """Appends an entry that speaks of a decision and moves nothing."""
    ledger.append(
        kind=kind,
        who=who,
        expected_head=entries[-1].sequence if entries else 0,
        from_digest=decision.champion_digest,
        to_digest=decision.digest,
        version=decision.version,
        run_id=run.run_id,
        data_end=decision.data_end,
        reason=reason,
        details={**decision.facts(), **more},
    )


_WORDS = {"refused": "is refused", "waiting": "waits"}


def _is_recorded(entries: list[Entry], run: Run, decision: Decision) -> bool:
    mine = (e for e in entries if (e.kind, e.run_id, e.to_digest) == ("refusal", run.run_id, decision.digest))
    return any(e.details.get("verdict") == decision.outcome for e in mine)


def _already(settings: Settings, run: Run, decision: Decision, ledger: Ledger, champion: Entry) -> Report:
    """Ends what an earlier attempt began: its entry may be in, and the servers not asked yet."""
    if champion.run_id == run.run_id and champion.kind == "promotion" and not _was_settled(run, champion):
        return _settled(run, decision, settle(settings, ledger, champion))
    projection = reconcile(settings, ledger)
    verdict = "promoted" if champion.run_id == run.run_id else "unchanged"
    sentence = (
        f"Version {champion.version} is the champion already, by ledger entry {champion.sequence}.{projection.warning}"
    )
    return _report(verdict, sentence, decision)


def _move(run: Run, decision: Decision, review: Entry | None) -> Move:
    details = {**decision.facts(), "judged_against": decision.champion_sequence, "requested_by": run.requested_by}
    if review:
        details |= {"approved_by": review.who, "approved_in": review.sequence}
    return Move(
        kind="promotion",
        who=review.who if review else run.requested_by,
        digest=decision.digest,
        version=decision.version,
        data_end=decision.data_end,
        reason=review.reason if review else decision.sentence,
        run_id=run.run_id,
        details=details,
    )


def _settled(run: Run, decision: Decision, outcome: Outcome) -> Report:
    entry, champion = outcome.entry, outcome.projection.champion
    if outcome.objections:
        stands = f"version {champion.version} stands again" if champion else "no champion stands"
        sentence = f"Version {entry.version} was promoted and taken back, {stands}: {'; '.join(outcome.objections)}."
        report = _report("refused", sentence + outcome.projection.warning, decision)
    else:
        sentence = f"Version {entry.version} is champion by ledger entry {entry.sequence}.{outcome.projection.warning}"
        report = _report("promoted", sentence, decision)
    return _noted(run, report, entry)


def _report(verdict: str, sentence: str, decision: Decision) -> Report:
    return Report(sentence, digests={"bundle": decision.digest}, verdict=verdict)


def _noted(run: Run, report: Report, entry: Entry | None) -> Report:
    """Leaves the outcome in the run's folder, so that a later attempt knows the servers were asked."""
    fields = {"verdict": report.verdict, "sentence": report.sentence, "sequence": entry.sequence if entry else None}
    write_beside(run.folder / "promotion.json", json.dumps(fields, indent=1))
    return report


def _was_settled(run: Run, entry: Entry) -> bool:
    try:
        return json.loads((run.folder / "promotion.json").read_text())["sequence"] == entry.sequence
    except (OSError, ValueError, KeyError):
        return False
