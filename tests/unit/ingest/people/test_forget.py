"""A person is forgotten: what is left is what would be there without them, whatever happened on the way."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from pipeline.core.days import Days
from pipeline.core.errors import BusyError, DataError, UnavailableError, UsageError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.ingest.people import forget as forgetting
from pipeline.ingest.people.asking import pseudonyms_of
from pipeline.ingest.people.forget import Forgetting
from pipeline.ingest.people.traces import Person
from pipeline.store.erasures import Erasures
from pipeline.store.leases import leased
from pipeline.store.partitions import Partitions, Record
from pipeline.store.tracking import Tracking

FIRST, SECOND = "2026-01-05", "2026-01-06"
ANNA_ROWS = (
    "2026-01-05T10:00:00Z,anna,v1,seen,lamp,,9.50,",
    "2026-01-05T10:01:00Z,anna,v1,bought,lamp,,9.50,1",
    "2026-01-05T09:59:00Z,,v1,seen,lamp,,9.50,",  # before she logged in
    "2026-01-05T10:02:00Z,anna,v1,hover,lamp,,9.50,",  # quarantined: no such type
)
BERT_ROWS = (
    "2026-01-05T11:00:00Z,bert,v2,seen,mug,,3.00,",
    "2026-01-05T11:01:00Z,bert,v1,seen,mug,,3.00,",  # at Anna's computer
    "2026-01-05T11:02:00Z,bert,v2,hover,mug,,3.00,",
    "2026-01-05T12:00:00Z,,v3,seen,mug,,3.00,",
)
# The second day's file brings two of Anna's rows and one of Bert's for the first day.
LATE_ROWS = (
    "2026-01-05T20:00:00Z,anna,v4,seen,cup,,2.00,",
    "2026-01-05T20:01:00Z,,v4,seen,cup,,2.00,",
    "2026-01-05T20:02:00Z,bert,v5,seen,cup,,2.00,",
)
SECOND_ROWS = ("2026-01-06T10:00:00Z,anna,v6,seen,lamp,,9.50,", "2026-01-06T10:00:00Z,bert,v7,seen,lamp,,9.50,")


@dataclass
class Shop:
    """Two days of raw logs, ingested and published by hand."""

    source: Any

    @property
    def settings(self) -> Settings:
        return self.source.settings

    @property
    def root(self) -> Path:
        return self.settings.store.root.resolve()

    def pseudonyms(self, user: str) -> tuple[str, ...]:
        return pseudonyms_of(user, self.settings)

    def forget(self, user: str = "anna") -> str:
        return Forgetting(self.settings, self.pseudonyms(user)).run("ann", "asked")

    def record(self, day: str, kind: str = "landed") -> Record:
        record = Partitions.open(self.settings, kind).read(date.fromisoformat(day))
        assert record is not None
        return record

    def partition(self, day: str) -> Path:
        """The published artifact."""
        return self.root / "store" / "ingest" / self.record(day, "published").ingest_key

    def counts(self, day: str) -> dict[str, Any]:
        return json.loads((self.partition(day) / "counts.json").read_text())

    def publish(self, run: Run) -> None:
        published = Partitions.open(self.settings, "published")
        for day, artifact in run.artifacts("ingest").items():
            counts = artifact.json("counts.json")
            fields = {"day": day, "ingest_key": artifact.key, "digest": artifact.digest, "run_id": run.run_id}
            fields |= {"rows": counts["clean"] + counts["late"]["rows"], "late_rows": counts["late"]["rows"]}
            record = Record({**fields, "closed": False, "validated_by": "a test"})
            published.switch(date.fromisoformat(day), record, published.read(date.fromisoformat(day)))

    def night(self, run_id: str) -> Run:
        self.source.ingest(f"{FIRST}..{SECOND}", run_id=run_id)
        run = Run.open(self.root, run_id, "UTC", Days.parse(f"{FIRST}..{SECOND}"))
        self.publish(run)
        return run

    def derive(self, run: Run, stage: str, inputs: dict[str, str], text: str = "made") -> Path:
        """Makes an artifact that names its inputs, as every step does."""
        from pipeline.core.step import Report

        def fill(folder: Path) -> Report:
            (folder / "made.txt").write_text(text)
            return Report("made")

        run.once(stage, inputs, {}, fill)
        return run.artifact(stage).path


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that lives through the two days leaves their store for the others."""
    return tmp_path_factory.mktemp("lived") / "var"


