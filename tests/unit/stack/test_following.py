from __future__ import annotations

import json
from pathlib import Path

from stack.embedded import Stack
from stack.following import NOISE, Follower, Tail
from stack.places import Places
from stack.terminal import View


def _line(event: str) -> str:
    return json.dumps({"event": event, "logger": "pipeline.step"}) + "\n"


def test_a_tail_gives_every_line_once_and_waits_for_a_torn_one(tmp_path: Path) -> None:
    log = tmp_path / "attempt=1.log"
    tail = Tail(log)
    assert list(tail.new()) == []
    log.write_text(_line("one") + _line("two")[:10])
    assert [entry["event"] for entry in tail.new()] == ["one"]
    assert list(tail.new()) == []
    log.write_text(_line("one") + _line("two") + "not json\n" + _line("three"))
    assert [entry["event"] for entry in tail.new()] == ["two", "three"]


def test_only_the_librarys_own_chatter_is_noise() -> None:
    assert NOISE.match("I0000 00:00:1795198727.691717   25939 port.cc:153] oneDNN custom operations are on.")
    assert NOISE.match("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR")
    assert not NOISE.match("Invalid day: 2011-12-99")
    assert not NOISE.match("WARNING: 3 rows were quarantined")


def _task(map_index: int, name: str, state: str) -> dict:
    times = {"start_date": "2026-01-05T02:00:00+00:00", "end_date": "2026-01-05T02:00:30+00:00"}
    return {"task_id": "recipe", "map_index": map_index, "rendered_map_index": name, "state": state, "try_number": 1,
            **times}  # fmt: skip


def test_each_mapped_task_is_a_row_by_its_parts_name_with_the_last_line_of_its_own_log(tmp_path: Path) -> None:
    tasks = [_task(0, "float32", "success"), _task(1, "dynamic_int8", "failed"), _task(2, "2", "scheduled")]
    for number, said in enumerate(["float32: recall@20 0.5", "ValueError: this converter broke"]):
        log = Places(tmp_path).task_log("retrain", "night", "recipe", 1, number)
        log.parent.mkdir(parents=True)
        log.write_text(_line(said))
        assert log.parent.name == f"map_index={number}"
    view = View(["train", "recipe", "optimize"])
    # Airflow says the number of a part that waits, for the first time or for its next attempt.
    tasks.append(_task(1, "1", "up_for_retry"))
    follower = Follower(Stack(tmp_path), view, lambda: None)
    for task in tasks:
        follower._show("retrain", "night", task)
    rows = {name: (row.state, row.says) for name, row in view.rows.items() if name.startswith("recipe")}
    assert rows == {
        "recipe float32": ("success", "float32: recall@20 0.5"),
        "recipe dynamic_int8": ("up_for_retry", "ValueError: this converter broke"),
    }
    assert list(view.rows) == ["train", "recipe float32", "recipe dynamic_int8", "optimize"]
