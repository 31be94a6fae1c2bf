"""One step of learning: both towers, all replicas, one loss.

Shapes: B targets of all replicas, b those of one, C candidates of all, D dim.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline.core.errors import CorruptArtifactError
from pipeline.core.sections import Train
from pipeline.model.config import TowerConfig
from pipeline.model.keras import keras, tf
from pipeline.model.losses import Candidates, SampledSoftmax
from pipeline.model.text import trimmed
from pipeline.model.towers import build_towers
from pipeline.train.adam import FusedAdam
from pipeline.train.batch import WINDOWED, Batch
from pipeline.train.negatives import Categories

WARM_UP_SHARE = 0.05
MEAN_EVERY_STEPS, MEAN_DECAY = 4, 0.98
ITEMS_PER_CALL = 8192
DENSE_TABLE_ROWS = 100_000


class Trainer:
    """Towers, optimizer and the compiled step.

    Attributes:
        learning: the towers a step changes; they compute in `train.precision`.
        towers: those that answer and are saved, float32: a running mean of `learning` (Polyak & Juditsky 1992).

    Args:
        item_inputs: arrays from `features.encode_items` with a row in front for padding and for an item nobody met.
        probability_n1: share of training targets by item index. new_n1: bool, which items are too new to be negatives.
        categories: where hard negatives are drawn from.
        steps: of the whole training, for the learning rate's schedule.
        start_n1D: what is added to the random vectors the items start with.
    """

    def __init__(
        self,
        config: TowerConfig,
        settings: Train,
        item_inputs: Mapping[str, np.ndarray],
        probability_n1: np.ndarray,
        new_n1: np.ndarray,
        categories: Categories,
        steps: int,
        strategy: Any,
        start_n1D: np.ndarray | None = None,
    ) -> None:
        self.config, self.settings, self.steps, self.strategy = config, settings, steps, strategy
        self.item_inputs = item_inputs
        keras.utils.set_random_seed(settings.seed)
        with strategy.scope():
            self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
            with _computing_in(settings.precision):
                self.learning = build_towers(config, settings.dropout, self._step)
            if start_n1D is not None:
                self.learning.item.get_layer("item_id_table").embeddings.assign_add(start_n1D)
            self.optimizer = FusedAdam(settings.learning_rate)
            self.weights = self.learning.trainable
            self.optimizer.build(self.weights)
            self.towers = build_towers(config)
            _assign(self.towers.trainable, [weight.numpy() for weight in self.weights])
        content = {**item_inputs, "title": trimmed(item_inputs["title"])}
        self._content = {name: tf.constant(values) for name, values in content.items()}
        self._unmet_n1 = tf.constant(probability_n1 == 0)
        self._softmax = SampledSoftmax(
            tf.constant(probability_n1, tf.float32),
            tf.constant(~new_n1 / max(np.count_nonzero(~new_n1[1:]), 1), tf.float32),
            tf.constant(categories.share_n1, tf.float32),
            tf.constant(categories.category_n1),
            settings.uniform_negatives,
            settings.hard_negatives,
            settings.temperature,
        )
        self._run: Any = None
        self._take_into_mean = tf.function(self._mean_moved)

    def step(self, batch: Batch, number: int) -> tf.Tensor:
        """Learns from one batch and returns its mean loss, not yet waited for."""
        self._step.assign(number)
        self.optimizer.learning_rate.assign(self.learning_rate(number))
        self._run = self._run or self._compiled(batch)
        losses = self._run(self._distribute(batch))
        if (number + 1) % MEAN_EVERY_STEPS == 0:
            taken = (number + 1) // MEAN_EVERY_STEPS
            self._take_into_mean(tf.constant(1.0 - min(MEAN_DECAY, taken / (taken + 9))))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def learning_rate(self, number: int) -> float:
        """Rises evenly over the first twentieth of the steps, then falls along half a cosine."""
        warm = max(1, int(self.steps * WARM_UP_SHARE))
        if number < warm:
            return self.settings.learning_rate * (number + 1) / warm
        share = (number - warm) / max(1, self.steps - warm)
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))

    def state(self) -> list[np.ndarray]:
        """Returns everything a step changes: weights, their mean, then the optimizer's variables."""
        return [variable.numpy() for variable in self._variables]

    def load_state(self, state: Sequence[np.ndarray]) -> None:
        """Raises: CorruptArtifactError: the state is of other towers."""
        _assign(self._variables, state)

    def weight_values(self) -> list[np.ndarray]:
        """Returns the weights of the towers that answer."""
        return [variable.numpy() for variable in self.towers.trainable]

    def load_weights(self, values: Sequence[np.ndarray]) -> None:
        """Raises: CorruptArtifactError: the weights are of other towers."""
        _assign(self.weights, values)
        _assign(self.towers.trainable, values)

    def _mean_moved(self, share: tf.Tensor) -> None:
        for mean, weight in zip(self.towers.trainable, self.weights, strict=True):
            mean.assign_add(share * (weight - mean))

    @property
    def _variables(self) -> list[Any]:
        return [*self.weights, *self.towers.trainable, *self.optimizer.variables]

    def _compiled(self, batch: Batch) -> Any:
        """Compiles the step for windows and numbers of them of any size.

        On one replica once for all: a graph for the sizes of one batch rounds otherwise than that for another, and a
        training cut and resumed would not meet the same ones first.
        """
        sizes = {name: [None, *values.shape[1:]] for name, values in batch.items()}
        sizes |= {name: [None, None] for name in WINDOWED}
        specs = {name: tf.TensorSpec(size, batch[name].dtype) for name, size in sizes.items()}
        once = {"input_signature": [specs]} if self.strategy.num_replicas_in_sync == 1 else {"reduce_retracing": True}
        return tf.function(lambda parts: self.strategy.run(self._replica_step, (parts,)), **once)

    def _distribute(self, batch: Batch) -> Any:
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            return {name: tf.convert_to_tensor(values) for name, values in batch.items()}

        def part(name: str) -> Any:
            pieces = np.split(batch[name], replicas)
            value = lambda context: tf.convert_to_tensor(pieces[context.replica_id_in_sync_group])  # noqa: E731
            return self.strategy.experimental_distribute_values_from_function(value)

        return {name: part(name) for name in batch}

    def _replica_step(self, part: Mapping[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = self._loss(part)
        gradients = [
            _dense_where_small(g, w) for g, w in zip(tape.gradient(loss, self.weights), self.weights, strict=True)
        ]
        summed = self.optimizer.aggregate_gradients(zip(gradients, self.weights, strict=True))
        self.optimizer.apply_gradients(self._clipped(summed), skip_gradients_aggregation=True)
        return loss

    def _clipped(self, summed: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Shortens the gradient of all weights and all replicas together to `clip_norm`, where it is longer."""
        gradients, weights = zip(*((_each_row_once(g), w) for g, w in summed), strict=True)
        if self.settings.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.settings.clip_norm)
        return list(zip(gradients, weights, strict=True))

    def _loss(self, part: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns this replica's share of the mean loss; every replica's candidates are negatives for all."""
        vectors_UD = self._vectors(part["items"], part["known"])
        queries_bD = self._queries(part, vectors_UD)
        at = {
            name: Candidates(*(tf.gather(values, part[name]) for values in (part["items"], vectors_UD)))
            for name in ("targets", "uniform", "hard", "exposed")
        }
        shared = Candidates(*map(self._gather, at["targets"], at["uniform"]))
        targets = Candidates(*(each[:, tf.newaxis] for each in at["targets"]))
        windows_C = self._gather(part["windows"], tf.fill(tf.shape(part["uniform"]), -1))
        in_step_bC = tf.equal(part["windows"][:, tf.newaxis], windows_C)
        losses_b = self._softmax.losses(queries_bD, targets, at["exposed"], shared, at["hard"], in_step_bC)
        return tf.reduce_sum(losses_b * part["weight"]) / self.settings.batch_size

    def _gather(self, targets: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return tf.concat([targets, uniform], 0)
        return tf.concat([context.all_gather(targets, 0), context.all_gather(uniform, 0)], 0)

    def _vectors(self, items: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
        inputs = {name: tf.gather(values, items) for name, values in self._content.items()}
        aged = tf.logical_or(known, tf.gather(self._unmet_n1, items))
        for name, told in (("item", known), ("age", aged)):
            inputs[name] = tf.where(told, inputs[name], self._content[name][0])
        return self.learning.item([inputs[spec.name] for spec in self.learning.item.inputs], training=True)

    def _queries(self, part: Mapping[str, tf.Tensor], vectors_UD: tf.Tensor) -> tf.Tensor:
        told = ("events", "types", "pauses", "now_pauses")
        histories = [tf.gather(vectors_UD, part["events"]), *(part[name] for name in told)]
        features_WSF = self.learning.history(histories, training=True)
        features_bF = tf.gather_nd(features_WSF, tf.stack([part["rows"], part["columns"]], 1))
        features_bF = tf.where(part["alone"][:, tf.newaxis], tf.zeros_like(features_bF), features_bF)
        asked = {**part, "features": features_bF}
        return self.learning.head([asked[spec.name] for spec in self.learning.head.inputs], training=True)

    def read_histories_with(self, vectors_n1D: np.ndarray) -> None:
        """Fills the query tower's item table, float32 [n + 1, D]; it is no part of what learns."""
        self.towers.query.get_layer("item_table").embeddings.assign(vectors_n1D)

    def item_vectors(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns float32 [items, D]."""
        return self._in_blocks(self.towers.item, inputs)

    def query_vectors(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns float32 [queries, D]."""
        return self._in_blocks(self.towers.query, inputs)

    def _in_blocks(self, tower: Any, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        rows = len(next(iter(inputs.values())))
        named = [inputs[spec.name] for spec in tower.inputs]
        blocks = [
            tower([values[begin : begin + ITEMS_PER_CALL] for values in named]).numpy()
            for begin in range(0, rows, ITEMS_PER_CALL)
        ]
        return np.concatenate(blocks) if blocks else np.zeros((0, self.config.dim), np.float32)


@contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    """Makes layers built inside compute in this type; their weights stay float32."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _dense_where_small(gradient: Any, weight: Any) -> Any:
    """Sums a small table's gradient into a whole one, which costs far less than finding the rows that differ."""
    small = isinstance(gradient, tf.IndexedSlices) and weight.shape[0] <= DENSE_TABLE_ROWS
    return tf.convert_to_tensor(gradient) if small else gradient


def _each_row_once(gradient: Any) -> Any:
    """Adds up what a table's gradient says of a row in several places, so that its norm does not hang on how often."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def _assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [value.shape for value in values]:
        raise CorruptArtifactError(
            f"A checkpoint holds {len(values)} arrays that do not fit the {len(shapes)} variables of these towers; "
            "remove the checkpoint's folder to train from the beginning."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
