"""What is too old goes, counted from the newest landed day; what a record, a young run or the ledger names stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from datetime import date
from pathlib import Path

import pytest

from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact
from pipeline.core.days import Days
from pipeline.core.errors import BusyError
from pipeline.core.locks import only_one
from pipeline.core.run import Layout, Run
from pipeline.core.settings import Settings
from pipeline.store.leases import leased
from pipeline.store.ledger import Ledger
from pipeline.store.partitions import Partitions, Record
from pipeline.store.retention import LEDGER_ENTRIES, collect

OLD, MIDDLE, NEW = "2026-01-01", "2026-01-08", "2026-01-15"


def keeping(settings: Settings, **days: int) -> Settings:
    return settings.model_copy(update={"store": settings.store.model_copy(update=days)})


def make(settings: Settings, stage: str, key: str, day: str = "") -> Artifact:
    def fill(folder: Path) -> None:
        (folder / "counts.json").write_text(json.dumps({"day": day}))

    return artifacts.build(settings.store.root.resolve() / "store" / stage / key, fill)


def land(settings: Settings, day: str, key: str, kinds: tuple[str, ...] = ("landed", "published")) -> Artifact:
    artifact = make(settings, "ingest", key, day)
    for kind in kinds:
        records = Partitions.open(settings, kind)
        before = records.read(date.fromisoformat(day))
        record = Record({"day": day, "ingest_key": key, "digest": artifact.digest, "run_id": "r"})
        records.switch(date.fromisoformat(day), record, before)
    return artifact


def begin(settings: Settings, run_id: str, day: str, **refs: str) -> None:
    run = Run.open(settings.store.root.resolve(), run_id, "UTC", Days.parse(day))
    for stage, key in refs.items():
        run.refer(stage, key)


@pytest.fixture
def shop(settings: Settings) -> Settings:
    for day, key in ((OLD, "old"), (MIDDLE, "middle"), (NEW, "new")):
        land(settings, day, key)
        begin(settings, f"night-{day}", day, ingest=key, prepare=f"set-{key}", train=f"model-{key}")
        make(settings, "prepare", f"set-{key}"), make(settings, "train", f"model-{key}")
    return settings


def left(settings: Settings, stage: str) -> list[str]:
    return sorted(path.name for path in (settings.store.root / "store" / stage).iterdir())


def days(settings: Settings, kind: str) -> list[str]:
    return [str(day) for day in Partitions.open(settings, kind).days()]


def test_by_default_everything_is_kept(shop: Settings) -> None:
    collected = collect(shop)
    assert (collected.days, collected.artifacts) == ((), ())
    assert left(shop, "ingest") == ["middle", "new", "old"]


def test_partitions_older_than_the_retention_go_with_their_records(shop: Settings) -> None:
    collect(keeping(shop, retention_days=7))
    # Seven days before the fifteenth is the eighth, which stays.
    assert days(shop, "landed") == days(shop, "published") == [MIDDLE, NEW]
    assert left(shop, "ingest") == ["middle", "new"]
    assert left(shop, "train") == ["model-middle", "model-new", "model-old"]


def test_artifacts_no_young_run_names_go_and_partitions_in_force_stay(shop: Settings) -> None:
    make(shop, "ingest", "superseded", NEW)
    collect(keeping(shop, artifact_days=7))
    assert left(shop, "prepare") == ["set-middle", "set-new"]
    assert left(shop, "train") == ["model-middle", "model-new"]
    assert left(shop, "ingest") == ["middle", "new", "old"]


def test_the_verdicts_of_published_days_and_the_newest_vocabulary_stay_though_no_young_run_names_them(
    shop: Settings,
) -> None:
    """Later nights compare with the one and grow from the other."""
    published, vocabularies = Partitions.open(shop, "published"), Partitions.open(shop, "vocabulary")
    middle = published.read(date.fromisoformat(MIDDLE))
    published.switch(middle.day, Record({**middle.content, "validated_by": "verdict"}), middle)
    make(shop, "validate", "verdict"), make(shop, "validate", "superseded")
    for day, key in ((OLD, "old"), (MIDDLE, "middle")):
        record = Record({"day": day, "prepare_key": f"set-{key}", "digest": "d"})
        vocabularies.switch(date.fromisoformat(day), record, None)
    collect(keeping(shop, artifact_days=1))
    assert left(shop, "validate") == ["verdict"]
    assert left(shop, "prepare") == ["set-middle", "set-new"]


def test_what_the_ledger_names_stays_however_old(shop: Settings) -> None:
    Ledger.open(shop.store).append(kind="promotion", who="x", expected_head=0, to_digest="d", run_id=f"night-{OLD}")
    collect(keeping(shop, artifact_days=1))
    assert left(shop, "prepare") == ["set-new", "set-old"]


def test_the_newest_registered_run_keeps_what_it_refers_to(shop: Settings) -> None:
    (shop.store.root / "runs" / f"night-{MIDDLE}" / "register.json").write_text("{}")
    collect(keeping(shop, artifact_days=1))
    assert left(shop, "train") == ["model-middle", "model-new"]


def test_a_dry_run_says_the_same_and_removes_nothing(shop: Settings) -> None:
    wanted = keeping(shop, retention_days=7, artifact_days=7)
    planned = collect(wanted, dry_run=True)
    assert left(shop, "ingest") == ["middle", "new", "old"]
    done = collect(wanted)
    assert planned == done
    told = planned.told(dry_run=True)
    assert told[1:] == done.told(dry_run=False)[1:]
    assert told[0] == f"Would collect, as of {NEW}, the newest landed day:"
    assert told[1] == f"  1 days' records, landed and published ({OLD} … {OLD})"
    assert "1 artifacts of prepare" in told[4]
    assert collect(wanted).artifacts == ()


def test_ages_count_from_the_newest_landed_day_whatever_the_clock_says(shop: Settings) -> None:
    assert collect(keeping(shop, retention_days=14)).days == ()
    land(shop, "2026-01-16", "newer", kinds=("landed",))
    assert [str(day) for day in collect(keeping(shop, retention_days=14)).days] == [OLD]


def test_a_day_somebody_works_on_is_not_taken_away(shop: Settings) -> None:
    with leased(shop, f"ingest {OLD}", "tonight"), pytest.raises(BusyError, match="tonight"):
        collect(keeping(shop, retention_days=7))
    assert days(shop, "landed") == [OLD, MIDDLE, NEW]


def gone() -> int:
    """Returns the number of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


