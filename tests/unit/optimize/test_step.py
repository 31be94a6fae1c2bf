"""The step as a whole, on towers with a known right answer: real TF-MOT, real conversion, a real timing process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import settings as settings_module
from pipeline.core.artifacts import Artifact
from pipeline.core.errors import CorruptArtifactError, DataError, SettingsError
from pipeline.core.run import Run
from pipeline.model.bundle import open_bundle
from pipeline.model.goldens import check_goldens
from pipeline.model.retriever import Retriever
from pipeline.optimize import step
from pipeline.optimize.making import attempt
from pipeline.optimize.making.inputs import Inputs


def _rows(run: Run) -> dict[str, dict]:
    return {row["recipe"]: row for row in run.artifact("optimize").json("recipes.json")}


def test_every_recipe_is_measured_through_its_own_bundle(night) -> None:
    _, run, _ = night
    rows = _rows(run)
    assert list(rows) == ["float32", "dynamic_int8", "pruned_qat_int8"]
    for name, row in rows.items():
        bundle = open_bundle(run.artifact("optimize", name).file("bundle"), row["digest"])
        assert (bundle.recipe, bundle.bytes) == (name, row["bytes"])
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["recall"]["n"] == row["difference"]["n"] == 120


def test_recall_is_hits_among_the_answers_of_the_shipped_index(night) -> None:
    # Worked by hand from the definition: a recommendation on new targets with its history left out, a search on all.
    settings, run, _ = night
    inputs = Inputs(run.artifact("prepare"), run.artifact("train"), settings.shop.metric)
    retriever = Retriever.load(run.artifact("optimize", "dynamic_int8").file("bundle"))
    judged, shares = inputs.judged, []
    for query, kind, targets in zip(judged.queries, judged.kinds, judged.targets, strict=True):
        answer = retriever.recommend(query, settings.shop.k, exclude_seen=kind == "recommend")
        shares.append(len({item.item_id for item in answer.items} & set(targets)) / len(targets))
        assert len(targets) == (4 if kind == "recommend" else 5)
    row = _rows(run)["dynamic_int8"]
    assert row["recall"]["mean"] == pytest.approx(np.mean(shares), abs=0.005)
    # A taste has twenty items, sixteen of them unseen, of which any four are targets: an answer of five random ones of
    # the right taste finds 5/16; one that knew no taste would find 5/196.
    assert 0.2 < row["recall_by_kind"]["recommend"] < 0.6


def test_int8_keeps_what_float32_finds_at_a_fraction_of_the_bytes(night) -> None:
    _, run, _ = night
    rows = _rows(run)
    assert rows["dynamic_int8"]["recall"]["mean"] > 0.95 * rows["float32"]["recall"]["mean"]
    assert rows["float32"]["bytes"] > 2 * rows["dynamic_int8"]["bytes"]
    assert rows["float32"]["index_recall"] == 1.0 and 0.9 < rows["dynamic_int8"]["index_recall"] <= 1.0


def test_pruned_weights_are_zero_after_quantization_aware_training(night) -> None:
    settings, run, _ = night
    row = _rows(run)["pruned_qat_int8"]
    assert row["dense_sparsity"] >= settings.optimize.sparsity
    assert row["recall"]["mean"] > 0.7 * _rows(run)["float32"]["recall"]["mean"]


def test_the_chosen_bundle_is_handed_on_whole_and_answers_its_goldens(night) -> None:
    _, run, report = night
    choice = run.artifact("optimize").json("choice.json")
    retriever = Retriever.load(run.artifact("optimize").file("bundle"), choice["digest"])
    assert report.digests["bundle"] == choice["digest"] and report.verdict == choice["recipe"]
    assert check_goldens(retriever) == []
    assert {golden["path"] for golden in retriever.bundle.goldens} == {"/v1/recommend", "/v1/search"}
    fallbacks = [golden["answer"]["fallback"] for golden in retriever.bundle.goldens]
    assert {"empty_history", "unknown_items", None} == set(fallbacks)
    assert retriever.bundle.data_end == "2024-05-08T00:00:00+00:00"
    assert retriever.bundle.manifest["keys"] == {"prepare": "prepare-key", "train": "train-key"}


def test_exactly_one_recipe_is_chosen_and_every_other_says_why_not(night) -> None:
    _, run, report = night
    verdicts = [row["verdict"] for row in _rows(run).values()]
    assert verdicts.count("chosen") == 1
    assert all(row["reason"] for row in _rows(run).values())
    assert f"{report.verdict} chosen: " in report.sentence and "x smaller than float32" in report.sentence


def test_the_picture_is_written_as_svg_and_png(night) -> None:
    _, run, _ = night
    artifact = run.artifact("optimize")
    assert artifact.file("pareto.svg").read_text().rstrip().endswith("</svg>")
    assert artifact.file("pareto.png").read_bytes()[:4] == b"\x89PNG"


def test_a_second_run_under_the_same_settings_makes_nothing_again(night) -> None:
    settings, run, report = night
    again = step.run(settings, run)
    assert again.cached and again.digests == report.digests


def test_another_budget_chooses_anew_without_trying_the_recipes_again(night, monkeypatch) -> None:
    # The int8 bundles are above 0.01 MB as the float32 one is, so nothing can ship; had a recipe been tried again, it
    # would have met the broken converter instead.
    settings, run, _ = night
    monkeypatch.setattr(attempt, "carry_out", lambda *_: pytest.fail("tried again"))
    recipes = f"optimize.recipes={json.dumps(settings.optimize.recipes)}"
    root = f"store.root={settings.store.root}"
    fast = "optimize.latency_requests=60"
    tight = settings_module.load([root, recipes, fast, "shop.k=5", "optimize.max_bundle_mb=0.01"])
    with pytest.raises(DataError, match=r"No recipe can ship \(float32: bundle 0\.\d+ MB, budget 0\.010 MB"):
        step.run(tight, run)


def test_a_killed_run_repeats_only_the_recipe_it_had_not_finished(night) -> None:
    # What a kill leaves: two recipes in the store, the third and the choice not.
    settings, run, report = night
    before = {part: artifact.path for part, artifact in run.artifacts("optimize").items()}
    made = {part: path.stat().st_mtime_ns for part, path in before.items()}
    shutil.rmtree(before[""])
    shutil.rmtree(before["dynamic_int8"])
    again = step.run(settings, run)
    assert {part for part, path in before.items() if path.stat().st_mtime_ns == made[part]} == {
        "float32",
        "pruned_qat_int8",
    }
    assert not again.cached and again.digests == report.digests


def test_a_failed_recipe_is_a_row_not_the_end_of_the_night(night, monkeypatch) -> None:
    settings, whole, _ = night
    # A run of its own: whoever asks the night later finds its own choice.
    run = Run.open(whole.root, "failing", "UTC", whole.days)
    for stage in ("prepare", "train"):
        run.refer(stage, whole.artifact(stage).key)
    monkeypatch.setattr(attempt, "apply", _broken)
    other = ["optimize.sparsity=0.3", "optimize.recipes=[pruned_qat_int8]", "optimize.latency_requests=50", "shop.k=5"]
    report = step.run(settings_module.load([f"store.root={settings.store.root}", *other]), run)
    rows = _rows(run)
    assert rows["pruned_qat_int8"]["verdict"] == "failed" and rows["float32"]["verdict"] == "chosen"
    assert rows["pruned_qat_int8"]["reason"] == "ValueError: this converter broke"
    assert "pruned_qat_int8 failed: ValueError: this converter broke" in report.sentence


def _broken(*_):
    raise ValueError("this converter broke\nand said more")


def test_a_failed_yardstick_ends_the_step_in_a_sentence(world: Path, tmp_path: Path, monkeypatch) -> None:
    settings, run = _copied(world, tmp_path)
    monkeypatch.setattr(attempt, "carry_out", _broken)
    with pytest.raises(DataError, match=r"The recipe float32 failed \(ValueError: this converter broke\)"):
        step.run(settings, run)
    assert not [path for path in (settings.store.root / "store/optimize").glob("*") if path.name[0] != "."]


def test_torn_weights_are_named_in_a_sentence(world: Path, tmp_path: Path) -> None:
    settings, run = _copied(world, tmp_path)
    (run.artifact("train").path / "query_tower.weights.h5").write_bytes(b"torn")
    with pytest.raises(CorruptArtifactError, match=r"query_tower\.weights\.h5: these weights do not load"):
        step.run(settings, run)


def test_vectors_of_other_items_than_prepared_are_refused(world: Path, tmp_path: Path) -> None:
    settings, run = _copied(world, tmp_path)
    np.save(run.artifact("train").path / "item_vectors.npy", np.zeros((100, 16), np.float32))
    with pytest.raises(DataError, match=r"holds vectors of 99 items and .* 200; run train again"):
        step.run(settings, run)


def test_queries_without_targets_are_refused_in_a_sentence(world: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    settings, run = _copied(world, tmp_path)
    path = run.artifact("prepare").path / "validation.parquet"
    parquet.write_table(parquet.read_table(path).slice(0, 0), path)
    with pytest.raises(DataError, match=r"none of 0 validation queries has a target under shop\.metric=new_items"):
        step.run(settings, run)


def _copied(world: Path, tmp_path: Path):
    shutil.copytree(world, tmp_path / "var", ignore=shutil.ignore_patterns("optimize", "optimize.json"))
    settings = settings_module.load([f"store.root={tmp_path / 'var'}", "optimize.recipes=[float32]"])
    return settings, Run.open(tmp_path / "var", "2024-05-08", "UTC")


def test_an_unknown_recipe_is_refused_with_the_nearest_name(night) -> None:
    settings, run, _ = night
    wrong = settings_module.load([f"store.root={settings.store.root}", "optimize.recipes=[dynamc_int8]"])
    with pytest.raises(SettingsError, match=r"names 'dynamc_int8', which is no recipe; did you mean dynamic_int8\?"):
        step.run(wrong, run)


def test_the_table_is_plain_json(night) -> None:
    _, run, _ = night
    text = Artifact(run.artifact("optimize").path).file("recipes.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)
