"""Rows that come with another day's file join the day they belong to, which is re-opened and marked."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import BusyError
from pipeline.core.run import Run
from pipeline.store.leases import leased

MONDAY, TUESDAY, WEDNESDAY = "2026-01-05", "2026-01-06", "2026-01-07"
OWN = f"{MONDAY}T10:00:00Z,anna,v1,seen,lamp,,9.50,"
BEFORE = f"{MONDAY}T09:00:00Z,bert,v2,seen,mug,,5.00,"
AFTER = f"{MONDAY}T11:00:00Z,carl,v3,bought,cup,,5.00,1"
PLAIN = {
    TUESDAY: f"{TUESDAY}T10:00:00Z,anna,v4,seen,lamp,,9.50,",
    WEDNESDAY: f"{WEDNESDAY}T10:00:00Z,anna,v5,seen,a,,1,",
}


def partition(source, run_id: str, day: str) -> Artifact:
    """What validate is given of a day by a run."""
    return Run.open(source.settings.store.root, run_id, "UTC").artifact("ingest", day)


def items(artifact: Artifact) -> list[str]:
    return pq.read_table(artifact.file("events.parquet"))["item_id"].to_pylist()


def late(artifact: Artifact) -> dict:
    return artifact.json("counts.json")["late"]


def record(source, day: str) -> Path:
    return source.settings.store.root / "landed" / f"{day}.json"


def write(source, day: str, *lines: str) -> None:
    source.write(*lines, name=f"{day}.csv")


def test_late_rows_join_their_own_day_in_order_and_mark_it(source) -> None:
    write(source, MONDAY, OWN)
    own = source.ingest(MONDAY).artifact
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER, BEFORE)
    night = source.ingest(TUESDAY, run_id="night")
    monday = partition(source, "night", MONDAY)
    assert monday.key != own.key
    assert items(monday) == ["mug", "lamp", "cup"]  # at nine, ten and eleven
    counts = monday.json("counts.json")
    assert counts["late"] == {"rows": 2, "duplicate": 0, "from": {TUESDAY: 2}}
    assert counts["event_types"] == {"purchase": 1, "view": 2}
    # The rest speaks of Monday's own file.
    assert (counts["rows"], counts["clean"], counts["rules"]) == (1, 1, own.json("counts.json")["rules"])
    assert night.report.sentence.endswith(f"1 other day re-opened: {MONDAY} (2 rows).")
    assert (night.report.counts["late"], night.report.counts["reopened_days"]) == (2, 1)
    assert items(night.artifact) == ["lamp"]
    for name in ("catalogue", "quarantine", "routed"):
        assert monday.file(f"{name}.parquet").read_bytes() == own.file(f"{name}.parquet").read_bytes()


@pytest.mark.parametrize(
    "order", [(MONDAY, TUESDAY, WEDNESDAY), (WEDNESDAY, TUESDAY, MONDAY), (TUESDAY, MONDAY, WEDNESDAY)]
)
def test_the_order_in_which_days_land_does_not_matter(source, order: tuple[str, ...]) -> None:
    write(source, MONDAY, OWN)
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER, BEFORE)
    write(source, WEDNESDAY, PLAIN[WEDNESDAY], BEFORE, f"{MONDAY}T23:00:00Z,dora,v9,seen,vase,,2,")
    for day in order:
        source.ingest(day)
    found = [run.artifacts("ingest").get(MONDAY) for run in runs(source, order)]
    last = [artifact for artifact in found if artifact][-1]
    source.ingest(f"{MONDAY}..{WEDNESDAY}", run_id="history")
    together = partition(source, "history", MONDAY)
    assert together.key == last.key
    assert items(together) == ["mug", "lamp", "cup", "vase"]
    # BEFORE came with two files; Tuesday's is the earlier one.
    assert late(together) == {"rows": 3, "duplicate": 1, "from": {TUESDAY: 2, WEDNESDAY: 1}}


def runs(source, days: tuple[str, ...]) -> list[Run]:
    return [Run.open(source.settings.store.root, f"run-{day}", "UTC") for day in days]


def test_equal_partitions_are_equal_bytes_in_whichever_order_the_days_land(source, tmp_path: Path) -> None:
    write(source, MONDAY, OWN)
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER, BEFORE)
    found = []
    for root, order in (("one", (MONDAY, TUESDAY)), ("other", (TUESDAY, MONDAY))):
        store = source.settings.store.model_copy(update={"root": tmp_path / root})
        source.settings = source.settings.model_copy(update={"store": store})
        for day in order:
            source.ingest(day)
        found.append(partition(source, f"run-{order[-1]}", MONDAY))
    one, other = found
    assert one.path != other.path
    assert (one.key, one.digest) == (other.key, other.digest)
    assert one.file("events.parquet").read_bytes() == other.file("events.parquet").read_bytes()


def test_a_late_event_the_day_already_has_is_counted_and_wins_nothing(source) -> None:
    write(source, MONDAY, OWN)
    own = source.ingest(MONDAY).artifact
    write(source, TUESDAY, PLAIN[TUESDAY], OWN)
    source.ingest(TUESDAY, run_id="night")
    monday = partition(source, "night", MONDAY)
    assert late(monday) == {"rows": 0, "duplicate": 1, "from": {}}
    assert monday.file("events.parquet").read_bytes() == own.file("events.parquet").read_bytes()


def test_a_corrected_file_takes_back_what_it_gave_to_other_days(source) -> None:
    write(source, MONDAY, OWN)
    own = source.ingest(MONDAY).artifact
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER)
    source.ingest(TUESDAY, run_id="first")
    assert items(partition(source, "first", MONDAY)) == ["lamp", "cup"]
    write(source, TUESDAY, PLAIN[TUESDAY])
    source.ingest(TUESDAY, run_id="corrected")
    assert partition(source, "corrected", MONDAY).key == own.key
    told = json.loads(record(source, TUESDAY).read_text())
    # Monday stays named, so that a run cut here settles it when it is run again.
    assert (told["revision"], told["routed_days"]) == (2, {MONDAY: 0})


def test_a_corrected_day_keeps_the_rows_that_came_late(source) -> None:
    write(source, MONDAY, OWN)
    source.ingest(MONDAY)
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER)
    source.ingest(TUESDAY)
    write(source, MONDAY, OWN, BEFORE)
    source.ingest(MONDAY, run_id="corrected")
    assert items(partition(source, "corrected", MONDAY)) == ["mug", "lamp", "cup"]


def test_a_day_keeps_its_key_when_another_file_changes_only_what_is_not_its_own(source) -> None:
    write(source, MONDAY, OWN)
    source.ingest(MONDAY)
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER)
    source.ingest(TUESDAY, run_id="first")
    write(source, TUESDAY, PLAIN[TUESDAY], PLAIN[TUESDAY].replace("lamp", "mug"), AFTER)
    source.ingest(TUESDAY, run_id="second")
    first, second = (partition(source, run_id, MONDAY) for run_id in ("first", "second"))
    assert first.key == second.key
    assert partition(source, "first", TUESDAY).key != partition(source, "second", TUESDAY).key


def test_nothing_changed_makes_nothing_and_touches_no_record(source) -> None:
    write(source, MONDAY, OWN)
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER)
    first = source.ingest(f"{MONDAY}..{TUESDAY}", run_id="first")
    files = sorted(p for p in source.settings.store.root.rglob("*") if p.is_file() and "runs" not in p.parts)
    before = [(p, p.stat().st_mtime_ns, p.read_bytes()) for p in files if "leases" not in p.parts]
    again = source.ingest(f"{MONDAY}..{TUESDAY}", run_id="again")
    assert [(p, p.stat().st_mtime_ns, p.read_bytes()) for p, *_ in before] == before
    assert (first.report.cached, again.report.cached) == (False, True)
    assert again.report.sentence == first.report.sentence


def test_rows_for_a_day_that_never_landed_wait_and_are_told_until_it_lands(source) -> None:
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER)
    night = source.ingest(TUESDAY, run_id="night")
    assert night.report.sentence.endswith(f"Rows wait for 1 day that never landed: {MONDAY} (1 row).")
    assert list(Run.open(source.settings.store.root, "night", "UTC").artifacts("ingest")) == [TUESDAY]
    write(source, MONDAY, OWN)
    source.ingest(MONDAY, run_id="at-last")
    assert items(partition(source, "at-last", MONDAY)) == ["lamp", "cup"]


def test_a_closed_day_takes_late_rows_and_stays_closed(source) -> None:
    sunday = "2026-01-04"
    source.ingest(sunday)
    write(source, MONDAY, OWN, f"{sunday}T23:00:00Z,anna,v0,seen,vase,,2,")
    source.ingest(MONDAY, run_id="night")
    opened = partition(source, "night", sunday)
    assert (items(opened), opened.json("counts.json")["closed"]) == (["vase"], True)


def test_files_of_utc_days_make_whole_days_of_a_shop_elsewhere(source) -> None:
    shop = source.settings.shop.model_copy(update={"timezone": "America/New_York"})
    source.settings = source.settings.model_copy(update={"shop": shop})
    # Midnight in New York is 05:00 UTC in January, so each file holds the evening before.
    write(source, MONDAY, f"{MONDAY}T04:00:00Z,anna,v1,seen,sunday,,1,", f"{MONDAY}T05:00:00Z,anna,v1,seen,monday,,1,")
    write(source, TUESDAY, f"{TUESDAY}T04:00:00Z,anna,v2,seen,evening,,1,", f"{TUESDAY}T05:00:00Z,anna,v2,seen,x,,1,")
    source.ingest(f"{MONDAY}..{TUESDAY}", run_id="history")
    assert items(partition(source, "history", MONDAY)) == ["monday", "evening"]


def test_only_days_that_rows_came_for_are_settled(source) -> None:
    write(source, MONDAY, OWN)
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER)
    write(source, WEDNESDAY, PLAIN[WEDNESDAY])
    source.ingest(f"{MONDAY}..{WEDNESDAY}", run_id="history")
    # Three landed artifacts, and Monday's partition.
    assert len(list((source.settings.store.root / "store" / "ingest").iterdir())) == 3 + 1


def test_a_day_over_its_budget_gives_nothing_to_other_days(source) -> None:
    write(source, MONDAY, OWN)
    source.ingest(MONDAY)
    source.set(quarantine_fail_share=0.1, quarantine_min_rows=1)
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER, f"{TUESDAY}T10:00:00Z,anna,v4,hover,lamp,,9.50,")
    with pytest.raises(Exception, match="1 of 3 rows were refused"):
        source.ingest(TUESDAY, run_id="night")
    assert not record(source, TUESDAY).exists()
    source.ingest(MONDAY, run_id="again")
    assert items(partition(source, "again", MONDAY)) == ["lamp"]


def test_a_run_cut_between_landing_and_settling_settles_when_it_is_run_again(source) -> None:
    write(source, MONDAY, OWN)
    source.ingest(MONDAY)
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER)
    with leased(source.settings, f"ingest {MONDAY}", "another"), pytest.raises(BusyError, match="run another"):
        source.ingest(TUESDAY, run_id="night")
    assert record(source, TUESDAY).exists()
    source.ingest(TUESDAY, run_id="night")
    assert items(partition(source, "night", MONDAY)) == ["lamp", "cup"]


def test_a_withdrawal_cut_before_its_day_was_settled_is_not_forgotten(source) -> None:
    write(source, MONDAY, OWN)
    source.ingest(MONDAY)
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER)
    write(source, WEDNESDAY, PLAIN[WEDNESDAY], BEFORE)
    source.ingest(f"{TUESDAY}..{WEDNESDAY}", run_id="first")
    write(source, TUESDAY, PLAIN[TUESDAY])
    with leased(source.settings, f"ingest {MONDAY}", "another"), pytest.raises(BusyError):
        source.ingest(TUESDAY, run_id="corrected")
    # What the new file says of Monday is nothing at all; the record still names the day.
    source.ingest(TUESDAY, run_id="corrected")
    assert items(partition(source, "corrected", MONDAY)) == ["mug", "lamp"]


def test_a_run_marked_as_of_takes_no_row_of_a_day_that_had_not_ended_and_re_opens_for_itself_alone(source) -> None:
    write(source, MONDAY, OWN)
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER)
    write(source, WEDNESDAY, PLAIN[WEDNESDAY], BEFORE)
    source.ingest(f"{MONDAY}..{WEDNESDAY}", run_id="history")
    assert items(partition(source, "history", MONDAY)) == ["mug", "lamp", "cup"]
    before = {day: record(source, day).read_bytes() for day in (MONDAY, TUESDAY, WEDNESDAY)}
    write(source, TUESDAY, PLAIN[TUESDAY], AFTER.replace("cup", "vase"))
    source.ingest(TUESDAY, run_id="trial", as_of=datetime(2026, 1, 7, tzinfo=UTC), backfill=True)
    # On Wednesday's first moment its file, with the mug, was not there yet; the corrected Tuesday is the trial's own.
    assert items(partition(source, "trial", MONDAY)) == ["lamp", "vase"]
    assert {day: record(source, day).read_bytes() for day in before} == before


@pytest.mark.parametrize("older", [MONDAY, TUESDAY])
def test_days_ingested_before_contexts_were_known_settle_with_later_ones(source, own_profile, older: str) -> None:
    own_profile("  event_type:", "  context: {asked: words}\n  event_type:")
    write(source, MONDAY, OWN.replace("lamp,", "lamp,home"))
    write(source, TUESDAY, BEFORE.replace("mug,", "mug,away"))
    newer = TUESDAY if older == MONDAY else MONDAY
    landed = source.ingest(older).artifact
    for name in ("events", "routed"):
        path = landed.file(f"{name}.parquet")
        pq.write_table(pq.read_table(path).drop_columns("context"), path)
    source.ingest(newer, run_id="night")
    rows = pq.read_table(partition(source, "night", MONDAY).file("events.parquet")).to_pylist()
    said = {"lamp": "asked=home", "mug": "asked=away"} | {"lamp" if older == MONDAY else "mug": None}
    assert {row["item_id"]: row["context"] for row in rows} == said
