"""Keras towers to LiteRT files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pipeline.model.keras import keras, tf
from pipeline.optimize.towers.equalize import even_branches
from pipeline.optimize.towers.masks import gentle_masks
from pipeline.optimize.towers.sharing import mostly_shared
from pipeline.optimize.towers.weights import Weights

BATCH = 32


def to_litert(model: keras.Model, weights: Weights, samples: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Returns the model as a LiteRT flat buffer with inputs of any batch size.

    Args:
        weights: `float16` halves the numbers and computes in float32. `int8` is post-training dynamic range
            quantization: tables and Dense kernels a byte a number with a scale a row or channel, activations in float.
            `full_int8` computes in integers wherever LiteRT can, inputs and answers as before; branches of different
            range are first brought to one, for they would share a scale, and masks made no deeper than need be.
        samples: real inputs, arrays [N, …] by name, whose ranges `full_int8` takes.
    """
    if weights == "full_int8":
        model = even_branches(gentle_masks(model, samples), samples)
    converter = _converter(model)
    if weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # With a scale a channel, weights that share a value would no longer share it as bytes.
    converter._experimental_disable_per_channel = mostly_shared(model)
    if weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if weights == "full_int8":
        converter.representative_dataset = lambda: _batches(samples)
    return converter.convert()


def _converter(model: keras.Model) -> tf.lite.TFLiteConverter:
    """Returns a converter of what the model answers: asked for a Keras model, it first saves each layer's functions."""
    module = tf.Module()
    module.held = model.variables
    inputs = {each.name: tf.TensorSpec(each.shape, each.dtype, each.name) for each in model.inputs}
    answer = tf.function(lambda features: {model.output_names[0]: model(features)})
    return tf.lite.TFLiteConverter.from_concrete_functions([answer.get_concrete_function(inputs)], module)


def _batches(samples: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches of one size: the calibrator lays out its memory for the first."""
    rows = len(next(iter(samples.values())))
    size = min(BATCH, rows)
    for at in range(0, rows - size + 1, size):
        yield {name: values[at : at + size] for name, values in samples.items()}
