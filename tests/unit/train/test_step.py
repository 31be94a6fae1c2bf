"""The step `train` as a whole, on the two-taste shop, with a real MLflow store."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as parquet
import pytest

from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact
from pipeline.core.errors import BusyError, DataError, MissingInputError, SettingsError
from pipeline.core.run import Run
from pipeline.core.sections import Shop, Train
from pipeline.core.settings import Settings
from pipeline.model.baselines import BASELINES
from pipeline.store.leases import leased
from pipeline.train.prepared import Prepared
from pipeline.train.step import run as train

LEARNT = Train(
    dim=8, hidden_units=16, history_length=4, text_buckets=64, batch_size=32, uniform_negatives=8, epochs=6,
    learning_rate=0.01,
)  # fmt: skip


def shop_settings(settings: Settings, **given: object) -> Settings:
    return settings.model_copy(update={"train": LEARNT.model_copy(update=given), "shop": Shop(k=3)})


def run_of(settings: Settings, prepared: Artifact | None) -> Run:
    run = Run.open(settings.store.root, "2011-12-08", "UTC")
    if prepared:
        place = run.layout.artifact("prepare", "0" * 32)
        if not place.exists():
            shutil.copytree(prepared.path, place)
        run.refer("prepare", place.name)
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Run]:
    """One run of the step that all tests below look at."""
    from tests.unit.train.conftest import make_prepared

    folder = tmp_path_factory.mktemp("trained")
    settings = shop_settings(Settings(store={"root": folder / "var"}))  # type: ignore[arg-type]
    run = run_of(settings, make_prepared(folder / "prepared"))
    train(settings, run)
    return settings, run


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same training in bfloat16, with everything one can ask to see of it."""
    from tests.unit.train.conftest import make_prepared

    folder = tmp_path_factory.mktemp("looked_at")
    settings = shop_settings(
        Settings(store={"root": folder / "var"}),  # type: ignore[arg-type]
        precision="bfloat16",
        tensorboard=True,
        profile_steps=3,
        figures_seconds=0,
    )
    run = run_of(settings, make_prepared(folder / "prepared"))
    train(settings, run)
    return run.artifact("train")


def test_bfloat16_finds_about_as_much_as_float32(trained: tuple[Settings, Run], looked_at: Artifact) -> None:
    full, half = (
        next(row["value"] for row in artifact.json("metrics.json")["rows"] if row["slice"] == "judged")
        for artifact in (trained[1].artifact("train"), looked_at)
    )
    assert half == pytest.approx(full, abs=0.1)
    assert_towers_give_the_saved_vectors(looked_at, trained[1].artifact("prepare"))


