"""Fine-tunes a compressed query tower to give the vectors the float tower gives on real queries.

The float tower's vectors are the targets (cosine distance), not the clicks: it needs no negatives and no replicas,
cannot drift from the item vectors the index already holds, and takes seconds. Only the Dense layers learn; the tables
stay what training made them.

Source: Hinton et al. 2015, section 2, with vectors in place of logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.model.keras import keras, tf

BATCH = 256
LEARNING_RATE = 5e-4


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


def learn(
    student: keras.Model,
    lessons: Lessons,
    steps: int,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> float:
    """Trains the student's Dense layers in place for so many steps; returns its mean cosine to the teacher."""
    _freeze_tables(student)
    student.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)), _distance)
    student.fit(_batches(lessons, seed), steps_per_epoch=steps, epochs=1, verbose=0, callbacks=list(callbacks))
    sample = slice(0, 2048)
    found = student.predict({n: v[sample] for n, v in lessons.features.items()}, batch_size=1024, verbose=0)
    return float((found * lessons.vectors[sample]).sum(axis=1).mean())


def _distance(teacher_BD: tf.Tensor, student_BD: tf.Tensor) -> tf.Tensor:
    return 1.0 - tf.reduce_sum(teacher_BD * student_BD, axis=-1)


def _freeze_tables(student: keras.Model) -> None:
    for layer in student.layers:
        inner = getattr(layer, "layer", layer)
        layer.trainable = isinstance(inner, keras.layers.Dense)


def _batches(lessons: Lessons, seed: int) -> tf.data.Dataset:
    """Returns endless shuffled batches; rows are gathered by batches of indices, which is cheap."""
    size = min(BATCH, len(lessons))
    features = {name: tf.constant(values) for name, values in lessons.features.items()}
    vectors = tf.constant(lessons.vectors)
    order = tf.data.Dataset.range(len(lessons)).shuffle(len(lessons), seed).repeat().batch(size, drop_remainder=True)
    return order.map(lambda rows: ({n: tf.gather(v, rows) for n, v in features.items()}, tf.gather(vectors, rows)))
