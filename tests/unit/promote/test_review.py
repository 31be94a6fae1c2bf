"""A person's word: who may give it, on what, and what follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import MissingInputError, PipelineError, UsageError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.promote import step
from pipeline.promote.review import review
from pipeline.store.ledger import Ledger
from tests.fixtures.nights import (
    crown,
    decide,
    kinds,
    make_night,
    note_registered,
    passed_gate,
    pointer,
    ready_night,
    with_section,
)


def test_an_approval_carries_the_waiting_promotion_out_in_the_approvers_name(
    settings: Settings, tiny_bundle: Path
) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01", outcome="inconclusive")
    assert step.run(settings, run).verdict == "waiting"
    assert review(settings, run.run_id, "approve", "ann", "enough for me").verdict == "promoted"
    refusal, approval, promotion = Ledger.open(settings.store).verify()
    assert (refusal.kind, approval.kind, promotion.kind) == ("refusal", "approval", "promotion")
    assert (promotion.who, promotion.reason, promotion.details["approved_in"]) == ("ann", "enough for me", 2)
    assert approval.to_digest == promotion.to_digest == pointer(settings)["digest"]


def test_approving_again_adds_nothing(settings: Settings, tiny_bundle: Path) -> None:
    careful = with_section(settings, "promote", approval="by_hand")
    run = ready_night(careful, tiny_bundle, "2024-05-01")
    for _ in range(2):
        assert review(careful, run.run_id, "approve", "ann", "fine").verdict == "promoted"
    assert kinds(careful) == ["approval", "promotion"]


def test_a_refusal_keeps_the_champion_and_later_attempts_too(settings: Settings, tiny_bundle: Path) -> None:
    careful = with_section(settings, "promote", approval="by_hand")
    run = ready_night(careful, tiny_bundle, "2024-05-01")
    report = review(careful, run.run_id, "refuse", "ann", "sale starts today")
    assert report.verdict == "refused"
    assert "ann refused it: sale starts today" in report.sentence
    assert step.run(careful, run).verdict == "refused"
    assert (kinds(careful), pointer(careful)) == (["refusal"], None)


def test_an_approval_does_not_carry_over_to_another_decision(settings: Settings, tiny_bundle: Path) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01", outcome="inconclusive")
    ledger = Ledger.open(settings.store)
    ledger.append(
        kind="approval",
        who="ann",
        expected_head=0,
        to_digest="f" * 64,
        run_id=run.run_id,
        details={"by_hand": True, "decision": "another"},
    )
    assert step.run(settings, run).verdict == "waiting"


def asked_for_by(settings: Settings, bundle: Path, person: str) -> Run:
    run = make_night(settings, bundle, "2024-05-01", requested_by=person)
    note_registered(run, "1")
    decide(run, outcome="inconclusive")
    return run


def test_who_asked_for_a_run_may_not_approve_it(settings: Settings, tiny_bundle: Path) -> None:
    run = asked_for_by(settings, tiny_bundle, "Ann")
    with pytest.raises(PipelineError, match="ann asked for this run and may not approve it"):
        review(settings, run.run_id, "approve", "ann", "trust me")
    assert kinds(settings) == []


def test_who_asked_for_a_run_may_refuse_it(settings: Settings, tiny_bundle: Path) -> None:
    run = asked_for_by(settings, tiny_bundle, "ann")
    assert review(settings, run.run_id, "refuse", "ann", "on second thoughts").verdict == "refused"


def test_a_failed_gate_that_may_be_overruled_is_an_override_with_its_reason(
    settings: Settings, tiny_bundle: Path
) -> None:
    gates = [passed_gate(), passed_gate("latency p99", "fail")]
    run = ready_night(settings, tiny_bundle, "2024-05-01", outcome="fail", gates=gates)
    assert review(settings, run.run_id, "approve", "ann", "new machines tomorrow").verdict == "promoted"
    assert kinds(settings) == ["override", "promotion"]


CLOSED = {
    "goldens may not be overruled": [
        passed_gate("accuracy", "fail"),
        passed_gate("goldens", "fail", overridable=False),
    ],
    "a gate that does not say is closed": [{"gate": "infra", "verdict": "fail"}],
    "a failure without a failing gate is closed": [],
}


@pytest.mark.parametrize("name", CLOSED)
def test_what_may_not_be_overruled_is_not(settings: Settings, tiny_bundle: Path, name: str) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-01", outcome="fail", gates=CLOSED[name])
    with pytest.raises(PipelineError, match="which nobody may overrule"):
        review(settings, run.run_id, "approve", "ann", "please")
    assert kinds(settings) == []


def test_a_stale_decision_cannot_be_approved(settings: Settings, tiny_bundle: Path) -> None:
    run = ready_night(settings, tiny_bundle, "2024-05-02", outcome="inconclusive")
    crown(settings, tiny_bundle, "2024-05-01")
    with pytest.raises(PipelineError, match="judged against champion none"):
        review(settings, run.run_id, "approve", "ann", "fine")
    assert kinds(settings) == ["promotion"]


@pytest.mark.parametrize("mark", [{"dry_run": True}, {"backfill": True}])
def test_a_dry_run_or_backfill_cannot_be_approved(settings: Settings, tiny_bundle: Path, mark: dict) -> None:
    run = make_night(settings, tiny_bundle, "2024-05-01", **mark)
    decide(run)
    with pytest.raises(PipelineError, match="is a dry run or a backfill"):
        review(settings, run.run_id, "approve", "ann", "fine")


def test_an_unknown_run_is_named_with_those_that_can_be_reviewed(settings: Settings, tiny_bundle: Path) -> None:
    ready_night(settings, tiny_bundle, "2024-05-01")
    with pytest.raises(MissingInputError, match=r"There is no run 'nigth'.*runs with a decision are night-2024-05-01"):
        review(settings, "nigth", "approve", "ann", "fine")


def test_an_unknown_verdict_is_refused(settings: Settings) -> None:
    with pytest.raises(UsageError, match="write approve or refuse"):
        review(settings, "night", "maybe", "ann", "hm")
