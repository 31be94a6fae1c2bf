"""Exports of a real recipe: written in whole, proven by asking, refused where anything is not as it should be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.artifacts import verify_folder
from pipeline.model.features import encode_queries
from pipeline.model.retriever import Retriever
from pipeline.optimize.export import export
from pipeline.optimize.judged import Judged

FORMS = ("savedmodel", "onnx")


@pytest.fixture(scope="module")
def registered(night):
    settings, run, _ = night
    digest = run.artifact("optimize").json("choice.json")["digest"]
    (run.folder / "register.json").write_text(json.dumps({"version": "7", "digest": digest, "mlflow_run_id": "none"}))
    return settings, run


def _asking(form: str, folder: Path):
    from pipeline.optimize import graphs

    return graphs.open_onnx(folder) if form == "onnx" else graphs.open_saved_model(folder)


@pytest.mark.parametrize("form", FORMS)
def test_an_export_answers_like_the_bundle_it_came_from(registered, tmp_path: Path, form: str) -> None:
    settings, run = registered
    sentence = export(settings, run, tmp_path, form)
    folder = tmp_path / "two_tower" / "7"
    facts = json.loads((folder / "export.json").read_text())
    print(sentence, facts["proof"])
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
