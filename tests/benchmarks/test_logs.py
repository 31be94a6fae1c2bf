from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.ingest_peers import by_pandas
from benchmarks.logs import Logs
from pipeline.core.days import Days
from pipeline.core.run import Run
from pipeline.ingest import step

LOGS = Logs(rows=30_000, items=500, users=300)


def test_equal_arguments_give_equal_bytes_and_another_seed_others(tmp_path: Path) -> None:
    logs = Logs(rows=2000)
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, made in zip(folders, (logs, logs, Logs(rows=2000, seed=8)), strict=True):
        made.write(folder)
    first, second, other = ((folder / logs.name("events", logs.first)).read_bytes() for folder in folders)
    assert first == second != other


def test_rows_are_shared_among_days(tmp_path: Path) -> None:
    truths = Logs(rows=1000, days=3, gzip=True).write(tmp_path)
    assert [truth["rows"] for truth in truths] == [333, 333, 334]
    days = [str(Logs.first + timedelta(days=n)) for n in range(3)]
    assert [truth["day"] for truth in truths] == days
    assert {p.name for p in tmp_path.glob("events-*")} == {f"events-{day}.csv.gz" for day in days}


def test_each_kind_of_dirt_takes_its_share(tmp_path: Path) -> None:
    (truth,) = LOGS.write(tmp_path)
    dirt = truth["dirt"]
    # A robot takes one row in each of 120 periods of 100 rows: two robots in 30,000.
    assert dirt.pop("robot") == 240
    assert set(dirt.values()) == {300}


def test_ingest_and_pandas_find_what_was_planted(tmp_path: Path, settings) -> None:
    (truth,) = LOGS.write(tmp_path / "logs")
    given = {"source": str(tmp_path / "logs"), "profile": str(tmp_path / "logs" / "profile.yaml")}
    settings = settings.model_copy(update={"ingest": settings.ingest.model_copy(update=given)})
    day = str(LOGS.first)
    run = Run.open(settings.store.root, day, settings.shop.timezone, Days.parse(day))
    step.run(settings, run)
    (counts,) = settings.store.root.glob("store/ingest/*/counts.json")
    found = json.loads(counts.read_text())
    assert {name: found[name] for name in truth["outcomes"]} == truth["outcomes"]
    assert (found["rows"], found["event_types"]) == (truth["rows"], truth["event_types"])
    folder = tmp_path / "pandas"
    folder.mkdir()
    by_pandas(tmp_path / "logs" / LOGS.name("events", LOGS.first), folder)
    theirs = json.loads((folder / "counts.json").read_text())
    assert {name: theirs[name] for name in truth["outcomes"]} == truth["outcomes"]
    assert {rule: rows for rule, rows in found["rules"].items() if rows} == theirs["rules"]


@pytest.mark.parametrize("rows", [10, 700])
def test_few_rows_are_still_a_day(tmp_path: Path, rows: int) -> None:
    (truth,) = Logs(rows=rows).write(tmp_path)
    assert truth["rows"] == rows == len((tmp_path / Logs().name("events", Logs.first)).read_text().splitlines()) - 1
