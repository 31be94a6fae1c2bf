"""The arithmetic of cost, each figure worked out by hand."""

from __future__ import annotations

import json

import pytest

from pipeline.core.prices import Cost
from pipeline.core.spent import Spent
from pipeline.model import cost
from pipeline.model.cost import Around, Replica, Table

PRICES = Cost(
    core_hour_eur=0.036,
    memory_gb_hour_eur=0.01,
    storage_gb_month_eur=0.02,
    training_core_hour_eur=0.05,
    peak_requests_per_second=2000,
    target_utilisation=0.5,
    cores_per_replica=2,
    least_replicas=2,
    kept_months=3,
    review_minutes=10,
    person_hour_eur=60,
)
FLOAT, SMALL = Replica("float32", 3.0, 500.0, 400_000_000), Replica("dynamic_int8", 1.0, 200.0, 50_000_000)


def _of(table: Table, what: str) -> tuple[float | None, ...]:
    return next(line.values for line in table.lines if line.what == what)


def test_a_million_requests_of_a_millisecond_take_a_thousand_core_seconds() -> None:
    assert cost.core_seconds_per_million(1.0) == 1000
    # Cores half busy: 2,000 core-seconds are paid, at .036 an hour .00001 a second: .02.
    assert cost.eur_per_million(1.0, PRICES) == pytest.approx(0.02)


def test_replicas_follow_the_peak_and_never_fall_below_the_least() -> None:
    # 2,000 requests of 3 ms keep 6 cores busy; a server of 2 cores may be 1 core busy: 6 servers.
    assert cost.replicas(3.0, 2000, PRICES) == 6
    assert cost.replicas(3.001, 2000, PRICES) == 7
    assert cost.replicas(0.001, 2000, PRICES) == 2


def test_a_month_of_serving_pays_cores_and_memory() -> None:
    # 6 servers x (2 cores x .036 + .5 GB x .01) x 730 h = 6 x .077 x 730.
    assert cost.serving_eur_per_month(6, 500, PRICES) == pytest.approx(337.26)


def test_serving_before_and_after_stands_side_by_side() -> None:
    table = cost.serving(FLOAT, SMALL, Around(), PRICES)
    assert table.columns == ("float32", "dynamic_int8")
    assert _of(table, "core-seconds for a million requests") == (3000, 1000)
    assert _of(table, "replicas at the peak") == (6, 2)
    # 2 x (.072 + .002) x 730 = 108.04; 400 MB and 50 MB at .02 a GB.
    assert _of(table, "serving for a month") == pytest.approx((337.26, 108.04))
    assert _of(table, "bundle stored for a month") == pytest.approx((0.008, 0.001))


def test_what_the_server_adds_counts_for_both_once_the_gate_measured_it() -> None:
    # 1 ms and 100 MB more for each: 4 ms keep 8 cores busy, 2 ms keep 4.
    table = cost.serving(FLOAT, SMALL, Around(1.0, 100.0), PRICES)
    assert _of(table, "core-seconds for a million requests") == (4000, 2000)
    assert _of(table, "memory of a replica") == (600, 300)
    assert _of(table, "replicas at the peak") == (8, 4)


def test_what_is_not_known_is_a_dash_and_so_is_what_needs_it() -> None:
    table = cost.serving(FLOAT, Replica("small", None, None, None), Around(), PRICES)
    assert {values[1] for values in (line.values for line in table.lines)} == {None}
    assert "| replicas at the peak | 6 | - |" in cost.markdown([table])
    unknown_peak = cost.serving(FLOAT, SMALL, Around(), PRICES.model_copy(update={"peak_requests_per_second": None}))
    assert _of(unknown_peak, "serving for a month") == (None, None)
    assert "set cost.peak_requests_per_second" in cost.markdown([unknown_peak])


def _spent(step: str, wall: float, end: str = "done") -> Spent:
    return Spent(step, "2024-05-01T00:00:00+00:00", wall, wall * 1.5, 2, "host", end)


TIMES = [
    _spent("train", 1800),
    _spent("optimize", 60, "failed"),
    _spent("optimize", 540),
    _spent("prepare", 3, "cached"),
]


def test_a_night_counts_every_attempt_and_says_what_was_cached() -> None:
    table = cost.night(TIMES, PRICES)
    assert [line.what for line in table.lines] == ["train", "optimize", "prepare", "together"]
    # Half an hour of two cores at .05: .05. Ten minutes: .0167.
    assert _of(table, "train") == pytest.approx((1800, 2700, 0.05))
    assert _of(table, "optimize") == pytest.approx((600, 900, 0.05 / 3))
    assert [line.source for line in table.lines] == [
        "1 process",
        "2 processes, 1 failed",
        "1 process, 1 cached",
        "4 processes, 1 failed, 1 cached",
    ]
    assert cost.night([], PRICES).lines == ()


def test_a_promoted_model_costs_compute_storage_and_people() -> None:
    # 2,403 s x 2 cores x .05 an hour = .06675; 2 GB x .02 x 3 months = .12; ten minutes at 60 an hour = 10.
    table = cost.promoted(TIMES, 2_000_000_000, PRICES)
    assert [line.values[0] for line in table.lines] == pytest.approx([0.06675, 0.12, 10, 10.18675])
    assert [line.values[0] for line in cost.promoted([], None, PRICES).lines] == [None, None, 10, None]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (0.00002, "< 0.0001"), (0.0123456, "0.0123"), (12.0, "12"), (12345.6, "12,346")],
)
def test_figures_are_short_and_nothing_is_never_nought(value: float | None, text: str) -> None:
    assert cost.shown(value) == text


def test_the_tables_are_plain_json_with_a_source_each() -> None:
    tables = [cost.serving(FLOAT, SMALL, Around(), PRICES), cost.night(TIMES, PRICES)]
    plain = json.loads(json.dumps(cost.plain(tables)))
    assert all(line["from"] for table in plain for line in table["lines"])
