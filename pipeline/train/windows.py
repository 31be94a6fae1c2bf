"""Windows of events: one pass over each gives the query at every place, so that every event can be a target.

Shapes: N events, T targets, W windows, L history length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_LENGTH = 4


@dataclass(frozen=True)
class Windows:
    """Stretches of sequences, and which targets each one tells.

    A sequence no longer than L is one window; longer ones are cut into windows of L events that overlap by half, and
    a target belongs to the first that holds the place it is asked from, so that at least L / 2 events tell it.

    Attributes:
        begins_W, lengths_W: int64, in the flat arrays.
        firsts_W1: int64 [W + 1], the first target of each, and the end; targets are in the order of their places.
        kinds_W: int64, place in `sizes` of the length a window is padded to.
        sizes: ascending; the last is L.
    """

    begins_W: np.ndarray
    lengths_W: np.ndarray
    firsts_W1: np.ndarray
    kinds_W: np.ndarray
    sizes: tuple[int, ...]

    @classmethod
    def cut(cls, asked_from_T: np.ndarray, starts_T: np.ndarray, length: int) -> Windows:
        """Args: asked_from_T: the place each target is asked from; starts_T: where its sequence begins."""
        stride = max(1, length // 2)
        within_T = asked_from_T - starts_T
        begins_T = starts_T + np.maximum(0, (within_T - length + stride) // stride) * stride
        fresh_T = np.diff(begins_T, prepend=-1) != 0
        firsts_W1 = np.append(np.flatnonzero(fresh_T), len(begins_T))
        begins_W = begins_T[firsts_W1[:-1]]
        lengths_W = np.maximum.reduceat(asked_from_T, firsts_W1[:-1]) + 1 - begins_W
        sizes = _sizes(length)
        return cls(begins_W, lengths_W, firsts_W1, np.searchsorted(sizes, lengths_W), sizes)

    def of(self, targets: np.ndarray) -> np.ndarray:
        """Returns the window of each target."""
        return np.searchsorted(self.firsts_W1, targets, side="right") - 1

    def shuffled(self, draw: np.random.Generator, batch: int) -> np.ndarray:
        """Returns int64 [T]: all targets, those of a window together and windows of one size side by side.

        Whole batches are in no order; what does not fill one is last.
        """
        order_W = draw.permutation(len(self.begins_W))
        order_W = order_W[np.argsort(self.kinds_W[order_W], kind="stable")]
        counts_W = np.diff(self.firsts_W1)[order_W]
        ends_W = np.cumsum(counts_W)
        order_T = np.arange(ends_W[-1]) + np.repeat(self.firsts_W1[:-1][order_W] - (ends_W - counts_W), counts_W)
        whole = len(order_T) // batch * batch
        batches = order_T[:whole].reshape(-1, batch)
        return np.concatenate([batches[draw.permutation(len(batches))].ravel(), order_T[whole:]])


def _sizes(length: int) -> tuple[int, ...]:
    """Doubles from `LEAST_LENGTH` up to the length itself."""
    sizes = [LEAST_LENGTH]
    while sizes[-1] * 2 < length:
        sizes.append(sizes[-1] * 2)
    return (*(size for size in sizes if size < length), length)
