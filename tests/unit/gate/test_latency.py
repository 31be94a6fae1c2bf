"""Latency quantiles and ratios on planted times."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.settings import load
from pipeline.gate.judge import judge
from pipeline.gate.latency import quantile_interval, ratio_interval
from pipeline.gate.serving import latency_evidence


def times(seed: int, blocks: int = 40, scale: float = 1.0, block_noise: float = 0.1) -> np.ndarray:
    """Log-normal requests of 2 ms; blocks differ too."""
    generator = np.random.default_rng(seed)
    return scale * 2.0 * np.exp(generator.normal(0, 0.2, (blocks, 20)) + generator.normal(0, block_noise, (blocks, 1)))


def test_quantile_is_that_of_all_times():
    # 1 … 100 ms in ten blocks: the median lies between 50 and 51.
    found = quantile_interval(np.arange(1.0, 101).reshape(1, 10, 10), 0.5, 0.95, seed=0)
    assert found.mean == 50.5 and found.low < 50.5 < found.high and found.n == 100


def test_times_that_differ_by_block_have_a_wider_interval_than_the_same_times_shuffled():
    # Ten blocks of one value each carry what ten values carry.
    blocked = np.repeat(np.arange(1.0, 11), 20).reshape(1, 10, 20)
    shuffled = np.random.default_rng(0).permutation(blocked.ravel()).reshape(1, 10, 20)
    assert quantile_interval(blocked, 0.5, 0.95, 0).se > 2 * quantile_interval(shuffled, 0.5, 0.95, 0).se


def test_noise_common_to_both_servers_cancels_in_the_ratio():
    noise = np.exp(np.random.default_rng(1).normal(0, 1, (40, 1)))
    ours, theirs = (times(seed, block_noise=0)[None] * noise for seed in (2, 3))
    assert ratio_interval(ours, theirs, 0.5, 0.95, 0).se < quantile_interval(ours, 0.5, 0.95, 0).se / 4


def test_equal_servers_pass_the_ratio_and_one_twice_as_slow_fails_it():
    settings = load(["gate.max_latency_ratio=1.5"])

    def verdict(scale: float, metric: str = "p50_ratio") -> str:
        rows = latency_evidence([np.stack([times(4, scale=scale), times(5)])], settings)
        found = judge({name: [row] for name, row in rows.items()}, settings.gate, True)
        return next(f.verdict for f in found if f.metric == metric)

    assert verdict(1.0) == verdict(1.0, "p95_ratio") == "pass"
    assert verdict(2.0) == verdict(2.0, "p95_ratio") == "fail"
    assert verdict(1.5) == "inconclusive"


def test_rounds_that_contradict_each_other_are_noise_and_two_slow_rounds_are_a_failure():
    settings = load(["gate.max_latency_ratio=1.5"])

    def verdict(*scales: float) -> str:
        rounds = [np.stack([times(7 + i, scale=scale), times(9 + i)]) for i, scale in enumerate(scales)]
        rows = latency_evidence(rounds, settings)
        found = judge({name: [row] for name, row in rows.items()}, settings.gate, True)
        return next(f.verdict for f in found if f.metric == "p50_ratio")

    assert verdict(2.5, 1.0) == "inconclusive"
    assert verdict(2.5, 2.4) == "fail"
    assert verdict(1.1, 1.0) == "pass"


def test_a_lone_server_has_no_ratio():
    rows = latency_evidence([times(6)[None]], load([]))
    assert rows["p50_ratio"].reported and rows["p99_ms"].value is not None


@pytest.mark.parametrize("bad", [np.zeros((1, 0, 20)), np.full((1, 2, 2), np.nan), np.zeros((1, 2, 2)), np.ones(3)])
def test_times_that_are_none_are_refused(bad):
    with pytest.raises(DataError):
        quantile_interval(bad, 0.5, 0.95, 0)
