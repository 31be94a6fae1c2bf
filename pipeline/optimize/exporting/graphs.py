"""A query tower with its tables and the search in one graph: features in, vectors and the best items out.

Shapes: B queries, L history length, T text length, n items, V buckets of words, D dim, K answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import MissingInputError
from pipeline.model.item_index import ItemIndex
from pipeline.model.keras import keras, tf
from pipeline.model.words import Words
from pipeline.optimize.exporting.parity import Answers, Ask

VECTORS, RECOMMEND = "serving_default", "recommend"
ONNX_FILE = "model.onnx"
OPSET = 18
TINY = 1e-30


@dataclass(frozen=True)
class Graph:
    """What both forms are written from.

    Attributes:
        inputs: by name, as `features.encode_queries` makes them.
        held: every variable the functions read.
        vectors: features to {"vectors"}.
        recommend: features to {"rows", "scores"} of the K items of the greatest products, every item looked at.
    """

    inputs: Mapping[str, tf.TensorSpec]
    held: list[tf.Variable]
    vectors: Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]
    recommend: Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]


def graph_of(tower: keras.Model, index: ItemIndex, words: Words, text_length: int, k: int) -> Graph:
    """Args: tower: as `stripping.without_tables` gives it; index, words: the bundle's stores."""
    vectors_nD, shares_V1 = index.vectors(np.arange(len(index))), words.shares()[:, None]
    items, spoken, shares = (_table(values) for values in (vectors_nD, words.vectors(), shares_V1))
    inputs = {each.name: tf.TensorSpec(each.shape, each.dtype, each.name) for each in tower.inputs}
    inputs = {name: spec for name, spec in inputs.items() if name not in ("history_vectors", "query_words")}
    inputs["query_text"] = tf.TensorSpec((None, text_length), tf.int32, "query_text")

    def vectors(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        shares_BT1 = tf.gather(shares, features["query_text"])
        summed_BD = tf.reduce_sum(shares_BT1 * tf.gather(spoken, features["query_text"]), axis=1)
        read = {name: values for name, values in features.items() if name != "query_text"}
        read["history_vectors"] = tf.gather(items, features["history_items"])
        read["query_words"] = summed_BD / tf.maximum(tf.reduce_sum(shares_BT1, axis=1), TINY)
        return {"vectors": tower(read)}

    def recommend(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        scores_Bn = tf.matmul(vectors(features)["vectors"], items[1:], transpose_b=True)
        scores_BK, rows_BK = tf.math.top_k(scores_Bn, min(k, len(index)))
        return {"rows": rows_BK, "scores": scores_BK}

    return Graph(inputs, [*tower.variables, items, spoken, shares], vectors, recommend)


def _table(rows: np.ndarray) -> tf.Variable:
    """Returns a table whose row 0, where there is no item or word, holds zeros."""
    return tf.Variable(np.concatenate([np.zeros_like(rows[:1]), rows]), trainable=False)


def write_saved_model(graph: Graph, folder: Path) -> Ask:
    """Leaves a SavedModel with the signatures `serving_default` and `recommend`, and returns what it answers."""
    module, specs = tf.Module(), dict(graph.inputs)
    module.held = graph.held
    module.vectors, module.recommend = tf.function(graph.vectors), tf.function(graph.recommend)
    signatures = {
        VECTORS: module.vectors.get_concrete_function(specs),
        RECOMMEND: module.recommend.get_concrete_function(specs),
    }
    tf.saved_model.save(module, str(folder), signatures)
    return open_saved_model(folder)


def open_saved_model(folder: Path) -> Ask:
    loaded = tf.saved_model.load(str(folder))

    def ask(features: Mapping[str, np.ndarray]) -> Answers:
        given = {name: tf.constant(values) for name, values in features.items()}
        best = loaded.signatures[RECOMMEND](**given)
        vectors = loaded.signatures[VECTORS](**given)["vectors"]
        return vectors.numpy(), best["rows"].numpy(), best["scores"].numpy()

    return ask


def write_onnx(graph: Graph, folder: Path) -> Ask:
    """Leaves `model.onnx` with the outputs vectors, rows and scores, and returns what ONNX Runtime answers.

    Raises: MissingInputError: the packages it takes are not installed.
    """
    tf2onnx, _ = need_onnx()

    def whole(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return graph.vectors(features) | graph.recommend(features)

    function = tf.function(whole)
    tf2onnx.convert.from_function(function, [dict(graph.inputs)], OPSET, output_path=str(folder / ONNX_FILE))
    return open_onnx(folder)


def open_onnx(folder: Path) -> Ask:
    _, runtime = need_onnx()
    session = runtime.InferenceSession(str(folder / ONNX_FILE), providers=["CPUExecutionProvider"])

    def ask(features: Mapping[str, np.ndarray]) -> Answers:
        return tuple(session.run(["vectors", "rows", "scores"], dict(features)))

    return ask


def need_onnx() -> tuple[Any, Any]:
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise MissingInputError(
            f"The package {error.name}, which the form onnx needs, is not installed; "
            "run `pip install 'nightshift[export]'` or take --form savedmodel."
        ) from None
    return tf2onnx, onnxruntime
