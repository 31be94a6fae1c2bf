"""Quantization-aware training that keeps what pruning and clustering made: zeros, and weights that share a value.

After `prune` it is TF-MOT's PQAT, after `cluster` its CQAT, after both its PCQAT. TF-MOT's own schemes for them are
built on its default one, which does not fit these towers (`quantize_aware` says why).

Source: TF-MOT, collaborative optimization, https://www.tensorflow.org/model_optimization/guide/combine/collaborative_optimization
"""

from __future__ import annotations

from pipeline.model.keras import keras
from pipeline.optimize.towers.algorithms import Plan, quantize_aware
from pipeline.optimize.towers.sharing import sharing


def apply(tower: keras.Model, plan: Plan) -> keras.Model:
    """Returns a copy fine-tuned under 8 bit rounding whose kernels hold no more different values than before."""
    return quantize_aware.train(tower, plan, sharing)
