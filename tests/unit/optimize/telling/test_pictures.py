"""The picture and what it is drawn from: places of labels, and the night before."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import artifacts
from pipeline.core.days import Days
from pipeline.core.run import Run
from pipeline.core.sections import Optimize
from pipeline.model.statistics import Interval, paired_interval
from pipeline.optimize.measuring.row import Row
from pipeline.optimize.telling import pareto
from pipeline.optimize.telling.labels import free_places
from pipeline.optimize.telling.last_night import LastNight, last_night

DAY = date(2024, 5, 8)


def _exactly(value: float) -> Interval:
    return Interval(value, value, value, 0.0, 100)


def _row(name: str, recall: float = 0.5, megabytes: float = 8.0, verdict: str = "rejected") -> Row:
    return Row(
        name,
        "",
        0,
        recall=_exactly(recall),
        difference=Interval(recall - 0.5, recall - 0.51, recall - 0.49, 0.005, 100),
        p99_ms=0.2,
        p99_interval=Interval(0.2, 0.18, 0.25, 0.02, 100),
        bytes=round(megabytes * 1e6),
        verdict=verdict,
    )


ROWS = [
    _row("float32"),
    _row("small", 0.498, 2.0, "chosen"),
    _row("ruined", 0.1, 1.0),
    Row("none", "", 0, verdict="failed"),
]


def test_labels_of_points_on_one_spot_stand_apart() -> None:
    # Sixteen points a unit apart, labels of 16 by 10: no two labels may share a place.
    at_P2 = 100.0 + np.stack([np.arange(16.0), np.zeros(16)], axis=1)
    found_P2 = free_places(at_P2, np.tile([16.0, 10.0], (16, 1)), (0.0, 0.0, 300.0, 200.0))
    apart_PP2 = np.abs(found_P2[:, None] - found_P2[None])
    overlap_PP = (apart_PP2[..., 0] < 16) & (apart_PP2[..., 1] < 10)
    assert overlap_PP.sum() == 16  # each with itself


def test_a_label_at_the_edge_stays_inside_the_frame() -> None:
    ((x, y),) = free_places(np.array([[299.0, 199.0]]), np.array([[30.0, 10.0]]), (0.0, 0.0, 300.0, 200.0))
    assert x <= 285 and y <= 195


def test_the_picture_holds_every_recipe_the_ruined_and_the_failed_too(tmp_path: Path) -> None:
    pareto.draw(ROWS, 20, Optimize(), tmp_path)
    first = (tmp_path / "pareto.svg").read_bytes()
    pareto.draw(ROWS, 20, Optimize(), tmp_path)
    assert (tmp_path / "pareto.svg").read_bytes() == first
    assert (tmp_path / "pareto.png").read_bytes()[:4] == b"\x89PNG"
    last = LastNight("key", "2024-05-07", ROWS[1], ROWS[0])
    pareto.draw(ROWS, 20, Optimize(), tmp_path, last, "noisy: it said")
    assert (tmp_path / "pareto.svg").read_bytes() != first


def test_an_interval_that_misses_its_estimate_by_a_rounding_is_drawn(tmp_path: Path) -> None:
    # Where all queries gain alike, every resample's mean is the estimate, but it is summed in another order.
    alike = paired_interval([0.9] * 8, [0.7] * 8, ["one"] * 8)
    assert alike.mean < alike.low
    pareto.draw([ROWS[0], replace(ROWS[1], difference=alike)], 20, Optimize(), tmp_path)
    assert (tmp_path / "pareto.svg").read_text().rstrip().endswith("</svg>")


def test_a_lone_yardstick_is_a_picture_too(tmp_path: Path) -> None:
    pareto.draw([_row("float32", verdict="chosen")], 20, Optimize(), tmp_path)
    assert (tmp_path / "pareto.svg").exists()


def _night(root: Path, days_ago: int, run_id: str = "", rows: list | None = None, **given) -> Run:
    day = DAY - timedelta(days=days_ago)
    run = Run.open(root, run_id or str(day), "UTC", Days(day, day), **given)
    if rows is not None:
        key = artifacts.digest_of(run.run_id)[:32]
        text = json.dumps(rows)
        artifacts.build(run.layout.artifact("optimize", key), lambda f: (f / "recipes.json").write_text(text) and None)
        run.refer("optimize", key)
    return run


def test_last_night_is_the_newest_before_this_one_that_chose(tmp_path: Path) -> None:
    rows = [row.plain() for row in ROWS]
    tonight = _night(tmp_path, 0)
    assert last_night(tonight) is None
    _night(tmp_path, 3, rows=rows)
    newest = _night(tmp_path, 2, rows=rows)
    _night(tmp_path, 1)  # failed before it chose
    _night(tmp_path, 0, run_id="again", rows=rows)  # of the same day: tonight's key must not hang on it
    _night(tmp_path, -1, rows=rows)
    _night(tmp_path, 1, run_id="backfill", rows=rows, backfill=True)
    found = last_night(tonight)
    assert (found.run_id, found.key) == (newest.run_id, newest.artifact("optimize").key)
    assert (found.chosen, found.yardstick) == (ROWS[1], ROWS[0])


@pytest.mark.parametrize("rows", [[], [{"recipe": "float32", "column_of_old": 1}], [ROWS[0].plain()]])
def test_a_table_of_other_fields_or_without_a_choice_is_no_last_night(tmp_path: Path, rows: list) -> None:
    _night(tmp_path, 1, rows=rows)
    assert last_night(_night(tmp_path, 0)) is None
