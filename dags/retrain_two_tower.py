"""Airflow DAG: from validated days to a promoted model, or to a reason why not."""

from __future__ import annotations

from airflow.sdk import DAG, Param, PartitionedAssetTimetable
from approval import with_approval
from deadlines import done_within
from step_tasks import step_tasks, validated_events

from pipeline.steps import STEPS

DOC = """
### Retrains the two-tower model and promotes it if it is provably not worse and fast enough

Starts when `ingest_behaviour_logs` announces a validated day, one at a time, or by hand: then, without a partition key
or as-of, with the newest published day. Whatever fails, the champion stays as it is. Finished steps are cached.

| to | do |
|---|---|
| try settings without consequences | trigger with *dry run*: up to and with the gate, nothing registered or moved |
| know why a model was refused | open the task `gate`, link *Report* |
| ask what a past night would have done | trigger with *as of*: it trains and reports, and never moves an alias |
| say yes or no to a challenger | answer the required action of `approve`, where `promote.approval` is `in_airflow` |
| resume after a crash | clear the failed task; training goes on from its checkpoint |
"""


def field(types: str | list[str], title: str, description: str, default: object = None, **limits: object) -> Param:
    return Param(default, type=types, title=title, description=description, **limits)


with DAG(
    dag_id="retrain_two_tower",
    description="Published days → trained, compressed, registered, gated, promoted or refused.",
    doc_md=DOC,
    schedule=PartitionedAssetTimetable(assets=validated_events),
    catchup=False,
    max_active_runs=1,
    deadline=done_within(hours=12),
    tags=["nightly"],
    params={
        "window_days": field(["null", "integer"], "Window (days)", "Counted back; empty: as set.", minimum=3),
        "epochs": field(
            ["null", "integer"], "Epochs", "Passes over the training targets; empty: as set.", minimum=0, maximum=500
        ),
        "recipes": field(
            ["null", "array"],
            "Recipes",
            "Compression recipes to try, one a line; empty: as set.",
            items={"type": "string"},
        ),
        "dry_run": field(
            "boolean", "Dry run", "Up to and with the gate; nothing is registered or moved.", default=False
        ),
        "force": field("boolean", "Force", "Ignore the cache, never the gates.", default=False),
        "as_of": field(["null", "string"], "As of", "The moment the run pretends to be at.", format="date-time"),
        "settings": field("object", "Settings", 'Advanced: {"section.field": value}.', default={}),
    },
):
    with_approval(step_tasks([step for step in STEPS if step.name not in ("ingest", "validate")]))
