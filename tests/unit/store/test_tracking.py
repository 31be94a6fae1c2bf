"""MLflow through its thin door, on a real SQLite store."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from pydantic import SecretStr

from pipeline.core.errors import DataError, MissingInputError, SettingsError, UnavailableError
from pipeline.core.settings import Settings
from pipeline.store.tracking import Tracking, fitted
from tests.fixtures.nights import with_section


@pytest.fixture
def tracking(tracked: Settings) -> Tracking:
    return Tracking.connect(tracked)


def read(tracking: Tracking, run_id: str) -> mlflow.entities.Run:
    return mlflow.MlflowClient(tracking.uri).get_run(run_id)


def test_a_retry_goes_on_with_the_child_it_had_begun(tracking: Tracking, tracked: Settings) -> None:
    with pytest.raises(RuntimeError), tracking.child("night", "train") as first:
        first.params({"epochs": 3})
        raise RuntimeError
    assert read(tracking, first.run_id).info.status == "FAILED"
    with Tracking.connect(tracked).child("night", "train") as second:
        second.params({"epochs": 3})
    assert second.run_id == first.run_id
    assert read(tracking, first.run_id).info.status == "FINISHED"


def test_what_failed_a_stage_is_told_though_mlflow_is_gone(tracked: Settings, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.sqlite"
    shutil.copy(tracked.register.tracking_uri.removeprefix("sqlite:///"), database)
    tracking = connect_to(tracked, f"sqlite:///{database}")
    with pytest.raises(DataError, match="the day is empty"), tracking.child("2024-05-01", "train"):
        database.unlink()
        database.mkdir()
        raise DataError("the day is empty.")


def test_nights_have_runs_of_their_own_and_recipes_lie_under_their_stage(tracking: Tracking) -> None:
    with tracking.child("one", "train") as train, tracking.child("one", "recipe int8", under="train") as recipe:
        pass
    with tracking.child("two", "train") as other:
        pass
    parent = "mlflow.parentRunId"
    assert read(tracking, train.run_id).data.tags[parent] == tracking.night("one").run_id
    assert read(tracking, recipe.run_id).data.tags[parent] == train.run_id
    assert read(tracking, other.run_id).data.tags[parent] == tracking.night("two").run_id
    assert tracking.night("one").run_id != tracking.night("two").run_id


def test_a_changed_parameter_is_kept_beside_the_first(tracking: Tracking) -> None:
    night = tracking.night("night")
    night.params({"epochs": 3})
    night.params({"epochs": 4})
    data = read(tracking, night.run_id).data
    assert (data.params["epochs"], data.tags["changed.epochs"]) == ("3", "4")


def test_more_values_than_one_request_takes_all_arrive(tracking: Tracking) -> None:
    night = tracking.night("night")
    night.params({f"p{n}": n for n in range(250)})
    night.metrics({f"m{n}": n for n in range(250)}, step=2)
    data = read(tracking, night.run_id).data
    assert (len(data.params), len(data.metrics)) == (250, 250)


def test_names_mlflow_refuses_are_rewritten_not_lost(tracking: Tracking) -> None:
    night = tracking.night("night")
    night.metrics({"recall@20": 0.25})
    assert read(tracking, night.run_id).data.metrics == {"recall.20": 0.25}


def test_a_secret_is_logged_as_asterisks(tracking: Tracking) -> None:
    night = tracking.night("night")
    night.params({"key": SecretStr("hunter2")})
    assert read(tracking, night.run_id).data.params["key"] == "**********"


def test_files_and_folders_are_kept(tracking: Tracking, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.txt").write_text("inner")
    (tmp_path / "outer.txt").write_text("outer")
    night = tracking.night("night")
    night.artifact(tmp_path / "folder", "kept")
    night.artifact(tmp_path / "outer.txt")
    found = Path(mlflow.MlflowClient(tracking.uri).download_artifacts(night.run_id, ""))
    assert (found / "kept" / "inner.txt").read_text() == "inner"
    assert (found / "outer.txt").read_text() == "outer"


def test_data_sets_are_inputs_by_digest_once_however_often_they_are_told(tracking: Tracking, tmp_path: Path) -> None:
    night = tracking.night("night")
    for digest in ("a" * 64, "a" * 64, "b" * 64):
        night.reads("training set", digest, tmp_path / "prepared", "training", {"targets": 12})
    found = read(tracking, night.run_id).inputs.dataset_inputs
    assert sorted(each.dataset.digest for each in found) == ["a" * 36, "b" * 36]
    assert {(each.dataset.name, each.dataset.profile) for each in found} == {("training set", '{"targets": 12}')}
    assert mlflow.data.get_source(found[0]).uri == str(tmp_path / "prepared")


def test_versions_are_found_by_digest_and_run_and_aliases_move(tracking: Tracking) -> None:
    assert (tracking.aliases(), tracking.alias("champion"), tracking.version_by_digest("d1")) == ({}, None, None)
    tracking.drop_alias("champion")
    night = tracking.night("night")
    versions = [
        tracking.register(f"runs:/{night.run_id}/model", night.run_id, {"digest": digest, "run_id": run_id})
        for digest, run_id in (("d1", "one"), ("d1", "two"), ("d2", "two"))
    ]
    assert versions == ["1", "2", "3"]
    assert tracking.version_by_digest("d1") == "2"
    assert tracking.version_by_digest("d1", "one") == "1"
    assert tracking.version_by_digest("d2", "one") is None
    tracking.set_alias("champion", "1")
    tracking.set_alias("champion", "3")
    assert tracking.alias("champion") == "3"
    tracking.drop_alias("champion")
    assert tracking.aliases() == {}


def test_a_version_is_described_tagged_and_given_files(tracking: Tracking, tmp_path: Path) -> None:
    night = tracking.night("night")
    version = tracking.register(f"runs:/{night.run_id}/model", night.run_id, {"digest": "d"}, "# card")
    client = mlflow.MlflowClient(tracking.uri)
    assert client.get_model_version(tracking.model_name, version).description == "# card"
    tracking.describe_version(version, "# card, judged")
    tracking.tag_version(version, {"outcome": "pass"})
    (tmp_path / "decision.md").write_text("pass")
    tracking.attach(version, tmp_path / "decision.md", "gate")
    tracking.measure(version, {"gate.recall": 0.25})
    assert read(tracking, night.run_id).data.metrics == {"gate.recall": 0.25}
    found = client.get_model_version(tracking.model_name, version)
    assert (found.description, found.tags) == ("# card, judged", {"digest": "d", "outcome": "pass"})
    assert [f.path for f in client.list_artifacts(night.run_id, "gate")] == ["gate/decision.md"]


def test_a_version_that_is_gone_is_one_sentence(tracking: Tracking) -> None:
    night = tracking.night("night")
    tracking.register(f"runs:/{night.run_id}/model", night.run_id, {})
    with pytest.raises(MissingInputError, match=r"MLflow at sqlite:.* has no such thing"):
        tracking.set_alias("champion", "7")


def test_without_a_uri_everything_lies_below_the_root(settings: Settings, tmp_path: Path) -> None:
    tracking = Tracking.connect(settings)
    (tmp_path / "x.txt").write_text("x")
    tracking.night("night").artifact(tmp_path / "x.txt")
    root = settings.store.root
    assert (root / "mlflow.sqlite").is_file()
    assert [p.name for p in (root / "mlflow").rglob("*.txt")] == ["x.txt"]


@pytest.fixture
def stranger() -> Iterator[str]:
    """A web server that is no MLflow."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def connect_to(settings: Settings, uri: str) -> Tracking:
    return Tracking.connect(with_section(settings, "register", tracking_uri=uri))


