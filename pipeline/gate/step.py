"""The step: gather evidence, judge it by the table, leave the record."""

from __future__ import annotations

import tempfile
from datetime import UTC
from pathlib import Path

from pipeline.core.errors import DataError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.gate import accuracy, behaviour, judge, page, record, serving, words
from pipeline.gate.contenders import Contender, find_anchors, find_challenger, find_champion, is_backfill
from pipeline.gate.held_out import TestSet
from pipeline.gate.record import Decision
from pipeline.gate.rules import Evidence, Finding, Measured
from pipeline.model import account
from pipeline.model.cost import Table


def run(settings: Settings, run: Run) -> Report:
    """Opens the test, judges the run's bundle and writes the decision record; a verdict is never reused."""
    prepared = run.artifact("prepare")
    test = TestSet.load(prepared, settings.shop.metric)
    challenger, champion = find_challenger(run), find_champion(settings, run)
    _refuse_leak(challenger, test)
    measured = Measured()
    same = champion is not None and champion.digest == challenger.digest
    findings = [_identity(challenger)] if same else _judged(measured, test, challenger, champion, settings, run)
    decision = _decide(findings, measured, test, challenger, champion, settings, run, same)
    folder = run.folder / "decision"
    tables = _account(measured, settings, run)
    shown = page.render(decision, measured.times_ms, run.artifact("optimize").path, tables)
    record.write(folder, decision, shown)
    _attach(settings, run, decision, folder)
    return _report(decision, folder)


def _judged(
    measured: Measured, test: TestSet, challenger: Contender, champion: Contender | None, settings: Settings, run: Run
) -> list[Finding]:
    whole = challenger.retriever is not None
    detail = challenger.fault or "Every byte is the one that was sealed."
    measured.add("bundle_whole", Evidence(holds=whole, detail=detail))
    measured.add("champion_readable", _readable(champion))
    if whole:
        anchors = find_anchors(settings, run, champion) if champion else []
        with tempfile.TemporaryDirectory(prefix="gate-") as scratch:
            serving.measure(measured, test, challenger, champion, settings, Path(scratch))
        prepared, optimized = run.artifact("prepare"), run.artifact("optimize").path
        answers = accuracy.measure(measured, test, challenger, champion, anchors, prepared, settings)
        behaviour.measure(measured, test, answers, challenger, champion, optimized, settings)
    return judge.judge(measured.rows, settings.gate, has_champion=bool(champion and champion.retriever))


def _account(measured: Measured, settings: Settings, run: Run) -> list[Table]:
    """Keeps the run's cost anew: the server's own share is known only here."""
    (memory,) = measured.rows.get("memory_mb") or [Evidence()]
    held = memory.value.mean if memory.value else None
    tables = account.of_run(run, settings.cost, measured.server_cpu_ms, held)
    account.leave(run, tables)
    return tables


def _readable(champion: Contender | None) -> Evidence:
    if champion is None:
        return Evidence(reported=True, detail="There is no champion yet: this is the first model.")
    if champion.retriever:
        return Evidence(holds=True, detail=f"Bundle {champion.digest[:12]} is whole.")
    return Evidence(detail=f"The champion cannot be compared with: {champion.fault}")


def _refuse_leak(challenger: Contender, test: TestSet) -> None:
    if challenger.data_end and challenger.data_end > test.start:
        raise DataError(
            f"{challenger.folder}: the bundle saw data until {challenger.data_end.isoformat()}, but the test begins "
            f"at {test.start.isoformat()}: it would be judged on what it learnt; run the steps from prepare on again."
        )


def _identity(challenger: Contender) -> Finding:
    reason = words.already_champion(challenger.digest)
    return Finding("identity", "digest", "", *[None] * 6, n=0, verdict="pass", reason=reason)  # type: ignore[arg-type]


def _decide(
    findings: list[Finding],
    measured: Measured,
    test: TestSet,
    challenger: Contender,
    champion: Contender | None,
    settings: Settings,
    run: Run,
    same: bool,
) -> Decision:
    verdict = "pass" if same else judge.outcome(findings, settings.gate)
    backfill = is_backfill(run, challenger, champion) or _has_seen(champion, test)
    if same:
        told = words.already_champion(challenger.digest)
    else:
        told = words.sentence(verdict, findings, champion, settings.shop.k, backfill, run.dry_run)
    return Decision(
        run_id=run.run_id,
        as_of=run.as_of.astimezone(UTC).isoformat(),
        data_end=(challenger.data_end or test.start).astimezone(UTC).isoformat(),
        outcome=verdict,
        sentence=told,
        standing="" if same else words.standing(findings, settings.shop.k),
        backfill=backfill,
        dry_run=run.dry_run,
        challenger=challenger.named(),
        champion={**champion.named(), "sequence": champion.sequence} if champion else None,
        findings=findings,
        k=settings.shop.k,
        metric=settings.shop.metric,
        test=test.facts(),
        latency=measured.timed,
    )


def _has_seen(champion: Contender | None, test: TestSet) -> bool:
    return bool(champion and champion.data_end and champion.data_end > test.start)


def _attach(settings: Settings, run: Run, decision: Decision, folder: Path) -> None:
    version = decision.challenger["version"]
    if version is None or run.dry_run:
        return
    from pipeline.store.tracking import Tracking

    tracking = Tracking.connect(settings)
    tracking.attach(version, folder, "decision")
    tracking.tag_version(version, record.tags(decision))
    tracking.measure(version, record.figures(decision))
    pages = [run.folder / name for name in ("card.md", account.MARKDOWN)]
    below = "".join(f"\n{path.read_text()}" for path in pages if path.exists())
    tracking.describe_version(version, record.summary(decision) + below)


def _report(decision: Decision, folder: Path) -> Report:
    by_metric = {f.metric: f for f in reversed(decision.findings) if not f.slice}  # built-in gates come first
    recall = by_metric.get("recall") or by_metric.get("recall_popularity")
    metrics = {}
    if recall and recall.challenger is not None:
        metrics[f"recall_at_{decision.k}"] = recall.challenger
    accuracy_row, p99 = by_metric.get("recall"), by_metric.get("p99_ms")
    if accuracy_row and accuracy_row.threshold is not None:
        metrics["margin"] = -accuracy_row.threshold
    if p99 and p99.challenger is not None:
        metrics["p99_ms"] = p99.challenger
    counts = {"test_queries": decision.test["queries"], "gates": len(decision.findings)}
    return Report(
        decision.sentence,
        counts={**counts, "failed": sum(f.verdict == "fail" for f in decision.findings)},
        metrics=metrics,
        digests={"bundle": decision.challenger["digest"]},
        uris={"decision": str(folder / "decision.html")},
        verdict=decision.outcome,
    )
