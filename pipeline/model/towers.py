"""Both towers as functional tf_keras models, so that TF-MOT can prune and quantize their Dense layers.

Only `hidden` and `output` are Dense; everything before them is table look-ups and weighted sums. What the Dense layers
give is added to the plain sum of what was looked up, so that they learn what a mean of embeddings cannot say; then the
vector is brought to unit length. Annotate those two for pruning or quantization, inside `layer_scope()`.

Shapes: B batch, L history length, W text length, C category levels, D dim, H heads.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from pipeline.core.schema import EVENT_TYPES
from pipeline.model.config import TowerConfig
from pipeline.model.keras import keras, tf

layers = keras.layers
DENSE_LAYERS = ("hidden", "output")


@keras.saving.register_keras_serializable("pipeline")
class AttentionPooling(layers.Layer):
    """Sums vectors with softmax weights, once a head; places whose id is 0 weigh nothing, no places give zeros."""

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Takes values [B, L, D], logits [B, L, H] and ids [B, L]; returns [B, H * D]."""
        values_BLD, logits_BLH, ids_BL = inputs
        mask_BL1 = tf.cast(tf.not_equal(ids_BL, 0), values_BLD.dtype)[:, :, tf.newaxis]
        weights_BLH = tf.nn.softmax(logits_BLH - (1.0 - mask_BL1) * 1e4, axis=1) * mask_BL1
        pooled_BHD = tf.matmul(weights_BLH, values_BLD, transpose_a=True)
        return tf.reshape(pooled_BHD, [-1, logits_BLH.shape[-1] * values_BLD.shape[-1]])


