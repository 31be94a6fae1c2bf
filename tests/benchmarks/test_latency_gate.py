"""What the benchmark of the latency gate makes of rounds whose truth is known."""

from __future__ import annotations

import numpy as np

from benchmarks.latency_gate import TRIALS, claims_of, table, trials
from pipeline.core.settings import load


def test_steady_rounds_pass_and_slower_ones_fail_at_the_first_look() -> None:
    generator = np.random.default_rng(0)
    rounds = [(2 * np.exp(generator.normal(0, 0.05, (2, 200))), np.array([0.1])) for _ in range(120)]
    settings = load(["gate.max_latency_ratio=1.15"])
    equal, slower = (trials(settings, rounds, factor) for factor in (1.0, 1.3))
    assert equal.share("p50_ratio", "pass") == equal.share("p95_ratio", "pass") == 1
    assert slower.share("p50_ratio", "fail") == 1 and slower.looks[1] == TRIALS
    # Twenty of twenty leave .8316 at the lower end, none of twenty .1684 at the upper: too few trials for 1 in 100.
    assert [(claim.low, claim.high, claim.holds) for claim in claims_of([equal])] == [(0.832, 1.0, True)] * 2
    assert [(claim.low, claim.high, claim.holds) for claim in claims_of([slower])] == [(0.0, 0.168, False)] * 2
    assert "| times 1.3 | 0.0% | 0.0% | 100.0% |" in table([equal, slower])