def test_a_server_that_is_not_there_is_unavailable(settings: Settings) -> None:
    with pytest.raises(UnavailableError, match=r"MLflow at http://127\.0\.0\.1:9 does not answer"):
        connect_to(settings, "http://127.0.0.1:9")


def test_a_server_that_is_no_mlflow_is_named(settings: Settings, stranger: str) -> None:
    with pytest.raises(UnavailableError, match="this is no MLflow server"):
        connect_to(settings, stranger)


def test_passwords_are_not_shown(settings: Settings) -> None:
    with pytest.raises(UnavailableError, match=r"http://ann:\*\*\*@127") as refusal:
        connect_to(settings, "http://ann:hunter2@127.0.0.1:9")
    assert "hunter2" not in str(refusal.value)


def test_another_kind_of_uri_is_a_settings_error(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"register\.tracking_uri is 'file:///somewhere'"):
        connect_to(settings, "file:///somewhere")


def test_a_description_longer_than_mlflow_keeps_loses_whole_lines_and_says_so() -> None:
    lines = [f"line {n}" for n in range(1000)]
    kept = fitted("\n".join(lines))
    assert len(kept) <= 5000
    assert kept.splitlines()[-1].endswith("of the run's artifacts.")
    assert set(kept.splitlines()[:-2]) <= set(lines)
    assert fitted("short") == "short"
