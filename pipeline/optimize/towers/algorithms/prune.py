"""Magnitude pruning: the smallest Dense weights go to zero step by step while the tower is fine-tuned.

Source: Zhu & Gupta 2017 (polynomial schedule); TF-MOT `prune_low_magnitude`.
"""

from __future__ import annotations

import numpy as np
import tensorflow_model_optimization as tfmot

from pipeline.model.keras import keras
from pipeline.model.towers import dense_layers
from pipeline.optimize.towers.algorithms import Plan
from pipeline.optimize.towers.distil import learn
from pipeline.optimize.towers.rebuild import copy_of, with_dense

PRUNE_EVERY_STEPS = 4
SHARE_OF_STEPS_PRUNING = 0.6
"""The rest of the steps heal what the last cut broke."""


def apply(tower: keras.Model, plan: Plan) -> keras.Model:
    """Returns a copy whose Dense kernels have at least `sparsity` zeros each, fine-tuned."""
    sparsity = plan.settings.sparsity
    cuts = max(1, int(plan.steps * SHARE_OF_STEPS_PRUNING) // PRUNE_EVERY_STEPS)
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        0.0, sparsity, 0, cuts * PRUNE_EVERY_STEPS, frequency=PRUNE_EVERY_STEPS
    )
    student = with_dense(tower, lambda dense: tfmot.sparsity.keras.prune_low_magnitude(dense, schedule))
    learn(student, plan, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
    pruned = copy_of(tower)
    for name in dense_layers(tower):
        kernel, *bias = student.get_layer(f"prune_low_magnitude_{name}").layer.get_weights()
        pruned.get_layer(name).set_weights([_cut(kernel, sparsity), *bias])
    return pruned


def _cut(kernel: np.ndarray, sparsity: float) -> np.ndarray:
    """Zeros the smallest; the schedule has done it already but where there were too few steps for it."""
    cut = kernel.copy()
    smallest = np.argsort(np.abs(kernel), axis=None, kind="stable")[: int(np.ceil(sparsity * kernel.size))]
    cut.flat[smallest] = 0.0
    return cut
