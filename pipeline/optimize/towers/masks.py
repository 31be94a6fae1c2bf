"""Shuts places out of a softmax by no more than it takes, so that its logits keep steps of their own in integers.

In float a place that is not seen gets `parts.NEVER` added to its logit. In a byte that stretches one step to 39, and
all logits fall on the same one. A place is shut out as well by a little more than the spread of the logits over real
inputs: what remains of it in the softmax's sum is below exp(-`BELOW`), and its own weight is set to zero anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.model.keras import keras
from pipeline.model.parts import Attention, TextPooling
from pipeline.optimize.towers.rebuild import rewired

BELOW = 9.0


def gentle_masks(tower: keras.Model, samples: Mapping[str, np.ndarray]) -> keras.Model:
    """Returns a copy that answers alike, up to exp(-`BELOW`) for each place that is not seen.

    Args: samples: real inputs, arrays [N, …] by name.
    """
    masked = [layer for layer in tower.layers if isinstance(layer, Attention | TextPooling)]
    if not masked:
        return tower
    logits = keras.Model(tower.inputs, {layer.name: layer.logits(layer.input) for layer in masked})
    found = logits.predict(dict(samples), batch_size=1024, verbose=0)
    never = {name: -(float(np.ptp(values)) + BELOW) for name, values in found.items()}

    def shut(layers: list[dict[str, Any]]) -> None:
        for layer in layers:
            if layer["name"] in never:
                layer["config"]["never"] = never[layer["name"]]

    return rewired(tower, shut)
