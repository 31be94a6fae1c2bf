"""The registry's side of a night, on a real MLflow store."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from pipeline.core.artifacts import digest_of_file
from pipeline.core.errors import CorruptArtifactError, UnavailableError
from pipeline.core.settings import Settings
from pipeline.core.spent import Spent
from pipeline.model.bundle import open_bundle
from pipeline.model.goldens import differences
from pipeline.register import step
from pipeline.register.card import write_card
from pipeline.register.lineage import code_commit, numbers, trace
from pipeline.register.packaging import pack, requests_frame
from pipeline.store.tracking import Tracking
from tests.conftest import PSEUDONYM_KEY
from tests.fixtures.nights import bundle_of, crown, make_night, resealed, with_section


def test_a_version_answers_its_bundles_goldens_when_mlflow_loads_it(tracked: Settings, tiny_bundle: Path) -> None:
    run = make_night(tracked, tiny_bundle, "2024-05-01")
    step.run(tracked, run)
    version = json.loads((run.folder / "register.json").read_text())["version"]
    mlflow.set_tracking_uri(tracked.register.tracking_uri)

    model = mlflow.pyfunc.load_model(f"models:/{tracked.register.model_name}/{version}")
    answers = model.predict(requests_frame(bundle_of(run))).to_dict("records")

    goldens = bundle_of(run).goldens
    assert len(answers) == len(goldens) > 0
    for golden, found in zip(goldens, answers, strict=True):
        items = [{"item_id": i, "score": s} for i, s in zip(found["item_ids"], found["scores"], strict=True)]
        assert differences(golden["answer"], {"items": items, "fallback": found["fallback"]}) == []


def test_the_input_example_fits_the_signature_and_is_answered_by_the_version(
    tracked: Settings, tiny_bundle: Path
) -> None:
    run = make_night(tracked, tiny_bundle, "2024-05-01")
    step.run(tracked, run)
    mlflow.set_tracking_uri(tracked.register.tracking_uri)
    uri = f"models:/{tracked.register.model_name}/1"
    model = mlflow.pyfunc.load_model(uri)
    example = model.input_example
    with pytest.raises(mlflow.MlflowException, match="missing inputs"):
        model.predict(example.drop(columns="history_item_ids"))
    (answer,) = model.predict(example).to_dict("records")
    expected = bundle_of(run).goldens[0]["answer"]
    assert answer["item_ids"] == [item["item_id"] for item in expected["items"]]
    assert len(answer["item_ids"]) == 10
    assert {column.name for column in model.metadata.get_output_schema()} == set(answer)


def test_the_night_names_the_data_it_read_once_by_digest(tracked: Settings, tiny_bundle: Path) -> None:
    run = make_night(tracked, tiny_bundle, "2024-05-01")
    lineage, tracking = trace(run), Tracking.connect(tracked)
    for _ in range(2):
        step.run(tracked, run)
        tracking.tag_version("1", {"digest": "of another bundle"})  # so that all is logged a second time
    found = mlflow.MlflowClient(tracked.register.tracking_uri).get_run(tracking.night(run.run_id).run_id).inputs
    read = {each.dataset.name: (each.dataset.digest, each.tags[0].value) for each in found.dataset_inputs}
    prepared = run.artifact("prepare")
    assert read == {
        "window 2024-01-01..2024-05-01": (lineage.data_sets[0].digest[:36], "source"),
        "training set": (prepared.digest[:36], "training"),
        "validation": (
            digest_of_file(prepared.file("validation.parquet"))[:36],
            "early stopping and the choice of a recipe",
        ),
        "test": (digest_of_file(prepared.file("test.parquet"))[:36], "the gate alone"),
    }
    assert len(found.dataset_inputs) == 4
    (window,) = [each.dataset for each in found.dataset_inputs if each.dataset.name.startswith("window")]
    assert json.loads(window.profile) == {"ingest 2024-05-01": run.artifact("ingest", "2024-05-01").key}
    assert json.loads(window.source) == {"uri": str(prepared.path)}


def test_registering_twice_makes_one_version_and_one_challenger(tracked: Settings, tiny_bundle: Path) -> None:
    run = make_night(tracked, tiny_bundle, "2024-05-01")
    first = step.run(tracked, run)
    note = json.loads((run.folder / "register.json").read_text())
    assert step.run(tracked, run) == first
    assert json.loads((run.folder / "register.json").read_text()) == note

    tracking = Tracking.connect(tracked)
    assert note["digest"] == bundle_of(run).digest
    assert tracking.aliases() == {"challenger": note["version"]} == {"challenger": "1"}
    tags = tracking.version_tags("1")
    assert (tags["digest"], tags["run_id"], tags["data_end"]) == (
        note["digest"],
        run.run_id,
        "2024-05-01T00:00:00+00:00",
    )
    assert json.loads(tags["keys"])["optimize"] == run.artifact("optimize").key


def test_the_night_holds_settings_without_secrets_and_nested_runs(tracked: Settings, tiny_bundle: Path) -> None:
    run = make_night(tracked, tiny_bundle, "2024-05-01")
    step.run(tracked, run)
    client = mlflow.MlflowClient(tracked.register.tracking_uri)
    night = Tracking.connect(tracked).night(run.run_id)
    parameters = client.get_run(night.run_id).data.params
    assert parameters["train.epochs"] == str(tracked.train.epochs)
    assert PSEUDONYM_KEY not in json.dumps(parameters)
    records = Path(client.download_artifacts(night.run_id, "records"))
    assert not [p for p in records.rglob("*") if PSEUDONYM_KEY in p.read_text()]
    plots = {f.path for f in client.list_artifacts(night.run_id, "plots")}
    assert plots == {"plots/curves.svg", "plots/table.svg", "plots/pareto.svg"}

    experiment = client.get_experiment_by_name(tracked.register.experiment).experiment_id
    runs = {r.info.run_name: r for r in client.search_runs([experiment])}
    parents = {name: r.data.tags.get("mlflow.parentRunId") for name, r in runs.items()}
    train = runs["train"].info.run_id
    assert parents == {run.run_id: None, "train": night.run_id, "recipe float32": train, "recipe test_int8": train}
    assert [m.value for m in client.get_metric_history(train, "loss")] == [3.5, 3.0]
    assert runs["train"].data.metrics["two_tower.recall.20.judged"] == 0.25
    assert "popularity.recall.20.judged/search" not in runs["train"].data.metrics
    assert runs["recipe test_int8"].data.metrics["recall.mean"] == 0.24


def test_a_dry_run_registers_nothing_and_does_not_even_reach_mlflow(settings: Settings, tiny_bundle: Path) -> None:
    nowhere = with_section(settings, "register", tracking_uri="http://127.0.0.1:9")
    run = make_night(nowhere, tiny_bundle, "2024-05-01", dry_run=True)
    step.run(nowhere, run)
    note = json.loads((run.folder / "register.json").read_text())
    assert note == {"version": None, "digest": bundle_of(run).digest, "mlflow_run_id": None}


def test_a_backfill_gets_a_version_and_no_alias(tracked: Settings, tiny_bundle: Path) -> None:
    run = make_night(tracked, tiny_bundle, "2024-05-01", backfill=True)
    step.run(tracked, run)
    assert json.loads((run.folder / "register.json").read_text())["version"] == "1"
    assert Tracking.connect(tracked).aliases() == {}


def test_a_bundle_whose_data_end_no_later_than_the_champions_is_a_backfill_too(
    tracked: Settings, tiny_bundle: Path
) -> None:
    crown(tracked, tiny_bundle, "2024-05-02")
    older, newer = (make_night(tracked, tiny_bundle, f"2024-05-0{day}") for day in (1, 3))
    assert step.run(tracked, older).sentence.endswith("registered as a backfill.")
    assert Tracking.connect(tracked).aliases() == {}
    assert step.run(tracked, newer).sentence.endswith("the challenger.")
    assert Tracking.connect(tracked).aliases() == {"challenger": "2"}


def test_a_tampered_bundle_is_not_registered(tracked: Settings, tiny_bundle: Path) -> None:
    run = make_night(tracked, tiny_bundle, "2024-05-01")
    items = run.artifact("optimize").path / "bundle" / "items.npz.gz"
    items.write_bytes(items.read_bytes() + b" ")
    with pytest.raises(CorruptArtifactError, match=r"items\.npz\.gz: this file was changed"):
        step.run(tracked, run)
    assert not (run.folder / "register.json").exists()


def test_another_whole_bundle_in_the_chosen_ones_place_is_not_registered(
    tracked: Settings, tiny_bundle: Path, tmp_path: Path
) -> None:
    run = make_night(tracked, tiny_bundle, "2024-05-01")
    chosen, other = run.artifact("optimize").path, resealed(tiny_bundle, tmp_path / "other", "2024-05-02")
    (chosen / "choice.json").write_text(json.dumps({"recipe": "test_int8", "digest": bundle_of(run).digest}))
    shutil.rmtree(chosen / "bundle")
    shutil.copytree(other.path, chosen / "bundle")
    with pytest.raises(CorruptArtifactError, match=rf"digest is {other.digest[:12]}, expected"):
        step.run(tracked, run)


@pytest.mark.parametrize("how", ["changed", "truncated", "mixed"])
def test_mlflow_loads_no_bundle_that_is_not_the_one_registered(
    settings: Settings, tiny_bundle: Path, tmp_path: Path, how: str
) -> None:
    model = pack(open_bundle(tiny_bundle), tmp_path)
    packed = model / "artifacts" / tiny_bundle.name
    index, content = packed / "item_index.faiss", (packed / "item_index.faiss").read_bytes()
    if how == "mixed":
        # Whole in itself, but of another night.
        shutil.rmtree(packed)
        resealed(tiny_bundle, packed, "2024-05-02")
    else:
        index.write_bytes(content[:-9] if how == "truncated" else bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(CorruptArtifactError) as refusal:
        mlflow.pyfunc.load_model(str(model))
    assert ("expected" if how == "mixed" else "item_index.faiss: this file was changed") in str(refusal.value)


def test_the_card_tells_the_version_skew_in_a_line(settings: Settings, tiny_bundle: Path) -> None:
    run = make_night(settings, tiny_bundle, "2024-05-01")
    lineage = trace(run)
    assert "Version skew" not in write_card(lineage, bundle_of(run))
    skew = {"champion": "ab" * 32, "sentence": "does not fit: another length of vectors"}
    card = write_card(replace(lineage, choice={**lineage.choice, "skew": skew}), bundle_of(run))
    assert "Version skew, against champion `abababababab`: does not fit: another length of vectors." in card


def test_a_silent_mlflow_is_one_sentence_naming_it(settings: Settings, tiny_bundle: Path) -> None:
    nowhere = with_section(settings, "register", tracking_uri="http://127.0.0.1:9")
    run = make_night(nowhere, tiny_bundle, "2024-05-01")
    with pytest.raises(UnavailableError, match=r"MLflow at http://127\.0\.0\.1:9 does not answer"):
        step.run(nowhere, run)


def test_the_card_shows_intervals_recipes_and_the_datas_end(settings: Settings, tiny_bundle: Path) -> None:
    run = make_night(settings, tiny_bundle, "2024-05-01")
    card = write_card(trace(run), bundle_of(run))
    assert "**Clearly better in recall@20 than every baseline.**" in card
    assert "| recall@20 | judged/search | - | - |" in card
    assert "| recall@20 | judged | 0.25 [0.2, 0.3] | 0.1 [0.05, 0.15] |" in card
    # .24 of .25 is 96 %, and .01 less or more of the difference 4 % less or more.
    assert "| 1 | test_int8 | chosen | 0.2400 | 96.0 (92.0 to 100.0) | 4.00 | - | 1.000 | 80 | - |" in card
    assert "2024-05-01 00:00 UTC was seen" in card
    assert bundle_of(run).digest in card


def test_the_card_says_what_for_what_not_and_whom_it_serves_worst(settings: Settings, tiny_bundle: Path) -> None:
    run = make_night(settings, tiny_bundle, "2024-05-01")
    card = write_card(trace(run), bundle_of(run))
    heads = [line.removeprefix("### ") for line in card.splitlines() if line.startswith("### ")]
    assert [head.partition(",")[0] for head in heads] == [
        "Use", "Accuracy on validation", "Biases", "Limits", "Data", "Recipes tried", "Where it comes from",
    ]  # fmt: skip
    biases = card.partition("### Biases")[2].partition("###")[0].strip().splitlines()
    assert "| coverage@20 | judged | 0.6 | 0.02 |" in biases
    assert "| popularity_percentile@20 | judged | 0.75 | 0.99 |" in biases
    # Worst first; the overall figure is no slice.
    assert biases[-2:] == ["| no history | 0.125 [0.1, 0.4] | 10 |", "| history of 1 to 4 | 0.3 [0.1, 0.4] | 30 |"]
    assert "coverage" not in card.partition("### Accuracy")[2].partition("###")[0]


def test_lineage_names_every_key_and_the_code(settings: Settings, tiny_bundle: Path) -> None:
    run = make_night(settings, tiny_bundle, "2024-05-01")
    lineage = trace(run)
    assert set(lineage.keys) == {"ingest/2024-05-01", "validate", "prepare", "train", "optimize"}
    assert lineage.keys["train"] == run.artifact("train").key
    assert lineage.commit == code_commit()


def test_numbers_are_found_under_their_dotted_path() -> None:
    values = {"recall": {"mean": 0.25, "n": 4}, "kept": True, "name": "x", "loss": 3, "none": None}
    assert dict(numbers(values)) == {"recall.mean": 0.25, "recall.n": 4.0, "loss": 3.0}


def test_a_version_says_what_it_costs_before_and_after(tracked: Settings, tiny_bundle: Path) -> None:
    run = make_night(tracked, tiny_bundle, "2024-05-01")
    run.note_time(Spent("train", "2024-05-01T00:00:00+00:00", 1800.0, 3000.0, 2, "host", "done"))
    step.run(tracked, run)
    told = mlflow.MlflowClient(tracked.register.tracking_uri).get_model_version(tracked.register.model_name, "1")
    # 1 ms and .5 ms of tower and index: 1,000 and 500 core-seconds for a million. Half an hour of 2 cores at .048.
    assert "| core-seconds for a million requests, s | 1,000 | 500 | tower and index alone |" in told.description
    assert "| train | 1,800 | 3,000 | 0.048 | 1 process |" in told.description
    account = json.loads((run.folder / "cost.json").read_text())
    assert [table["title"] for table in account] == [
        "Serving, before and after compression",
        "This night",
        "This model, once promoted",
    ]
