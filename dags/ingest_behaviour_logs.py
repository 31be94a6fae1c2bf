"""Airflow DAG: a day's logs in, judged, and announced to whoever waits for validated events."""

from __future__ import annotations

from airflow.sdk import DAG, CronPartitionTimetable, Param
from deadlines import done_within
from step_tasks import step_tasks, validated_events

from pipeline.steps import STEPS

DOC = """
### Ingests and validates behaviour logs

Every night at 02:00 UTC the day before; its day is the partition key. A day that passes is published and starts
`retrain_two_tower` through the asset `validated_events`. **A failed validation emits nothing, so nothing retrains.**

| to | do |
|---|---|
| load one day by hand | trigger with `days` = `2011-12-09` |
| load history | trigger with `days` = `2010-12-01..2011-12-08`: one run, a partition a day, one retrain |
| read refused rows again, after a fix | trigger with `days` and `replay` = `all` or a rule |
| see what is wrong with a day | open the task `validate`, link *Report* |
"""

with DAG(
    dag_id="ingest_behaviour_logs",
    description="Logs of a day → canonical events → validated, published days.",
    doc_md=DOC,
    schedule=CronPartitionTimetable("0 2 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    catchup=False,
    max_active_runs=1,
    deadline=done_within(hours=6),
    tags=["nightly"],
    params={
        "days": Param(
            None,
            type=["null", "string"],
            pattern=r"^\d{4}-\d{2}-\d{2}(\.\.\d{4}-\d{2}-\d{2})?$",
            title="Days",
            description="DAY or FIRST..LAST; empty takes the partition key.",
        ),
        "source": Param(None, type=["null", "string"], title="Source", description="Folder or s3:// prefix of logs."),
        "profile": Param(
            None, type=["null", "string"], title="Profile", description="Source profile; empty takes ingest.profile."
        ),
        "replay": Param(
            None, type=["null", "string"], title="Replay", description="`all` or a rule: only days that refused rows."
        ),
        "settings": Param(
            {},
            type="object",
            title="Settings",
            description='{"section.field": value}, for this run and the retrain it starts.',
        ),
    },
):
    step_tasks(
        [step for step in STEPS if step.name in ("ingest", "validate")], outlets={"validate": [validated_events]}
    )
