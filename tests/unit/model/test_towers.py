"""`model.towers`: what they give, and that TF-MOT and LiteRT take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.model.config import TowerConfig
from pipeline.model.features import Item, Query, encode_items, encode_queries
from pipeline.model.keras import keras, tf
from pipeline.model.towers import (
    DENSE_LAYERS,
    AttentionPooling,
    HeadMean,
    build_item_tower,
    build_query_tower,
    build_towers,
    layer_scope,
)

CONFIG = TowerConfig(
    items=9, dim=8, hidden_units=16, history_length=4, text_length=6, text_buckets=64, price_edges=(2.0,)
)
QUERIES = [Query(["i3", "i4"], ["view", "cart"], "red mug"), Query(["i1"], ["purchase"]), Query([], [], "blue")]
ITEMS = [Item(3, "i3", "home/mugs", "acme", "red mug", 3.0), Item(0, "new", title="blue cup")]


def query_inputs() -> dict[str, np.ndarray]:
    return encode_queries(CONFIG, {f"i{n}": n for n in range(1, 10)}, QUERIES)


def test_both_towers_give_vectors_of_unit_length() -> None:
    query_tower, item_tower = build_towers(CONFIG)
    for vectors, rows in ((query_tower(query_inputs()), 3), (item_tower(encode_items(CONFIG, ITEMS)), 2)):
        assert vectors.shape == (rows, 8)
        assert vectors.dtype == tf.float32
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(rows), abs=1e-5)


def test_pooling_weighs_by_softmax_and_skips_padding() -> None:
    # Logits 0 and ln 3 give weights .25 and .75; the first place is padding. .25 * [4, 0] + .75 * [0, 8] = [1, 6].
    values = np.array([[[9, 9], [4, 0], [0, 8]]], np.float32)
    logits = np.array([[[5.0], [0.0], [np.log(3)]]], np.float32)
    pooled = AttentionPooling()([values, logits, np.array([[0, 1, 2]])])
    assert pooled.numpy()[0] == pytest.approx([1.0, 6.0])


def test_pooling_nothing_gives_zeros() -> None:
    pooled = AttentionPooling()(
        [np.ones((1, 2, 3), np.float32), np.ones((1, 2, 1), np.float32), np.zeros((1, 2), np.int32)]
    )
    assert pooled.numpy().tolist() == [[0.0, 0.0, 0.0]]


def test_a_vector_does_not_depend_on_padding() -> None:
    tower = build_query_tower(CONFIG)
    together = tower(query_inputs()).numpy()
    alone = tower({name: values[1:2] for name, values in query_inputs().items()}).numpy()
    assert alone[0] == pytest.approx(together[1], abs=1e-6)


def test_towers_trained_together_share_item_and_text_tables() -> None:
    query_tower, item_tower = build_towers(CONFIG)
    for name in ("item_table", "text_table", "text_weight_table"):
        assert query_tower.get_layer(name) is item_tower.get_layer(name)


def test_saved_weights_fit_a_tower_built_alone(tmp_path: Path) -> None:
    for trained, alone, inputs in zip(
        build_towers(CONFIG),
        (build_query_tower(CONFIG), build_item_tower(CONFIG)),
        (query_inputs(), encode_items(CONFIG, ITEMS)),
        strict=True,
    ):
        path = str(tmp_path / f"{trained.name}.weights.h5")
        trained.save_weights(path)
        alone.load_weights(path)
        assert np.array_equal(alone(inputs), trained(inputs))


@pytest.mark.parametrize("build", [build_query_tower, build_item_tower])
def test_litert_gives_the_same_vectors(build: object) -> None:
    from ai_edge_litert.interpreter import Interpreter

    tower = build(CONFIG)  # type: ignore[operator]
    inputs = query_inputs() if tower.name == "query_tower" else encode_items(CONFIG, ITEMS)
    converted = tf.lite.TFLiteConverter.from_keras_model(tower).convert()
    answer = Interpreter(model_content=converted).get_signature_runner()(**inputs)
    assert next(iter(answer.values())) == pytest.approx(tower(inputs).numpy(), abs=1e-5)


def test_tf_mot_prunes_and_quantizes_the_dense_layers() -> None:
    import tensorflow_model_optimization as tfmot

    tower = build_query_tower(CONFIG)
    annotate = tfmot.quantization.keras.quantize_annotate_layer
    prune = tfmot.sparsity.keras.prune_low_magnitude
    with layer_scope():
        pruned = keras.models.clone_model(tower, clone_function=lambda x: prune(x) if x.name in DENSE_LAYERS else x)
        marked = keras.models.clone_model(tower, clone_function=lambda x: annotate(x) if x.name in DENSE_LAYERS else x)
        quantized = tfmot.quantization.keras.quantize_apply(marked)
    assert sum("prune" in layer.name for layer in pruned.layers) == len(DENSE_LAYERS)
    assert sum(layer.name in [f"quant_{name}" for name in DENSE_LAYERS] for layer in quantized.layers) == len(
        DENSE_LAYERS
    )
    assert quantized(query_inputs()).shape == (3, 8)


def test_heads_are_averaged() -> None:
    assert HeadMean(2)(np.array([[1.0, 2.0, 3.0, 6.0]], np.float32)).numpy().tolist() == [[2.0, 4.0]]
