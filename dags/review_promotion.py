"""Airflow DAG: a person approves or refuses a challenger that waits."""

from __future__ import annotations

from airflow.sdk import DAG, Param
from step_tasks import ToolOperator

DOC = """
### Says yes or no to a challenger

For a run whose gates could not tell, or whose `promote.approval` is `by_hand`. The answer is bound to the run's bundle
digest and to you: whoever asked for the run cannot approve it. An approval promotes; a refusal is noted in the ledger.
A failed gate that may be overruled is, with your reason, for ever visible. Read the gate's *Report* first.
"""

with DAG(
    dag_id="review_promotion",
    description="Approves or refuses the challenger of one run.",
    doc_md=DOC,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["by hand"],
    params={
        "run": Param(
            "", type="string", minLength=1, title="Run", description="Run id of the retrain, as in its gate report."
        ),
        "verdict": Param("refuse", enum=["approve", "refuse"], title="Verdict"),
        "reason": Param("", type="string", minLength=3, title="Reason", description="For the ledger."),
    },
):
    ToolOperator(
        tool="review",
        options={"--run": "run", "--verdict": "verdict", "--reason": "reason"},
        doc_md="Writes the verdict into the ledger: `python -m pipeline review`.",
    )
