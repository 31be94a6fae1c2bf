"""Low-rank factorisation: a Dense kernel becomes the product of two thin matrices, then the tower is fine-tuned.

The truncated singular value decomposition is the nearest matrix of its rank (Eckart & Young 1936); each factor gets the
square root of the singular values, so that both are of one size when they learn.

Source: Xue et al. 2013, section 2.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.keras import keras
from pipeline.model.towers import dense_layers
from pipeline.optimize.towers.algorithms import Plan
from pipeline.optimize.towers.distil import learn
from pipeline.optimize.towers.rebuild import LayerConfigs, rewired, sources

THIN = "_thin"


def apply(tower: keras.Model, plan: Plan) -> keras.Model:
    """Returns a copy in which a Dense layer of a rank above `rank_share` of the full one is two, where smaller."""
    kernels = {name: tower.get_layer(name).kernel.numpy() for name in dense_layers(tower)}
    ranks = {name: _rank(kernel, plan.settings.rank_share) for name, kernel in kernels.items()}
    ranks = {name: rank for name, rank in ranks.items() if rank * sum(kernels[name].shape) < kernels[name].size}
    factored = rewired(tower, lambda layers: _insert_thin(layers, ranks))
    for name, rank in ranks.items():
        first, second = _factors(kernels[name], rank)
        wide = factored.get_layer(name)
        factored.get_layer(name + THIN).set_weights([first])
        wide.set_weights([second, *tower.get_layer(name).get_weights()[1:]])
    learn(factored, plan)
    return factored


def _rank(kernel: np.ndarray, share: float) -> int:
    return max(1, round(share * min(kernel.shape)))


def _factors(kernel_IO: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    left_IR, values_R, right_RO = np.linalg.svd(kernel_IO, full_matrices=False)
    root_R = np.sqrt(values_R[:rank])
    return left_IR[:, :rank] * root_R, root_R[:, None] * right_RO[:rank]


def _insert_thin(layers: LayerConfigs, ranks: dict[str, int]) -> None:
    for place, layer in reversed(list(enumerate(layers))):
        if layer["name"] in ranks:
            name = layer["name"] + THIN
            thin = keras.layers.Dense(ranks[layer["name"]], use_bias=False, name=name)
            read = [[list(source) for source in node] for node in layer["inbound_nodes"]]
            layers.insert(
                place, {"class_name": "Dense", "config": thin.get_config(), "name": name, "inbound_nodes": read}
            )
            for source in sources(layer):
                source[:3] = [name, 0, 0]
