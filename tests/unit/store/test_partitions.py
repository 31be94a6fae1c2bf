"""A day's record changes only for whoever saw the one before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from pipeline.core.artifacts import build
from pipeline.core.errors import BusyError, CorruptArtifactError, MissingInputError
from pipeline.core.run import Layout
from pipeline.store.partitions import Partitions, Record

DAY = date(2011, 12, 8)


def _record(run_id: str, key: str = "k1", **more: object) -> Record:
    return Record({"day": str(DAY), "ingest_key": key, "digest": f"of {key}", "run_id": run_id, **more})


def test_a_day_never_switched_has_no_record(tmp_path: Path) -> None:
    partitions = Partitions(tmp_path, "landed")
    assert (partitions.days(), partitions.read(DAY)) == ([], None)


def test_each_switch_counts_one_revision_more(tmp_path: Path) -> None:
    partitions = Partitions(tmp_path, "landed")
    first = partitions.switch(DAY, _record("a"), None)
    second = partitions.switch(DAY, _record("b", "k2", revision=17), first)
    assert (first.revision, second.revision) == (1, 2)
    assert partitions.read(DAY) == second
    assert (second.day, second.ingest_key, second.digest, second.run_id) == (DAY, "k2", "of k2", "b")


def test_days_are_in_order_and_the_two_kinds_are_apart(tmp_path: Path) -> None:
    landed, published = Partitions(tmp_path, "landed"), Partitions(tmp_path, "published")
    for day in (date(2011, 12, 9), DAY):
        landed.switch(day, Record({"day": str(day), "ingest_key": "k"}), None)
    assert (landed.days(), published.days()) == ([DAY, date(2011, 12, 9)], [])


def test_whoever_did_not_see_the_record_in_force_is_told_whose_it_is(tmp_path: Path) -> None:
    partitions = Partitions(tmp_path, "published")
    partitions.switch(DAY, _record("ada"), None)
    with pytest.raises(BusyError, match=r"2011-12-08\.json: expected none, but run ada put revision 1 there"):
        partitions.switch(DAY, _record("bob", "k2"), None)
    standing = partitions.read(DAY)
    assert standing is not None
    assert standing.run_id == "ada"


def test_only_the_record_that_was_seen_is_taken_away(tmp_path: Path) -> None:
    partitions = Partitions(tmp_path, "landed")
    first = partitions.switch(DAY, _record("ada"), None)
    second = partitions.switch(DAY, _record("bob", "k2"), first)
    with pytest.raises(BusyError, match="expected the one of run ada, but run bob put revision 2 there"):
        partitions.remove(DAY, first)
    partitions.remove(DAY, second)
    partitions.remove(DAY, second)
    assert partitions.days() == []


def test_a_record_taken_away_meanwhile_is_told(tmp_path: Path) -> None:
    partitions = Partitions(tmp_path, "published")
    seen = partitions.switch(DAY, _record("ada"), None)
    (tmp_path / "published" / f"{DAY}.json").unlink()
    with pytest.raises(BusyError, match="expected the one of run ada, but it is gone"):
        partitions.switch(DAY, _record("bob", "k2"), seen)


def test_switching_to_what_is_there_changes_nothing(tmp_path: Path) -> None:
    """Whoever was killed after the switch and runs again, having seen the old record, finds its own."""
    partitions = Partitions(tmp_path, "landed")
    first = partitions.switch(DAY, _record("a"), None)
    assert partitions.switch(DAY, _record("a"), None) == first


def test_of_many_that_saw_the_same_record_one_wins(tmp_path: Path) -> None:
    def attempt(number: int) -> int:
        try:
            Partitions(tmp_path, "landed").switch(DAY, _record(f"run-{number}"), None)
        except BusyError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(32))) == 1


def test_a_record_leads_to_its_artifact(tmp_path: Path) -> None:
    build(Layout(tmp_path).artifact("ingest", "k1"), lambda folder: None)
    partitions = Partitions(tmp_path, "landed")
    assert partitions.artifact(_record("a")).key == "k1"
    with pytest.raises(MissingInputError, match=r"names the ingest artifact k2, which is gone; ingest and validate"):
        partitions.artifact(_record("a", "k2"))


def test_a_torn_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "landed").mkdir()
    (tmp_path / "landed" / f"{DAY}.json").write_text('{"day": ')
    with pytest.raises(CorruptArtifactError, match=r"2011-12-08\.json: this record is no JSON object"):
        Partitions(tmp_path, "landed").read(DAY)


def test_values_that_are_not_json_are_kept_as_their_text() -> None:
    assert Record({"day": DAY, "routed_days": {"2011-12-07": 3}}).fields == {
        "day": "2011-12-08",
        "routed_days": {"2011-12-07": 3},
    }
