"""The layers that towers are made of beside those of Keras.

Shapes: B queries, Q places that ask, S places seen, T places, P of them filled, V rows of a table, C pairs of a
context, D dim, H heads, F features.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from pipeline.model.keras import keras, tf

layers = keras.layers
NEVER = -1e4


@keras.saving.register_keras_serializable("pipeline")
class TextPooling(layers.Layer):
    """Sums vectors with softmax weights; places whose id is 0 weigh nothing, no places give zeros."""

    def __init__(self, never: float = NEVER, **given: Any) -> None:
        super().__init__(**given)
        self.never = never

    def logits(self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return inputs[1]

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Takes values [B, T, D], logits [B, T, 1] and ids [B, T]; returns [B, D]."""
        values_BTD, logits_BT1, ids_BT = inputs
        mask_BT1 = tf.cast(tf.not_equal(ids_BT, 0), values_BTD.dtype)[:, :, tf.newaxis]
        weights_BT1 = tf.nn.softmax(logits_BT1 + (1.0 - mask_BT1) * self.never, axis=1) * mask_BT1
        return tf.reduce_sum(weights_BT1 * values_BTD, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "never": self.never}


class Rows(layers.Layer):
    """Gives the number of every row of a table, to look all of it up."""

    def __init__(self, count: int, **given: Any) -> None:
        super().__init__(**given)
        self.count = count

    def call(self, ids_BT: tf.Tensor) -> tf.Tensor:
        return tf.range(self.count)


class TablePooling(layers.Layer):
    """`TextPooling` over whole tables: each row is weighed once, and only the places that hold an id are added up.

    A softmax over the places of a text is the sum of exp(logit) value over the sum of exp(logit), and neither factor
    hangs on the text; what is subtracted from all logits cancels out.
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Takes the tables of values [V, D] and logits [V, 1], and ids [B, T]; returns [B, D]."""
        values_VD, logits_V1, ids_BT = inputs
        logits_V1, rows = tf.cast(logits_V1, tf.float32), tf.shape(ids_BT)[0]
        shares_V1 = tf.exp(logits_V1 - tf.stop_gradient(tf.reduce_max(logits_V1)))
        places_P2 = tf.where(tf.not_equal(ids_BT, 0))
        ids_P, rows_P = tf.gather_nd(ids_BT, places_P2), tf.cast(places_P2[:, 0], tf.int32)
        # One place more, of a text nobody asks for: the gradient of no place at all is whatever lay in memory.
        ids_P, rows_P = tf.concat([ids_P, [0]], 0), tf.concat([rows_P, [rows]], 0)
        summed_BD, total_B1 = (
            tf.sparse.segment_sum(table, ids_P, rows_P, num_segments=rows + 1)[:-1]
            for table in (shares_V1 * tf.cast(values_VD, tf.float32), shares_V1)
        )
        return tf.cast(tf.math.divide_no_nan(summed_BD, total_B1), values_VD.dtype)


