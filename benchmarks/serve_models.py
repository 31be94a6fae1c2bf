"""The model every server of `serve` answers with, in all forms: `python -m benchmarks.serve_models FOLDER ITEMS`.

How fast a tower computes does not hang on what it has learnt, so nothing is trained: towers are as they are
initialised, with the defaults' sizes and vectors of 64 numbers, and items lie like those of a trained catalogue
(`made_vectors`), a session's close to each other, so that a search is no easier than it would be. All else is what a
night makes, by the same code: catalogue, stores, index with lists settled by probes, LiteRT towers, goldens, seal; a
float32 bundle and a compressed one, and of the float32 bundle's tower a SavedModel and an ONNX file with the tables
inside.

Shapes: n items, D dim.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.made_training import CLUSTER, Made
from benchmarks.made_vectors import made_vectors
from benchmarks.peers.environments import python_of
from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact, code_digest, digest_of_file

DIM, SEED = 64, 5
WITHIN = 0.55
"""Length of what parts an item from the middle of its cluster, where that lies at 1."""
LENGTH, QUERIES, TARGETS = 10, 600, 20_000
REQUESTS, K = 500, 20
FLOAT, COMPRESSED = "float32", "int6"
"""The compressed one kept 99.8 % of float32's recall on three catalogues and is four times smaller."""
SAVED_MODEL, ONNX = "saved_model", "onnx"
FEW = 4


@dataclass(frozen=True)
class Model:
    """One size of catalogue, in a folder."""

    folder: Path
    items: int

    @classmethod
    def made(cls, into: Path, items: int) -> Model:
        """Returns the model of this code, made in a process of its own if it is not there: TensorFlow stays out."""
        model = cls((into / "models" / f"{items}-{code_digest('optimize')[:8]}").resolve(), items)
        if not model.folder.exists():
            print(f"making a model of {items:,} items …", flush=True)
            words = [sys.executable, "-W", "ignore", "-m", "benchmarks.serve_models", str(model.folder), str(items)]
            subprocess.run(words, check=True)
        if not model.packed.exists():
            pack = [str(python_of("serve_mlflow")), "-m", "benchmarks.peers.serve_mlflow"]
            subprocess.run([*pack, str(model.folder), str(model.packed)], check=True)
        return model

    def bundle(self, recipe: str) -> Path:
        return self.folder / recipe / "bundle"

    @property
    def packed(self) -> Path:
        """Where the float model lies as MLflow packs it, its code included."""
        code = digest_of_file(Path(peers.__file__).with_name("serve_mlflow.py"))
        return self.folder.with_name(f"{self.folder.name}-mlflow-{code[:8]}")

    @property
    def requests_file(self) -> Path:
        return self.folder / "requests.json"

    @cached_property
    def requests(self) -> list[dict[str, Any]]:
        """Requests for recommendations, `{"path", "request"}`, all of them different."""
        return json.loads(self.requests_file.read_text())


def make(folder: Path, items: int) -> None:
    """Fills a folder that appears when it is whole."""
    artifacts.build(folder, lambda beside: _fill(beside, items))


def _fill(folder: Path, items: int) -> None:
    from pipeline.core import settings as settings_module
    from pipeline.optimize.judged import Judged
    from pipeline.optimize.making import attempt
    from pipeline.optimize.making.inputs import Inputs
    from pipeline.optimize.making.recipes import BY_NAME

    prepared = Made(items, TARGETS, LENGTH, queries=QUERIES).write(folder / "prepared")
    settings = settings_module.load([f"train.dim={DIM}", f"shop.k={K}"])
    inputs = Inputs(prepared, _untrained(folder / "trained", items), "all_items")
    for recipe in (FLOAT, COMPRESSED):
        (folder / recipe).mkdir()
        print(attempt.carry_out(BY_NAME[recipe], inputs, settings, folder / recipe).sentence, flush=True)
    _export(folder, inputs.config.text_length)
    asked = Judged.load(prepared, "all_items", "test").queries[:REQUESTS]
    (folder / "requests.json").write_text(json.dumps([_request(query) for query in asked]))


