"""One shared stack: the real scheduler, MLflow and server, on a mini shop in a folder of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.core.errors import UsageError
from pipeline.core.run import Layout, run_id_from
from stack.airflow import AirflowClient
from stack.embedded import Stack
from stack.secrets import REVIEWER, REVIEWER_PASSWORD, load_or_generate

CODE = Path(__file__).resolve().parents[2]
INGEST, RETRAIN = "ingest_behaviour_logs", "retrain_two_tower"
HISTORY = "2026-01-01..2026-01-12"

RECIPES = ("float32", "dynamic_int8", "pruned_qat_int8")
"""One that is as it is, one that converts and one that learns."""

MINI_SHOP = {
    "OPTIMIZE__RECIPES": json.dumps(RECIPES),
    "SIMULATE__EVENTS_PER_DAY": "1500",
    "SIMULATE__USERS": "500",
    "SIMULATE__ITEMS": "250",
    "PREPARE__VALIDATION_DAYS": "2",
    "PREPARE__MAX_TEST_DAYS": "2",
    "PREPARE__MIN_TEST_QUERIES": "200",
    "TRAIN__EPOCHS": "5",
    "TRAIN__BATCH_SIZE": "256",
    "TRAIN__DIM": "32",
    "OPTIMIZE__LATENCY_REQUESTS": "100",
    "OPTIMIZE__MAX_P99_MS": "1000",
    # The statistics of the gates are tested on samples; here they only must not depend on luck or a quiet machine.
    # With so much power the derived margin is eight standard errors: an equal model passes, an untrained one does not.
    "GATE__POWER": "0.999999999",
    "GATE__MAX_MARGIN": "0.6",
    "GATE__MAX_P99_MS": "1e12",
    "GATE__MAX_LATENCY_RATIO": "1e12",
    "GATE__LATENCY_REQUESTS": "100",
    "GATE__LATENCY_ROUNDS": "2",
    "GATE__MIN_QUERIES": "50",
}


@dataclass
class Shop:
    """The mini shop and the stack that works for it."""

    stack: Stack

    @property
    def root(self) -> Path:
        return self.stack.places.root

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    @property
    def source(self) -> Path:
        return self.root / "source"

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m pipeline …` on this shop, as its tasks do."""
        environment = self.stack.pipeline_environment()
        line = [sys.executable, "-m", "pipeline", *words]
        return subprocess.run(line, cwd=CODE, env=environment, capture_output=True, text=True)

    def generate(self, days: str) -> None:
        done = self.command("simulate", "--days", days, "--to", str(self.source))
        assert done.returncode == 0, done.stderr

    def ingest(self, days: str, settings: Mapping[str, Any] | None = None) -> tuple[str, str]:
        """Returns the ingest run's id and the state it ended in."""
        conf = {"days": days, "settings": dict(settings or {})}
        run_id = self.stack.trigger(INGEST, conf, days.rpartition("..")[2] or days)
        return run_id, self.stack.wait(INGEST, run_id)

    def night(self, days: str, settings: Mapping[str, Any] | None = None) -> Night:
        """Lives through one night: logs arrive, are ingested, and what their asset starts runs to its end."""
        self.generate(days)
        ingest_id, state = self.ingest(days, settings)
        assert state == "success", self.stack.task_states(INGEST, ingest_id)
        retrain_id = self.stack.run_started_by(ingest_id)
        return Night(self, retrain_id, self.stack.wait(RETRAIN, retrain_id))

    def retrain(self, conf: Mapping[str, Any], day: str) -> str:
        return self.stack.trigger(RETRAIN, conf, day)

    def ledger(self) -> list[dict[str, Any]]:
        from pipeline.core import settings
        from pipeline.store.ledger import Ledger

        store = settings.load([f"store.root={self.root}"]).store
        return [entry.to_dict() for entry in Ledger.open(store).verify()]

    def champion(self) -> str:
        """Returns the digest the pointer names."""
        return json.loads(self.layout.pointer.read_text())["digest"]

    def served(self) -> str:
        """Returns the digest the server says it serves."""
        return self.ask("GET", "/v1/model").json()["bundle_digest"]

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return httpx.request(method, self.stack.urls["serve"] + path, json=body, trust_env=False, timeout=30)


