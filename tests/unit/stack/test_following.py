from __future__ import annotations

import json
from pathlib import Path

from stack.following import NOISE, Tail


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
