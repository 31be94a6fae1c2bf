"""Weight clustering: the weights of a Dense kernel share a few values, which learn as what they have in common.

A file of them packs well, since each number is one of a few.

Source: Han et al. 2016, section 3; TF-MOT `cluster_weights`.
"""

from __future__ import annotations

import numpy as np
import tensorflow_model_optimization as tfmot

from pipeline.model.keras import keras
from pipeline.optimize.towers.algorithms import Plan
from pipeline.optimize.towers.distil import learn
from pipeline.optimize.towers.rebuild import copy_of, with_dense

WRAPPED = "cluster_"


def apply(tower: keras.Model, plan: Plan) -> keras.Model:
    """Returns a copy whose Dense kernels hold at most `clusters` values each, zeros kept, fine-tuned."""
    clusters = plan.settings.clusters
    keras.utils.set_random_seed(plan.seed)  # for the first centroids

    def wrap(dense: keras.layers.Dense) -> keras.layers.Layer:
        kernel = dense.kernel.numpy()
        if len(np.unique(kernel)) <= clusters:
            return dense
        return tfmot.clustering.keras.cluster_weights(
            dense,
            number_of_clusters=clusters,
            cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
            preserve_sparsity=bool((kernel == 0).any()),
        )

    student = with_dense(tower, wrap)
    learn(student, plan)
    clustered = copy_of(tower)
    for layer in student.layers:
        inner = getattr(layer, "layer", layer)
        if isinstance(inner, keras.layers.Dense):
            clustered.get_layer(inner.name).set_weights(_weights(layer, inner))
    return clustered


def _weights(layer: keras.layers.Layer, dense: keras.layers.Dense) -> list[np.ndarray]:
    if layer is not dense:
        layer.update_clustered_weights_associations()
    return [np.array(dense.kernel), *([np.array(dense.bias)] if dense.use_bias else [])]