@pytest.fixture
def ledger(shop: Settings) -> Ledger:
    """Bundles one to four stood in turn, on data of the days before, and many were refused; a fifth never stood."""
    ledger, layout = Ledger.open(shop.store), Layout(shop.store.root.resolve())
    for number, end in enumerate(("2025-11-01", "2025-11-02", "2025-11-03", "2025-12-31"), start=1):
        move(ledger, "promotion", str(number - 1) * 64 if number > 1 else "", str(number) * 64, end)
        layout.bundle(str(number) * 64).mkdir(parents=True)
    for _ in range(LEDGER_ENTRIES):
        move(ledger, "refusal", "4" * 64, "9" * 64, "2025-12-31")
    layout.bundle("5" * 64).mkdir()
    return ledger


def move(ledger: Ledger, kind: str, old: str, new: str, data_end: str) -> None:
    end = f"{data_end}T00:00:00+00:00"
    head = ledger.head()
    ledger.append(kind=kind, who="night", expected_head=head, from_digest=old, to_digest=new, data_end=end)


def bundles(settings: Settings) -> str:
    return "".join(sorted(path.name[0] for path in Layout(settings.store.root).bundles.iterdir()))


def test_bundles_that_stand_no_more_go_and_by_default_none_does(shop: Settings, ledger: Ledger) -> None:
    collect(shop)
    assert bundles(shop) == "12345"
    assert "  2 bundles that stand no more, 0 bytes" in collect(keeping(shop, bundle_days=7)).told(False)
    # Three is the previous champion, four the champion, and five may be about to be promoted.
    assert bundles(shop) == "345"


def test_a_bundle_the_champion_may_be_measured_against_stays(shop: Settings, ledger: Ledger) -> None:
    wide = keeping(shop, bundle_days=7)
    collect(wide.model_copy(update={"gate": shop.gate.model_copy(update={"anchor_days": 73})}))
    assert bundles(shop) == "2345"


