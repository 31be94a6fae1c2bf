"""A run is a folder of references; pure work is done once for equal keys."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipeline.core.days import Days
from pipeline.core.errors import MissingInputError, UsageError
from pipeline.core.run import Layout, Run
from pipeline.core.spent import stopwatch
from pipeline.core.step import Report


def _open(root: Path, run_id: str = "2011-12-08", **given) -> Run:
    return Run.open(root, run_id, "UTC", **given)


def test_a_run_id_that_is_a_day_needs_no_days(tmp_path: Path) -> None:
    run = _open(tmp_path)
    assert run.days == Days(date(2011, 12, 8), date(2011, 12, 8))
    assert run.as_of == datetime(2011, 12, 9, tzinfo=UTC)


def test_as_of_defaults_to_midnight_in_the_shops_zone(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "2011-07-01", "Europe/London")
    assert run.as_of == datetime(2011, 7, 1, 23, tzinfo=UTC)


def test_a_run_continued_keeps_what_it_was_begun_with(tmp_path: Path) -> None:
    moment = datetime(2011, 12, 10, tzinfo=UTC)
    _open(tmp_path, "night", days=Days.parse("2011-12-01..2011-12-08"), as_of=moment, backfill=True, requested_by="ada")
    again = _open(tmp_path, "night")
    assert (again.days.first, again.as_of, again.backfill, again.requested_by) == (
        date(2011, 12, 1),
        moment,
        True,
        "ada",
    )


def test_a_run_continued_with_other_days_is_refused(tmp_path: Path) -> None:
    _open(tmp_path, "night", days=Days.parse("2011-12-01"))
    with pytest.raises(UsageError, match=r"begun for 2011-12-01, not 2011-12-02"):
        _open(tmp_path, "night", days=Days.parse("2011-12-02"))


@pytest.mark.parametrize("run_id", ["../x", "", "a/b", ".hidden", "x" * 201])
def test_a_run_id_that_could_leave_its_folder_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(UsageError, match="run id"):
        _open(tmp_path, run_id, days=Days.parse("2011-12-01"))


def test_a_run_id_that_is_no_day_needs_days_stated(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--days"):
        _open(tmp_path, "night")


def test_equal_keys_are_made_once_and_force_makes_them_again(tmp_path: Path) -> None:
    made = []

    def fill(folder: Path) -> Report:
        made.append(folder)
        (folder / "n.txt").write_text("n")
        return Report("made", counts={"n": len(made)})

    first = _open(tmp_path).once("prepare", {"a": "1"}, {}, fill)
    second = _open(tmp_path, "2011-12-09").once("prepare", {"a": "1"}, {}, fill)
    assert (first.cached, second.cached, second.counts, len(made)) == (False, True, {"n": 1}, 1)
    forced = _open(tmp_path, force=True).once("prepare", {"a": "1"}, {}, fill)
    assert (forced.cached, forced.counts, len(made)) == (False, {"n": 2}, 2)


def test_a_run_refers_to_its_artifacts_by_part(tmp_path: Path) -> None:
    run = _open(tmp_path)
    for part in ("2011-12-08", "2011-12-07"):
        run.once("ingest", {"file": part}, {}, lambda folder: Report("made"), part)
    assert sorted(run.artifacts("ingest")) == ["2011-12-07", "2011-12-08"]
    assert run.artifact("ingest", "2011-12-08").path.is_dir()


def test_an_artifact_not_made_yet_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="python -m pipeline train --run 2011-12-08"):
        _open(tmp_path).artifact("train")


class OtherRoot:
    """Artifacts shared through another folder."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)

    def fetch(self, stage: str, final: Path) -> bool:
        theirs = self.layout.artifact(stage, final.name)
        if theirs.exists():
            shutil.copytree(theirs, final)
        return theirs.exists()

    def push(self, stage: str, final: Path, replace: bool) -> None:
        theirs = self.layout.artifact(stage, final.name)
        if replace or not theirs.exists():
            shutil.copytree(final, theirs, dirs_exist_ok=True)


def test_what_is_shared_is_fetched_instead_of_made_and_what_is_made_is_shared(tmp_path: Path) -> None:
    def never(folder: Path) -> Report:
        raise AssertionError("it was made again")

    one, two = (_open(tmp_path / name, shared=OtherRoot(tmp_path / "shared")) for name in ("one", "two"))
    assert not one.once("prepare", {"a": "1"}, {}, lambda folder: Report("made")).cached
    assert two.once("prepare", {"a": "1"}, {}, never).cached
    shutil.rmtree(two.artifact("prepare").path)
    two.artifact("prepare").verify()


def test_what_steps_took_is_kept_in_the_runs_folder_however_they_ended(tmp_path: Path) -> None:
    run = _open(tmp_path)
    with pytest.raises(ZeroDivisionError), stopwatch("train", run.note_time):
        sum(n * n for n in range(100_000))
        raise ZeroDivisionError
    with stopwatch("train", run.note_time) as watch:
        watch.end = "cached"
    failed, cached = run.times()
    assert (failed.step, failed.end, cached.end) == ("train", "failed", "cached")
    assert failed.wall_seconds > 0 and failed.cpu_seconds > 0 and failed.cores >= 1


def test_a_time_that_cannot_be_noted_does_not_spoil_the_step(tmp_path: Path) -> None:
    asked = []

    def full(spent: object) -> None:
        asked.append(spent)
        raise OSError("no space left")

    with stopwatch("train", full) as watch:
        watch.end = "done"
    assert [spent.end for spent in asked] == ["done"]


def test_who_asked_for_a_run_stays_who_asked(tmp_path: Path) -> None:
    _open(tmp_path, "2026-01-01")
    _open(tmp_path, "2026-01-01", requested_by="ada")
    with pytest.raises(UsageError, match="was asked for by ada, not bob; use another run id"):
        _open(tmp_path, "2026-01-01", requested_by="bob")
    assert _open(tmp_path, "2026-01-01").requested_by == "ada"
