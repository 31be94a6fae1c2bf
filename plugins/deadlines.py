"""What is said when a DAG run is late; runs in the triggerer."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference


async def say_late(hours: float, **facts: Any) -> None:
    """Logs one line an alert rule can look for."""
    run = (facts.get("context") or {}).get("dag_run") or {}
    name = f"{run.get('dag_id', 'a DAG')} {run.get('dag_run_id', '')}".strip()
    logging.getLogger("nightshift.deadline").error(
        "DEADLINE MISSED: %s has not ended %g h after it was queued.", name, hours
    )


def done_within(hours: float) -> DeadlineAlert:
    """Returns the alert of a DAG whose runs shall end so many hours after they were queued."""
    callback = AsyncCallback(say_late, kwargs={"hours": hours})
    return DeadlineAlert(
        DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=hours), callback, name=f"done within {hours:g} h"
    )