@keras.saving.register_keras_serializable("pipeline")
class Attention(layers.Layer):
    """Scaled dot-product attention in which no place sees what came after it, with a learned bias for every distance.

    Queries may be fewer than keys: they are then the newest places. Keys whose id is 0 are not seen; where nothing is,
    the answer is zeros.
    """

    def __init__(self, heads: int, length: int, split_values: bool = True, never: float = NEVER, **given: Any) -> None:
        super().__init__(**given)
        self.heads, self.length, self.split_values, self.never = heads, length, split_values, never

    def build(self, shapes: Any) -> None:
        self.bias_HL = self.add_weight(name="bias", shape=(self.heads, self.length), initializer="zeros")
        super().build(shapes)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Takes queries [B, Q, D], keys and values [B, S, D] and ids [B, S]; returns [B, Q, D].

        Values are split between the heads, or summed whole by each and averaged.
        """
        queries_BQD, keys_BSD, values_BSD, ids_BS = inputs
        distance_QS = _distance(queries_BQD, keys_BSD)
        open_BQS = tf.logical_and(distance_QS >= 0, tf.not_equal(ids_BS, 0)[:, tf.newaxis, :])
        open_B1QS = tf.cast(open_BQS, values_BSD.dtype)[:, tf.newaxis]
        weights_BHQS = tf.nn.softmax(self.logits(inputs) + (1.0 - open_B1QS) * self.never) * open_B1QS
        if not self.split_values:
            return tf.matmul(tf.reduce_mean(weights_BHQS, axis=1), values_BSD)
        answers_BHQD = tf.matmul(weights_BHQS, self._split(values_BSD))
        return tf.reshape(tf.transpose(answers_BHQD, [0, 2, 1, 3]), tf.shape(queries_BQD))

    def logits(self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Returns [B, H, Q, S]: what the softmax is taken of, before places that are not seen are shut out."""
        queries_BQD, keys_BSD = inputs[:2]
        distance_QS = _distance(queries_BQD, keys_BSD)
        bias_HQS = tf.gather(self.bias_HL, tf.clip_by_value(distance_QS, 0, self.length - 1), axis=1)
        scale = (queries_BQD.shape[-1] // self.heads) ** -0.5
        return tf.matmul(self._split(queries_BQD), self._split(keys_BSD), transpose_b=True) * scale + bias_HQS

    def _split(self, vectors_BSD: tf.Tensor) -> tf.Tensor:
        """Returns [B, H, S, D / H]."""
        wide = vectors_BSD.shape[-1]
        parted = tf.reshape(vectors_BSD, [-1, _length(vectors_BSD), self.heads, wide // self.heads])
        return tf.transpose(parted, [0, 2, 1, 3])

    def get_config(self) -> dict[str, Any]:
        own = {"heads": self.heads, "length": self.length, "split_values": self.split_values, "never": self.never}
        return {**super().get_config(), **own}


def _distance(queries_BQD: tf.Tensor, keys_BSD: tf.Tensor) -> tf.Tensor:
    """Returns int32 [Q, S]: how many places before each place that asks each place seen is."""
    asked, seen = _length(queries_BQD), _length(keys_BSD)
    return (tf.range(asked) + seen - asked)[:, tf.newaxis] - tf.range(seen)[tf.newaxis, :]


def _length(vectors_BSD: tf.Tensor) -> Any:
    return vectors_BSD.shape[1] or tf.shape(vectors_BSD)[1]


class StepDropout(layers.Layer):
    """Dropout whose mask hangs on the step alone: a training that goes on anywhere draws what it would have drawn.

    Only `Towers.history` and `Towers.head` hold it, for they are what learns.
    """

    def __init__(self, rate: float, seed: int, step: tf.Variable, **given: Any) -> None:
        super().__init__(**given)
        self.rate, self.seed, self.step = rate, seed, step

    def call(self, vectors: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training or not self.rate:
            return vectors
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
        seeds = tf.stack([self.seed + replica * (1 << 32), tf.convert_to_tensor(self.step)])
        kept = tf.random.stateless_uniform(tf.shape(vectors), seeds) >= self.rate
        return tf.where(kept, vectors / (1.0 - self.rate), 0.0)


@keras.saving.register_keras_serializable("pipeline")
class FirstPart(layers.Layer):
    """Keeps the first numbers of each vector."""

    def __init__(self, width: int, **given: Any) -> None:
        super().__init__(**given)
        self.width = width

    def call(self, vectors_BF: tf.Tensor) -> tf.Tensor:
        return vectors_BF[:, : self.width]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("pipeline")
class Newest(layers.Layer):
    """Keeps the last place."""

    def call(self, vectors_BSD: tf.Tensor) -> tf.Tensor:
        return vectors_BSD[:, -1:]


@keras.saving.register_keras_serializable("pipeline")
class WherePresent(layers.Layer):
    """Zeros where a place holds no event."""

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Takes vectors [B, S, D] and ids [B, S]."""
        vectors_BSD, ids_BS = inputs
        return vectors_BSD * tf.cast(tf.not_equal(ids_BS, 0), vectors_BSD.dtype)[:, :, tf.newaxis]


@keras.saving.register_keras_serializable("pipeline")
class Total(layers.Layer):
    """Adds up the places."""

    def call(self, vectors_BCD: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(vectors_BCD, axis=1)


@keras.saving.register_keras_serializable("pipeline")
class UnitLength(layers.Layer):
    """Divides each vector by its length."""

    def call(self, vectors_BD: tf.Tensor) -> tf.Tensor:
        return vectors_BD * tf.math.rsqrt(tf.reduce_sum(vectors_BD * vectors_BD, axis=-1, keepdims=True) + 1e-12)


def layer_scope() -> AbstractContextManager[None]:
    """Returns the scope in which Keras can rebuild these layers from a configuration."""
    known = (TextPooling, Attention, FirstPart, Newest, WherePresent, Total, UnitLength)
    return keras.utils.custom_object_scope({layer.__name__: layer for layer in known})
