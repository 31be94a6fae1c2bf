"""Nights through the real scheduler, MLflow and server: promoted, refused, stopped by bad data, killed, rolled back.

After them nothing under the root names a person: Airflow's logs and database, MLflow's artifacts included.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from pipeline.core.run import run_id_from
from pipeline.model.bundle import ITEMS
from pipeline.model.catalogue import Catalogue
from pipeline.steps import STEPS
from pipeline.store.sweep import any_of, sweep
from stack.airflow import SECONDS_BETWEEN_LOOKS
from stack.secrets import load_or_generate
from tests.end_to_end.conftest import INGEST, RECIPES, RETRAIN, Night, Review, Shop

RAW_ID = re.compile(rb"(?<![A-Za-z0-9])(?:user[0-9]{1,6}|visit[0-9]{8}x[0-9]+)(?![A-Za-z0-9])")
"""What the generated shop calls its people: `user17`, `visit20260101x4`."""
RETRAIN_STEPS = [step for step in STEPS if step.name not in ("ingest", "validate")]
RETRAIN_TASKS = {
    "approve",
    *(task for step in RETRAIN_STEPS for task in step.tasks if task != step.part),
    *(f"recipe {name}" for name in RECIPES),
}


def _aliases(shop: Shop) -> dict[str, str]:
    model = MlflowClient(shop.stack.urls["mlflow"]).get_registered_model("two_tower")
    return {name: str(version) for name, version in model.aliases.items()}


def _served_within(shop: Shop, digest: str, seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if shop.served() == digest:
            return True
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return False


def test_the_first_night_is_promoted_and_served(shop: Shop, first_night: Night) -> None:
    assert first_night.tasks == dict.fromkeys(RETRAIN_TASKS, "success")
    assert first_night.decision["outcome"] == "pass", first_night.decision["sentence"]
    assert first_night.report("promote")["verdict"] == "promoted"
    digest = first_night.decision["challenger"]["digest"]
    assert shop.champion() == digest
    assert _served_within(shop, digest)
    assert next(entry["kind"] for entry in shop.ledger()) == "promotion"


def test_the_first_champion_is_named_in_mlflow(shop: Shop, first_night: Night) -> None:
    version = first_night.decision["challenger"]["version"]
    client = MlflowClient(shop.stack.urls["mlflow"])
    tags = client.get_model_version("two_tower", version).tags
    assert tags["digest"] == first_night.decision["challenger"]["digest"]
    assert tags["run_id"] == run_id_from(first_night.dag_run_id)


def test_the_server_answers_recommendation_search_and_similar_items(shop: Shop, first_night: Night) -> None:
    known = Catalogue.load(shop.layout.bundle(shop.champion()) / ITEMS).ids[0]
    event = {"item_id": known, "event_type": "view", "event_time": "2026-01-12T10:00:00Z"}
    recommended = shop.ask("POST", "/v1/recommend", {"history": [event], "k": 7}).json()
    assert len({item["item_id"] for item in recommended["items"]} - {known}) == 7
    assert recommended["fallback"] is None
    assert recommended["bundle_digest"] == shop.champion()
    title = recommended["items"][0]["title"]
    found = shop.ask("POST", "/v1/search", {"query": title, "k": 10}).json()
    assert recommended["items"][0]["item_id"] in [item["item_id"] for item in found["items"]]
    alike = shop.ask("GET", f"/v1/items/{known}/similar?k=3").json()
    assert len({item["item_id"] for item in alike["items"]} - {known}) == 3
    empty = shop.ask("POST", "/v1/recommend", {"history": [], "k": 3}).json()
    assert (len(empty["items"]), empty["fallback"]) == (3, "empty_history")
    refused = shop.ask("POST", "/v1/recommend", {"history": "yesterday"})
    assert refused.status_code == 422
    assert "history" in refused.json()["error"]


def test_a_worse_model_is_refused_and_the_champion_stays(shop: Shop, first_night: Night, worse_night: Night) -> None:
    assert worse_night.tasks == dict.fromkeys(RETRAIN_TASKS, "success")
    assert worse_night.decision["outcome"] == "fail"
    failed = {gate["gate"] for gate in worse_night.decision["gates"] if gate["verdict"] == "fail"}
    assert any("accuracy" in gate or "baseline" in gate for gate in failed), failed
    assert worse_night.report("promote")["verdict"] == "refused"
    champion = first_night.decision["challenger"]["digest"]
    entries = shop.ledger()
    refusal = next(entry for entry in entries if entry["run_id"] == run_id_from(worse_night.dag_run_id))
    assert refusal["kind"] == "refusal"
    assert worse_night.decision["champion"]["digest"] == champion
    assert (worse_night.folder / "decision" / "decision.html").stat().st_size > 1000


def test_a_challenger_waits_until_somebody_else_approves_it(shop: Shop, first_night: Night, review: Review) -> None:
    assert review.champion_before == first_night.decision["challenger"]["digest"]
    state, said = review.own
    assert state == "failed"
    assert "admin asked for this run and may not approve it" in said
    assert review.night.report("promote")["verdict"] == "promoted"
    run_id = run_id_from(review.night.dag_run_id)
    spoken = [(entry["kind"], entry["who"], entry["reason"]) for entry in shop.ledger() if entry["run_id"] == run_id]
    assert spoken == [("approval", "reviewer", "looks right"), ("promotion", "reviewer", "looks right")]


def test_the_required_action_shows_the_report_and_takes_no_answer_of_others(review: Review) -> None:
    assert review.asked["subject"] == f"May version {review.night.decision['challenger']['version']} be promoted?"
    assert review.night.decision["sentence"] in review.asked["body"]
    assert f"/nightshift/runs/{run_id_from(review.night.dag_run_id)}/gate" in review.asked["body"]
    assert [user["name"] for user in review.asked["assigned_users"]] == ["reviewer"]
    assert "is not a respondent for the task" in review.stranger
    assert list(review.asked["params"]) == ["reason"]


def test_a_day_that_fails_validation_starts_no_retrain(shop: Shop, second_promotion: Night) -> None:
    champion = shop.champion()
    shop.generate("2026-01-15")
    log = next(shop.source.glob("events-2026-01-15*"))
    with gzip.open(log, "rt") as file:
        few = file.readlines()[:12]
    with gzip.open(log, "wt") as file:
        file.writelines(few)
    ingest_id, state = shop.ingest("2026-01-15")
    assert state == "failed"
    tasks = shop.stack.task_states(INGEST, ingest_id)
    assert tasks == {"ingest": "success", "validate": "failed"}
    said = shop.stack.task_log(INGEST, ingest_id, "validate").read_text()
    assert "2026-01-15" in said
    assert "observed" in said or "expected" in said
    assert shop.stack.retrain_of(ingest_id) is None
    assert not shop.layout.published(date(2026, 1, 15)).exists()
    assert shop.champion() == champion


def test_a_day_without_logs_says_so_and_is_not_tried_again(shop: Shop, second_promotion: Night) -> None:
    ingest_id, state = shop.ingest("2026-01-20")
    assert state == "failed"
    assert "No logs for 2026-01-20" in shop.stack.task_log(INGEST, ingest_id, "ingest").read_text()
    assert not shop.stack.task_log(INGEST, ingest_id, "ingest", attempt=2).exists()


def test_a_run_begins_when_a_locked_database_is_free_again(shop: Shop, first_night: Night) -> None:
    database = sqlite3.connect(shop.stack.places.airflow_home / "airflow.db", timeout=30, check_same_thread=False)
    with closing(database), ThreadPoolExecutor(1) as beside:
        database.execute("BEGIN IMMEDIATE")
        beside.submit(_release, database, after_seconds=8)
        run_id, state = shop.ingest("2026-01-21")
    assert state == "failed"
    assert "No logs for 2026-01-21" in shop.stack.task_log(INGEST, run_id, "ingest").read_text()


def _release(database: sqlite3.Connection, after_seconds: float) -> None:
    time.sleep(after_seconds)
    database.rollback()


def test_a_second_good_night_is_promoted_and_rolled_back_by_one_dag(
    shop: Shop, first_night: Night, second_promotion: Night
) -> None:
    first = first_night.decision["challenger"]["digest"]
    second = second_promotion.decision["challenger"]["digest"]
    assert second_promotion.decision["outcome"] == "pass", second_promotion.decision["sentence"]
    assert shop.champion() == second != first
    assert _served_within(shop, second)
    versions = [night.decision["challenger"]["version"] for night in (first_night, second_promotion)]
    assert (_aliases(shop)["previous"], _aliases(shop)["champion"]) == tuple(versions)
    run_id = shop.stack.trigger("rollback_champion", {"reason": "the shop complains"})
    assert shop.stack.wait("rollback_champion", run_id) == "success"
    assert shop.champion() == first
    assert _served_within(shop, first)
    last = shop.ledger()[-1]
    assert (last["kind"], last["to_digest"], last["who"], last["reason"]) == (
        "rollback",
        first,
        "admin",
        "the shop complains",
    )
    assert _aliases(shop)["champion"] == versions[0]


def test_a_dry_run_judges_and_moves_nothing(shop: Shop, killed_night: Night) -> None:
    before = shop.ledger()
    assert killed_night.decision["dry_run"]
    assert killed_night.decision["challenger"]["version"] is None
    assert run_id_from(killed_night.dag_run_id) not in {entry["run_id"] for entry in before}


def test_training_killed_by_the_kernel_resumes_to_the_weights_of_an_unbroken_run(
    shop: Shop, killed_night: Night
) -> None:
    assert killed_night.state == "success", killed_night.tasks
    tries = {task["task_id"]: task["try_number"] for task in shop.stack.airflow.tasks(RETRAIN, killed_night.dag_run_id)}
    assert tries["train"] == 2
    said = shop.stack.task_log(RETRAIN, killed_night.dag_run_id, "train", attempt=2).read_text()
    assert "train: goes on from epoch" in said
    resumed = _weights(shop, killed_night)
    run_id = run_id_from(killed_night.dag_run_id)
    words = [word for name, value in SLOW_TRAINING.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    unbroken = shop.command("train", "--run", run_id, "--force", *words)
    assert unbroken.returncode == 0, unbroken.stderr
    assert "unchanged" not in unbroken.stdout
    assert _weights(shop, killed_night) == resumed


SLOW_TRAINING: dict[str, Any] = {
    "train.deterministic": True,
    "train.checkpoint_seconds": 0,
    "train.epochs": 6,
    "train.batch_size": 64,
    "train.patience_epochs": 6,
}


def test_no_raw_id_lies_anywhere_but_in_the_logs_they_came_in(shop: Shop, killed_night: Night) -> None:
    known = _raw_ids(shop)
    assert len(known) > 1000
    assert sweep(shop.source, RAW_ID).found, "the searcher must find them where they are"
    swept = sweep(shop.root, RAW_ID, spare=lambda path: shop.source in path.parents)
    read = {path.suffix for path in shop.root.rglob("*") if path.is_file() and shop.source not in path.parents}
    assert {".parquet", ".npy", ".log", ".json", ".html", ".gz", ".faiss"} <= read
    named = {str(found.path): sorted(known & set(found.words)) for found in swept.found}
    assert {path: words for path, words in named.items() if words} == {}


def test_the_pseudonym_key_lies_nowhere_but_in_the_file_of_secrets(shop: Shop, killed_night: Night) -> None:
    key = load_or_generate(shop.stack.places)["PIPELINE_SECRETS__PSEUDONYM_KEY"]
    swept = sweep(shop.root, any_of([key]), spare=lambda path: path == shop.stack.places.secrets)
    assert swept.found == ()


def _weights(shop: Shop, night: Night) -> dict[str, str]:
    refs = json.loads((night.folder / "refs" / "train.json").read_text())
    folder = shop.layout.artifact("train", refs[""])
    vectors = folder / "item_vectors.npy"
    return {vectors.name: hashlib.sha256(vectors.read_bytes()).hexdigest()}


@pytest.fixture(scope="session")
def killed_night(shop: Shop, second_promotion: Night) -> Night:
    """A dry run whose training is killed with -9 as soon as it has a checkpoint."""
    assert second_promotion.state == "success"
    dag_run_id = shop.retrain({"dry_run": True, "settings": SLOW_TRAINING}, "2026-01-14")
    _kill_training(run_id_from(dag_run_id), shop.root / "checkpoints")
    return Night(shop, dag_run_id, shop.stack.wait(RETRAIN, dag_run_id))


def _kill_training(run_id: str, checkpoints: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        step = _step_process("train", run_id)
        # Folders of finished trainings are gone, so the first checkpoint there is this one's.
        if step and list(checkpoints.glob("*/state.npz")):
            step.kill()
            return
        time.sleep(0.05)
    raise AssertionError("training wrote no checkpoint within three minutes")


def _step_process(name: str, run_id: str) -> psutil.Process | None:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[1:4] == ["-m", "pipeline", name] and run_id in words:
            return process
    return None


def _raw_ids(shop: Shop) -> set[str]:
    found: set[str] = set()
    for path in shop.source.glob("events-*.csv.gz"):
        with gzip.open(path, "rt") as file:
            found.update(value for row in csv.DictReader(file) for value in (row["user"], row["session"]) if value)
    return {name for name in found if RAW_ID.fullmatch(name.encode())}
