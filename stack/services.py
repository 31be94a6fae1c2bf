"""How each of the three services is started, and how one knows that it is up."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from stack.places import CODE, Places, executable
from stack.secrets import ROLES

HOST = "127.0.0.1"
DAGS = ("ingest_behaviour_logs", "retrain_two_tower", "review_promotion", "rollback_champion", "take_reviews")
# A retrain's only slot, and three for the rest.
TASKS_AT_ONCE = 4
# A writer waits for another that long; SQLite's own 5 s are too few on a slow disk.
DATABASE_SECONDS = 60


@dataclass(frozen=True)
class Service:
    """One process of the stack.

    Attributes:
        health: path answered with a status below 500 once it is up.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str
    health: str


def services(
    places: Places, ports: Mapping[str, int], secrets: Mapping[str, str], shop: Mapping[str, str]
) -> list[Service]:
    """Returns the services of one root.

    Args:
        shop: `source` and `profile`, which the nightly schedule reads; either may be missing.
    """
    urls = urls_of(ports)
    pipeline = pipeline_environment(places, urls, secrets, shop)
    return [
        Service(
            "airflow",
            (executable("airflow"), "standalone"),
            {**pipeline, **_airflow_environment(places, ports, urls)},
            urls["airflow"],
            "/api/v2/monitor/health",
        ),
        Service("mlflow", _mlflow_command(places, ports), _mlflow_environment(), urls["mlflow"], "/health"),
        Service(
            "serve",
            (sys.executable, "-m", "pipeline", "serve", "--port", str(ports["serve"])),
            pipeline,
            urls["serve"],
            "/healthz",
        ),
    ]


def urls_of(ports: Mapping[str, int]) -> dict[str, str]:
    return {name: f"http://{HOST}:{ports[name]}" for name in ("airflow", "mlflow", "serve")}


def _outer() -> dict[str, str]:
    own = {"PYTHONPATH": str(CODE), "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    local = ",".join(filter(None, (os.environ.get("NO_PROXY"), HOST, "localhost")))
    path = os.pathsep.join((executable(""), os.environ.get("PATH", "")))
    return {**os.environ, **own, "NO_PROXY": local, "no_proxy": local, "PATH": path}


def pipeline_environment(
    places: Places, urls: Mapping[str, str], secrets: Mapping[str, str], shop: Mapping[str, str]
) -> dict[str, str]:
    """Returns the environment in which this root's steps and tools run."""
    asked = {f"PIPELINE_INGEST__{name.upper()}": value for name, value in shop.items() if value}
    return {
        **_outer(),
        **secrets,
        **asked,
        "PIPELINE_STORE__ROOT": str(places.root),
        "PIPELINE_REGISTER__TRACKING_URI": urls["mlflow"],
        "PIPELINE_PROMOTE__SERVERS": json.dumps([urls["serve"]]),
        "PIPELINE_SERVE__HOST": HOST,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _airflow_environment(places: Places, ports: Mapping[str, int], urls: Mapping[str, str]) -> dict[str, str]:
    settings = {
        "CORE__DAGS_FOLDER": CODE / "dags",
        "CORE__PLUGINS_FOLDER": CODE / "plugins",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__PARALLELISM": TASKS_AT_ONCE,
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in ROLES.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": places.passwords,
        "CORE__EXECUTION_API_SERVER_URL": f"{urls['airflow']}/execution/",
        "API__HOST": HOST,
        "API__PORT": ports["airflow"],
        "API__BASE_URL": urls["airflow"],
        "API__WORKERS": 1,
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{places.airflow_home / 'airflow.db'}?timeout={DATABASE_SECONDS}",
        "DAG_PROCESSOR__REFRESH_INTERVAL": 30,
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 60,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.3,
        "LOGGING__WORKER_LOG_SERVER_PORT": ports["worker_logs"],
        "LOGGING__TRIGGER_LOG_SERVER_PORT": ports["trigger_logs"],
        "USAGE_DATA_COLLECTION__ENABLED": False,
    }
    return {"AIRFLOW_HOME": str(places.airflow_home)} | {
        f"AIRFLOW__{name}": str(value) for name, value in settings.items()
    }


def _mlflow_environment() -> dict[str, str]:
    # With its job runner it takes twice the memory and starts seven processes that outlive it.
    return {**_outer(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def _mlflow_command(places: Places, ports: Mapping[str, int]) -> tuple[str, ...]:
    port = str(ports["mlflow"])
    store = ("--backend-store-uri", f"sqlite:///{places.root / 'mlflow.sqlite'}")
    artifacts = ("--artifacts-destination", str(places.root / "mlflow"), "--serve-artifacts")
    network = ("--host", HOST, "--port", port, "--workers", "1", "--allowed-hosts", f"{HOST}:{port},localhost:{port}")
    return (sys.executable, "-m", "mlflow", "server", *store, *artifacts, *network)
