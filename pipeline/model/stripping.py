"""Towers without their large tables, as a bundle holds them: whoever runs them looks the vectors up (`model.served`).

Shapes: n items, V buckets of words, B queries or items, L history length, D dim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.model.config import TowerConfig
from pipeline.model.keras import keras, tf
from pipeline.model.parts import layer_scope
from pipeline.model.towers import build_item_tower


def without_tables(query_tower: keras.Model) -> keras.Model:
    """Returns the query tower fed by `history_vectors` [B, L, D] and `query_words` [B, D] beside its other inputs."""
    return _fed(query_tower, {"item_table": "history_vectors", "query_words": "query_words"}, "query_text")


def for_new_items(item_tower: keras.Model, config: TowerConfig) -> keras.Model:
    """Returns the item tower for items nobody trained on, whose `item` is 0, fed by `title_words` [B, D]."""
    small = build_item_tower(replace(config, items=0))
    for layer in small.layers:
        weights = item_tower.get_layer(layer.name).get_weights()
        layer.set_weights([table[:1] for table in weights] if layer.name == "item_id_table" else weights)
    return _fed(small, {"title_words": "title_words"}, "title")


def word_table(tower: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 vectors [V, D] and logits [V] of a tower's words, from bucket 1 on."""
    vectors_V1D, logits_V11 = (tower.get_layer(name).get_weights()[0] for name in ("text_table", "text_weight_table"))
    return vectors_V1D[1:], logits_V11[1:, 0]


def with_tables(query_tower: keras.Model, items_nD: np.ndarray, words_VD: np.ndarray) -> keras.Model:
    """Returns a copy of the query tower that reads other vectors of items and words."""
    copy = _copied(query_tower)
    for name, vectors in (("item_table", items_nD), ("text_table", words_VD)):
        (table,) = copy.get_layer(name).get_weights()
        table[1:] = vectors
        copy.get_layer(name).set_weights([table])
    return copy


def _fed(tower: keras.Model, looked_up: Mapping[str, str], without: str) -> keras.Model:
    """Returns the part of a tower behind some layers, whose outputs become inputs of the names given.

    Args: without: the input that only those layers read.
    """
    seams = {name: tower.get_layer(layer).output for layer, name in looked_up.items()}
    seams |= {given.name: given for given in tower.inputs if given.name != without}
    behind = keras.Model(list(seams.values()), tower.output, name=tower.name)
    inputs = [keras.Input(seam.shape[1:], dtype=seam.dtype, name=name) for name, seam in seams.items()]
    return _copied(behind, inputs)


def _copied(model: keras.Model, inputs: Sequence[tf.Tensor] | None = None) -> keras.Model:
    with layer_scope():
        copy = keras.models.clone_model(model, inputs)
    copy.set_weights(model.get_weights())
    return copy
