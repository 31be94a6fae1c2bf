"""Brings the branches that a tower joins to one range, without changing what it answers.

A joined tensor of integers has one scale. Where branches of different range are joined, the narrow ones are left a few
of its 255 steps. So every branch is divided by its largest number over real inputs, and the rows of the Dense kernels
that read it are multiplied by it: the same numbers up to rounding in float, and a fair share of steps in integers.
(Divided by the standard deviation, a branch that is often zero, as words are, takes the others' steps.)

The factors travel through layers that treat each feature alone (`_TRAVEL`); what reads the joined features otherwise
gets them back in their own size. A branch that comes from another join is left as that one scaled it.

Source: Nagel et al. 2019, section 4.1 (equalization of ranges across layers), with joined branches for channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pipeline.model.keras import keras
from pipeline.optimize.towers.rebuild import LayerConfigs, rewired, sources

Ranges = dict[str, float]
Factors = dict[str, np.ndarray]

_TRAVEL: dict[str, Callable[[np.ndarray, dict[str, Any]], np.ndarray]] = {
    "WherePresent": lambda factors, _: factors,
    "Newest": lambda factors, _: factors,
    "Multiply": lambda factors, _: factors,
    "Reshape": lambda factors, config: factors if config["target_shape"][-1] == len(factors) else None,
    "FirstPart": lambda factors, config: factors[: config["width"]],
}


def even_branches(tower: keras.Model, samples: Mapping[str, np.ndarray]) -> keras.Model:
    """Returns a copy that answers alike and joins branches whose largest number is 1.

    Args: samples: real inputs, arrays [N, …] by name.
    """
    ranges = _ranges(tower, samples)
    walk = _Walk(tower, ranges)
    even = rewired(tower, walk.edit)
    for name, factors in walk.absorbed.items():
        kernel, *bias = tower.get_layer(name).get_weights()
        even.get_layer(name).set_weights([kernel * factors[:, None], *bias])
    return even


def _joins(tower: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in tower.layers if isinstance(layer, keras.layers.Concatenate)]


def _ranges(tower: keras.Model, samples: Mapping[str, np.ndarray]) -> Ranges:
    """Returns the largest number, signs aside, of everything that is joined, by the name of the layer it comes from."""
    joined = {tensor.node.layer.name: tensor for layer in _joins(tower) for tensor in layer.input}
    found = keras.Model(tower.inputs, joined).predict(dict(samples), batch_size=1024, verbose=0)
    return {name: float(np.abs(values).max()) or 1.0 for name, values in found.items()}


class _Walk:
    """One pass over the layers' configurations, in the order they are computed.

    Attributes:
        carried: by layer, the numbers its features are to be multiplied by to be what they were.
        absorbed: the same by Dense layer, for the rows of its kernel.
    """

    def __init__(self, tower: keras.Model, ranges: Ranges) -> None:
        self.widths = {layer.name: layer.output.shape[-1] for layer in tower.layers}
        self.ranges = ranges
        self.carried: Factors = {}
        self.absorbed: Factors = {}
        self.added: dict[str, dict[str, Any]] = {}

    def edit(self, layers: LayerConfigs) -> None:
        for layer in list(layers):
            if layer["class_name"] == "Concatenate":
                self._join(layer)
            elif any(source[0] in self.carried for source in sources(layer)):
                self._carry(layer)
        layers.extend(self.added.values())

    def _join(self, layer: dict[str, Any]) -> None:
        factors = []
        for source in sources(layer):
            name = source[0]
            if name not in self.carried:
                largest = self.ranges[name]
                self._rescale(source, f"{name}_even", np.float32(1.0 / largest))
                factors.append(np.full(self.widths[name], largest, np.float32))
            else:
                factors.append(self.carried[name])
        self.carried[layer["name"]] = np.concatenate(factors)

    def _carry(self, layer: dict[str, Any]) -> None:
        first, *others = sources(layer)
        factors = self.carried.get(first[0])
        travels = _TRAVEL.get(layer["class_name"])
        alone = factors is not None and not any(source[0] in self.carried for source in others)
        if alone and layer["class_name"] == "Dense":
            self.absorbed[layer["name"]] = factors
        elif alone and travels and (further := travels(factors, layer["config"])) is not None:
            self.carried[layer["name"]] = further
        else:
            for source in sources(layer):
                if source[0] in self.carried:
                    self._rescale(source, f"{source[0]}_whole", self.carried[source[0]])

    def _rescale(self, source: list[Any], name: str, factors: np.ndarray) -> None:
        """Puts a layer that multiplies between a layer and what it reads."""
        scale = keras.layers.Rescaling(factors.tolist(), name=name)
        read = [[list(source)]]
        added = {"class_name": "Rescaling", "config": scale.get_config(), "name": name, "inbound_nodes": read}
        self.added.setdefault(name, added)
        source[:3] = [name, 0, 0]
