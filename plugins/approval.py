"""The required action of a night whose promotion a person must allow: who is asked, what they see, what follows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import BaseOperator, Param
from airflow.sdk.execution_time.hitl import HITLUser
from step_process import StepFailed, StepProcess
from step_tasks import PAGES, Request, assignments_of, in_one_sentence, lines

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.promote.decision import Decision

DOC = """**Asks whether the challenger may be promoted, where `promote.approval` is `in_airflow`.**

Elsewhere nobody is asked and the night goes on. The answer is written into the ledger as `python -m pipeline review`
writes it; none within `promote.approval_hours` is a refusal.
"""
NOBODY = "nobody, in time"
IN_AIRFLOW = "in_airflow"
SEEN = "decision"
ATTEMPTS, SECONDS_BETWEEN_ATTEMPTS = 10, 15.0


class ApprovePromotion(ApprovalOperator):
    """Asks only where `promote.approval` is `in_airflow` and the gates leave something to decide.

    The answer goes the way of `python -m pipeline review`: bound to the run's bundle and to the decision that was
    shown, never given by who asked for the run, kept in the ledger. No answer in time is a refusal. What follows runs
    either way and says so.
    """

    def __init__(self, **kwargs: Any) -> None:
        # Airflow hands a DAG's own params to every operator; this one asks for its own.
        kwargs["params"] = {"reason": Param("", type="string", title="Reason", description="For the ledger, for good.")}
        super().__init__(subject="May this challenger be promoted?", defaults=self.REJECT, doc_md=DOC, **kwargs)

    def execute(self, context: Any) -> Any:
        with in_one_sentence():
            request = Request.of(context)
            settings, decision = _known(request)
            if why := unasked(settings, decision):
                lines.info("Nobody is asked: %s", why)
                return None
            self.subject = f"May version {decision.version} be promoted?"
            self.body = _body(request.run_id, decision)
            self.assigned_users = [HITLUser(id=name, name=name) for name in settings.promote.reviewers] or None
            self.response_timeout = timedelta(hours=settings.promote.approval_hours)
            context["ti"].xcom_push(key=SEEN, value=decision.fingerprint)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        answer = HITLOperator.execute_complete(self, context, event)
        approved = answer["chosen_options"] == [self.APPROVE]
        user, said = answer["responded_by_user"], str(answer["params_input"].get("reason") or "")
        by = user["name"] if user else NOBODY
        reason = said or ("no reason was given" if user else "nobody answered the required action in time")
        words = ["--verdict", "approve" if approved else "refuse", "--by", by, "--reason", reason]
        words += ["--decision", context["ti"].xcom_pull(task_ids=self.task_id, key=SEEN)]
        with in_one_sentence():
            request = Request.of(context)
            return _reviewed(["--run", request.run_id, *words, *request.set_words()])


def _reviewed(words: list[str]) -> str:
    """Carries an answer out; somebody who moves the champion just now is waited for, for an answer is given once."""
    left = ATTEMPTS
    while True:
        try:
            return StepProcess(lines.info).tool("review", words)
        except StepFailed as error:
            left -= 1
            if not (error.retry_may_help and left):
                raise
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)


def with_approval(tasks: Mapping[str, BaseOperator]) -> None:
    """Puts the question between gate and promotion, in the DAG around the call."""
    tasks["gate"] >> ApprovePromotion(task_id="approve") >> tasks["promote"]


def _known(request: Request) -> tuple[Settings, Decision]:
    # Read only while a task runs: parsing a DAG must stay light and independent of the machine.
    from pipeline.core import settings as settings_module
    from pipeline.core.run import Run
    from pipeline.promote.decision import Decision

    settings = settings_module.load(assignments_of(request.settings))
    return settings, Decision.load(Run.open(settings.store.root.resolve(), request.run_id, settings.shop.timezone))


def unasked(settings: Settings, decision: Decision) -> str:
    """Returns why nobody is to be asked; empty where somebody is."""
    if settings.promote.approval != IN_AIRFLOW:
        return f"promote.approval is {settings.promote.approval}."
    if decision.outcome == "fail":
        return "a gate failed, and overruling it is not a question of this night."
    if decision.moves_nothing:
        return "this run is a dry run or a backfill and moves nothing."
    return "the challenger is champion already." if decision.digest == decision.champion_digest else ""


def _body(run_id: str, decision: Decision) -> str:
    told = (decision.path.parent / "decision.md").read_text()
    return f"[Report]({PAGES}/{run_id}/gate)\n\n{told}"
