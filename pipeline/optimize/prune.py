"""Magnitude pruning: the smallest Dense weights go to zero step by step while the tower is fine-tuned.

Source: Zhu & Gupta 2017 (polynomial schedule); TF-MOT `prune_low_magnitude`.
"""

from __future__ import annotations

import tensorflow_model_optimization as tfmot

from pipeline.model.keras import keras
from pipeline.model.parts import layer_scope
from pipeline.optimize.distil import Lessons, learn

PRUNE_EVERY_STEPS = 4
SHARE_OF_STEPS_PRUNING = 0.6
"""The rest of the steps heal what the last cut broke."""


def prune(tower: keras.Model, lessons: Lessons, steps: int, sparsity: float, seed: int) -> keras.Model:
    """Returns a copy of the tower whose Dense kernels have at least `sparsity` zeros, fine-tuned to its vectors."""
    end = max(PRUNE_EVERY_STEPS, int(steps * SHARE_OF_STEPS_PRUNING))
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, 0, end, frequency=PRUNE_EVERY_STEPS)

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        wanted = isinstance(layer, keras.layers.Dense)
        return (
            tfmot.sparsity.keras.prune_low_magnitude(layer, schedule)
            if wanted
            else layer.from_config(layer.get_config())
        )

    with layer_scope():
        student = keras.models.clone_model(tower, clone_function=wrap)
        _copy_weights(tower, student)
        learn(student, lessons, steps, seed, [tfmot.sparsity.keras.UpdatePruningStep()])
        return tfmot.sparsity.keras.strip_pruning(student)


def _copy_weights(tower: keras.Model, student: keras.Model) -> None:
    for mine, theirs in zip(tower.layers, student.layers, strict=True):
        inner = theirs.layer if isinstance(mine, keras.layers.Dense) else theirs
        inner.set_weights(mine.get_weights())