def test_a_champion_rolled_back_to_stays_whatever_its_age(shop: Settings, ledger: Ledger) -> None:
    move(ledger, "rollback", "4" * 64, "1" * 64, "2025-11-01")
    collect(keeping(shop, bundle_days=7))
    # Three stood until less than seven days before the newest, for four was trained on data until then.
    assert bundles(shop) == "1345"


def test_bundles_the_ledgers_last_entries_name_stay(shop: Settings, ledger: Ledger) -> None:
    move(ledger, "refusal", "4" * 64, "2" * 64, "2025-11-02")
    collect(keeping(shop, bundle_days=7))
    assert bundles(shop) == "2345"


def test_what_was_published_and_never_promoted_goes_when_nobody_touched_it_for_long(
    shop: Settings, ledger: Ledger
) -> None:
    os.utime(Layout(shop.store.root).bundle("5" * 64), (1_767_225_600, 1_767_225_600))
    collect(keeping(shop, bundle_days=7))
    assert bundles(shop) == "34"


def test_nothing_is_collected_while_the_champion_moves(shop: Settings, ledger: Ledger) -> None:
    with only_one(Layout(shop.store.root.resolve()).champion_lock, "A promotion"), pytest.raises(BusyError):
        collect(keeping(shop, bundle_days=7))
    assert bundles(shop) == "12345"


def test_what_killed_runs_left_beside_artifacts_and_bundles_goes_and_is_told(shop: Settings) -> None:
    places = (shop.store.root / "store" / "ingest", shop.store.root / "bundles")
    torn = [place / f".abc.{artifacts.HOST}.{gone()}.{end}" for place in places for end in ("old", "tmp")]
    for folder in torn:
        folder.mkdir(parents=True)
        (folder / "events.parquet").write_bytes(b"12345")
    assert "  4 folders that killed runs left, 20 bytes" in collect(shop).told(False)
    assert not any(folder.exists() for folder in torn)


def test_what_a_living_process_is_making_stays_unless_nobody_touched_it_for_long(shop: Settings) -> None:
    made, forgotten = (artifacts.place_beside(shop.store.root / "store" / "train" / n, "tmp") for n in ("abc", "def"))
    for folder in (made, forgotten):
        folder.mkdir()
    # The first of January 2026 lies more than a week back on any clock these tests meet.
    os.utime(forgotten, (1_767_225_600, 1_767_225_600))
    collect(shop)
    assert (made.exists(), forgotten.exists()) == (True, False)


def test_what_another_machine_is_making_stays_unless_nobody_touched_it_for_long(shop: Settings) -> None:
    """Two containers share the root, and each has processes of its own."""
    made, forgotten = (shop.store.root / "store" / "train" / f".{n}.elsewhere.{gone()}.tmp" for n in ("abc", "def"))
    for folder in (made, forgotten):
        folder.mkdir()
    os.utime(forgotten, (1_767_225_600, 1_767_225_600))
    collect(shop)
    assert (made.exists(), forgotten.exists()) == (True, False)


def test_what_a_live_step_takes_away_while_it_is_looked_at_is_no_error(shop: Settings) -> None:
    store, ended = shop.store.root / "store" / "train", threading.Event()

    def make_and_rename() -> None:
        beside, final = artifacts.place_beside(store / "live", "tmp"), store / "live"
        while not ended.is_set():
            beside.mkdir()
            for number in range(50):
                (beside / f"f{number}").touch()
            beside.rename(final)
            shutil.rmtree(final)

    step = threading.Thread(target=make_and_rename)
    step.start()
    try:
        for _ in range(100):
            assert collect(shop, dry_run=True).torn == ()
    finally:
        ended.set()
        step.join()


def test_what_killed_runs_left_goes_before_any_day_landed(settings: Settings) -> None:
    torn = settings.store.root / "store" / "ingest" / f".abc.{artifacts.HOST}.{gone()}.tmp"
    torn.mkdir(parents=True)
    told = collect(settings).told(False)
    assert told == [
        "No day has landed, so nothing is too old.",
        "Collected:",
        "  1 folders that killed runs left, 0 bytes",
    ]
    assert not torn.exists()


def test_an_empty_store_says_so(settings: Settings) -> None:
    assert collect(keeping(settings, retention_days=1)).told(False) == ["No day has landed, so nothing is too old."]
