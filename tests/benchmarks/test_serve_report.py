"""What `benchmarks.serve` keeps of its rounds and says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import serve_report as report
from benchmarks.load import Seen
from benchmarks.serve_contestants import OURS, PEERS
from benchmarks.serve_followed import stale
from benchmarks.serve_kept import CODE, Kept, Round, key
from benchmarks.serve_models import near_vectors
from benchmarks.serve_rounds import OVERLOAD, SHARES, hold, shared
from pipeline.core.prices import Cost


def _side(rate: float, **given: float) -> dict[str, Any]:
    numbers = ("asked_rate", "answered_rate", "refused_share", "unanswered_share")
    opened = {str(share): dict.fromkeys(numbers, 0.0) for share in (*SHARES, OVERLOAD)}
    return {"rate": rate, "cpu_ms": 1e3 / rate, "memory_mb": 90.0, "start_seconds": 1.0, "shared": 1.0, **given,
            "open": opened}  # fmt: skip


def _round(peer: str, ours: float, theirs: float, times: np.ndarray | None = None, **given: float) -> Round:
    timed = {} if times is None else {key(who, share): times * (1 if who == "ours" else 4)
                                      for who in ("ours", peer) for share in (*SHARES, OVERLOAD)}  # fmt: skip
    return Round({"ours": _side(ours, **given), peer: _side(theirs)}, timed)


def test_a_round_is_read_back_as_it_was_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "piece")
    assert (len(kept), kept.rounds) == (0, [])
    for rate in (1.0, 2.0):
        kept.add(Round({"ours": {"rate": rate}}, {key("ours", 0.5): np.arange(3.0)}))
    assert [each.facts["ours"]["rate"] for each in kept.rounds] == [1.0, 2.0]
    assert kept.rounds[0].times["ours 0.5"].tolist() == [0, 1, 2]
    assert len(kept.rounds[0].facts[CODE]) == 8
    kept.forget()
    assert len(kept) == 0


def test_what_a_core_answers_is_judged_by_its_rounds_and_the_goal_of_the_size() -> None:
    # Ours answers 9 times as much in four rounds, 7 times in one: the interval's lower end misses 8.
    rounds = [_round("mlflow", rate, 100) for rate in (900, 900, 700, 900, 900)]
    claim, cpu = report.load_claims(10_000, {"mlflow": rounds})
    assert (claim.ours, claim.peer, claim.ratio, claim.low) == (900, 100, 9, 7)
    assert (claim.goal, claim.holds) == (">= 8", False)
    # Each request costs a ninth of the peer's: 1.11 ms beside 10.
    assert (cpu.ours, cpu.peer, cpu.ratio, cpu.low, cpu.goal) == (1.1111, 10, 9, 7, ">= 8")
    # At a size for which no goal was set it only has to be no less.
    assert report.load_claims(777, {"mlflow": rounds})[0].goal == ">= 1"


def test_the_99th_of_a_hundred_is_held_against_the_median_and_the_peers() -> None:
    # Every block of 25 holds 24 times 1 ms and once 2 ms: p50 is 1, p99 is 2, whatever blocks are drawn.
    times = np.tile(np.array([1.0] * 24 + [2.0]), 40)
    claims = report.load_claims(777, {"fastapi": [_round("fastapi", 900, 100, times) for _ in range(3)]})
    steady, at_half, above = claims[2:]
    assert (steady.ours, steady.peer, steady.ratio, steady.goal, steady.holds) == (2, 1, 2, "<= 3", True)
    for claim in (at_half, above):
        # The peer takes four times as long.
        assert (claim.ours, claim.peer, claim.ratio, claim.holds) == (2, 8, 0.25, True)


def test_money_is_core_seconds_at_the_settings_prices() -> None:
    prices = Cost(core_hour_eur=0.36, target_utilisation=0.5)
    rounds = [Round({"compressed": {"cpu_ms": 0.25}, "mlflow": {"cpu_ms": 2.5}}) for _ in range(5)]
    claim = report.cost_claim(10_000, rounds, prices)
    # 0.25 ms a request are 250 s for a million, at half use 500 s of a core: 500 / 3600 * 0.36 = 0.05.
    assert (claim.ours, claim.peer, claim.ratio, claim.holds) == (0.05, 0.5, 0.1, True)


def test_memory_that_grows_between_swaps_is_seen_and_that_of_a_swap_is_not() -> None:
    seconds = np.arange(0.0, 1000.0, 2.0)
    sequence = (seconds // 50).astype(int)
    swapping = seconds % 50 < 6  # two bundles at once
    level = Round({}, {"seconds": seconds, "sequence": sequence, "mb": 100 + 80.0 * swapping})
    assert np.allclose(report.memory_ratio(level), [1, 1, 1, 100])
    # A megabyte lost each 100 s: from the 200th second on, where it is first looked at, 102 MB become 109.98.
    leak = Round({}, {"seconds": seconds, "sequence": sequence, "mb": 100 + seconds / 100 + 80.0 * swapping})
    low, at, high, begin = report.memory_ratio(leak)
    assert at == pytest.approx(109.98 / 102, abs=2e-3)
    assert begin == pytest.approx(102, abs=0.2)
    assert 1.01 < low <= at <= high


def test_a_failed_request_during_a_swap_is_a_claim_that_does_not_hold() -> None:
    facts = {"during": 1000, "failed": 0, "stale": 0, "during_ms": 3.0, "outside_ms": 2.0}
    none, slower = report.swap_claims(777, [Round({"swap": facts})])
    assert (none.ours, none.peer, none.holds, slower.ratio, slower.holds) == (0, 1000, True, 1.5, True)
    for wrong in ("failed", "stale"):
        assert not report.swap_claims(777, [Round({"swap": {**facts, wrong: 1}})])[0].holds


def test_memory_is_told_for_so_many_items_more() -> None:
    sizes = {10_000: 50.0, 100_000: 95.0}
    pieces = {items: {"fastapi": [_round("fastapi", 9, 3, memory_mb=mb)]} for items, mb in sizes.items()}
    # 45 MB more for 90,000 items; the peer holds as much at both sizes.
    table = report.memory_table(pieces)
    assert "| ours | 10,000 | 100,000 | 50.0 |" in table
    assert "| FastAPI | 10,000 | 100,000 | 0.0 |" in table
    assert report.memory_table({10_000: pieces[10_000]}) == ""


def test_every_load_and_everybody_has_a_row() -> None:
    times = np.linspace(1.0, 2.0, 100)
    most, opened = report.load_tables(777, {name: [_round(name, 9, 3, times)] for name in PEERS})
    for title in ("ours", "mlflow models serve", "BentoML", "FastAPI"):
        assert most.count(f"| {title} |") == 1
        assert opened.count(f"| {title} |") == len(SHARES) + 1


def test_an_answer_of_the_old_bundle_after_the_new_one_answered_is_counted() -> None:
    # The pointer is written at 1 s; the request of 1.1 s is the first the new bundle answers, at 1.2 s. The one meant
    # for 1.15 s may still be the old one's, for it was sent before; that of 1.3 s may not. At 2 s the old one returns.
    meant = np.array([0.5, 1.1, 1.15, 1.3, 1.4, 2.5])
    mark = np.array([0, 1, 0, 0, 1, 0])
    seen = Seen(10.0, 3.0, meant, meant * 0, np.full(6, 0.1), np.full(6, 200), mark, ["old", "new"], {})
    assert stale(seen, [(11.0, 11.2, "new"), (12.0, 12.2, "old")]) == 1
    assert stale(seen, [(11.0, 11.2, "never seen"), (12.0, 12.2, "old")]) == 0


def _answer(*ids: str, title: str = "x") -> dict[str, Any]:
    fields = {"title": title, "category": None, "brand": None, "price": 1.0}
    return {"items": [{"item_id": each, "score": 0.5, **fields} for each in ids], "fallback": None}


def test_answers_that_tie_may_change_places_and_others_may_not_differ() -> None:
    hold([_answer("a", "b")], [_answer("b", "a")], "x")
    for wrong, said in ((_answer("a"), "1 items were answered"), (_answer("a", "b", title="y"), "a is shown as")):
        with pytest.raises(RuntimeError, match=f"FastAPI answers request 1 otherwise: {said}"):
            hold([_answer("a", "b")], [wrong], "FastAPI")
    assert shared([_answer("a", "b"), _answer("c", "d")], [_answer("b", "a"), _answer("c", "e")]) == 0.75


def test_items_of_one_session_lie_close_and_others_apart() -> None:
    vectors_nD = near_vectors(6_000)
    assert np.allclose(np.linalg.norm(vectors_nD, axis=1), 1, atol=1e-5)
    within = np.mean([vectors_nD[row] @ vectors_nD[row + 1] for row in range(0, 6_000, 20)])
    apart = np.mean(vectors_nD[:3_000] @ vectors_nD[3_000:].T)
    # An item lies .55 from a middle that lies at 1: 1 / (1 + .55²) = .77 for two of them.
    assert within == pytest.approx(0.77, abs=0.02)
    # So few items are of one department, whose middles are somewhat alike.
    assert apart < 0.4


def test_a_request_is_the_same_for_everybody_but_for_what_mlflow_wraps_it_in() -> None:
    request = {"path": "/v1/recommend", "request": {"history": [], "k": 20}}
    for peer in (OURS, *PEERS.values()):
        (asked,) = peer.asked([request])
        body = asked["body"]["inputs"][0] if peer.name == "mlflow" else asked["body"]
        assert body == request["request"]
    assert PEERS["mlflow"].told(b'{"predictions": [{"items": []}]}') == OURS.told(b'{"items": []}')
