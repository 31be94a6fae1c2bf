"""Copies of a tower with some of its layers changed, weights and all."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from pipeline.model.keras import keras
from pipeline.model.parts import layer_scope

LayerConfigs = list[dict[str, Any]]


def copy_of(tower: keras.Model) -> keras.Model:
    """Returns a copy that shares no variable with the tower."""
    return rewired(tower, lambda _: None)


def with_dense(tower: keras.Model, make: Callable[[keras.layers.Dense], keras.layers.Layer]) -> keras.Model:
    """Returns a copy of the tower with every Dense layer as `make` turns a copy of it, built and filled."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        fresh = layer.from_config(layer.get_config())
        if not isinstance(layer, keras.layers.Dense):
            return fresh
        fresh.build((None, layer.kernel.shape[0]))
        fresh.set_weights(layer.get_weights())
        return make(fresh)

    with layer_scope():
        copy = keras.models.clone_model(tower, clone_function=clone)
    for mine, theirs in zip(tower.layers, copy.layers, strict=True):
        if not isinstance(mine, keras.layers.Dense):
            theirs.set_weights(mine.get_weights())
    return copy


def rewired(tower: keras.Model, edit: Callable[[LayerConfigs], None]) -> keras.Model:
    """Returns the tower after `edit` changed its layers' configurations in place.

    Weights are copied to layers of the same name and shapes; the others are as their initializers made them.
    """
    config = deepcopy(tower.get_config())
    edit(config["layers"])
    with layer_scope():
        copy = type(tower).from_config(config)
    copy_weights(tower, copy)
    return copy


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of layers that have the same name and shapes in both."""
    given = {layer.name: layer.get_weights() for layer in source.layers}
    for layer in target.layers:
        weights = given.get(layer.name, [])
        if [w.shape for w in weights] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(weights)


def sources(layer: dict[str, Any]) -> list[list[Any]]:
    """Returns what a configured layer reads, each as [layer's name, node, tensor, arguments]."""
    return [source for node in layer["inbound_nodes"] for source in node]


def readers(layers: LayerConfigs, name: str) -> list[dict[str, Any]]:
    """Returns the configured layers that read from the named one."""
    return [layer for layer in layers if any(source[0] == name for source in sources(layer))]
