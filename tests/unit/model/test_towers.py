"""`model.towers` and `model.parts`: what they give, and that TF-MOT and LiteRT take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.model.config import TowerConfig
from pipeline.model.features import Item, Query, encode_items, encode_queries
from pipeline.model.keras import keras, tf
from pipeline.model.parts import Attention, TablePooling, TextPooling, layer_scope
from pipeline.model.towers import build_item_tower, build_query_tower, build_towers, dense_layers

CONFIG = TowerConfig(
    items=9, dim=8, hidden_units=16, history_length=4, text_length=6, text_buckets=64, price_edges=(2.0,)
)
QUERIES = [
    Query(["i3", "i4"], ["view", "cart"], "red mug", [0, 60], 4000, "country=France; device=tv"),
    Query(["i1"], ["purchase"]),
    Query([], [], "blue"),
]
PLACED = replace(CONFIG, context_buckets=16)
ITEMS = [Item(3, "i3", "home/mugs", "acme", "red mug", 3.0), Item(0, "new", title="blue cup")]


def query_inputs(config: TowerConfig = CONFIG) -> dict[str, np.ndarray]:
    return encode_queries(config, {f"i{n}": n for n in range(1, 10)}, QUERIES)


def test_both_towers_give_vectors_of_unit_length() -> None:
    towers = build_towers(CONFIG)
    for vectors, rows in ((towers.query(query_inputs()), 3), (towers.item(encode_items(CONFIG, ITEMS)), 2)):
        assert vectors.shape == (rows, 8)
        assert vectors.dtype == tf.float32
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(rows), abs=1e-5)


def test_pooling_weighs_by_softmax_and_skips_padding() -> None:
    # Logits 0 and ln 3 give weights .25 and .75; the first place is padding. .25 * [4, 0] + .75 * [0, 8] = [1, 6].
    values = np.array([[[9, 9], [4, 0], [0, 8]]], np.float32)
    logits = np.array([[[5.0], [0.0], [np.log(3)]]], np.float32)
    pooled = TextPooling()([values, logits, np.array([[0, 1, 2]])])
    assert pooled.numpy()[0] == pytest.approx([1.0, 6.0])


def test_pooling_nothing_gives_zeros() -> None:
    pooled = TextPooling()([np.ones((1, 2, 3), np.float32), np.ones((1, 2, 1), np.float32), np.zeros((1, 2), np.int32)])
    assert pooled.numpy().tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("texts", [[[1, 2, 2, 0], [0, 0, 0, 0], [0, 6, 0, 5], [3, 0, 0, 0]], [[0, 0], [0, 0]]])
def test_whole_tables_pool_as_places_do_and_learn_the_same(texts: list[list[int]]) -> None:
    draw = np.random.default_rng(4)
    values, logits = (tf.Variable(draw.normal(size=(7, width)).astype(np.float32)) for width in (3, 1))
    ids = tf.constant(texts)
    weight = tf.constant(draw.normal(size=(len(texts), 3)).astype(np.float32))

    def learnt(pooled: Callable[[], tf.Tensor]) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(pooled() * weight)
        return [tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(loss, [values, logits])]

    by_place = lambda: TextPooling()([tf.gather(values, ids), tf.gather(logits, ids), ids])  # noqa: E731
    by_table = lambda: TablePooling()([values * 1.0, logits * 1.0, ids])  # noqa: E731
    assert np.allclose(by_table(), by_place(), atol=1e-6)
    assert by_table()[1].numpy().tolist() == [0, 0, 0]
    for found, wanted in zip(learnt(by_table), learnt(by_place), strict=True):
        assert np.allclose(found, wanted, atol=1e-5)


def test_a_vector_does_not_depend_on_padding() -> None:
    tower = build_query_tower(CONFIG)
    together = tower(query_inputs()).numpy()
    alone = tower({name: values[1:2] for name, values in query_inputs().items()}).numpy()
    assert alone[0] == pytest.approx(together[1], abs=1e-6)


def attend(heads: int, split_values: bool, queries: list, ids: list, bias: list | None = None) -> np.ndarray:
    keys, values = np.array([[[1, 0], [0, 1], [1, 1]]], np.float32), np.array([[[4, 0], [0, 8], [2, 2]]], np.float32)
    layer = Attention(heads, 3, split_values)
    given = [np.array([queries], np.float32), keys, values, np.array([ids])]
    layer(given)
    layer.set_weights([np.array(bias or np.zeros((heads, 3)), np.float32)])
    return layer(given).numpy()[0]


def test_attention_sees_nothing_that_came_later_and_no_padding() -> None:
    # All logits 0: each place averages what is open to it. The first place is padding in the second case.
    zeros = [[0, 0]] * 3
    assert attend(1, False, zeros, [7, 8, 9]) == pytest.approx(np.array([[4, 0], [2, 4], [2, 10 / 3]]), abs=1e-5)
    assert attend(1, False, zeros, [0, 8, 9]) == pytest.approx(np.array([[0, 0], [0, 8], [1, 5]]), abs=1e-5)


def test_attention_weighs_by_scaled_products_and_distance() -> None:
    # The newest asks (ln 3 * sqrt 2, 0): products with the keys are ln 3, 0 and ln 3, so weights 3, 1, 3.
    asked = [[np.log(3) * np.sqrt(2), 0]]
    assert attend(1, False, asked, [7, 8, 9])[0] == pytest.approx(np.array([18, 14]) / 7, abs=1e-5)
    # A distance of two adds ln 5 for the oldest: weights 15, 1, 3.
    far = attend(1, False, asked, [7, 8, 9], [[0, 0, np.log(5)]])
    assert far[0] == pytest.approx(np.array([66, 14]) / 19, abs=1e-5)


def test_heads_split_the_values_or_average_whole_ones() -> None:
    # Head one asks for nothing (mean 2, 10/3), head two by the second number: products 0, ln 3, ln 3 weigh 1, 3, 3.
    asked = [[0, np.log(3)]]
    assert attend(2, True, asked, [7, 8, 9])[0] == pytest.approx([2, 30 / 7], abs=1e-5)
    means = (np.array([2, 10 / 3]) + np.array([10, 30]) / 7) / 2
    assert attend(2, False, asked, [7, 8, 9])[0] == pytest.approx(means, abs=1e-5)


@pytest.mark.parametrize(("blocks", "config"), [(0, CONFIG), (1, CONFIG), (2, PLACED)])
def test_what_learns_and_what_serves_give_the_same_vector(blocks: int, config: TowerConfig) -> None:
    towers = build_towers(replace(config, blocks=blocks))
    for model in (towers.history, towers.head):
        model.set_weights([np.random.default_rng(3).normal(size=w.shape) for w in model.get_weights()])
    table = np.random.default_rng(4).normal(size=(10, 8)).astype(np.float32)
    towers.query.get_layer("item_table").set_weights([table])
    given = query_inputs(config)
    nothing = np.zeros((3, 1), np.int32)
    events = (np.concatenate([given[f"history_{name}"], nothing], axis=1) for name in ("items", "types", "pauses"))
    window = [*events, np.concatenate([nothing] * 3 + [given["now_pause"], nothing], axis=1)]
    features = towers.history([table[window[0]], *window])[:, CONFIG.history_length - 1]
    asked = {**given, "features": features}
    answers = towers.head([asked[spec.name] for spec in towers.head.inputs])
    assert answers.numpy() == pytest.approx(towers.query(given).numpy(), abs=1e-5)


@pytest.mark.parametrize("told", ["history_pauses", "now_pause"])
def test_pauses_tell_nothing_at_the_start_and_can_learn_to(told: str) -> None:
    tower = build_query_tower(CONFIG)
    hidden = query_inputs() | {told: query_inputs()[told] * 0}
    assert np.array_equal(tower(query_inputs()), tower(hidden))
    tower.set_weights([np.random.default_rng(5).normal(size=weights.shape) for weights in tower.get_weights()])
    apart = np.abs(tower(query_inputs()).numpy() - tower(hidden).numpy()).max(axis=1)
    # Only the first query says when its two events were; the others' codes are 0 either way.
    assert apart[0] > 1e-5 and apart[1:].max() == 0


def test_a_context_tells_nothing_at_the_start_and_can_learn_to() -> None:
    table = np.random.default_rng(4).normal(size=(10, 8))
    towers = []
    for config in (CONFIG, PLACED):
        keras.utils.set_random_seed(3)
        towers.append(build_query_tower(config))
        towers[-1].get_layer("item_table").set_weights([table])
    bare, placed = towers
    given = query_inputs(PLACED)
    hidden = {**given, "query_context": given["query_context"] * 0}
    assert placed(given).numpy() == pytest.approx(bare(query_inputs()).numpy(), abs=1e-6)
    placed.set_weights([np.random.default_rng(5).normal(size=weights.shape) for weights in placed.get_weights()])
    apart = np.abs(placed(given).numpy() - placed(hidden).numpy()).max(axis=1)
    # Only the first query says where it is asked; what is learnt of the padding's bucket counts for nothing.
    assert apart[0] > 1e-3 and apart[1:].max() == 0
    swapped = {**given, "query_context": given["query_context"][:, [1, 0, 3, 2]]}
    assert placed(swapped).numpy() == pytest.approx(placed(given).numpy(), abs=1e-5)


def test_towers_of_a_log_without_contexts_have_no_part_for_them() -> None:
    bare = build_towers(CONFIG)
    for model in (bare.query, bare.head):
        assert "context" not in " ".join([*model.input_names, *(layer.name for layer in model.layers)])


def test_a_typed_query_can_silence_the_history() -> None:
    tower = build_query_tower(CONFIG)
    tower.get_layer("item_table").set_weights([np.random.default_rng(4).normal(size=(10, 8))])
    asked = query_inputs() | {"query_text": np.full((3, 6), 7, np.int32)}
    unknown = asked | {name: asked[name] * 0 for name in asked if name.startswith("history") or name == "now_pause"}
    assert np.abs(tower(asked).numpy()[0] - tower(unknown).numpy()[0]).max() > 1e-3
    gate = tower.get_layer("history_gate")
    gate.set_weights([gate.get_weights()[0], np.array([-50.0])])
    assert tower(asked).numpy() == pytest.approx(tower(unknown).numpy(), abs=1e-6)


def test_what_is_dropped_hangs_on_the_step_alone() -> None:
    step = tf.Variable(3, dtype=tf.int64)
    towers = build_towers(CONFIG, 0.5, step)
    given = [np.ones((2, 4, 8), np.float32), *[np.ones((2, 4), np.int32)] * 4]
    first, again = (towers.history(given, training=True).numpy() for _ in range(2))
    step.assign(4)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, towers.history(given, training=True).numpy())
    assert "dropout" not in " ".join(layer.name for layer in towers.query.layers)


def test_saved_weights_fit_a_tower_built_alone(tmp_path: Path) -> None:
    towers = build_towers(CONFIG, 0.5, tf.Variable(0, dtype=tf.int64))
    for trained, alone, inputs in (
        (towers.query, build_query_tower(CONFIG), query_inputs()),
        (towers.item, build_item_tower(CONFIG), encode_items(CONFIG, ITEMS)),
    ):
        path = str(tmp_path / f"{trained.name}.weights.h5")
        trained.save_weights(path)
        alone.load_weights(path)
        for mine, theirs in zip(alone.get_weights(), trained.get_weights(), strict=True):
            assert np.array_equal(mine, theirs)
        assert np.allclose(alone(inputs), trained(inputs), atol=1e-6)


def test_a_vector_made_elsewhere_says_nothing_at_the_start_and_can_learn_to() -> None:
    config = replace(CONFIG, vector_dim=2)
    tower = build_item_tower(config)
    seen = encode_items(config, [replace(ITEMS[1], vector=[3.0, 4.0])])
    bare = encode_items(config, ITEMS[1:])
    assert np.array_equal(tower(seen), tower(bare))
    tower.get_layer("item_vector").set_weights([np.array([np.arange(8), np.ones(8)], np.float32)])
    assert np.abs(tower(seen).numpy() - tower(bare).numpy()).max() > 0.01
    assert "item_vector" in dense_layers(tower)
    assert "vector" not in [layer.name for layer in build_item_tower(CONFIG).layers]


@pytest.mark.parametrize("build", [build_query_tower, build_item_tower])
def test_litert_gives_the_same_vectors(build: object) -> None:
    from ai_edge_litert.interpreter import Interpreter

    tower = build(PLACED)  # type: ignore[operator]
    tower.set_weights([np.random.default_rng(5).normal(size=weights.shape) for weights in tower.get_weights()])
    inputs = query_inputs(PLACED) if tower.name == "query_tower" else encode_items(CONFIG, ITEMS)
    converted = tf.lite.TFLiteConverter.from_keras_model(tower).convert()
    answer = Interpreter(model_content=converted).get_signature_runner()(**inputs)
    assert next(iter(answer.values())) == pytest.approx(tower(inputs).numpy(), abs=1e-5)


def test_tf_mot_prunes_and_quantizes_the_dense_layers() -> None:
    import tensorflow_model_optimization as tfmot

    tower = build_query_tower(PLACED)
    dense = dense_layers(tower)
    annotate = tfmot.quantization.keras.quantize_annotate_layer
    prune = tfmot.sparsity.keras.prune_low_magnitude
    with layer_scope():
        pruned = keras.models.clone_model(tower, clone_function=lambda x: prune(x) if x.name in dense else x)
        marked = keras.models.clone_model(tower, clone_function=lambda x: annotate(x) if x.name in dense else x)
        quantized = tfmot.quantization.keras.quantize_apply(marked)
    assert {"history_query", "block_0_hidden", "hidden", "output"} < set(dense)
    assert sum("prune" in layer.name for layer in pruned.layers) == len(dense)
    assert sum(layer.name in [f"quant_{name}" for name in dense] for layer in quantized.layers) == len(dense)
    assert quantized(query_inputs(PLACED)).shape == (3, 8)
