"""The rule of choice on made-up measurements, each with its right answer in a comment."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.sections import Optimize
from pipeline.model.statistics import interval, paired_interval
from pipeline.optimize.choose import RULE, Evidence, choose
from pipeline.optimize.measuring.latency import Timing
from pipeline.optimize.measuring.measure import timed
from pipeline.optimize.measuring.row import Row

QUERIES = 200
USERS = [str(n) for n in range(QUERIES)]
FLOAT = np.tile([1.0, 0.0], QUERIES // 2)


def _row(name: str, recall: np.ndarray, megabytes: float, transforms: int = 0, memory: float = 80.0) -> Row:
    return Row(
        name,
        "",
        transforms,
        recall=interval(recall),
        difference=paired_interval(recall, FLOAT),
        relative_loss=1 - recall.mean() / FLOAT.mean(),
        memory_mb=memory,
        bytes=round(megabytes * 1e6),
    )


def _missing(hits: int) -> np.ndarray:
    """float32's recall with so many of its hundred hits lost."""
    lost = FLOAT.copy()
    lost[: 2 * hits : 2] = 0
    return lost


def _choose(*rows: tuple[Row, np.ndarray, np.ndarray], itself: float = 1.0, **budgets: float) -> dict[str, Row]:
    """Args: itself: how many times as long float32 took when it was timed a second time."""
    times = {row.recipe: times_NC for row, _, times_NC in rows}
    timing = Timing(times, times["float32"] * itself, "float32", {})
    per_query = {row.recipe: recall for row, recall, _ in rows}
    measured = [timed(row, timing) for row, *_ in rows]
    limits = Optimize(**{"max_recall_loss": 0.05, **budgets})
    return {row.recipe: row for row in choose(measured, Evidence(per_query, USERS, timing), limits)}


def _measured(
    name: str, recall: np.ndarray, megabytes: float, p50: float = 1.0, spread: float = 0.0, **more
) -> tuple[Row, np.ndarray, np.ndarray]:
    """One recipe's row, recall and times: every call takes `p50` ms, or by turns of 25 so much more and less."""
    swing = np.repeat(np.tile([1.0, -1.0], 20), 25)
    return _row(name, recall, megabytes, **more), recall, (p50 + spread * swing)[None]


def test_the_smallest_within_the_budgets_ships() -> None:
    rows = _choose(_measured("float32", FLOAT, 8), _measured("a", _missing(1), 4), _measured("b", _missing(2), 2))
    assert rows["b"].verdict == "chosen"
    assert rows["b"].reason == (
        "fewest bytes within the budgets: 0.250x the bytes, 1.00x the p50 and 98.0% of the recall of float32"
    )


def test_float32_ships_when_nothing_else_stays_within_the_recall_budget() -> None:
    # 8 of 100 hits lost is 8 %, budget 5 %.
    rows = _choose(_measured("float32", FLOAT, 8), _measured("a", _missing(8), 2))
    assert rows["float32"].verdict == "chosen"
    assert (rows["a"].verdict, rows["a"].reason) == ("rejected", "loses 8.00% of float32's recall, budget 5.00%")


def test_a_loss_of_exactly_the_budget_is_within_it() -> None:
    rows = _choose(_measured("float32", FLOAT, 8), _measured("a", _missing(50), 2), max_recall_loss=0.5)
    assert rows["a"].verdict == "chosen"


def test_a_recipe_that_pays_in_nothing_is_rejected_with_figures() -> None:
    # 7.8 of 8 MB is 1.03 times smaller, 0.9 of 1 ms is 1.11 times faster: neither decides anything.
    rows = _choose(_measured("float32", FLOAT, 8), _measured("a", FLOAT, 7.8, p50=0.9))
    assert rows["float32"].verdict == "chosen"
    assert rows["a"].reason == ("pays in nothing: 0.975x the bytes, 0.90x the p50 and 100.0% of the recall of float32")


def test_speed_alone_pays_too() -> None:
    # Half the time at equal bytes; both have the fewest bytes, neither finds more, so the one with fewer transforms
    # ships: float32. The fast one stays on the front.
    rows = _choose(_measured("float32", FLOAT, 8), _measured("a", FLOAT, 8, p50=0.5, transforms=1))
    assert (rows["float32"].verdict, rows["a"].verdict) == ("chosen", "front")


def test_more_work_for_the_same_bytes_and_recall_is_dominated() -> None:
    rows = _choose(
        _measured("float32", FLOAT, 8),
        _measured("plain", _missing(1), 2),
        _measured("worked", _missing(2), 2.001, transforms=2),
    )
    assert rows["plain"].verdict == "chosen"
    assert rows["worked"].verdict == "rejected"
    assert rows["worked"].reason.startswith("no smaller, not provably faster or better: 1.000x the bytes")


def test_more_work_for_the_same_bytes_ships_when_it_provably_finds_more() -> None:
    # 40 of 200 queries found against lost: the paired interval of the difference, 0.2, lies far above zero.
    rows = _choose(
        _measured("float32", FLOAT, 8),
        _measured("plain", _missing(40), 2),
        _measured("worked", FLOAT, 2.001, transforms=2),
        max_recall_loss=0.5,
    )
    assert rows["worked"].verdict == "chosen"


