"""Keras towers to LiteRT files."""

from __future__ import annotations

from typing import Literal

from pipeline.model.keras import keras, tf

Weights = Literal["float32", "int8"]


def to_litert(model: keras.Model, weights: Weights) -> bytes:
    """Returns the model as a LiteRT flat buffer with inputs of any batch size.

    Args:
        weights: `int8` is post-training dynamic range quantization: tables and Dense kernels a byte a number with a
            scale a row or channel, activations in float. Full-integer quantization is not offered: it shares one scale
            over the concatenated branches, whose spreads differ, and ruins the vectors.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if weights == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()
