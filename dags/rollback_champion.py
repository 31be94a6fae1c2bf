"""Airflow DAG: back to an earlier champion."""

from __future__ import annotations

from airflow.sdk import DAG, Param
from step_tasks import ToolOperator

DOC = """
### Rolls the champion back

To the one before, or to one that was champion once, by digest or sequence number in the ledger. The target is loaded in
a fresh server before anything moves; if it does not load, nothing moves.
"""

with DAG(
    dag_id="rollback_champion",
    description="Makes an earlier champion serve again.",
    doc_md=DOC,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["by hand"],
    params={
        "to": Param(
            None,
            type=["null", "string"],
            title="To",
            description="Digest or sequence number; empty takes the champion before.",
        ),
        "reason": Param("", type="string", minLength=3, title="Reason", description="For the ledger."),
    },
):
    ToolOperator(
        tool="rollback",
        options={"--to": "to", "--reason": "reason"},
        doc_md="Appends the rollback to the ledger and moves serving: `python -m pipeline rollback`.",
    )
