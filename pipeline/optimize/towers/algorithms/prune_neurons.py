"""Structured pruning: hidden units are cut out whole, so that matrices get smaller, then the tower is fine-tuned.

A unit counts by how much the next layer's sums would move without it: the variance of what it answers, over real
queries, times the squared length of its outgoing weights. Its mean answer is no loss, it goes into the next bias.

Source: Luo et al. 2017 (ThiNet), section 3.2: units are judged by the next layer's sums; here each alone.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.keras import keras
from pipeline.optimize.towers.algorithms import Plan
from pipeline.optimize.towers.distil import SAMPLE, learn
from pipeline.optimize.towers.rebuild import LayerConfigs, readers, rewired


def apply(tower: keras.Model, plan: Plan) -> keras.Model:
    """Returns a copy without `neuron_sparsity` of the units of each Dense layer that another one alone reads."""
    followed = _followed(tower.get_config()["layers"])
    answers = _answers(tower, list(followed), plan)
    kept = {
        name: _most_missed(answers[name], tower.get_layer(reader).kernel.numpy(), plan.settings.neuron_sparsity)
        for name, reader in followed.items()
    }
    cut = rewired(tower, lambda layers: _narrow(layers, kept))
    for name, reader in followed.items():
        _fill(tower, cut, name, reader, kept[name], answers[name].mean(axis=0))
    learn(cut, plan)
    return cut


def _followed(layers: LayerConfigs) -> dict[str, str]:
    """Returns which Dense layer reads the answers of each Dense layer with a ReLU, if nothing else does."""
    found = {}
    for layer in layers:
        if layer["class_name"] == "Dense" and layer["config"]["activation"] == "relu":
            reading = readers(layers, layer["name"])
            if len(reading) == 1 and reading[0]["class_name"] == "Dense" and reading[0]["config"]["use_bias"]:
                found[layer["name"]] = reading[0]["name"]
    return found


def _answers(tower: keras.Model, names: list[str], plan: Plan) -> dict[str, np.ndarray]:
    """Returns what each layer's units answer on real queries, float32 [N, units] by the layer's name."""
    features = {name: values[:SAMPLE] for name, values in plan.lessons().features.items()}
    told = keras.Model(tower.inputs, {name: tower.get_layer(name).output for name in names})
    answers = told.predict(features, batch_size=1024, verbose=0)
    return {name: values.reshape(-1, values.shape[-1]) for name, values in answers.items()}


def _most_missed(answers_NU: np.ndarray, outgoing_UO: np.ndarray, share: float) -> np.ndarray:
    """Returns the units that stay, in order."""
    missed_U = answers_NU.var(axis=0) * (outgoing_UO**2).sum(axis=1)
    gone = min(int(share * len(missed_U)), len(missed_U) - 1)
    return np.sort(np.argsort(missed_U, kind="stable")[gone:])


def _narrow(layers: LayerConfigs, kept: dict[str, np.ndarray]) -> None:
    for layer in layers:
        if layer["name"] in kept:
            layer["config"]["units"] = len(kept[layer["name"]])


def _fill(tower: keras.Model, cut: keras.Model, name: str, reader: str, kept: np.ndarray, mean_U: np.ndarray) -> None:
    kernel, bias = tower.get_layer(name).get_weights()
    outgoing_UO, next_bias_O = tower.get_layer(reader).get_weights()
    gone = np.setdiff1d(np.arange(len(mean_U)), kept)
    cut.get_layer(name).set_weights([kernel[:, kept], bias[kept]])
    cut.get_layer(reader).set_weights([outgoing_UO[kept], next_bias_O + mean_U[gone] @ outgoing_UO[gone]])