@pytest.fixture
def shop(source, lived: Path) -> Shop:
    source.write(*ANNA_ROWS, *BERT_ROWS, name=f"{FIRST}.csv")
    source.write(*LATE_ROWS, *SECOND_ROWS, name=f"{SECOND}.csv")
    made = Shop(source)
    if lived.exists():
        shutil.copytree(lived, made.root)
    else:
        made.night("night")
        shutil.copytree(made.root, lived)
    return made


def contents(folder: Path) -> dict[str, list]:
    return {name: pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("events", "routed", "quarantine")}


def test_what_is_left_is_what_the_same_logs_without_the_person_make(shop: Shop) -> None:
    shop.forget()
    left = {day: contents(shop.partition(day)) for day in (FIRST, SECOND)}
    # Bert's two rows, his late one and the anonymous one; of the second day his own.
    assert [len(left[day]["events"]) for day in (FIRST, SECOND)] == [4, 1]
    names = set(shop.pseudonyms("anna"))
    assert not [
        row for day in left.values() for name in ("events", "routed") for row in day[name] if row["user_id"] in names
    ]
    shop.source.write(*[row for row in BERT_ROWS], name=f"{FIRST}.csv")
    shop.source.write(LATE_ROWS[2], SECOND_ROWS[1], name=f"{SECOND}.csv")
    shop.night("without")
    without = {day: contents(shop.partition(day)) for day in (FIRST, SECOND)}
    for day in (*left.values(), *without.values()):
        for row in day["quarantine"]:  # its place in the file is another
            row.pop("row_number"), row.pop("byte_offset")
    assert left == without


def test_every_row_is_still_accounted_for(shop: Shop) -> None:
    before = shop.counts(FIRST), shop.counts(SECOND)
    shop.forget()
    first, second = shop.counts(FIRST), shop.counts(SECOND)
    outcomes = ("clean", "quarantined", "duplicate", "robot", "excluded", "routed")
    # Of eight rows Anna's four are excluded: two she is named in, one of her session, one quarantined.
    assert [first[name] for name in ("rows", *outcomes)] == [8, 3, 1, 0, 0, 4, 0]
    assert first["late"] == {**before[0]["late"], "rows": 1, "from": {SECOND: 1}}
    assert first["event_types"] == {"view": 4}
    # Of five rows her own and two routed ones.
    assert [second[name] for name in ("rows", *outcomes)] == [5, 1, 0, 0, 0, 3, 1]
    assert second["routed_days"] == {FIRST: 1}
    for counts in (first, second):
        assert (
            counts["rows"] == sum(counts[name] for name in outcomes) == sum(counts["rules"].values()) + counts["clean"]
        )
    assert (first["rules"]["erased"], second["rules"]["erased"]) == (4, 3)


def test_records_and_runs_name_the_artifacts_without_the_person(shop: Shop) -> None:
    before = {(day, kind): shop.record(day, kind) for day in (FIRST, SECOND) for kind in ("landed", "published")}
    shop.forget()
    for (day, kind), old in before.items():
        new = shop.record(day, kind)
        assert new.revision == old.revision + 1
        assert new.ingest_key != old.ingest_key
        assert Partitions.open(shop.settings, kind).artifact(new).digest == new.digest
        Partitions.open(shop.settings, kind).artifact(new).verify()
        assert not (shop.root / "store" / "ingest" / old.ingest_key).exists()
    first, second = shop.record(FIRST, "published"), shop.record(SECOND)
    assert (first["rows"], first["late_rows"]) == (4, 1)
    assert (shop.record(FIRST)["quarantined"], second["routed_days"]) == ({"unknown_type": 1}, {FIRST: 1})
    run = Run.open(shop.root, "night", "UTC")
    assert run.artifact("ingest", FIRST).key == first.ingest_key


def test_a_settled_artifact_names_the_landed_one_in_force_as_its_own(shop: Shop) -> None:
    shop.forget()
    shop.forget("bert")
    manifest = json.loads((shop.partition(FIRST) / "manifest.json").read_text())
    assert manifest["inputs"]["own"] == shop.record(FIRST).ingest_key


def test_only_the_ledger_of_erasures_names_the_person_and_it_says_who_erased_and_what(shop: Shop) -> None:
    said = shop.forget()
    (erasure,) = Erasures.open(shop.settings).all()
    assert (erasure.person, erasure.state, erasure.by, erasure.reason) == (
        shop.pseudonyms("anna"),
        "done",
        "ann",
        "asked",
    )
    assert len(erasure.sessions) == 3  # v1, v4, v6
    assert "only the ledger of erasures names the person" in said
    assert "anna" not in said
    # Twice in landed and settled of the first day and its late rows, once on the second: 3 + 5 + 1.
    assert erasure.counts["rows"] == {"events": 9, "routed": 2, "quarantine": 2}


