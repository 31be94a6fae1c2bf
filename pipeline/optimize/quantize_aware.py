"""Quantization-aware training of the Dense kernels: they learn on the very grid the converter will round them to.

Only kernels are rounded in training (a byte a number, symmetric, one scale an output channel: LiteRT's dynamic range
grid); activations are scaled afresh for every request at run time and need no trained range. TF-MOT's default scheme,
which also fixes activation ranges, is not used: it shares one range over the concatenated branches, and its converter
mode leaves the embedding tables, most of the bytes, in float32.

Source: Jacob et al. 2018, section 3, for weights; zeros kept zero as in TF-MOT's prune-preserving scheme.
"""

from __future__ import annotations

from typing import Any

import tensorflow_model_optimization as tfmot

from pipeline.model.keras import keras, tf
from pipeline.model.parts import layer_scope
from pipeline.model.towers import dense_layers
from pipeline.optimize.distil import Lessons, learn

quantization = tfmot.quantization.keras


class SparseKernelQuantizer(quantization.quantizers.LastValueQuantizer):
    """Rounds to 8 bits; a weight that is zero stays zero, since no gradient passes to it."""

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)

    def __call__(self, inputs: tf.Tensor, training: bool, weights: dict[str, tf.Variable], **options: Any) -> tf.Tensor:
        kept = tf.stop_gradient(tf.cast(tf.not_equal(inputs, 0.0), inputs.dtype))
        return super().__call__(inputs * kept, training, weights, **options)

    def get_config(self) -> dict[str, Any]:
        return {}


class KernelOnly(quantization.QuantizeConfig):
    """Tells TF-MOT to round a Dense layer's kernel and nothing else."""

    def get_weights_and_quantizers(self, layer: keras.layers.Dense) -> list[tuple[tf.Tensor, Any]]:
        return [(layer.kernel, SparseKernelQuantizer())]

    def set_quantize_weights(self, layer: keras.layers.Dense, quantize_weights: list[tf.Tensor]) -> None:
        (layer.kernel,) = quantize_weights

    def get_activations_and_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        return []

    def set_quantize_activations(self, layer: keras.layers.Layer, quantize_activations: list[Any]) -> None:
        pass

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        return []

    def get_config(self) -> dict[str, Any]:
        return {}


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


def quantize_aware(tower: keras.Model, lessons: Lessons, steps: int, seed: int) -> keras.Model:
    """Returns a copy of the tower whose Dense layers were fine-tuned under 8 bit rounding, zeros kept.

    Its kernels are float32 values next to the grid; the converter, asked for int8, puts them on it.
    """

    def annotate(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, keras.layers.Dense):
            return layer.from_config(layer.get_config())
        return quantization.quantize_annotate_layer(layer.from_config(layer.get_config()), KernelOnly())

    known = {"KernelOnly": KernelOnly, "SparseKernelQuantizer": SparseKernelQuantizer}
    with layer_scope(), keras.utils.custom_object_scope(known):
        annotated = keras.models.clone_model(tower, clone_function=annotate)
        annotated.set_weights(tower.get_weights())
        student = quantization.quantize_apply(annotated, _Scheme())
        learn(student, lessons, steps, seed)
        return _unwrapped(tower, student)


def _unwrapped(tower: keras.Model, student: keras.Model) -> keras.Model:
    plain = keras.models.clone_model(tower)
    plain.set_weights(tower.get_weights())
    for name in dense_layers(tower):
        trained = {w.name.rsplit("/")[-1]: w for w in student.get_layer(f"quant_{name}").trainable_weights}
        plain.get_layer(name).set_weights([trained["kernel:0"].numpy(), trained["bias:0"].numpy()])
    return plain