def test_curves_for_tensorboard_hold_epochs_and_steps(looked_at: Artifact) -> None:
    from pipeline.model.keras import tf

    found: dict[str, list[int]] = {}
    for path in (looked_at.path / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    epochs = len(looked_at.json("history.json")["epochs"])
    assert found["validation.recall.3"] == list(range(1, epochs + 1))
    # 660 targets make 21 steps of 32, looked at once every 20.
    assert found["step.loss"] == [20 + 21 * epoch for epoch in range(epochs)]


def test_a_profile_says_how_much_of_the_time_is_the_step(looked_at: Artifact) -> None:
    found = looked_at.json("profile/profile.json")
    assert found["steps"] == 3
    assert found["wall_seconds"] == pytest.approx(found["step_seconds"] + found["waiting_seconds"])
    assert 0 < found["step_share"] <= 1
    assert any(name.endswith(".xplane.pb") for name in looked_at.manifest["files"])


def test_it_hands_on_every_file_of_the_contract(trained: tuple[Settings, Run]) -> None:
    artifact = trained[1].artifact("train")
    names = {"towers.json", "query_tower.weights.h5", "item_tower.weights.h5", "item_vectors.npy", "metrics.json"}
    names |= {"history.json", "per_query_validation.parquet", "curves.svg", "table.svg"}
    names |= {"start.json", "item_ids.parquet", "repeats.json", "lexical.json"}
    assert names <= set(artifact.manifest["files"])
    artifact.verify()


def test_it_learns_tastes_that_popularity_cannot_know(trained: tuple[Settings, Run]) -> None:
    rows = trained[1].artifact("train").json("metrics.json")["rows"]
    found = {(row["model"], row["slice"]): row for row in rows if row["metric"] == "recall@3"}
    # Six of the user's own ten items are new and three of them are targets, so knowing the taste gives .5 on average;
    # popularity knows sixteen items that are new, of which three are targets: 3/16.
    assert found["two_tower", "judged"]["value"] > 0.4
    assert found["two_tower", "judged"]["low"] > found["popularity", "judged"]["value"]
    assert {model for model, _ in found} == {"two_tower", *BASELINES}


def test_saved_towers_give_the_saved_vectors(trained: tuple[Settings, Run]) -> None:
    assert_towers_give_the_saved_vectors(trained[1].artifact("train"), trained[1].artifact("prepare"))


def assert_towers_give_the_saved_vectors(artifact: Artifact, prepared: Artifact) -> None:
    from pipeline.model.config import TowerConfig
    from pipeline.model.features import encode_items
    from pipeline.model.towers import build_item_tower

    config = TowerConfig.load(artifact.file("towers.json"))
    tower = build_item_tower(config)
    tower.load_weights(str(artifact.file("item_tower.weights.h5")))
    vectors = np.load(artifact.file("item_vectors.npy"))
    again = tower(encode_items(config, Prepared.load(prepared).items)).numpy()
    assert again == pytest.approx(vectors[1:], abs=1e-6)
    assert not vectors[0].any()


def test_there_is_one_row_of_values_a_validation_query(trained: tuple[Settings, Run]) -> None:
    table = parquet.read_table(trained[1].artifact("train").file("per_query_validation.parquet"))
    assert table.column_names[:3] == ["query_id", "user", "kind"]
    assert {"recall@3_judged", "mrr@3_all_items", "ndcg@3_new_items"} <= set(table.column_names)
    assert table.num_rows == 40


def test_the_same_training_is_not_done_twice_and_leaves_no_checkpoint(trained: tuple[Settings, Run]) -> None:
    settings, run = trained
    again = train(settings, run)
    assert again.cached
    assert list((run.root / "checkpoints").iterdir()) == []


def test_mlflow_has_settings_live_figures_and_the_table(trained: tuple[Settings, Run]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{trained[0].store.root / 'mlflow.sqlite'}")
    experiment = client.get_experiment_by_name(trained[0].register.experiment)
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert runs["train"].info.status == "FINISHED"
    assert runs["train"].data.params["train.dim"] == "8"
    epochs = len(trained[1].artifact("train").json("history.json")["epochs"])
    assert len(client.get_metric_history(runs["train"].info.run_id, "validation.recall.3")) == epochs
    assert "two_tower.recall.3.judged" in runs["train"].data.metrics
    assert {"curves.svg", "table.svg"} <= {f.path for f in client.list_artifacts(runs["train"].info.run_id)}
    tags = runs["train"].data.tags
    assert tags["standing"] == trained[1].artifact("train").json("metrics.json")["standing"]
    assert tags["mlflow.note.content"] == f"**{tags['standing']}**"


def test_a_second_trainer_of_the_same_model_is_told_who_is_at_it(settings: Settings, prepared_shop: Artifact) -> None:
    settings = shop_settings(settings)
    run = run_of(settings, prepared_shop)
    key = artifacts.input_key("train", {"prepare": "0" * 32}, settings.keyed("train", "shop"))
    with leased(settings, f"train-{key}", "tonight"), pytest.raises(BusyError, match="run tonight"):
        train(settings, run)


def test_without_a_training_set_it_says_which_step_to_run(settings: Settings) -> None:
    with pytest.raises(MissingInputError, match="pipeline prepare --run 2011-12-08"):
        train(shop_settings(settings), run_of(settings, None))


def test_a_loss_that_is_no_number_ends_in_a_sentence(settings: Settings, prepared_shop: Artifact) -> None:
    settings = shop_settings(settings, learning_rate=1e30)
    run = run_of(settings, prepared_shop)
    with pytest.raises(DataError, match=r"The loss is .* at epoch 1, step \d+; lower train\.learning_rate"):
        train(settings, run)
    assert run.artifacts("train") == {}


def test_no_epochs_hand_on_the_weights_as_they_were_drawn(settings: Settings, prepared_shop: Artifact) -> None:
    settings = shop_settings(settings, epochs=0)
    report = train(settings, run_of(settings, prepared_shop))
    assert report.counts["epochs"] == 0


def test_too_small_a_training_set_is_refused(prepared_shop: Artifact) -> None:
    np.save(prepared_shop.path / "targets.npy", np.arange(3))
    with pytest.raises(DataError, match="3 training targets over 20 items are too few"):
        Prepared.load(prepared_shop)


def test_arrays_that_do_not_fit_are_refused(prepared_shop: Artifact) -> None:
    np.save(prepared_shop.path / "sequence_types.npy", np.zeros(5, np.uint8))
    with pytest.raises(DataError, match="arrays do not fit each other"):
        Prepared.load(prepared_shop)


def test_price_bands_hold_equal_numbers_of_items(settings: Settings, prepared_shop: Artifact) -> None:
    from pipeline.train.learn import tower_config

    prepared = Prepared.load(prepared_shop)
    config = tower_config(settings, prepared)
    # Prices 1 to 20 in ten bands: edges at the deciles, two items a band.
    assert len(config.price_edges) == 9
    nameless = replace(prepared, items=[replace(item, price=None) for item in prepared.items])
    assert tower_config(settings, nameless).price_edges == ()
    assert json.loads(json.dumps(config.price_edges)) == list(config.price_edges)


def test_what_a_log_never_tells_gets_no_table(settings: Settings, prepared_shop: Artifact) -> None:
    from pipeline.train.learn import tower_config

    prepared = Prepared.load(prepared_shop)
    told = tower_config(settings, prepared)
    # The small shop has categories and titles, and no brands.
    assert (told.category_buckets, told.text_buckets, told.brand_buckets) == (2048, settings.train.text_buckets, 1)
    silent = replace(prepared, queries=[], items=[replace(item, title=None, category=None) for item in prepared.items])
    bare = tower_config(settings, silent)
    assert (bare.category_buckets, bare.text_buckets, bare.brand_buckets) == (1, 1, 1)


def test_the_catalogue_of_steps_finds_it() -> None:
    from pipeline.steps import BY_NAME

    assert BY_NAME["train"].load() is train


def test_titles_and_hidden_ids_are_for_items_that_have_content(prepared_shop: Artifact) -> None:
    prepared = Prepared.load(prepared_shop)
    assert prepared.described_n1.tolist() == [False] + [True] * len(prepared.items)
    bare = [replace(item, category=None, brand=None, title=None, price=None) for item in prepared.items[:1]]
    assert replace(prepared, items=bare).described_n1.tolist() == [False, False]


def test_heads_that_do_not_divide_the_width_are_refused(tracked: Settings, prepared_shop: Artifact) -> None:
    settings = shop_settings(tracked, heads=3)
    with pytest.raises(SettingsError, match=r"train\.dim is 8, which train\.heads=3 cannot share evenly"):
        train(settings, run_of(settings, prepared_shop))