def _request(query: Any) -> dict[str, Any]:
    from pipeline.model.goldens import recommend_request

    return recommend_request(query, K)


def _untrained(folder: Path, items: int) -> Artifact:
    """Returns what training would hand on."""
    from pipeline.model.bundle import LEXICAL, REPEATS, TOWERS
    from pipeline.model.config import TowerConfig
    from pipeline.model.keras import keras
    from pipeline.model.lexical import Lexical, Postings
    from pipeline.model.repeats import Repeats
    from pipeline.model.towers import build_item_tower, build_query_tower

    folder.mkdir()
    keras.utils.set_random_seed(SEED)
    config = TowerConfig(items, dim=DIM)
    vectors_n1D = np.pad(near_vectors(items), ((1, 0), (0, 0)))
    query, item = build_query_tower(config), build_item_tower(config)
    query.get_layer("item_table").set_weights([vectors_n1D])
    config.save(folder / TOWERS)
    np.save(folder / "item_vectors.npy", vectors_n1D)
    query.save_weights(str(folder / "query_tower.weights.h5"))
    item.save_weights(str(folder / "item_tower.weights.h5"))
    Repeats.none().save(folder / REPEATS)
    Lexical(Postings.of(()), 0.0).save(folder / LEXICAL)
    return Artifact(folder)


def near_vectors(items: int) -> np.ndarray:
    """Returns float32 [n, D] of unit length; twenty items in a row, as a made session visits them, lie close together.

    Two of them have an inner product of .77 in the mean; their middles lie as items of a catalogue do.
    """
    middles = made_vectors(-(-items // CLUSTER), DIM, SEED)
    draw = np.random.default_rng(SEED)
    apart_nD = draw.standard_normal((items, DIM), dtype=np.float32) * (WITHIN / DIM**0.5)
    vectors_nD = np.repeat(middles, CLUSTER, axis=0)[:items] + apart_nD
    return (vectors_nD / np.linalg.norm(vectors_nD, axis=1, keepdims=True)).astype(np.float32)


def _export(folder: Path, text_length: int) -> None:
    """Writes the float tower in both forms; the search stays with the index."""
    from pipeline.model.item_index import ItemIndex
    from pipeline.model.served import load_stores
    from pipeline.optimize.exporting.graphs import graph_of, write_saved_model
    from pipeline.optimize.towers.keras_tower import kept

    artifacts.seal(folder / FLOAT)
    tower, (index, words) = kept(Artifact(folder / FLOAT)), load_stores(folder / FLOAT / "bundle")
    for form in (SAVED_MODEL, ONNX):
        (folder / form).mkdir()
    write_saved_model(graph_of(tower, index, words, text_length, K), folder / SAVED_MODEL)
    vectors_nD = index.vectors(np.arange(len(index)))
    few = ItemIndex.build(vectors_nD[:FEW], "float32", lists_from=None)
    _write_onnx(graph_of(tower, few, words, text_length, K), vectors_nD, folder / ONNX / "model.onnx")


def _write_onnx(graph: Any, vectors_nD: np.ndarray, path: Path) -> None:
    """Writes an ONNX file of the tower with every item in its table.

    Args: graph: whose table holds the first `FEW` items alone, for converting a million takes more than 20 GB.
    """
    import onnx
    import tf2onnx

    from pipeline.model.keras import tf
    from pipeline.optimize.exporting.graphs import OPSET

    made, _ = tf2onnx.convert.from_function(tf.function(graph.vectors), [dict(graph.inputs)], OPSET)
    (table,) = [each for each in made.graph.initializer if list(each.dims) == [FEW + 1, DIM]]
    whole_n1D = np.pad(vectors_nD, ((1, 0), (0, 0)))
    table.CopyFrom(onnx.numpy_helper.from_array(whole_n1D, table.name))
    onnx.save(made, str(path))


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
