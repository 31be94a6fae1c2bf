"""Whom the night asks, and when it asks nobody; the question itself is put by a real scheduler in end_to_end."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.promote.decision import Decision
from pipeline.store.ledger import Ledger
from tests.fixtures.nights import decide, make_night, note_registered, ready_night, with_section

pytestmark = pytest.mark.usefixtures("plugins")


def unasked(settings: Settings, decision: Decision) -> str:
    import approval

    return approval.unasked(settings, decision)


def decision(settings: Settings, bundle: Path, outcome: str = "pass", **changed: Any) -> Decision:
    run = ready_night(settings, bundle, "2024-05-01", outcome=outcome)
    found = Decision.load(run)
    return Decision(found.path, {**found.raw, **changed}, found.fingerprint)


@pytest.mark.parametrize("outcome", ["pass", "inconclusive"])
def test_a_person_is_asked_where_there_is_something_to_decide(
    settings: Settings, tiny_bundle: Path, outcome: str
) -> None:
    asking = with_section(settings, "promote", approval="in_airflow")
    assert unasked(asking, decision(settings, tiny_bundle, outcome)) == ""


@pytest.mark.parametrize("approval", ["automatic", "by_hand"])
def test_nobody_is_asked_elsewhere(settings: Settings, tiny_bundle: Path, approval: str) -> None:
    told = unasked(with_section(settings, "promote", approval=approval), decision(settings, tiny_bundle))
    assert told == f"promote.approval is {approval}."


@pytest.mark.parametrize(
    ("outcome", "changed", "told"),
    [
        ("fail", {}, "a gate failed"),
        ("pass", {"dry_run": True}, "moves nothing"),
        ("pass", {"backfill": True}, "moves nothing"),
    ],
)
def test_nobody_is_asked_for_nothing(
    settings: Settings, tiny_bundle: Path, outcome: str, changed: dict[str, Any], told: str
) -> None:
    asking = with_section(settings, "promote", approval="in_airflow")
    assert told in unasked(asking, decision(settings, tiny_bundle, outcome, **changed))


def test_nobody_is_asked_whether_the_champion_may_be_champion(settings: Settings, tiny_bundle: Path) -> None:
    asking, found = with_section(settings, "promote", approval="in_airflow"), decision(settings, tiny_bundle)
    same = {"digest": found.digest, "version": "1", "sequence": 1}
    assert "champion already" in unasked(asking, Decision(found.path, {**found.raw, "champion": same}, ""))


RETRAIN_FORM = {"dry_run": False, "force": False, "as_of": None, "settings": {}}


def answered(option: str, by: str | None, reason: str = "") -> dict[str, Any]:
    """Returns what Airflow resumes the task with, once it is answered or, by nobody, in time no more."""
    from airflow.models.hitl import HITLDetail

    who = {"id": by, "name": by} if by else None
    detail = HITLDetail(
        chosen_options=[option], params_input={"reason": reason}, responded_at=datetime.now(UTC), responded_by=who
    )
    return detail.as_resume_event_payload(timedout=by is None)


def resume(run_id: str, event: dict[str, Any], seen: str) -> str:
    """Args: seen: fingerprint of the decision that was shown, as the task left it when it asked."""
    from approval import ApprovePromotion

    dag_run = SimpleNamespace(
        run_id=run_id, partition_key=None, conf={}, triggering_user_name="ada", consumed_asset_events=[]
    )
    dag = SimpleNamespace(dag_id="retrain_two_tower", params=RETRAIN_FORM)
    ti = SimpleNamespace(xcom_pull=lambda task_ids, key: {("approve", "decision"): seen}[task_ids, key])
    context = {"dag_run": dag_run, "params": RETRAIN_FORM, "dag": dag, "ti": ti}
    return ApprovePromotion(task_id="approve").execute_complete(context, event)


@pytest.fixture
def asked(tracked: Settings, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A night ada asked for, whose gates passed and whose task waits; as its machine is set."""
    for section, names in {"store": ["root"], "register": ["tracking_uri", "experiment", "model_name"]}.items():
        for name in names:
            monkeypatch.setenv(f"PIPELINE_{section}__{name}".upper(), str(getattr(tracked.section(section), name)))
    monkeypatch.setenv("PIPELINE_PROMOTE__APPROVAL", "in_airflow")
    run = make_night(tracked, tiny_bundle, "2024-05-01", "night", requested_by="ada")
    note_registered(run, "1")
    decide(run)
    return tracked


def shown(settings: Settings) -> str:
    return Decision.load(Run.open(settings.store.root, "night", "UTC")).fingerprint


def spoken(settings: Settings) -> list[tuple[str, str, str]]:
    return [(entry.kind, entry.who, entry.reason) for entry in Ledger.open(settings.store).verify()]


def test_no_answer_in_time_is_a_refusal_in_the_ledger(asked: Settings) -> None:
    from approval import NOBODY

    assert "is refused" in resume("night", answered("Reject", None), shown(asked))
    assert spoken(asked) == [("refusal", NOBODY, "nobody answered the required action in time")]


def test_a_refusal_says_whose_it_is_and_why(asked: Settings) -> None:
    resume("night", answered("Reject", "bob", "sale starts today"), shown(asked))
    assert spoken(asked) == [("refusal", "bob", "sale starts today")]


def test_an_approval_is_carried_out_under_the_approvers_name(asked: Settings) -> None:
    assert "is champion by ledger entry 2" in resume("night", answered("Approve", "bob"), shown(asked))
    why = "no reason was given"
    assert spoken(asked) == [("approval", "bob", why), ("promotion", "bob", why)]


def test_who_asked_for_the_night_cannot_approve_it_whatever_airflow_allows(asked: Settings) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="ada asked for this run and may not approve it"):
        resume("night", answered("Approve", "ada"), shown(asked))
    assert spoken(asked) == []


def test_an_answer_holds_for_the_decision_that_was_shown_and_no_other(asked: Settings) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    seen = shown(asked)
    decide(Run.open(asked.store.root, "night", "UTC"), outcome="fail")
    with pytest.raises(AirflowFailException, match="was judged again since this was asked"):
        resume("night", answered("Approve", "bob"), seen)
    assert spoken(asked) == []


def test_reviews_in_mlflow_are_not_taken_where_no_setting_allows_it(asked: Settings) -> None:
    from airflow.sdk.exceptions import AirflowFailException
    from step_tasks import PollOperator

    with pytest.raises(AirflowFailException, match="review_in_mlflow is false"):
        PollOperator(task_id="take", words=("registry", "reviews")).execute({})


def test_reviews_in_mlflow_are_taken_by_a_look_every_few_minutes(
    asked: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from step_tasks import PollOperator

    monkeypatch.setenv("PIPELINE_PROMOTE__REVIEW_IN_MLFLOW", "true")
    told = PollOperator(task_id="take", words=("registry", "reviews")).execute({})
    assert told == "No version bears a review that was not taken yet."
