"""A registered bundle in another form, in the layout TensorFlow Serving and others read: MODEL/VERSION/.

It is written beside its place, asked what the bundle is asked, and switched in only if it answers alike. What it
computes with is the recipe's tower before LiteRT's converter rounded its weights, for bytes of a recipe's weights exist
in LiteRT alone; vectors of items and words are those of the bundle's stores, as they are stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from pipeline.core import artifacts
from pipeline.core.errors import MissingInputError, UsageError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.model.retriever import Retriever
from pipeline.model.served import load_stores
from pipeline.optimize.exporting.parity import Proof, prove
from pipeline.optimize.judged import Judged
from pipeline.optimize.making import attempt
from pipeline.optimize.making.recipes import BY_NAME
from pipeline.optimize.towers.keras_tower import kept

FACTS, ITEMS = "export.json", "items.json"
PACKAGES = {"savedmodel": ("tensorflow",), "onnx": ("onnx", "onnxruntime")}


def export(settings: Settings, run: Run, to: Path, form: str) -> str:
    """Writes the bundle a run registered to `to / model / version` and returns what came of it in one sentence.

    Args: form: `savedmodel` or `onnx`.

    Raises:
        UsageError: that version is there already.
        MissingInputError: the run registered nothing, or packages are missing.
        CorruptArtifactError: the bundle or the tower kept beside it is not whole, or the export answers differently.
    """
    digest, version = _registered(run)
    final = to.resolve() / settings.register.model_name / version
    if final.exists():
        raise UsageError(f"{final}: this version is there already; remove it first, or export to another folder.")
    chosen = run.artifact("optimize")
    bundle = chosen.file(attempt.BUNDLE)
    retriever = Retriever.load(bundle, digest)
    recipe = _recipe(retriever, bundle)
    tower = kept(run.artifact("optimize", recipe))
    judged = Judged.load(run.artifact("prepare"), settings.shop.metric)
    write = _writer(form)
    proofs: list[Proof] = []

    def fill(folder: Path) -> None:
        from pipeline.optimize.exporting.graphs import graph_of

        ask = write(graph_of(tower, *load_stores(bundle), retriever.config.text_length, settings.shop.k), folder)
        proofs.append(prove(ask, retriever, judged, settings.shop.k, BY_NAME[recipe].weights))
        facts = _facts(form, version, retriever, proofs[0], settings.shop.k)
        (folder / FACTS).write_text(json.dumps(facts, indent=1))
        (folder / ITEMS).write_text(json.dumps(retriever.catalogue.ids, ensure_ascii=False))

    artifacts.build(final, fill)
    return f"{final} answers as bundle {retriever.bundle.digest[:12]} does: {proofs[0].sentence}"


def _registered(run: Run) -> tuple[str, str]:
    note = run.folder / "register.json"
    fields = json.loads(note.read_text()) if note.is_file() else {}
    if not fields.get("version"):
        raise MissingInputError(
            f"Run {run.run_id} registered no version; run `python -m pipeline register --run {run.run_id}` first."
        )
    return fields["digest"], fields["version"]


def _recipe(retriever: Retriever, bundle: Path) -> str:
    recipe = retriever.bundle.recipe if retriever.bundle else ""
    if recipe not in BY_NAME:
        raise MissingInputError(f"{bundle}: was made by the recipe {recipe!r}, which this program does not know.")
    return recipe


def _writer(form: str) -> Callable[..., Any]:
    from pipeline.optimize.exporting import graphs

    if form == "onnx":
        graphs.need_onnx()
        return graphs.write_onnx
    return graphs.write_saved_model


def _facts(form: str, version: str, retriever: Retriever, proof: Proof, k: int) -> dict[str, Any]:
    bundle = retriever.bundle
    return {
        "form": form,
        "version": version,
        "bundle": bundle.digest,
        "recipe": bundle.recipe,
        "data_end": bundle.data_end,
        "k": k,
        "made_with": {name: version_of(name) for name in PACKAGES[form]},
        "features": asdict(retriever.config),
        "proof": asdict(proof),
    }