def test_ingesting_the_same_file_again_leaves_the_person_out(shop: Shop) -> None:
    shop.forget()
    left = {day: contents(shop.partition(day)) for day in (FIRST, SECOND)}
    shop.night("again")
    again = {day: contents(shop.partition(day)) for day in (FIRST, SECOND)}
    assert again == left
    assert "erased" in shop.counts(FIRST)["rules"]
    assert "forgotten" not in shop.forget()


def test_who_comes_back_stays_forgotten_with_the_anonymous_rows_of_their_new_sessions(shop: Shop) -> None:
    shop.forget()
    comes_back = ("2026-01-06T11:00:00Z,,v9,seen,lamp,,9.50,", "2026-01-06T11:01:00Z,anna,v9,seen,mug,,3.00,")
    other = "2026-01-06T11:00:00Z,,v8,seen,lamp,,9.50,"
    shop.source.write(SECOND_ROWS[1], *comes_back, other, name=f"{SECOND}.csv")
    shop.night("again")
    assert (shop.counts(SECOND)["rules"]["erased"], shop.counts(SECOND)["clean"]) == (2, 2)


def test_after_a_change_of_the_key_the_person_stays_forgotten(shop: Shop) -> None:
    shop.forget()
    old = shop.settings.secrets.pseudonym_key
    rotated = shop.settings.secrets.model_copy(
        update={"pseudonym_key": SecretStr("another"), "previous_pseudonym_keys": (old,)}
    )
    shop.source.settings = shop.settings.model_copy(update={"secrets": rotated})
    shop.night("rotated")
    assert [shop.counts(day)["rules"]["erased"] for day in (FIRST, SECOND)] == [4, 3]
    known = pseudonyms_of("bert", shop.settings)
    users = {row["user_id"] for row in contents(shop.partition(FIRST))["events"]}
    assert users == {known[0], None}


def test_a_person_known_under_two_keys_is_forgotten_under_both(shop: Shop) -> None:
    old = shop.settings.secrets.pseudonym_key
    rotated = shop.settings.secrets.model_copy(
        update={"pseudonym_key": SecretStr("another"), "previous_pseudonym_keys": (old,)}
    )
    shop.source.settings = shop.settings.model_copy(update={"secrets": rotated})
    shop.source.ingest(SECOND, run_id="rotated")
    shop.forget()
    (erasure,) = Erasures.open(shop.settings).all()
    assert set(erasure.person) == set(shop.pseudonyms("anna"))
    assert len({name.rpartition(".")[2] for name in erasure.sessions}) == 2


def test_a_key_that_partitions_were_made_with_must_be_given(shop: Shop) -> None:
    other = shop.settings.secrets.model_copy(update={"pseudonym_key": SecretStr("another")})
    shop.source.settings = shop.settings.model_copy(update={"secrets": other})
    with pytest.raises(DataError, match=r"add that key to secrets\.previous_pseudonym_keys"):
        shop.forget()
    assert Erasures.open(shop.settings).all() == []


def test_what_was_made_from_the_person_goes_and_what_was_not_stays(shop: Shop) -> None:
    run, other = Run.open(shop.root, "night", "UTC"), Run.open(shop.root, "other", "UTC", Days.parse(SECOND))
    prepared = shop.derive(run, "prepare", {f"ingest {FIRST}": run.artifact("ingest", FIRST).key})
    trained = shop.derive(run, "train", {"prepare": prepared.name})
    elsewhere = shop.derive(other, "prepare", {"ingest 2020-01-01": "0" * 32})
    checkpoint = shop.root / "checkpoints" / "some" / "state.npz"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    shop.forget()
    gone = [path.exists() for path in (prepared, trained, checkpoint)]
    assert gone == [False] * 3
    assert elsewhere.exists()
    (erasure,) = Erasures.open(shop.settings).all()
    assert erasure.counts["dropped"] == {"prepare": 1, "train": 1}


