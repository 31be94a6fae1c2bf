"""Latency quantiles of planted times."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.model.quantiles import quantile_interval


def test_quantile_is_that_of_all_times():
    # 1 … 100 ms in ten blocks: the median lies between 50 and 51.
    found = quantile_interval(np.arange(1.0, 101).reshape(1, 10, 10), 0.5, 0.95, seed=0)
    assert found.mean == 50.5 and found.low < 50.5 < found.high and found.n == 100


def test_times_that_differ_by_block_have_a_wider_interval_than_the_same_times_shuffled():
    # Ten blocks of one value each carry what ten values carry.
    blocked = np.repeat(np.arange(1.0, 11), 20).reshape(1, 10, 20)
    shuffled = np.random.default_rng(0).permutation(blocked.ravel()).reshape(1, 10, 20)
    assert quantile_interval(blocked, 0.5, 0.95, 0).se > 2 * quantile_interval(shuffled, 0.5, 0.95, 0).se


@pytest.mark.parametrize("bad", [np.zeros((1, 0, 20)), np.full((1, 2, 2), np.nan), np.zeros((1, 2, 2)), np.ones(3)])
def test_times_that_are_none_are_refused(bad):
    with pytest.raises(DataError):
        quantile_interval(bad, 0.5, 0.95, 0)