def test_a_bigger_recipe_that_finds_more_stays_on_the_front() -> None:
    rows = _choose(
        _measured("float32", FLOAT, 8),
        _measured("small", _missing(40), 2),
        _measured("big", FLOAT, 4),
        max_recall_loss=0.5,
    )
    assert (rows["small"].verdict, rows["big"].verdict) == ("chosen", "front")
    assert rows["float32"].reason.startswith("no smaller, not provably faster or better: 2.000x the bytes")


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [
        ({"max_p99_ms": 1.5}, "p99 up to 2.000 ms, budget 1.500 ms"),
        ({"max_bundle_mb": 5}, "bundle 8.000 MB, budget 5.000 MB"),
        ({"max_memory_mb": 90}, "memory 95.0 MB, budget 90.0 MB"),
    ],
)
def test_float32_beyond_a_budget_is_rejected_like_any_other(budgets: dict, reason: str) -> None:
    rows = _choose(_measured("float32", FLOAT, 8, p50=2.0, memory=95.0), _measured("a", FLOAT, 2), **budgets)
    assert (rows["a"].verdict, rows["float32"].reason) == ("chosen", reason)


def test_a_metric_that_is_not_a_number_never_ships() -> None:
    row, recall, times = _measured("a", FLOAT, 2)
    broken = replace(row, relative_loss=float("nan"))
    rows = _choose(_measured("float32", FLOAT, 8), (broken, recall, times))
    assert (rows["float32"].verdict, rows["a"].verdict) == ("chosen", "rejected")


def test_what_failed_or_was_not_tried_keeps_its_reason() -> None:
    float32, recall, times = _measured("float32", FLOAT, 8)
    timing = Timing({"float32": times}, times, "float32", {})
    failed = Row("a", "", 2, verdict="failed", reason="ValueError: no")
    late = Row("b", "", 2, verdict="not tried", reason="the time was used up")
    rows = [timed(row, timing) for row in (float32, failed, late)]
    judged = choose(rows, Evidence({"float32": recall}, USERS, timing), Optimize())
    assert [(row.recipe, row.verdict) for row in judged] == [("float32", "chosen"), ("a", "failed"), ("b", "not tried")]
    assert judged[1:] == [failed, late]


def test_speed_counts_only_when_the_whole_interval_says_so() -> None:
    # .8 ms is 1.25 times faster than 1 ms. Where half the blocks take 1.2 ms and half .4, resamples of the median are
    # now 1.2, now .4: the interval says nothing.
    steady = _choose(_measured("float32", FLOAT, 8), _measured("a", FLOAT, 8.2, p50=0.8))
    swinging = _choose(_measured("float32", FLOAT, 8), _measured("a", FLOAT, 8.2, p50=0.8, spread=0.4))
    assert (steady["a"].verdict, swinging["a"].verdict) == ("front", "rejected")
    assert swinging["a"].reason.startswith("pays in nothing: 1.025x the bytes, 0.80x the p50")
    ratio = swinging["a"].p50_ratio
    assert (ratio.low, ratio.high) == pytest.approx((0.4, 1.2))


def test_on_a_noisy_machine_neither_speed_nor_the_p99_budget_decides() -> None:
    # float32 against itself took 1.2 times as long, allowed 1.1: five times faster is no reason, and 1 ms breaks no
    # budget of .5 ms.
    rows = _choose(
        _measured("float32", FLOAT, 8), _measured("a", FLOAT, 8, p50=0.2, transforms=1), itself=1.2, max_p99_ms=0.5
    )
    assert (rows["float32"].verdict, rows["a"].verdict) == ("chosen", "rejected")
    assert rows["a"].reason == "pays in nothing: 1.000x the bytes and 100.0% of the recall of float32"


def test_memory_a_system_does_not_tell_refuses_nothing() -> None:
    row, recall, times = _measured("a", FLOAT, 2)
    rows = _choose(_measured("float32", FLOAT, 8), (replace(row, memory_mb=None), recall, times), max_memory_mb=90)
    assert rows["a"].verdict == "chosen"


def test_the_rule_is_told_with_the_numbers_it_uses() -> None:
    told = " ".join(RULE)
    assert "1.05 times smaller" in told and "1.15 times faster" in told and "0.91 to 1.10" in told


def test_a_row_reads_back_as_it_was_written() -> None:
    row = _choose(_measured("float32", FLOAT, 8))["float32"]
    assert Row.from_plain(json.loads(json.dumps(row.plain()))) == row


def test_nothing_within_the_budgets_is_one_sentence_with_every_figure() -> None:
    with pytest.raises(DataError, match=r"float32: bundle 8.000 MB, budget 1.000 MB; a: bundle 2.000 MB"):
        _choose(_measured("float32", FLOAT, 8), _measured("a", FLOAT, 2), max_bundle_mb=1)
