"""The whole step on real bundles, real servers, a real ledger and a real MLflow store."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from pipeline.core import settings as settings_module
from pipeline.core.errors import CorruptArtifactError, DataError
from pipeline.gate.step import run
from tests.fixtures.contenders import NEW, sealed_again

FIELDS = {"schema_version", "run_id", "as_of", "data_end", "outcome", "sentence", "backfill", "dry_run", "challenger"}
COLUMNS = {
    "gate",
    "metric",
    "slice",
    "challenger",
    "champion",
    "difference",
    "low",
    "high",
    "threshold",
    "n",
    "verdict",
}


def test_a_first_model_that_beats_popularity_passes_and_is_called_the_first(shop, contenders):
    shop.challenge(contenders["right"])
    report = run(shop.settings, shop.run)
    assert report.verdict == "pass"
    assert report.sentence.startswith("Promote: this is the first model; recall@5 is")
    assert shop.decision()["champion"] is None
    assert shop.gate("beats popularity")["low"] > 0
    reported = ("recent popularity", "own items again", "item-KNN", "session-KNN")
    assert {shop.gate(name)["verdict"] for name in reported} == {"reported"}
    assert shop.decision()["standing"].startswith("Clearly better in recall@5 than every baseline")
    assert not [row for row in shop.decision()["gates"] if row["verdict"] == "inconclusive"]


def test_an_equal_challenger_passes_and_the_record_holds_what_the_contract_says(shop, contenders):
    digest = shop.crown(contenders["old_right"])
    shop.challenge(contenders["right"], version=None)
    report = run(shop.settings, shop.run)
    decision = shop.decision()
    assert (report.verdict, decision["outcome"], decision["backfill"]) == ("pass", "pass", False)
    assert set(decision) >= FIELDS and COLUMNS | {"reason", "overridable"} == set(decision["gates"][0])
    assert decision["champion"] == {"version": "7", "digest": digest, "sequence": 1}
    assert decision["data_end"] == f"{NEW}T00:00:00+00:00"
    assert {"recall_at_5", "margin", "p99_ms"} == set(report.metrics)
    assert shop.gate("goldens")["verdict"] == "pass"
    # The same towers and index over the same items: every answer is the champion's.
    assert shop.gate("overlap with champion")["challenger"] == 1.0
    assert shop.gate("catalogue coverage")["challenger"] == shop.gate("catalogue coverage")["champion"] > 0
    assert shop.gate("signature")["verdict"] == "pass"
    assert shop.gate("latency p95 ratio")["low"] is not None
    text = (shop.run.folder / "decision" / "decision.md").read_text()
    assert text.startswith(f"**{report.sentence}**")
    assert text.count("\n| ") == 1 + len(decision["gates"])
    page = (shop.run.folder / "decision" / "decision.html").read_text()
    assert report.sentence.split(" (")[0].replace("'", "&#39;") in page
    assert page.count("<svg") == 2
    assert "http://" not in page and "https://" not in page and 'src="/' not in page


def test_a_worse_challenger_fails_and_the_first_line_says_so(shop, contenders):
    shop.crown(contenders["old_right"])
    shop.challenge(contenders["wrong"])
    report = run(shop.settings, shop.run)
    assert report.verdict == "fail"
    assert report.sentence.startswith("Do not promote, the champion stays: recall@5: worse than the champion")
    standing = shop.decision()["standing"]
    assert standing.startswith("NOT CLEARLY BETTER in recall@5 than popularity, ")
    text = (shop.run.folder / "decision" / "decision.md").read_text()
    assert text.splitlines()[:3] == [f"**{report.sentence}**", "", f"**{standing}**"]
    assert shop.gate("accuracy")["high"] < shop.gate("accuracy")["threshold"] < 0


def test_a_challenger_below_an_anchor_that_is_no_longer_champion_fails(shop, contenders):
    shop.crown(contenders["old_right"])
    shop.crown(contenders["old_wrong"])
    shop.challenge(contenders["wrong"])
    assert run(shop.settings, shop.run).verdict == "fail"
    assert shop.gate("accuracy")["verdict"] == "pass"
    assert shop.gate("anchor")["verdict"] == "fail"


def test_an_anchor_older_than_its_days_is_forgotten(shop, contenders):
    shop.crown(contenders["old_right"], data_end="2024-04-01T00:00:00+00:00")
    shop.crown(contenders["old_wrong"])
    shop.challenge(contenders["wrong"])
    run(shop.settings, shop.run)
    assert shop.gate("anchor")["verdict"] == "reported"


def test_a_corrupt_champion_is_inconclusive_and_asks_a_person(shop, contenders):
    digest = shop.crown(contenders["old_right"])
    (shop.run.layout.bundle(digest) / "items.npz.gz").write_text("{}")
    shop.challenge(contenders["right"])
    report = run(shop.settings, shop.run)
    assert report.verdict == "inconclusive"
    assert "a person is asked" in report.sentence
    assert "items.npz.gz: this file was changed" in shop.gate("champion readable")["reason"]


def test_a_champion_whose_bundle_is_gone_is_inconclusive(shop, contenders):
    digest = shop.crown(contenders["old_right"])
    shutil.rmtree(shop.run.layout.bundle(digest))
    shop.challenge(contenders["right"])
    assert run(shop.settings, shop.run).verdict == "inconclusive"


def test_the_champion_itself_is_nothing_to_promote(shop, contenders):
    shop.crown(contenders["right"])
    shop.challenge(contenders["right"])
    report = run(shop.settings, shop.run)
    assert report.sentence.startswith("Nothing to promote: the challenger is the champion already")
    assert report.verdict == "pass"
    assert [row["gate"] for row in shop.decision()["gates"]] == ["identity"]


def test_a_challenger_that_saw_no_later_data_than_the_champion_is_a_backfill(shop, contenders):
    shop.crown(contenders["old_right"], data_end="2024-05-08T00:00:00+00:00")
    shop.challenge(contenders["right"])
    report = run(shop.settings, shop.run)
    assert shop.decision()["backfill"] is True
    assert report.sentence.startswith(
        "Report only: a backfill, marked as-of or on data that end no later than the champion's, never moves it."
    )


def test_a_dry_run_says_that_nothing_will_be_moved(shop, contenders):
    shop.challenge(contenders["right"])
    report = run(shop.settings, dataclasses.replace(shop.run, dry_run=True))
    assert report.sentence.endswith("(Dry run: nothing will be moved.)")
    assert shop.decision()["dry_run"] is True


def test_a_tampered_challenger_fails_without_being_started(shop, contenders):
    shop.challenge(contenders["right"])
    tower = shop.run.artifact("optimize").path / "bundle" / "query_tower.tflite.gz"
    tower.write_bytes(tower.read_bytes() + b"x")
    assert run(shop.settings, shop.run).verdict == "fail"
    assert "query_tower.tflite.gz: this file was changed" in shop.gate("bundle whole")["reason"]


def test_a_bundle_the_server_refuses_fails_with_the_servers_words(shop, contenders, tmp_path):
    mixed = shutil.copytree(contenders["right"], tmp_path / "mixed")
    shutil.copyfile(contenders["wrong"] / "item_index.faiss", mixed / "item_index.faiss")
    shop.challenge(sealed_again(mixed, mixed))
    assert run(shop.settings, shop.run).verdict == "fail"
    assert "answers its golden request 1 wrongly" in shop.gate("server starts")["reason"]


def test_a_server_that_is_not_ready_in_time_fails(shop, contenders):
    shop.challenge(contenders["right"])
    hurried = settings_module.load([f"store.root={shop.run.root}", "shop.k=5", "gate.start_timeout_seconds=0.05"])
    assert run(hurried, shop.run).verdict == "fail"
    assert "not ready within 0.05 seconds" in shop.gate("server starts")["reason"]


def test_a_bundle_that_saw_the_test_is_refused(shop, contenders, tmp_path):
    shop.challenge(sealed_again(contenders["right"], tmp_path / "late", data_end="2024-05-10T00:00:00+00:00"))
    with pytest.raises(DataError, match="it would be judged on what it learnt"):
        run(shop.settings, shop.run)


def test_a_test_without_any_target_is_inconclusive(shop, contenders):
    shop.prepare([])
    shop.challenge(contenders["right"])
    assert run(shop.settings, shop.run).verdict == "inconclusive"
    assert shop.gate("beats popularity")["reason"].startswith("Only 0 test queries; at least 100 are needed")


def test_a_registration_of_another_bundle_is_refused(shop, contenders):
    shop.challenge(contenders["right"])
    record = {"version": "3", "digest": "f" * 64, "mlflow_run_id": "x"}
    (shop.run.folder / "register.json").write_text(json.dumps(record))
    with pytest.raises(CorruptArtifactError, match="registered bundle ffffffffffff, but this run's bundle is"):
        run(shop.settings, shop.run)


def test_a_ledger_that_cannot_be_read_ends_the_step_in_one_sentence(shop, contenders):
    shop.challenge(contenders["right"])
    (shop.run.root / "ledger.sqlite").write_bytes(b"this is no database, whatever its name says" * 40)
    with pytest.raises(CorruptArtifactError, match="cannot be read"):
        run(shop.settings, shop.run)


def test_the_record_is_attached_to_the_registered_version(shop, contenders):
    from pipeline.store.tracking import Tracking

    tracking = Tracking.connect(shop.settings)
    night = tracking.night("night")
    version = tracking.register(f"runs:/{night.run_id}/model", night.run_id, {"digest": "d"})
    shop.challenge(contenders["right"], version=version)
    report = run(shop.settings, shop.run)
    assert tracking.version_tags(version)["gate"] == report.verdict
    names = {item.path for item in tracking._client.list_artifacts(night.run_id, "decision")}
    assert names == {f"decision/decision.{kind}" for kind in ("json", "md", "html")}


def test_a_champion_whose_server_does_not_start_is_inconclusive(shop, contenders, tmp_path):
    mixed = shutil.copytree(contenders["old_right"], tmp_path / "mixed")
    shutil.copyfile(contenders["wrong"] / "item_index.faiss", mixed / "item_index.faiss")
    shop.crown(sealed_again(mixed, mixed))
    shop.challenge(contenders["right"])
    assert run(shop.settings, shop.run).verdict == "inconclusive"
    assert "The champion's server does not work" in shop.gate("champion readable")["reason"]
    assert shop.gate("latency p50 ratio")["verdict"] == "reported"
    assert shop.gate("requests answered")["verdict"] == "pass"


def test_the_account_holds_what_the_real_server_adds_to_tower_and_index(shop, contenders):
    shop.challenge(contenders["right"])
    row = {"recipe": "float32", "verdict": "chosen", "cpu_ms": 0.001, "memory_mb": 1.0, "bytes": 2_000_000}
    (shop.run.artifact("optimize").path / "recipes.json").write_text(json.dumps([row]))
    run(shop.settings, shop.run)
    serving, night, _ = json.loads((shop.run.folder / "cost.json").read_text())
    figures = {line["what"]: line["values"] for line in serving["lines"]}
    assert figures["CPU of the server around it, a request"][0] > 0
    assert figures["memory of a replica"][0] > 10
    assert figures["replicas at the peak"] == [None, None]  # nobody said what the peak is
    assert night["note"] == "No step of this run was timed."
    page = (shop.run.folder / "decision" / "decision.html").read_text()
    assert "What it costs" in page and "set cost.peak_requests_per_second" in page


def test_a_rule_judges_what_is_otherwise_reported(shop, contenders):
    shop.crown(contenders["old_right"])
    shop.challenge(contenders["wrong"])
    run(shop.settings, shop.run)
    assert shop.gate("overlap with champion")["verdict"] == "reported"
    rules = [
        {"name": "overlap with champion", "comparison": "at_least", "threshold": 0.99},
        {"name": "half the promise", "metric": "p99_ms", "comparison": "at_most", "threshold": 5e11},
    ]
    strict = shop.settings.gate.model_copy(update={"rules": settings_with_rules(rules).gate.rules})
    run(shop.settings.model_copy(update={"gate": strict}), shop.run)
    assert shop.gate("overlap with champion")["verdict"] == "fail"
    assert "is not at least 0.99" in shop.gate("overlap with champion")["reason"]
    assert shop.gate("half the promise")["verdict"] == "pass"
    assert "budget 1e+12 ms" in (shop.run.folder / "decision" / "decision.html").read_text()  # the shop's own promise


def settings_with_rules(rules):
    return settings_module.load([f"gate.rules={json.dumps(rules)}"])