@dataclass
class Night:
    """A retrain that has ended."""

    shop: Shop
    dag_run_id: str
    state: str

    @property
    def folder(self) -> Path:
        return self.shop.layout.runs / run_id_from(self.dag_run_id)

    @property
    def decision(self) -> dict[str, Any]:
        return json.loads((self.folder / "decision" / "decision.json").read_text())

    @property
    def tasks(self) -> dict[str, str | None]:
        return self.shop.stack.task_states(RETRAIN, self.dag_run_id)

    def report(self, task: str) -> dict[str, Any]:
        report = self.shop.stack.report(RETRAIN, self.dag_run_id, task)
        assert report is not None, self.tasks
        return report


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("shop")
    environment = {f"PIPELINE_{name}": value for name, value in MINI_SHOP.items()}
    named = {"source": str(root / "source"), "profile": "generated"}
    with Stack(root, environment, named) as stack:
        yield Shop(stack)


@pytest.fixture(scope="session")
def first_night(shop: Shop) -> Night:
    return shop.night(HISTORY)


@pytest.fixture(scope="session")
def worse_night(shop: Shop, first_night: Night) -> Night:
    """A night whose model learned nothing."""
    assert first_night.state == "success"
    return shop.night("2026-01-13", {"train.learning_rate": 1e-9, "train.epochs": 1, "train.start_moments": 0})


@dataclass
class Review:
    """A night that waited for a person.

    Attributes:
        champion_before: the digest that served while it waited.
        asked: the required action, as whoever answers it sees it.
        own: how the approval by whoever had asked for the night ended, and what its task said.
        stranger: what Airflow told a user who is not among the reviewers.
    """

    night: Night
    champion_before: str
    asked: dict[str, Any]
    own: tuple[str, str]
    stranger: str


ACTION = f"/dags/{RETRAIN}/dagRuns/%s/taskInstances/approve/-1/hitlDetails"


@pytest.fixture(scope="session")
def review(shop: Shop, worse_night: Night) -> Review:
    """A night as good as the first that asks for a person; who asked for it says yes, then the reviewer does."""
    assert worse_night.state == "success"
    shop.generate("2026-01-14")
    settings = {"promote.approval": "in_airflow", "promote.reviewers": [REVIEWER]}
    ingest_id, state = shop.ingest("2026-01-14", settings)
    assert state == "success", shop.stack.task_states(INGEST, ingest_id)
    retrain_id = shop.stack.run_started_by(ingest_id)
    _until_asked(shop, retrain_id)
    champion, action = shop.champion(), ACTION % retrain_id
    asked = shop.stack.airflow.call("GET", action)
    conf = {"run": run_id_from(retrain_id), "verdict": "approve", "reason": "looks right"}
    run_id = shop.stack.trigger("review_promotion", conf)
    own = shop.stack.wait("review_promotion", run_id)
    said = shop.stack.task_log("review_promotion", run_id, "review").read_text()
    answer = {"chosen_options": ["Approve"], "params_input": {"reason": "looks right"}}
    with pytest.raises(UsageError) as refused:
        shop.stack.airflow.call("PATCH", action, json=answer)
    passwords = load_or_generate(shop.stack.places)
    reviewer = AirflowClient(shop.stack.urls["airflow"], REVIEWER, passwords[REVIEWER_PASSWORD])
    reviewer.call("PATCH", action, json=answer)
    night = Night(shop, retrain_id, shop.stack.wait(RETRAIN, retrain_id))
    return Review(night, champion, asked, (own, said), str(refused.value))


def _until_asked(shop: Shop, retrain_id: str) -> None:
    """Waits until the question stands and its process has ended.

    Airflow takes the end of a process that asked for the end of the one that goes on, where an answer comes between.
    """
    until, log = time.monotonic() + 600, shop.root / "logs" / "airflow.log"
    instance = f"TaskInstanceKey(dag_id='{RETRAIN}', task_id='approve', run_id='{retrain_id}'"
    ended = f"Received executor event with state success for task instance {instance}"
    while True:
        states = shop.stack.task_states(RETRAIN, retrain_id)
        if states.get("approve") == "awaiting_input" and ended in log.read_text():
            return
        assert time.monotonic() < until and "failed" not in states.values(), states
        time.sleep(1)


@pytest.fixture(scope="session")
def second_promotion(review: Review) -> Night:
    """The night the reviewer approved."""
    assert review.night.state == "success", review.night.tasks
    return review.night