@keras.saving.register_keras_serializable("pipeline")
class HeadMean(layers.Layer):
    """Averages the heads' sums."""

    def __init__(self, heads: int, **given: Any) -> None:
        super().__init__(**given)
        self.heads = heads

    def call(self, pooled: tf.Tensor) -> tf.Tensor:
        """Takes [B, H * D], returns [B, D]."""
        pooled_BHD = tf.reshape(pooled, [-1, self.heads, pooled.shape[-1] // self.heads])
        return tf.reduce_mean(pooled_BHD, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("pipeline")
class PlaceBias(layers.Layer):
    """Adds a learned number for every place and head: how much recency counts."""

    def build(self, shape: tf.TensorShape) -> None:
        self.bias_LH = self.add_weight(name="bias", shape=shape[1:], initializer="zeros")
        super().build(shape)

    def call(self, logits_BLH: tf.Tensor) -> tf.Tensor:
        return logits_BLH + self.bias_LH


@keras.saving.register_keras_serializable("pipeline")
class UnitLength(layers.Layer):
    """Divides each vector by its length."""

    def call(self, vectors_BD: tf.Tensor) -> tf.Tensor:
        return vectors_BD * tf.math.rsqrt(tf.reduce_sum(vectors_BD * vectors_BD, axis=-1, keepdims=True) + 1e-12)


@dataclass(frozen=True)
class Tables:
    """Embeddings both towers look things up in; trained together, each tower keeps a copy when it is saved."""

    item: layers.Layer
    text: layers.Layer
    text_weight: layers.Layer

    @classmethod
    def build(cls, config: TowerConfig) -> Tables:
        return cls(
            layers.Embedding(config.items + 1, config.dim, name="item_table"),
            layers.Embedding(config.text_buckets + 1, config.dim, name="text_table"),
            layers.Embedding(config.text_buckets + 1, 1, embeddings_initializer="zeros", name="text_weight_table"),
        )

    def pool_text(self, ids_BW: tf.Tensor, name: str) -> tf.Tensor:
        return AttentionPooling(name=name)([self.text(ids_BW), self.text_weight(ids_BW), ids_BW])


def layer_scope() -> AbstractContextManager[None]:
    """Returns the scope in which Keras can rebuild these layers from a configuration."""
    known = (AttentionPooling, HeadMean, PlaceBias, UnitLength)
    return keras.utils.custom_object_scope({layer.__name__: layer for layer in known})


def build_towers(config: TowerConfig) -> tuple[keras.Model, keras.Model]:
    """Returns query and item tower that share the item and text tables, for training."""
    tables = Tables.build(config)
    return build_query_tower(config, tables), build_item_tower(config, tables)


def build_query_tower(config: TowerConfig, tables: Tables | None = None) -> keras.Model:
    """Returns the model from `features.encode_queries` to float32 [B, dim] of unit length."""
    tables = tables or Tables.build(config)
    items_BL = keras.Input((config.history_length,), dtype="int32", name="history_items")
    types_BL = keras.Input((config.history_length,), dtype="int32", name="history_types")
    text_BW = keras.Input((config.text_length,), dtype="int32", name="query_text")
    events_BLD = layers.Add(name="events")([tables.item(items_BL), _types(config.dim, "type_table")(types_BL)])
    logits_BLH = PlaceBias(name="recency")(_salience(config, items_BL, types_BL))
    history_BHD = AttentionPooling(name="history")([events_BLD, logits_BLH, items_BL])
    text_BD = tables.pool_text(text_BW, "query_words")
    plain_BD = layers.Add(name="plain_query")(
        [HeadMean(config.history_heads, name="history_mean")(history_BHD), text_BD]
    )
    joined = layers.Concatenate(name="query_features")([history_BHD, text_BD])
    return keras.Model([items_BL, types_BL, text_BW], _head(config, joined, plain_BD), name="query_tower")


def _salience(config: TowerConfig, items_BL: tf.Tensor, types_BL: tf.Tensor) -> tf.Tensor:
    table = layers.Embedding(config.items + 1, config.history_heads, name="salience_table")
    return layers.Add(name="salience")([table(items_BL), _types(config.history_heads, "type_salience_table")(types_BL)])


def _types(dim: int, name: str) -> layers.Layer:
    return layers.Embedding(len(EVENT_TYPES) + 1, dim, name=name)


def build_item_tower(config: TowerConfig, tables: Tables | None = None) -> keras.Model:
    """Returns the model from `features.encode_items` to float32 [B, dim] of unit length."""
    tables = tables or Tables.build(config)
    item_B = keras.Input((), dtype="int32", name="item")
    category_BC = keras.Input((config.category_levels,), dtype="int32", name="category")
    brand_B = keras.Input((), dtype="int32", name="brand")
    title_BW = keras.Input((config.text_length,), dtype="int32", name="title")
    price_B = keras.Input((), dtype="int32", name="price_band")
    category_table = layers.Embedding(config.category_buckets + 1, config.content_dim, name="category_table")
    brand_table = layers.Embedding(config.brand_buckets + 1, config.content_dim, name="brand_table")
    price_table = layers.Embedding(len(config.price_edges) + 2, config.content_dim, name="price_table")
    id_BD, title_BD = tables.item(item_B), tables.pool_text(title_BW, "title_words")
    path = layers.Flatten(name="category_path")(category_table(category_BC))
    parts = [id_BD, path, brand_table(brand_B), title_BD, price_table(price_B)]
    joined = layers.Concatenate(name="item_features")(parts)
    plain_BD = layers.Add(name="plain_item")([id_BD, title_BD])
    inputs = [item_B, category_BC, brand_B, title_BW, price_B]
    return keras.Model(inputs, _head(config, joined, plain_BD), name="item_tower")


def _head(config: TowerConfig, joined: tf.Tensor, plain_BD: tf.Tensor) -> tf.Tensor:
    """Adds two Dense layers' answer to the plain sum, and brings it to unit length."""
    hidden = layers.Dense(config.hidden_units, activation="relu", name="hidden")(joined)
    learnt_BD = layers.Dense(config.dim, name="output")(hidden)
    return UnitLength(name="unit_length")(layers.Add(name="sum")([learnt_BD, plain_BD]))
