"""Latency quantiles with intervals from a bootstrap over blocks: requests close in time are slow together.

Shapes: B blocks, R requests a block, S resamples. Source: Künsch 1989, on non-overlapping blocks.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.errors import DataError
from pipeline.model.statistics import Interval

SAMPLES = 1000


def quantile_interval(times_BR: np.ndarray, quantile: float, confidence: float, seed: int) -> Interval:
    """Returns a quantile of all times with its two-sided interval."""
    _check(times_BR)
    found_S = np.quantile(_resampled(times_BR, seed), quantile, axis=1)
    return _interval(float(np.quantile(times_BR, quantile)), found_S, confidence, times_BR.size)


def ratio_interval(
    ours_BR: np.ndarray, theirs_BR: np.ndarray, quantile: float, confidence: float, seed: int
) -> Interval:
    """Returns the ratio of two quantiles; block i of both was measured side by side and is drawn together."""
    _check(ours_BR)
    _check(theirs_BR)
    value = float(np.quantile(ours_BR, quantile) / np.quantile(theirs_BR, quantile))
    ours_S = np.quantile(_resampled(ours_BR, seed), quantile, axis=1)
    theirs_S = np.quantile(_resampled(theirs_BR, seed), quantile, axis=1)
    return _interval(value, ours_S / theirs_S, confidence, ours_BR.size)


def _resampled(times_BR: np.ndarray, seed: int) -> np.ndarray:
    blocks = len(times_BR)
    drawn_SB = np.random.default_rng(seed).integers(0, blocks, size=(SAMPLES, blocks))
    return times_BR[drawn_SB].reshape(SAMPLES, -1)


def _interval(value: float, found_S: np.ndarray, confidence: float, n: int) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(found_S, [tail, 1 - tail])
    return Interval(value, float(low), float(high), float(found_S.std(ddof=1)), n)


def _check(times_BR: np.ndarray) -> None:
    if times_BR.ndim != 2 or not times_BR.size:
        raise DataError("No request was timed; latency cannot be judged.")
    if not np.isfinite(times_BR).all() or (times_BR <= 0).any():
        raise DataError("A request's time is not a positive number of seconds; the measurement is broken.")
