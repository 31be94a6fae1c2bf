"""Every DAG file, imported in a fresh process as Airflow's DAG processor does."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.steps import BY_NAME, STEPS
from stack.nightly import TASKS

DAGS = Path(__file__).resolve().parents[2] / "dags"
NAMES = sorted(path.stem for path in DAGS.glob("*.py"))
INGEST, RETRAIN = "ingest_behaviour_logs", "retrain_two_tower"

# What one file holds, told by a fresh process; `added` are the modules it loads beside Airflow's own.
DESCRIBE = """
import importlib, json, sys
import airflow.sdk
before = set(sys.modules)
from airflow.sdk.definitions._internal.contextmanager import DagContext
DagContext.current_autoregister_module_name = %r
importlib.import_module(%r)
dags = {d.dag_id: d for d, _ in DagContext.autoregistered_dags}
added = set(sys.modules) - before
print(json.dumps({
    "added": sorted(added),
    "dags": {
        d.dag_id: {
            "doc": d.doc_md or "", "max_active_runs": d.max_active_runs, "deadline": bool(d.deadline),
            "catchup": d.catchup, "paused": bool(d.is_paused_upon_creation), "timetable": type(d.timetable).__name__,
            "start_date": d.start_date and d.start_date.isoformat(),
            "params": {k: p.schema for k, p in ((k, d.params.get_param(k)) for k in d.params)},
            "edges": sorted([t.task_id, down] for t in d.tasks for down in t.downstream_task_ids),
            "tasks": {t.task_id: {
                "doc": t.doc_md or "", "pool": t.pool, "retries": t.retries, "rule": t.trigger_rule,
                "named_by": t.map_index_template if t.is_mapped else None,
                "minutes": t.execution_timeout.total_seconds() / 60 if t.execution_timeout else None,
                "outlets": [o.name for o in t.outlets],
            } for t in d.tasks},
        } for d in dags.values()
    },
}))
"""


@pytest.fixture(scope="module")
def described(in_fresh_process: Callable[[str], Any]) -> dict[str, Any]:
    return {name: in_fresh_process(DESCRIBE % (name, name)) for name in NAMES}


@pytest.fixture(scope="module")
def dags(described: dict[str, Any]) -> dict[str, Any]:
    return {dag_id: dag for told in described.values() for dag_id, dag in told["dags"].items()}


def test_every_dag_file_imports_alone_and_holds_the_dag_it_is_named_after(described: dict[str, Any]) -> None:
    assert NAMES == [
        "ingest_behaviour_logs",
        "retrain_two_tower",
        "review_promotion",
        "rollback_champion",
        "take_reviews",
    ]
    assert {name: list(told["dags"]) for name, told in described.items()} == {name: [name] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_parsing_a_dag_loads_nothing_heavy(name: str, described: dict[str, Any]) -> None:
    added = described[name]["added"]
    packages = {module.partition(".")[0] for module in added}
    assert not packages & {
        "tensorflow",
        "tf_keras",
        "mlflow",
        "pandas",
        "numpy",
        "great_expectations",
        "duckdb",
        "boto3",
    }
    assert "step_tasks" in added
    assert "pipeline.core.settings" not in added


def test_every_step_is_a_task_of_exactly_one_dag(dags: dict[str, Any]) -> None:
    tasks = [task for name in (INGEST, RETRAIN) for task in dags[name]["tasks"]]
    assert sorted(tasks) == sorted([*(task for step in STEPS for task in step.tasks), "approve"])


def test_the_nightly_command_shows_every_task(dags: dict[str, Any]) -> None:
    assert set(TASKS) == {*dags[INGEST]["tasks"], *dags[RETRAIN]["tasks"]}


@pytest.mark.parametrize("name", [INGEST, RETRAIN])
def test_edges_are_the_catalogues_and_a_mapped_step_waits_for_its_parts_alone(name: str, dags: dict[str, Any]) -> None:
    steps = [step for step in STEPS if step.name in dags[name]["tasks"]]
    known = {step.name for step in steps}
    wanted = [[earlier, step.tasks[0]] for step in steps for earlier in step.after if earlier in known]
    within = [list(pair) for step in steps for pair in pairwise(step.tasks)]
    asked = [["gate", "approve"], ["approve", "promote"]] if name == RETRAIN else []
    assert dags[name]["edges"] == sorted(wanted + within + asked)


def test_each_recipe_is_a_task_of_its_own_that_may_fail(dags: dict[str, Any]) -> None:
    tasks, optimize = dags[RETRAIN]["tasks"], BY_NAME["optimize"]
    assert {name for name, task in tasks.items() if task["named_by"]} == {"recipe"}
    recipe = tasks["recipe"]
    assert recipe["named_by"] == "{{ task.part }}"
    assert (recipe["pool"], recipe["retries"], recipe["minutes"]) == ("training", 2, optimize.part_timeout_minutes)
    assert tasks["recipes"]["pool"] == "default_pool"
    # One recipe that was made is enough to choose; a training that failed leaves none, and everything else waits for
    # the success of all before it.
    assert {name: task["rule"] for name, task in tasks.items() if task["rule"] != "all_success"} == {
        "optimize": "all_done_min_one_success"
    }


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_task_has_its_steps_limits_and_says_what_it_does(step: Any, dags: dict[str, Any]) -> None:
    task = {**dags[INGEST]["tasks"], **dags[RETRAIN]["tasks"]}[step.name]
    assert task["minutes"] == step.timeout_minutes
    assert task["retries"] == 2
    assert task["pool"] == ("training" if step.heavy else "default_pool")
    assert step.does in task["doc"]


def test_only_validate_announces_validated_events_and_retrain_waits_for_it(dags: dict[str, Any]) -> None:
    announcing = {
        t for dag in dags.values() for t, task in dag["tasks"].items() if task["outlets"] == ["validated_events"]
    }
    assert announcing == {"validate"}
    assert dags[RETRAIN]["timetable"] == "PartitionedAssetTimetable"
    assert dags[INGEST]["timetable"] == "CronPartitionTimetable"


def test_unpausing_the_schedule_never_runs_a_night_gone_by(dags: dict[str, Any]) -> None:
    # With a start date in the past the newest slot would run at once; without one the first run is the next slot.
    assert dags[INGEST]["start_date"] is None
    assert dags[INGEST]["catchup"] is False


@pytest.mark.parametrize("name", NAMES)
def test_a_dag_explains_itself_and_runs_one_at_a_time(name: str, dags: dict[str, Any]) -> None:
    assert dags[name]["doc"].strip().startswith("###")
    assert dags[name]["max_active_runs"] == 1


@pytest.mark.parametrize("name", [INGEST, RETRAIN])
def test_a_nightly_dag_has_a_deadline(name: str, dags: dict[str, Any]) -> None:
    assert dags[name]["deadline"]


@pytest.mark.parametrize(
    ("name", "types"),
    [
        (
            INGEST,
            {"days": "string", "source": "string", "profile": "string", "replay": "string", "settings": "object"},
        ),
        (
            RETRAIN,
            {
                "window_days": "integer",
                "epochs": "integer",
                "recipes": "array",
                "dry_run": "boolean",
                "force": "boolean",
                "as_of": "string",
                "settings": "object",
            },
        ),
        ("rollback_champion", {"to": "string", "reason": "string"}),
    ],
)
def test_the_form_has_typed_fields(name: str, types: dict[str, str], dags: dict[str, Any]) -> None:
    params = dags[name]["params"]
    assert {field: _plain(schema["type"]) for field, schema in params.items()} == types
    assert all(schema["title"] for schema in params.values())


def test_a_review_must_be_one_of_two_words_with_a_reason(dags: dict[str, Any]) -> None:
    params = dags["review_promotion"]["params"]
    assert params["verdict"]["enum"] == ["approve", "refuse"]
    assert params["reason"]["minLength"] > 0
    assert params["run"]["minLength"] > 0


def _plain(types: str | list[str]) -> str:
    """Returns the one type beside null."""
    return types if isinstance(types, str) else next(t for t in types if t != "null")


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.stem)
def test_a_dag_file_is_short_and_has_the_words_airflow_looks_for(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    assert "airflow" in text.lower()
    assert "dag" in text.lower()


def test_reviews_from_mlflow_are_taken_only_once_somebody_switches_it_on(dags: dict[str, Any]) -> None:
    assert [name for name, dag in dags.items() if dag["paused"]] == ["take_reviews"]
    assert dags["take_reviews"]["tasks"]["take"]["retries"] == 0