def test_what_a_run_in_flight_made_of_the_old_partitions_goes_when_asked_again(shop: Shop) -> None:
    run = Run.open(shop.root, "night", "UTC")
    old = run.artifact("ingest", FIRST)
    inputs = {f"ingest {FIRST}": old.key, f"published {FIRST}": old.digest}
    shop.forget()
    late = [shop.derive(run, "prepare", {name: key}) for name, key in inputs.items()]
    assert all(path.exists() for path in late)
    shop.forget()
    assert not any(path.exists() for path in late)
    assert Erasures.open(shop.settings).all()[-1].counts["dropped"] == {"prepare": 2}
    shop.forget()
    assert len(Erasures.open(shop.settings).all()) == 2


def test_figures_a_query_and_what_a_killed_step_left_are_cleaned(shop: Shop) -> None:
    (name,) = shop.pseudonyms("anna")
    table = shop.root / "runs" / "night" / "per_query.parquet"
    users = {"user": [name, "somebody", None], "seen_with": ["somebody", "nobody", name]}
    pq.write_table(pa.table({**users, "recall": [0.5, 1.0, 0.25]}), table)
    torn = shop.root / "store" / "prepare" / ".abc.12.tmp" / "validation.csv"
    torn.parent.mkdir(parents=True)
    torn.write_text(name)
    shop.forget()
    assert pq.read_table(table).to_pylist() == [{"user": "somebody", "seen_with": "nobody", "recall": 1.0}]
    assert not torn.exists()


def test_a_table_in_a_sealed_artifact_is_named_and_left_as_it_is(shop: Shop) -> None:
    (name,) = shop.pseudonyms("anna")
    table = shop.root / "bundles" / "some" / "users.parquet"
    table.parent.mkdir(parents=True)
    pq.write_table(pa.table({"user": [name]}), table)
    with pytest.raises(DataError, match=r"1 files under .* still name the person, first .*users.parquet"):
        shop.forget()
    assert pq.read_table(table).num_rows == 1


def test_a_refused_row_of_their_session_goes_unless_it_names_another_user() -> None:
    def batch(*rows: dict[str, str | None]) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({"row": [json.dumps(row) for row in rows]})

    anna, bert, visit, mail = (f"{letter * 64}.00000000" for letter in "abcd")
    person = Person(frozenset({anna}), frozenset({visit}), user_column="who")
    rows = batch(
        {"who": anna, "visit": None, "mail": None},
        {"who": None, "visit": visit, "mail": mail},
        {"who": bert, "visit": visit, "mail": None},
        {"who": bert, "visit": None, "mail": None},
    )
    assert person.refused(rows).to_pylist() == [True, True, False, False]
    # Of a profile that called the user otherwise: a row that names anybody but the session is kept.
    older = batch({"customer": None, "visit": visit}, {"customer": bert, "visit": visit}, {"torn": "no JSON object"})
    assert person.refused(older).to_pylist() == [True, False, False]


def test_a_file_nobody_knows_how_to_clean_is_named_and_the_erasure_stays_begun(shop: Shop) -> None:
    (name,) = shop.pseudonyms("anna")
    note = shop.root / "runs" / "night" / "note.txt"
    note.write_text(name)
    with pytest.raises(DataError, match=r"1 files under .* still name the person, first .*note.txt"):
        shop.forget()
    assert Erasures.open(shop.settings).all()[0].state == "begun"
    note.unlink()
    shop.forget()
    (erasure,) = Erasures.open(shop.settings).all()
    assert (erasure.state, erasure.counts["rows"]["events"]) == ("done", 9)


PLACES = ("_replace", "_switch", "_refer", "_drop", "_clean_what_is_left", "_prove")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_moment_and_run_again_it_completes(
    shop: Shop, place: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(shop.root, "night", "UTC")
    prepared = shop.derive(run, "prepare", {f"ingest {FIRST}": run.artifact("ingest", FIRST).key})
    whole = getattr(Forgetting, place)

    def killed(self, *given):
        if after:
            whole(self, *given)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Forgetting, place, killed)
        with pytest.raises(KeyboardInterrupt):
            shop.forget()
    shop.forget()
    (erasure,) = Erasures.open(shop.settings).all()
    assert (erasure.state, erasure.counts["rows"]) == ("done", {"events": 9, "routed": 2, "quarantine": 2})
    assert erasure.counts["dropped"] == {"prepare": 1}
    assert not prepared.exists()
    assert [len(contents(shop.partition(day))["events"]) for day in (FIRST, SECOND)] == [4, 1]
    assert shop.counts(FIRST)["late"]["rows"] == 1


