"""A tracked run that work does not wait for, on a real SQLite store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.core.errors import DataError, UnavailableError
from pipeline.core.settings import Settings
from pipeline.store import live
from pipeline.store.live import LiveRun, live_child
from pipeline.store.tracking import TrackedRun, Tracking

PATIENCE_SECONDS = 60


@pytest.fixture
def tracking(tracked: Settings) -> Tracking:
    return Tracking.connect(tracked)


def read(tracking: Tracking, run_id: str) -> mlflow.entities.Run:
    return mlflow.MlflowClient(tracking.uri).get_run(run_id)


class Flighty(TrackedRun):
    """A run of an MLflow that is away at will."""

    away = False

    def metrics(self, values: Any, step: int | None = None) -> None:
        if self.away:
            raise UnavailableError("MLflow does not answer.")
        super().metrics(values, step)

    def end(self, status: str) -> None:
        if self.away:
            raise UnavailableError("MLflow does not answer.")
        super().end(status)


def flighty(tracking: Tracking) -> Flighty:
    run = tracking.begin("night", "train")
    return Flighty(run._client, run.uri, run.run_id)


def test_everything_told_is_there_when_the_block_has_ended(tracking: Tracking, tmp_path: Path) -> None:
    (tmp_path / "curves.svg").write_text("<svg/>")
    with live_child(tracking, "night", "train") as run:
        run.params({"epochs": 3})
        run.tags({"beaten": "popularity"})
        for step in range(3):
            run.metrics({"loss": 3.0 - step}, step)
        run.artifact(tmp_path / "curves.svg")
    found = read(tracking, run._run.run_id)
    assert (found.info.status, found.data.params["epochs"], found.data.metrics["loss"]) == ("FINISHED", "3", 1.0)
    assert found.data.tags["beaten"] == "popularity"
    history = mlflow.MlflowClient(tracking.uri).get_metric_history(found.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    with pytest.raises(DataError), live_child(tracking, "night", "train") as again:
        raise DataError("the loss is no number.")
    assert (again._run.run_id, read(tracking, again._run.run_id).info.status) == (found.info.run_id, "FAILED")


def test_an_mlflow_that_stays_away_ends_no_work_and_is_said(
    tracking: Tracking, capsys: pytest.CaptureFixture[str]
) -> None:
    run = flighty(tracking)
    told = LiveRun(run)
    told.metrics({"loss": 3.0}, 1)
    run.away = True
    told.metrics({"loss": 2.0}, 2)
    told.close("FINISHED")
    assert f"MLflow did not take everything that was told to run {run.run_id}" in capsys.readouterr().out


def test_what_was_told_while_mlflow_was_away_arrives_when_it_is_back(
    tracking: Tracking, capsys: pytest.CaptureFixture[str]
) -> None:
    run = flighty(tracking)
    run.away = True
    told = LiveRun(run)
    told.metrics({"loss": 3.0}, 1)
    told.metrics({"loss": 2.0}, 2)
    run.away = False
    told.close("FINISHED")
    assert read(tracking, run.run_id).data.metrics == {"loss": 2.0}
    assert capsys.readouterr().out == ""


def test_what_mlflow_refuses_is_said_and_the_rest_is_logged(
    tracking: Tracking, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with live_child(tracking, "night", "train") as run:
        run.artifact(tmp_path / "not there")
        run.metrics({"loss": 2.0}, 2)
    assert "MLflow refuses what this step logs" in capsys.readouterr().out
    assert read(tracking, run._run.run_id).data.metrics["loss"] == 2.0


def test_the_machine_is_watched_meanwhile(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SAMPLE_SECONDS", 0.01)
    deadline = time.monotonic() + PATIENCE_SECONDS
    with live_child(tracking, "night", "train") as run:
        while "system/cpu_utilization_percentage" not in read(tracking, run._run.run_id).data.metrics:
            assert time.monotonic() < deadline
            time.sleep(0.05)
