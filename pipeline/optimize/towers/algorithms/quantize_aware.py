"""Quantization-aware training of the Dense kernels: they learn on the very grid the converter will round them to.

Only kernels are rounded in training (a byte a number, symmetric, one scale an output channel: LiteRT's dynamic range
grid; one scale a kernel where its weights share values, so that they go on sharing them as bytes); activations are
scaled afresh for every request at run time and need no trained range. TF-MOT's default scheme, which also fixes
activation ranges, is not used: it shares one range over the concatenated branches, and its converter mode leaves the
embedding tables in float32.

A weight that is zero stays zero, as in TF-MOT's prune-preserving scheme. Weights that share a value and are told to go
on sharing it learn by the mean of their gradients (TF-MOT's cluster-preserving scheme gives them their sum).

Source: Jacob et al. 2018, section 3, for weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot

from pipeline.model.keras import keras, tf
from pipeline.model.parts import layer_scope
from pipeline.model.towers import dense_layers
from pipeline.optimize.towers.algorithms import Plan
from pipeline.optimize.towers.distil import learn
from pipeline.optimize.towers.rebuild import copy_of, with_dense

quantization = tfmot.quantization.keras


class KernelQuantizer(quantization.quantizers.LastValueQuantizer):
    """Rounds to 8 bits; no gradient passes to a weight that is zero.

    Args: sharing: int32 of the kernel's shape, the same number where weights share a value; none if they do not.
    """

    def __init__(self, sharing: np.ndarray | None = None) -> None:
        super().__init__(num_bits=8, per_axis=sharing is None, symmetric=True, narrow_range=True)
        self.sharing = sharing

    def __call__(self, inputs: tf.Tensor, training: bool, weights: dict[str, tf.Variable], **options: Any) -> tf.Tensor:
        kept = tf.stop_gradient(tf.cast(tf.not_equal(inputs, 0.0), inputs.dtype))
        return super().__call__(self._shared(inputs) * kept, training, weights, **options)

    def _shared(self, kernel: tf.Tensor) -> tf.Tensor:
        if self.sharing is None:
            return kernel
        values = int(self.sharing.max()) + 1
        mean = tf.math.unsorted_segment_mean(tf.reshape(kernel, [-1]), self.sharing.ravel(), values)
        return tf.gather(mean, self.sharing)

    def get_config(self) -> dict[str, Any]:
        return {"sharing": self.sharing}


class KernelOnly(quantization.QuantizeConfig):
    """Tells TF-MOT to round a Dense layer's kernel and nothing else."""

    def __init__(self, sharing: np.ndarray | None = None) -> None:
        self.sharing = sharing

    def get_weights_and_quantizers(self, layer: keras.layers.Dense) -> list[tuple[tf.Tensor, Any]]:
        return [(layer.kernel, KernelQuantizer(self.sharing))]

    def set_quantize_weights(self, layer: keras.layers.Dense, quantize_weights: list[tf.Tensor]) -> None:
        (layer.kernel,) = quantize_weights

    def get_activations_and_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        return []

    def set_quantize_activations(self, layer: keras.layers.Layer, quantize_activations: list[Any]) -> None:
        pass

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        return []

    def get_config(self) -> dict[str, Any]:
        return {"sharing": self.sharing}


class _AsItStands(quantization.QuantizeLayoutTransform):
    def apply(self, model: keras.Model, layer_quantize_map: dict[str, Any]) -> tuple[keras.Model, dict[str, Any]]:
        return model, layer_quantize_map


class _OnlyWhatIsAnnotated(quantization.QuantizeRegistry):
    def supports(self, layer: keras.layers.Layer) -> bool:
        return False

    def get_quantize_config(self, layer: keras.layers.Layer) -> None:
        return None


class _Scheme(quantization.QuantizeScheme):
    """TF-MOT's default would fuse and quantize the concatenation before the first Dense layer as well."""

    def get_layout_transformer(self) -> _AsItStands:
        return _AsItStands()

    def get_quantize_registry(self) -> _OnlyWhatIsAnnotated:
        return _OnlyWhatIsAnnotated()


def apply(tower: keras.Model, plan: Plan) -> keras.Model:
    """Returns a copy whose Dense layers were fine-tuned under 8 bit rounding, zeros kept."""
    return train(tower, plan, lambda _: None)


def train(tower: keras.Model, plan: Plan, sharing: Callable[[np.ndarray], np.ndarray | None]) -> keras.Model:
    """Returns a copy fine-tuned under 8 bit rounding.

    Its kernels are float32 values next to the grid; the converter, asked for int8, puts them on it.

    Args: sharing: from a kernel to which of its weights share a value, see `KernelQuantizer`.
    """

    def annotate(dense: keras.layers.Dense) -> keras.layers.Layer:
        return quantization.quantize_annotate_layer(dense, KernelOnly(sharing(dense.kernel.numpy())))

    known = {"KernelOnly": KernelOnly, "KernelQuantizer": KernelQuantizer}
    with layer_scope(), keras.utils.custom_object_scope(known):
        student = quantization.quantize_apply(with_dense(tower, annotate), _Scheme())
        learn(student, plan)
    return _unwrapped(tower, student)


def _unwrapped(tower: keras.Model, student: keras.Model) -> keras.Model:
    plain = copy_of(tower)
    for name in dense_layers(tower):
        trained = {w.name.rsplit("/")[-1]: w.numpy() for w in student.get_layer(f"quant_{name}").trainable_weights}
        plain.get_layer(name).set_weights([trained[key] for key in ("kernel:0", "bias:0") if key in trained])
    return plain
