"""Exports of a real recipe: written in whole, proven by asking, refused where anything is not as it should be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.artifacts import Artifact, seal, verify_folder
from pipeline.core.errors import CorruptArtifactError, MissingInputError, UsageError
from pipeline.core.run import Run
from pipeline.model.features import encode_queries
from pipeline.model.retriever import Retriever
from pipeline.optimize.exporting import graphs
from pipeline.optimize.exporting.export import export
from pipeline.optimize.judged import Judged
from pipeline.optimize.towers.keras_tower import LAYERS, WEIGHTS, kept

FORMS = ("savedmodel", "onnx")


@pytest.fixture(scope="module")
def registered(night):
    settings, run, _ = night
    digest = run.artifact("optimize").json("choice.json")["digest"]
    (run.folder / "register.json").write_text(json.dumps({"version": "7", "digest": digest, "mlflow_run_id": "none"}))
    return settings, run


def _asking(form: str, folder: Path):
    return graphs.open_onnx(folder) if form == "onnx" else graphs.open_saved_model(folder)


@pytest.mark.parametrize("form", FORMS)
def test_an_export_answers_like_the_bundle_it_came_from(registered, tmp_path: Path, form: str) -> None:
    settings, run = registered
    sentence = export(settings, run, tmp_path, form)
    folder = tmp_path / "two_tower" / "7"
    facts = json.loads((folder / "export.json").read_text())
    assert (facts["form"], facts["bundle"]) == (form, run.artifact("optimize").json("choice.json")["digest"])
    assert sentence.startswith(f"{folder} answers as bundle {facts['bundle'][:12]} does: 120 queries, cosine ")
    retriever = Retriever.load(run.artifact("optimize").file("bundle"))
    queries = Judged.load(run.artifact("prepare"), settings.shop.metric).queries[:40]
    features = encode_queries(retriever.config, retriever.catalogue.tower_index, queries)
    vectors_QD, rows_QK, scores_QK = _asking(form, folder)(features)
    expected_QK, places_QK = retriever.index.search(retriever.tower(features), settings.shop.k)
    assert ((vectors_QD * retriever.tower(features)).sum(axis=1) > 0.99).all()
    assert np.allclose(scores_QK, expected_QK, atol=0.02) and (rows_QK == places_QK).mean() > 0.8
    assert json.loads((folder / "items.json").read_text())[rows_QK[0, 0]].startswith("item-")
    assert verify_folder(folder) and [path.name for path in folder.parent.iterdir()] == ["7"]


def test_a_version_that_is_there_is_not_touched(registered, tmp_path: Path) -> None:
    (tmp_path / "two_tower" / "7").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"two_tower/7: this version is there already; remove it first"):
        export(*registered, tmp_path, "savedmodel")
    assert not list((tmp_path / "two_tower" / "7").iterdir())


def test_a_run_that_registered_nothing_has_no_version_to_export(registered, tmp_path: Path) -> None:
    settings, run = registered
    other = Run.open(run.root, "2024-05-09", "UTC")
    with pytest.raises(MissingInputError, match=r"Run 2024-05-09 registered no version; run .* register --run 2024"):
        export(settings, other, tmp_path, "savedmodel")


def test_the_command_ends_in_one_sentence(registered, tmp_path: Path) -> None:
    settings, _ = registered
    words = ["export", "--run", "2024-05-10", "--to", str(tmp_path), "--set", f"store.root={settings.store.root}"]
    ended = subprocess.run([sys.executable, "-m", "pipeline", *words], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 66 and "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("Run 2024-05-10 registered no version; run ")


def test_an_export_that_answers_otherwise_leaves_nothing(registered, tmp_path: Path, monkeypatch) -> None:
    # The items one row further: every history is read in other items' vectors, and other items are answered.
    settings, run = registered
    whole = graphs.graph_of
    monkeypatch.setattr(graphs, "graph_of", lambda tower, index, *rest: whole(tower, _Shifted(index), *rest))
    with pytest.raises(CorruptArtifactError, match=r"does not answer like its bundle .* nothing was written\."):
        export(settings, run, tmp_path, "savedmodel")
    assert not list((tmp_path / "two_tower").iterdir())


class _Shifted:
    def __init__(self, index) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        return np.roll(self._index.vectors(rows), 1, axis=0)


@pytest.mark.parametrize("part", ["bundle/query_tower.tflite.gz", "bundle/words.faiss", "bundle/golden.json.gz"])
def test_a_bundle_that_is_not_whole_is_not_exported(registered, tmp_path: Path, part: str) -> None:
    settings, run = _copied(registered, tmp_path)
    _spoil(run.artifact("optimize").file(part))
    with pytest.raises(CorruptArtifactError, match=rf"{Path(part).name}: this file was changed"):
        export(settings, run, tmp_path / "out", "savedmodel")


@pytest.mark.parametrize("part", [LAYERS, WEIGHTS])
def test_a_kept_tower_that_is_not_whole_is_not_exported(registered, tmp_path: Path, part: str) -> None:
    settings, run = _copied(registered, tmp_path)
    recipe = run.artifact("optimize").json("choice.json")["recipe"]
    _spoil(run.artifact("optimize", recipe).file(part))
    with pytest.raises(CorruptArtifactError, match=rf"{part}: this file was changed"):
        export(settings, run, tmp_path / "out", "savedmodel")


def test_a_bundle_of_another_run_in_its_place_is_not_exported(registered, tmp_path: Path) -> None:
    # Whole and sealed, but not the one this run registered.
    settings, run = _copied(registered, tmp_path)
    bundle, other = run.artifact("optimize").file("bundle"), run.artifact("optimize", "float32").file("bundle")
    shutil.rmtree(bundle)
    shutil.copytree(other, bundle)
    with pytest.raises(CorruptArtifactError, match=r"the bundle's digest is .*, expected "):
        export(settings, run, tmp_path / "out", "savedmodel")


@pytest.mark.parametrize(("name", "text"), [(LAYERS, "{}"), (LAYERS, "torn"), (WEIGHTS, "torn")])
def test_files_that_make_no_tower_are_named_even_where_their_digests_fit(
    registered, tmp_path: Path, name: str, text: str
) -> None:
    _, run = registered
    shutil.copytree(run.artifact("optimize", "float32").path, tmp_path / "recipe")
    (tmp_path / "recipe" / name).write_text(text)
    seal(tmp_path / "recipe")
    with pytest.raises(CorruptArtifactError, match=r"make no tower \(.*\); run optimize again with --force\.$"):
        kept(Artifact(tmp_path / "recipe"))


def test_without_its_packages_onnx_is_refused_in_a_sentence(registered, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(MissingInputError, match=r"tf2onnx, which the form onnx needs, is not installed; run `pip"):
        export(*registered, tmp_path, "onnx")
    assert not list(tmp_path.iterdir())


def _copied(registered, tmp_path: Path):
    settings, run = registered
    shutil.copytree(run.root, tmp_path / "var")
    return settings, Run.open(tmp_path / "var", run.run_id, "UTC")


def _spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
