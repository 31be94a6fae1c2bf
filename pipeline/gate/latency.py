"""Latency quantiles with intervals from a bootstrap over rounds, and over blocks within them.

Requests close in time are slow together, and a process may have bad luck with its core for as long as it lives; so
rounds of fresh processes are drawn first, then blocks of each drawn round.

Shapes: N rounds, B blocks a round, R requests a block, S resamples.
Source: Künsch 1989 on blocks; Davison & Hinkley 1997, section 3.8, on two-stage resampling.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.errors import DataError
from pipeline.model.statistics import Interval

SAMPLES = 1000


def quantile_interval(times_NBR: np.ndarray, quantile: float, confidence: float, seed: int) -> Interval:
    """Returns a quantile of all times with its two-sided interval."""
    _check(times_NBR)
    found_S = np.quantile(_resampled(times_NBR, seed), quantile, axis=1)
    return _interval(float(np.quantile(times_NBR, quantile)), found_S, confidence, times_NBR.size)


def ratio_interval(
    ours_NBR: np.ndarray, theirs_NBR: np.ndarray, quantile: float, confidence: float, seed: int
) -> Interval:
    """Returns the ratio of two quantiles; what was measured side by side is drawn together."""
    _check(ours_NBR)
    _check(theirs_NBR)
    value = float(np.quantile(ours_NBR, quantile) / np.quantile(theirs_NBR, quantile))
    ours_S = np.quantile(_resampled(ours_NBR, seed), quantile, axis=1)
    theirs_S = np.quantile(_resampled(theirs_NBR, seed), quantile, axis=1)
    return _interval(value, ours_S / theirs_S, confidence, ours_NBR.size)


def _resampled(times_NBR: np.ndarray, seed: int) -> np.ndarray:
    rounds, blocks, _ = times_NBR.shape
    generator = np.random.default_rng(seed)
    round_SN = generator.integers(0, rounds, size=(SAMPLES, rounds))
    block_SNB = generator.integers(0, blocks, size=(SAMPLES, rounds, blocks))
    return times_NBR[round_SN[:, :, None], block_SNB].reshape(SAMPLES, -1)


def _interval(value: float, found_S: np.ndarray, confidence: float, n: int) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(found_S, [tail, 1 - tail])
    return Interval(value, float(low), float(high), float(found_S.std(ddof=1)), n)


def _check(times_NBR: np.ndarray) -> None:
    if times_NBR.ndim != 3 or not times_NBR.size:
        raise DataError("No request was timed; latency cannot be judged.")
    if not np.isfinite(times_NBR).all() or (times_NBR <= 0).any():
        raise DataError("A request's time is not a positive number of seconds; the measurement is broken.")
