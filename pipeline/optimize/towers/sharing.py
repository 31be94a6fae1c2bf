"""Which weights of a kernel share a value."""

from __future__ import annotations

import numpy as np

from pipeline.model.keras import keras

MOST_VALUES = 256
"""A kernel of more values than a byte tells apart shares none."""


def sharing(kernel: np.ndarray) -> np.ndarray | None:
    """Returns int32 of the kernel's shape, the same number where weights share a value; none if they do not."""
    values, which = np.unique(kernel, return_inverse=True)
    shares = len(values) <= min(MOST_VALUES, kernel.size // 2)
    return which.reshape(kernel.shape).astype(np.int32) if shares else None


def mostly_shared(tower: keras.Model) -> bool:
    """Tells whether most Dense weights lie in kernels whose weights share values."""
    kernels = [layer.kernel.numpy() for layer in tower.layers if isinstance(layer, keras.layers.Dense)]
    shared = sum(kernel.size for kernel in kernels if sharing(kernel) is not None)
    return 2 * shared > sum(kernel.size for kernel in kernels)
