"""What the gate makes of times planted in its rounds."""

from __future__ import annotations

import numpy as np

from pipeline.core.settings import load
from pipeline.gate.judge import judge
from pipeline.gate.serving import latency_evidence


def times(seed: int, blocks: int = 40, scale: float = 1.0, block_noise: float = 0.1) -> np.ndarray:
    """Log-normal requests of 2 ms; blocks differ too."""
    generator = np.random.default_rng(seed)
    return scale * 2.0 * np.exp(generator.normal(0, 0.2, (blocks, 20)) + generator.normal(0, block_noise, (blocks, 1)))


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
