"""Fine-tunes a compressed query tower to give the vectors the float tower gives on real queries.

The float tower's vectors are the targets (cosine distance), not the clicks: it needs no negatives and no replicas,
cannot drift from the item vectors the index already holds, and takes seconds. Only the Dense layers learn where an
algorithm does not say otherwise; the tables stay what training made them.

Source: Hinton et al. 2015, section 2, with vectors in place of logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.model.keras import keras, tf
from pipeline.optimize.towers.algorithms import Plan

BATCH = 256
LEARNING_RATE = 5e-4
SAMPLE = 2048
"""Lessons that are enough to know how a layer's answers spread."""


@dataclass(frozen=True)
class Lessons:
    """Real queries with the float tower's answers.

    Attributes:
        features: inputs of the query tower, arrays [N, …] by name.
        vectors: float32 [N, dim], unit length, the float tower's.
    """

    features: dict[str, np.ndarray]
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)


def is_dense(layer: keras.layers.Layer) -> bool:
    """Tells Dense layers, wrapped or not."""
    return isinstance(getattr(layer, "layer", layer), keras.layers.Dense)


def learn(
    student: keras.Model,
    plan: Plan,
    learns: Callable[[keras.layers.Layer], bool] = is_dense,
    rate: float = LEARNING_RATE,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains in place, for the plan's steps, those of the student's layers that `learns` tells."""
    for layer in student.layers:
        layer.trainable = learns(layer)
    if not plan.steps:
        return
    keras.utils.set_random_seed(plan.seed)
    decay = keras.optimizers.schedules.CosineDecay(rate, plan.steps)
    student.compile(keras.optimizers.Adam(decay), _distance)
    # A first step that also made the optimizer's variables would be traced twice, which takes longer than the steps.
    student.optimizer.build(student.trainable_variables)
    batches = _batches(plan.lessons(), plan.seed)
    student.fit(batches, steps_per_epoch=plan.steps, epochs=1, verbose=0, callbacks=list(callbacks))


def _distance(teacher_BD: tf.Tensor, student_BD: tf.Tensor) -> tf.Tensor:
    return 1.0 - tf.reduce_sum(teacher_BD * student_BD, axis=-1)


def _batches(lessons: Lessons, seed: int) -> tf.data.Dataset:
    """Returns endless shuffled batches; rows are gathered by batches of indices, which is cheap."""
    size = min(BATCH, len(lessons))
    features = {name: tf.constant(values) for name, values in lessons.features.items()}
    vectors = tf.constant(lessons.vectors)
    order = tf.data.Dataset.range(len(lessons)).shuffle(len(lessons), seed).repeat().batch(size, drop_remainder=True)
    return order.map(lambda rows: ({n: tf.gather(v, rows) for n, v in features.items()}, tf.gather(vectors, rows)))
