"""A day lands under one run at a time, and what is in force changes only when its artifact does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.run import Run

ROW = "2026-01-05T10:00:00Z,anna,v1,seen,lamp,,9.50,"
LATE = "2026-01-03T10:00:00Z,anna,v1,seen,mug,,9.50,"
TORN = "2026-01-05T10:00:00Z,anna"
PATIENCE_SECONDS = 60


def landed(source, day: str = "2026-01-05") -> Path:
    return source.settings.store.root / "landed" / f"{day}.json"


def test_a_landed_day_says_what_is_in_force_and_what_it_holds_for_others(source) -> None:
    source.write(ROW, LATE, LATE.replace("mug", "cup"), TORN)
    day = source.ingest(run_id="night")
    assert json.loads(landed(source).read_text()) == {
        "day": "2026-01-05",
        "ingest_key": day.artifact.key,
        "digest": day.artifact.digest,
        "run_id": "night",
        "revision": 1,
        "rows": 4,
        "closed": False,
        "quarantined": {"torn": 1},
        "routed_days": {"2026-01-03": 2},
    }
    assert day.counts["routed_days"] == {"2026-01-03": 2}
    assert day.counts["late"] == {"rows": 0, "duplicate": 0, "from": {}}


def test_nothing_changed_leaves_the_record_byte_for_byte(source) -> None:
    source.write(ROW)
    source.ingest(run_id="first")
    before = landed(source).read_bytes()
    assert source.ingest(run_id="second").report.cached
    source.ingest(run_id="third", force=True)
    assert landed(source).read_bytes() == before


def test_a_corrected_file_lands_as_the_next_revision(source) -> None:
    source.write(ROW)
    first = source.ingest(run_id="first").artifact
    source.write(ROW, ROW.replace("lamp", "mug"))
    second = source.ingest(run_id="second").artifact
    record = json.loads(landed(source).read_text())
    assert (record["revision"], record["run_id"], record["ingest_key"]) == (2, "second", second.key)
    assert first.key != second.key
    assert first.path.is_dir()


def test_a_closed_day_lands_too(source) -> None:
    source.ingest("2026-01-04")
    record = json.loads(landed(source, "2026-01-04").read_text())
    assert (record["closed"], record["rows"]) == (True, 0)


def started(source, run_id: str) -> subprocess.Popen[str]:
    wanted = source.settings
    given = {"store.root": wanted.store.root, "ingest.source": source.folder, "ingest.profile": source.profile}
    command = [sys.executable, "-m", "pipeline", "ingest", "--run", run_id, "--days", "2026-01-05"]
    command += [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_held(source, holder: subprocess.Popen[str], run_id: str) -> None:
    lock, deadline = source.settings.store.root / "leases" / "ingest-2026-01-05.lock", time.monotonic() + 60
    while not (lock.exists() and run_id in lock.read_text()):
        assert holder.poll() is None, holder.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_two_runs_of_one_day_at_once_one_wins_and_the_other_names_it(source) -> None:
    path = source.write(ROW)
    content = path.read_bytes()
    # The first run waits at a pipe in the place of its file, with the day's lease in its hand.
    pipe = source.folder / "pipe"
    os.mkfifo(pipe)
    path.unlink()
    path.hardlink_to(pipe)
    first = started(source, "first")
    try:
        until_held(source, first, "first")
        second = started(source, "second")
        _, refused = second.communicate(timeout=PATIENCE_SECONDS)
        assert second.returncode == 75, refused
        assert f"`ingest 2026-01-05` is already under way (run first, process {first.pid})" in refused
        plain = source.folder / "plain"
        plain.write_bytes(content)
        plain.replace(path)
        pipe.write_bytes(content)
        told, wrong = first.communicate(timeout=PATIENCE_SECONDS)
        assert first.returncode == 0, wrong
        assert "1 rows: 1 clean" in told
    finally:
        first.kill()
        first.communicate()
    assert json.loads(landed(source).read_text())["run_id"] == "first"
    # Once the first is done the second finds its work, and has nothing to do.
    again = started(source, "second")
    told, wrong = again.communicate(timeout=PATIENCE_SECONDS)
    assert (again.returncode, "unchanged since it was made" in told) == (0, True), wrong


def test_a_run_notes_each_of_its_days_even_when_a_later_one_has_no_file(source) -> None:
    source.write(ROW)
    with pytest.raises(Exception, match="No logs for 2026-01-06"):
        source.ingest("2026-01-05..2026-01-06", run_id="torn")
    assert list(Run.open(source.settings.store.root, "torn", "UTC").artifacts("ingest", "landed")) == ["2026-01-05"]


NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
EVENING = ROW.replace("T10", "T20").replace("lamp", "mug")


def test_a_run_as_of_noon_keeps_the_half_day_to_itself(source) -> None:
    source.write(ROW, EVENING)
    whole = source.ingest(run_id="night")
    before = landed(source).read_bytes()
    half = source.ingest(run_id="trial", as_of=NOON, backfill=True)
    assert half.rules == {"future_time": 1}
    assert half.artifact.key != whole.artifact.key
    assert half.report.sentence.endswith("Marked as-of: what had landed stays as it was.")
    assert landed(source).read_bytes() == before
    assert source.ingest(run_id="again").report.cached


def test_a_run_marked_as_of_lands_no_day_that_never_landed(source) -> None:
    source.write(ROW)
    assert source.ingest(run_id="trial", as_of=NOON, backfill=True).counts["clean"] == 1
    assert not landed(source).exists()


def test_a_replay_as_of_is_refused(source) -> None:
    source.write(ROW, TORN)
    source.set(replay="all")
    with pytest.raises(UsageError, match=r"Run trial is marked as-of .* drop one of the two"):
        source.ingest(run_id="trial", as_of=NOON, backfill=True)
