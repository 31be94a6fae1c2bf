"""What the latency gate makes of times planted in its rounds."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.settings import load
from pipeline.gate import judge
from pipeline.gate.latency import Looks, across_rounds, rounds_needed, spent

GATE = load(["gate.max_latency_ratio=1.15", "gate.max_p99_ms=100"]).gate
LATE = np.array([0.1])


def rounds(seed: int, scale: float = 1.0, luck: float = 0.02, requests: int = 200) -> list[np.ndarray]:
    """A look of log-normal requests of about 2 ms; each process has luck of its own, and one in fifty waits longer."""
    generator = np.random.default_rng(seed)

    def side(scale: float) -> np.ndarray:
        luck_NR = generator.normal(0, luck, (GATE.latency_rounds, 1))
        each = generator.normal(0, 0.15, (GATE.latency_rounds, requests))
        waits = (generator.random(each.shape) < 0.02) * generator.exponential(1, each.shape)
        return scale * 2.0 * np.exp(luck_NR + each + waits)

    return list(np.stack([side(scale), side(1.0)], axis=1))


def look(seed: int, scale: float = 1.0, luck: float = 0.02) -> Looks:
    """Looks as often as the gate would."""
    looks, ended = Looks(GATE), False
    while not ended:
        these = rounds(seed * 10 + looks.look, scale, luck)
        ended = looks.add(these, [LATE] * len(these))
    return looks


def verdicts(looks: Looks) -> dict[str, str]:
    rows = looks.evidence()
    found = judge.judge({name: [row] for name, row in rows.items()}, GATE, True)
    return {f.metric: f.verdict for f in found if f.metric in rows}


def reason(looks: Looks, metric: str) -> str:
    found = judge.judge({name: [row] for name, row in looks.evidence().items()}, GATE, True)
    return next(f.reason for f in found if f.metric == metric)


def test_equal_servers_pass_and_one_twice_as_slow_fails_at_the_first_look():
    equal, slow = look(1), look(2, scale=2.0)
    assert verdicts(equal) == {"p99_ms": "pass", "p50_ratio": "pass", "p95_ratio": "pass", "p99_ratio": "reported"}
    assert verdicts(slow)["p50_ratio"] == verdicts(slow)["p95_ratio"] == "fail" and slow.look == 1


def test_what_no_look_settles_is_too_noisy_and_says_what_would_help():
    looks = look(3, scale=1.15, luck=0.2)
    assert verdicts(looks)["p50_ratio"] == "inconclusive" and looks.look == GATE.latency_looks
    said = reason(looks, "p50_ratio")
    assert "too noisy after look 3 of 3, 18 rounds that differ by" in said
    assert "gate.latency_rounds" in said and "0.1 ms late" in said


def test_what_a_look_has_settled_stays_settled():
    looks = Looks(GATE)
    noisy = [np.concatenate([r[:, :180], r[:, 180:] * g], axis=1) for r, g in zip(rounds(5), (1, 9) * 3, strict=True)]
    for place, times in enumerate(noisy):
        times[0, 180:] *= 3.0 if place % 2 else 0.3
    assert not looks.add(noisy, [LATE] * 6)
    before = looks.evidence()["p50_ratio"]
    assert verdicts(looks)["p50_ratio"] == "pass" and verdicts(looks)["p95_ratio"] == "inconclusive"
    looks.add(rounds(6, scale=1.3), [LATE] * 6)
    assert looks.evidence()["p50_ratio"] == before


def test_looks_share_one_error_rate():
    assert sum(spent(n, 3) for n in (1, 2, 3)) == pytest.approx(1) and spent(1, 1) == pytest.approx(1)
    looks, levels = Looks(GATE), []
    for seed in range(3):
        looks.add(rounds(seed), [LATE] * 6)
        levels.append(looks.confidence)
    assert sum(1 - level for level in levels) == pytest.approx(1 - GATE.confidence) and min(levels) > GATE.confidence


def test_equal_servers_mostly_pass_and_slower_ones_hardly_ever():
    # On the limit itself an error rate of 2.5 % is allowed for all looks together: 400 tests leave at most 5 %.
    passed = {
        scale: np.mean([verdicts(look(seed, scale))["p50_ratio"] == "pass" for seed in range(tests)])
        for scale, tests in ((1.0, 100), (1.15, 400), (1.3, 100))
    }
    assert passed[1.0] >= 0.9 and passed[1.15] <= 0.05 and passed[1.3] == 0


@pytest.mark.parametrize("quantile", [0.5, 0.95])
@pytest.mark.parametrize("luck", [0.0, 0.1])
def test_intervals_hold_the_truth_as_often_as_they_say(quantile, luck):
    def holds(seed: int) -> bool:
        ours, theirs = np.stack(rounds(seed, luck=luck), axis=1)
        found = across_rounds(np.quantile(ours, quantile, axis=1) / np.quantile(theirs, quantile, axis=1), 0.95)
        return found.low <= 1 <= found.high

    assert 0.93 <= np.mean([holds(seed) for seed in range(1000)]) <= 0.97


def test_rounds_needed_are_those_that_would_tell():
    logs = np.log([0.9, 1.1, 0.95, 1.05])
    needed = rounds_needed(logs, np.log(1.15), 0.95)
    # 1.96 * .09 / .145, squared, and some more for Student's tails.
    assert needed == 5
    assert rounds_needed(logs, float(logs.mean()), 0.95) is None


def test_a_lone_server_has_no_ratio():
    looks = Looks(GATE)
    assert looks.add([times[:1] for times in rounds(6)], [LATE] * 6)
    rows = looks.evidence()
    assert rows["p50_ratio"].reported and rows["p99_ms"].value is not None and rows["p99_ms"].champion is None


@pytest.mark.parametrize("bad", [np.zeros((2, 0)), np.full((2, 2), np.nan), np.zeros((2, 2)), np.full((2, 2), np.inf)])
def test_times_that_are_none_are_refused(bad):
    with pytest.raises(DataError):
        Looks(GATE).add([bad, bad], [LATE, LATE])
