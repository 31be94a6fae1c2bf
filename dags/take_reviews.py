"""Airflow DAG: carries out what reviewers wrote into MLflow, every few minutes, once it is switched on."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from step_tasks import PollOperator

DOC = """
### Takes reviews from MLflow

Paused until you switch it on, and of use only where `promote.review_in_mlflow` is true. A reviewer sets the tags
`review` (`approve` or `refuse`) and `review_reason` on a version; what came of it stands in `review_answer`.
MLflow does not say who set a tag, and the ledger says so.
"""

with DAG(
    dag_id="take_reviews",
    description="Carries out reviews written into MLflow as tags of a version.",
    doc_md=DOC,
    schedule="*/5 * * * *",
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    dagrun_timeout=timedelta(hours=1),
    tags=["reviews"],
):
    PollOperator(
        task_id="take",
        words=("registry", "reviews"),
        doc_md="Takes each review once: `python -m pipeline registry reviews`.",
    )
