"""Machines that share artifacts and records through S3."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from pipeline.core.days import Days
from pipeline.core.errors import BusyError, CorruptArtifactError, MissingInputError
from pipeline.core.run import Layout, Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.store.leases import LeaseLostError, Leases, leased
from pipeline.store.partitions import Partitions, Record
from pipeline.store.retention import collect
from pipeline.store.shared import SharedStore, open_shared
from pipeline.validate.publish import Trail
from tests.services.conftest import Bucket
from tests.services.faults import Fault, in_front_of

DAY = date(2011, 12, 8)
FILES = ["data_docs/index.html", "events.parquet", "manifest.json", "report.json"]
KINDS = ["bucket", "conditional_bucket"]


@pytest.fixture(params=KINDS)
def shared(request: pytest.FixtureRequest) -> Bucket:
    return request.getfixturevalue(request.param)


def _settings(bucket: Bucket, root: Path, *more: str) -> Settings:
    """Settings of one machine: a root of its own, the bucket and one ledger for all."""
    ledger = f"sqlite:///{root.parent / 'ledger.sqlite'}"
    return bucket.settings(root, f"store.shared={bucket.url}/shop", f"store.ledger_url={ledger}", *more)


def _run(settings: Settings, force: bool = False) -> Run:
    days = Days(DAY, DAY)
    return Run.open(settings.store.root, "night", "UTC", days, force=force, shared=open_shared(settings))


def _store(settings: Settings) -> SharedStore:
    store = open_shared(settings)
    assert store is not None
    return store


def _fill(folder: Path) -> Report:
    (folder / "events.parquet").write_bytes(b"e" * 6 * (1 << 20))
    (folder / "data_docs").mkdir()
    (folder / "data_docs" / "index.html").write_text("<p>")
    return Report("made")


def _fill_otherwise(folder: Path) -> Report:
    (folder / "events.parquet").write_bytes(b"f")
    return Report("made")


def _never(folder: Path) -> Report:
    raise AssertionError("it was made again")


def _record(run_id: str, key: str = "k1") -> Record:
    return Record({"day": str(DAY), "ingest_key": key, "digest": "d", "run_id": run_id})


def test_what_one_machine_made_another_need_not_make(shared: Bucket, tmp_path: Path) -> None:
    key, report = _run(_settings(shared, tmp_path / "one")).make("ingest", {"a": "1"}, {}, _fill)
    assert not report.cached
    assert shared.names() == [f"shop/store/ingest/{key}/{name}" for name in FILES]
    there = _run(_settings(shared, tmp_path / "two"))
    again, report = there.make("ingest", {"a": "1"}, {}, _never)
    assert (again, report.cached) == (key, True)
    there.refer("ingest", key)
    there.artifact("ingest").verify()


def test_a_cache_that_was_emptied_is_filled_again(bucket: Bucket, tmp_path: Path) -> None:
    run = _run(_settings(bucket, tmp_path / "one"))
    run.once("ingest", {"a": "1"}, {}, _fill)
    artifact = run.artifact("ingest")
    artifact.path.rename(tmp_path / "gone")
    again = run.artifact("ingest")
    again.verify()
    assert {p.name: p.read_bytes() for p in again.path.iterdir() if p.is_file()} == {
        p.name: p.read_bytes() for p in (tmp_path / "gone").iterdir() if p.is_file()
    }


def test_an_artifact_made_before_the_store_was_shared_is_pushed_when_it_is_next_asked_for(
    bucket: Bucket, tmp_path: Path
) -> None:
    alone = Run.open(tmp_path / "one", "night", "UTC", Days(DAY, DAY))
    key, _ = alone.make("ingest", {"a": "1"}, {}, _fill)
    assert bucket.names() == []
    _run(_settings(bucket, tmp_path / "one")).make("ingest", {"a": "1"}, {}, _never)
    assert f"shop/store/ingest/{key}/manifest.json" in bucket.names()


def test_an_upload_that_broke_off_leaves_no_artifact_and_is_finished_by_the_next_try(
    bucket: Bucket, tmp_path: Path
) -> None:
    """The manifest goes up last, so whatever else is there counts for nothing without it."""
    settings = _settings(bucket, tmp_path / "one")
    with in_front_of(bucket.endpoint.url) as faults:
        faults.plan("PUT", None, Fault(status=403))
        broken = _settings(bucket, tmp_path / "one", f"s3.endpoint_url={faults.url}")
        with pytest.raises(Exception, match="access is denied"):
            _run(broken).make("ingest", {"a": "1"}, {}, _fill)
    assert bucket.names() != []
    assert not any(key.endswith("manifest.json") for key in bucket.names())
    other = _run(_settings(bucket, tmp_path / "two"))
    key = next((tmp_path / "one" / "store" / "ingest").iterdir()).name
    assert not other.has("ingest", key)
    _run(settings).make("ingest", {"a": "1"}, {}, _never)
    assert other.has("ingest", key)


def test_a_download_killed_in_the_middle_leaves_nothing_visible(bucket: Bucket, tmp_path: Path) -> None:
    """The child is stopped while the largest file comes, one byte of it a minute away."""
    one, two = _settings(bucket, tmp_path / "one"), tmp_path / "two"
    key, _ = _run(one).make("ingest", {"a": "1"}, {}, _fill)
    code = (
        "import sys; from pathlib import Path; from pipeline.core import settings\n"
        "from pipeline.store.shared import open_shared\n"
        "shared = open_shared(settings.load(sys.argv[3:]))\n"
        "shared.fetch('ingest', Path(sys.argv[1]) / 'store' / 'ingest' / sys.argv[2])\n"
    )
    with in_front_of(bucket.endpoint.url) as faults:
        faults.plan("GET", None, *[Fault(pause_seconds=3600)] * 3)
        reach = [*bucket.assignments, f"store.shared={bucket.url}/shop", f"s3.endpoint_url={faults.url}"]
        child = subprocess.Popen([sys.executable, "-c", code, str(two), key, *reach])
        while len(faults.seen) < 4:
            assert child.poll() is None
        child.kill()
        child.wait()
    assert not (two / "store" / "ingest" / key).exists()
    assert _run(_settings(bucket, two)).has("ingest", key)


def test_bytes_changed_in_the_store_are_never_switched_in(bucket: Bucket, tmp_path: Path) -> None:
    key, _ = _run(_settings(bucket, tmp_path / "one")).make("ingest", {"a": "1"}, {}, _fill)
    bucket.put(f"shop/store/ingest/{key}/data_docs/index.html", b"<b>")
    other = _run(_settings(bucket, tmp_path / "two"))
    with pytest.raises(CorruptArtifactError, match=r"is not what was sealed; make it again with --force.*was changed"):
        other.has("ingest", key)
    assert not other.layout.artifact("ingest", key).exists()
    forced = _run(_settings(bucket, tmp_path / "one"), force=True)
    forced.make("ingest", {"a": "1"}, {}, _fill)
    assert other.has("ingest", key)


def test_two_machines_never_mix_their_bytes_under_one_key(conditional_bucket: Bucket, tmp_path: Path) -> None:
    """The child is stopped between its files and its manifest, while this machine made other bytes of that key."""
    shared = (f"store.shared={conditional_bucket.url}/shop", f"store.ledger_url=sqlite:///{tmp_path / 'ledger.sqlite'}")
    code = (
        "import sys; from pathlib import Path; from pipeline.core import settings\n"
        "from pipeline.store.shared import open_shared\n"
        "open_shared(settings.load(sys.argv[2:])).push('ingest', Path(sys.argv[1]))\n"
    )
    theirs = Run.open(tmp_path / "one", "night", "UTC", Days(DAY, DAY))
    key, _ = theirs.make("ingest", {"a": "1"}, {}, _fill)
    ours = _run(conditional_bucket.settings(tmp_path / "two", *shared, "store.lease_seconds=3"))
    with in_front_of(conditional_bucket.endpoint.url) as faults:
        faults.always["PUT *manifest.json"] = Fault(pause_seconds=3600)
        reach = (*conditional_bucket.assignments, *shared, f"s3.endpoint_url={faults.url}", "store.lease_seconds=3")
        child = subprocess.Popen([sys.executable, "-c", code, str(theirs.layout.artifact("ingest", key)), *reach])
        while not any("manifest.json" in request and request.startswith("PUT") for request, _ in faults.seen):
            assert child.poll() is None
        with pytest.raises(BusyError, match=rf"`push ingest {key}` is already under way \(run by process {child.pid}"):
            ours.make("ingest", {"a": "1"}, {}, _fill_otherwise)
        child.kill()
        child.wait()
    time.sleep(3)
    ours.make("ingest", {"a": "1"}, {}, _never)
    third = _run(conditional_bucket.settings(tmp_path / "three", *shared))
    assert third.has("ingest", key)
    assert (third.layout.artifact("ingest", key) / "events.parquet").read_bytes() == b"f"


def test_a_verdict_whose_bytes_were_changed_is_as_good_as_gone(conditional_bucket: Bucket, tmp_path: Path) -> None:
    settings = _settings(conditional_bucket, tmp_path / "one")
    key, _ = _run(settings).make("validate", {"a": "1"}, {}, _fill)
    conditional_bucket.put(f"shop/store/validate/{key}/data_docs/index.html", b"<b>")
    record = Record({"day": str(DAY), "closed": False, "rows": 1, "validated_by": key})
    there = _settings(conditional_bucket, tmp_path / "two")
    assert Trail(_run(there), Partitions.open(there, "published"), {DAY: record}, DAY).known() == {}


def test_a_manifest_that_names_files_elsewhere_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("shop/store/ingest/k/manifest.json", b'{"files": {"../../evil": {}}}')
    with pytest.raises(CorruptArtifactError, match=r"names '../../evil', which is not a file of this folder"):
        _store(_settings(bucket, tmp_path / "one")).fetch("ingest", tmp_path / "one" / "store" / "ingest" / "k")


def test_an_artifact_is_taken_away_whole(bucket: Bucket, tmp_path: Path) -> None:
    settings = _settings(bucket, tmp_path / "one")
    key, _ = _run(settings).make("ingest", {"a": "1"}, {}, _fill)
    bucket.put("shop/store/ingest/other/f", b"")
    _store(settings).remove("ingest", key)
    assert bucket.names() == ["shop/store/ingest/other/f"]


def test_a_record_leads_every_machine_to_its_artifact(shared: Bucket, tmp_path: Path) -> None:
    one, two = _settings(shared, tmp_path / "one"), _settings(shared, tmp_path / "two")
    key, _ = _run(one).make("ingest", {"a": "1"}, {}, _fill)
    switched = Partitions.open(one, "landed").switch(DAY, _record("night", key), None)
    there = Partitions.open(two, "landed")
    assert (there.days(), there.read(DAY), there.read_all()) == ([DAY], switched, {DAY: switched})
    assert Partitions.open(two, "published").days() == []
    there.artifact(switched).verify()
    _store(one).remove("ingest", key)
    with pytest.raises(MissingInputError, match=rf"{shared.url}/shop/landed/{DAY}\.json: names the ingest artifact"):
        Partitions.open(_settings(shared, tmp_path / "three"), "landed").artifact(switched)


def test_whoever_did_not_see_the_record_in_force_is_told_whose_it_is(shared: Bucket, tmp_path: Path) -> None:
    one, two = (Partitions.open(_settings(shared, tmp_path / name), "published") for name in ("one", "two"))
    first = one.switch(DAY, _record("ada"), None)
    with pytest.raises(BusyError, match="expected none, but run ada put revision 1 there"):
        two.switch(DAY, _record("bob", "k2"), None)
    assert two.switch(DAY, _record("bob", "k2"), first).revision == 2
    with pytest.raises(BusyError, match="expected the one of run ada, but run bob put revision 2 there"):
        one.switch(DAY, _record("ada", "k3"), first)


def test_of_many_machines_that_saw_the_same_record_one_wins(shared: Bucket, tmp_path: Path) -> None:
    machines = [Partitions.open(_settings(shared, tmp_path / f"m{n}"), "landed") for n in range(6)]

    def attempt(number: int) -> int:
        try:
            machines[number].switch(DAY, _record(f"run-{number}"), None)
        except BusyError:
            return 0
        return 1

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(6))) == 1


def test_a_switch_whose_answer_got_lost_is_done_once(conditional_bucket: Bucket, tmp_path: Path) -> None:
    """The write was done but its answer lost; the retry finds a version there, which is its own."""
    with in_front_of(conditional_bucket.endpoint.url) as faults:
        settings = _settings(conditional_bucket, tmp_path / "one", f"s3.endpoint_url={faults.url}")
        faults.plan("PUT", Fault(lose_answer=True))
        assert Partitions.open(settings, "landed").switch(DAY, _record("ada"), None).revision == 1
        assert [request.split()[0] for request, _ in faults.seen].count("PUT") == 2


def test_a_record_switched_while_another_is_removed_is_not_lost(shared: Bucket, tmp_path: Path) -> None:
    """The removal is held up between its reading and its deleting, and a switch comes meanwhile."""
    with in_front_of(shared.endpoint.url) as faults, ThreadPoolExecutor(2) as pool:
        one, two = (_settings(shared, tmp_path / name) for name in ("one", "two"))
        slow = _settings(shared, tmp_path / "one", f"s3.endpoint_url={faults.url}")
        seen = Partitions.open(one, "published").switch(DAY, _record("ada"), None)
        faults.plan("DELETE", Fault(pause_seconds=1))
        removal = pool.submit(Partitions.open(slow, "published").remove, DAY, seen)
        while not any(request.startswith("DELETE") for request, _ in faults.seen):
            assert not removal.done()
        switch = pool.submit(Partitions.open(two, "published").switch, DAY, _record("bob", "k2"), seen)
        with pytest.raises(BusyError, match="expected the one of run ada, but it is gone"):
            switch.result()
        removal.result()
    assert Partitions.open(one, "published").days() == []


def test_a_holder_who_lost_its_lease_switches_nothing_any_more(shared: Bucket, tmp_path: Path) -> None:
    settings = _settings(shared, tmp_path / "one")
    partitions = Partitions.open(settings, "landed")
    with leased(settings, f"ingest {DAY}", "ada"):
        first = partitions.switch(DAY, _record("ada"), None)
        Leases.open(settings).take(f"ingest {DAY}", "ada")
        with pytest.raises(LeaseLostError, match=f"`ingest {DAY}`: run ada was silent"):
            partitions.switch(DAY, _record("ada", "k2"), first)
    assert partitions.read(DAY) == first


def test_the_layout_is_that_of_the_root(bucket: Bucket, tmp_path: Path) -> None:
    settings = _settings(bucket, tmp_path / "one")
    key, _ = _run(settings).make("ingest", {"a": "1"}, {}, _fill)
    local = Layout(tmp_path / "one").artifact("ingest", key).relative_to(tmp_path / "one")
    assert _store(settings).at("ingest", key).key == f"shop/{local}"


def _land(settings: Settings, day: date) -> str:
    def fill(folder: Path) -> Report:
        (folder / "counts.json").write_text(json.dumps({"day": str(day)}))
        return Report("made")

    key, _ = _run(settings).make("ingest", {"day": str(day)}, {}, fill)
    for kind in ("landed", "published"):
        Partitions.open(settings, kind).switch(day, Record({"day": str(day), "ingest_key": key, "digest": key}), None)
    return key


def test_retention_takes_old_days_from_the_shared_store_and_from_every_machine_that_collects(
    shared: Bucket, tmp_path: Path
) -> None:
    keeping = "store.retention_days=7"
    one, two = (_settings(shared, tmp_path / name, keeping) for name in ("one", "two"))
    # Seven days before the eighth is the first, which stays.
    old, edge, new = (_land(one, date(2011, month, day)) for month, day in ((11, 30), (12, 1), (12, 8)))
    assert _run(two).has("ingest", old)
    planned = collect(one, dry_run=True)
    assert [key for key, _ in planned.shared or ()] == [old]
    assert Partitions.open(two, "landed").days()[0] == date(2011, 11, 30)
    done = collect(one)
    assert done == planned
    assert any("1 artifacts of ingest in the shared store" in line for line in done.told(False))
    for kind in ("landed", "published"):
        assert Partitions.open(two, kind).days() == [date(2011, 12, 1), DAY]
    assert _store(one).keys("ingest") == sorted([edge, new])
    assert f"shop/store/ingest/{old}/counts.json" not in shared.names()
    # The other machine's copy goes when that one collects.
    assert Layout(tmp_path / "two").artifact("ingest", old).exists()
    assert [artifact.key for artifact, _ in collect(two).artifacts] == [old]
    assert not Layout(tmp_path / "two").artifact("ingest", old).exists()


def test_what_machines_share_outlives_the_runs_of_one_of_them(bucket: Bucket, tmp_path: Path) -> None:
    """Runs of other machines may name it, and their folders lie there."""
    settings = _settings(bucket, tmp_path / "one", "store.artifact_days=1")
    _land(settings, DAY)
    key, _ = _run(settings).make("prepare", {"a": "1"}, {}, _fill)
    assert [artifact.key for artifact, _ in collect(settings).artifacts] == [key]
    assert not Layout(tmp_path / "one").artifact("prepare", key).exists()
    assert _run(settings).has("prepare", key)


def test_what_somebody_may_still_be_pushing_is_known_and_left_alone(bucket: Bucket, tmp_path: Path) -> None:
    settings = _settings(bucket, tmp_path / "one")
    key = _land(settings, DAY)
    bucket.put("shop/store/ingest/half/events.parquet", b"rows")
    assert list(_store(settings).halves("ingest")) == ["half"]
    assert _store(settings).keys("ingest") == [key]
    assert collect(settings).halves == ()
    assert "shop/store/ingest/half/events.parquet" in bucket.names()