def test_forgetting_twice_is_forgetting_once(shop: Shop) -> None:
    run = Run.open(shop.root, "night", "UTC")
    shop.derive(run, "prepare", {f"ingest {FIRST}": run.artifact("ingest", FIRST).key})
    first = shop.forget()
    checkpoint = shop.root / "checkpoints" / "of_others" / "state.npz"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    assert shop.forget().splitlines()[0] == first.splitlines()[0]
    assert len(Erasures.open(shop.settings).all()) == 1
    assert shop.record(FIRST).revision == 2
    assert checkpoint.exists()


def test_somebody_nobody_knows_is_forgotten_before_they_come(shop: Shop) -> None:
    said = shop.forget("carla")
    assert "0 artifacts of 0 days" in said
    (erasure,) = Erasures.open(shop.settings).all()
    assert (len(erasure.person), erasure.sessions) == (1, ())


def test_a_run_at_work_on_a_day_or_in_training_is_named(shop: Shop) -> None:
    with leased(shop.settings, f"ingest {FIRST}", "tonight"), pytest.raises(BusyError, match="tonight"):
        shop.forget()
    assert Erasures.open(shop.settings).all()[0].state == "begun"
    with leased(shop.settings, "train-abc", "tonight"), pytest.raises(BusyError, match=r"`train-abc`.*run tonight"):
        shop.forget()
    shop.forget()


def test_an_id_is_cleaned_as_the_profile_does_and_no_id_or_pseudonym_is_refused(shop: Shop) -> None:
    assert shop.pseudonyms("17850.0") == shop.pseudonyms("17850")
    (name,) = shop.pseudonyms("anna")
    assert pseudonyms_of(name, shop.settings, pseudonym=True) == (name,)
    with pytest.raises(UsageError, match="That is no pseudonym"):
        pseudonyms_of("anna", shop.settings, pseudonym=True)
    with pytest.raises(UsageError, match="no id left"):
        shop.pseudonyms(" ")


def test_nothing_is_marked_where_no_model_was_ever_registered(shop: Shop) -> None:
    affected = forgetting.Affected({"key": {"day": FIRST, "digest": "d"}}, {})
    assert forgetting.mark_versions(shop.settings, shop.root, 1, affected) == {}


def register(settings: Settings, keys: dict[str, str], data_end: str) -> str:
    tracking = Tracking.connect(settings)
    run = tracking.night("night")
    return tracking.register(f"runs:/{run.run_id}", run.run_id, {"keys": json.dumps(keys), "data_end": data_end})


def test_versions_trained_on_the_person_are_marked_and_others_are_not(shop: Shop, tracked: Settings) -> None:
    shop.source.settings = shop.settings.model_copy(update={"register": tracked.register})
    run, other = Run.open(shop.root, "night", "UTC"), Run.open(shop.root, "other", "UTC", Days.parse(SECOND))
    prepared = shop.derive(run, "prepare", {f"ingest {FIRST}": run.artifact("ingest", FIRST).key})
    elsewhere = shop.derive(other, "prepare", {"ingest 2020-01-01": "0" * 32})
    on_her = register(shop.settings, {"prepare": prepared.name}, "2026-01-07T00:00:00+00:00")
    before_her = register(shop.settings, {"prepare": elsewhere.name}, "2026-01-04T00:00:00+00:00")
    collected = register(shop.settings, {"prepare": "f" * 32}, "2026-01-07T00:00:00+00:00")
    said = shop.forget()
    tags = Tracking.connect(shop.settings).versions()
    assert [tags[version].get("trained_on_erased") for version in (on_her, before_her, collected)] == ["1", None, "1"]
    (erasure,) = Erasures.open(shop.settings).all()
    assert set(erasure.counts["versions"]) == {on_her, collected}
    assert f"marked `trained_on_erased`: {on_her}, {collected}." in said


def test_without_mlflow_everything_else_is_removed_and_the_erasure_stays_begun(shop: Shop, tracked: Settings) -> None:
    away = tracked.register.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    shop.source.settings = shop.settings.model_copy(update={"register": away})
    with pytest.raises(UnavailableError, match=r"everything of the person is removed, .*not marked yet.*same command"):
        shop.forget()
    assert [len(contents(shop.partition(day))["events"]) for day in (FIRST, SECOND)] == [4, 1]
    assert Erasures.open(shop.settings).all()[0].state == "begun"
    shop.source.settings = shop.settings.model_copy(update={"register": tracked.register})
    shop.forget()
    assert Erasures.open(shop.settings).all()[0].state == "done"
