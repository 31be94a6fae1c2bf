from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.days import Days
from pipeline.core.errors import MissingInputError, MissingSecretError
from pipeline.core.pseudonyms import fingerprint
from pipeline.core.run import Run
from pipeline.core.schema import CATALOGUE, EVENT, QUARANTINE
from pipeline.core.sections import Secrets, Simulate
from pipeline.ingest import writing
from pipeline.simulate import visits
from pipeline.simulate.generate import simulate

SHOP = Simulate(events_per_day=3000, users=200, items=300, dirt_share=0.15, seed=5)
PSEUDONYM_KEY = "7a" * 32
ROW = "2026-01-05T10:00:00Z,anna,v1,seen,lamp,,9.50,"


@pytest.fixture
def generated(source):
    simulate(SHOP, Days.parse("2026-01-04..2026-01-06"), source.folder)
    source.set(profile="generated")
    return source


def truth_of(source, day: str) -> dict:
    return json.loads((source.folder / f"truth-{day}.json").read_text())


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "manifest.json"}


def test_what_ingest_finds_in_generated_logs_is_the_truth(generated) -> None:
    robots = 0
    for day in ("2026-01-04", "2026-01-05", "2026-01-06"):
        counts, truth = generated.ingest(day).counts, truth_of(generated, day)
        found = {name: counts[name] for name in truth["outcomes"]}
        assert found == truth["outcomes"]
        assert (counts["rows"], counts["event_types"]) == (truth["rows"], truth["event_types"])
        dirt, rules = truth["dirt"], counts["rules"]
        assert rules["exact_duplicate"] == dirt["duplicate"]
        assert rules["other_day"] == dirt["late"]
        assert [rules[n] for n in ("no_person", "no_item", "unknown_type", "bad_time", "bad_price", "torn")] == [
            dirt[n] for n in ("null_person", "null_item", "unknown_type", "bad_time", "bad_price", "torn")
        ]
        robots += dirt["robot"]
    assert robots > 0


def test_a_day_generated_in_many_chunks_tells_the_truth_too(source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "SESSIONS_A_CHUNK", 100)
    source.set(profile="generated")
    busy = SHOP.model_copy(update={"events_per_day": 9000})
    (truth,) = simulate(busy, Days.parse("2026-01-05"), source.folder)
    counts = source.ingest().counts
    assert truth["outcomes"]["robot"] >= 2 * 120  # two robots or more
    assert {name: counts[name] for name in truth["outcomes"]} == truth["outcomes"]


def test_files_have_the_canonical_columns_and_order(generated) -> None:
    artifact = generated.ingest().artifact
    for name, columns in (("events", EVENT), ("routed", EVENT), ("quarantine", QUARANTINE), ("catalogue", CATALOGUE)):
        assert pq.read_schema(artifact.file(f"{name}.parquet")) == writing.arrow_schema(columns)
    events = pq.read_table(artifact.file("events.parquet")).to_pylist()
    order = [(event["event_time"], event["event_id"]) for event in events]
    assert order == sorted(order)
    assert len({event["event_id"] for event in events}) == len(events)
    assert all(event["user_id"] or event["session_id"] for event in events)
    assert all(
        (event["item_id"] is None) == (event["event_type"] == "search") == (event["query"] is not None)
        for event in events
    )


def test_equal_inputs_give_equal_bytes_one_day_alone_or_in_a_history(generated) -> None:
    alone = generated.ingest("2026-01-05", run_id="alone").artifact
    first = hashes(alone.path)
    history = generated.ingest("2026-01-05..2026-01-06", run_id="history")
    assert landed(generated, "history").key == alone.key
    # In a history the day has the rows of its own that the next day's file brought.
    late = history.counts["late"]["rows"]
    assert late > 0
    assert len(history.rows("events")) == history.counts["clean"] + late
    again = generated.ingest("2026-01-05", run_id="again", force=True).artifact
    assert (again.key, hashes(again.path)) == (history.artifact.key, hashes(history.artifact.path))
    assert (landed(generated, "again").key, hashes(landed(generated, "again").path)) == (alone.key, first)


def landed(source, run_id: str, day: str = "2026-01-05") -> Artifact:
    """What a run made of the day's own files."""
    return Run.open(source.settings.store.root, run_id, "UTC").artifacts("ingest", "landed")[day]


def test_a_day_is_read_again_only_when_its_file_profile_key_or_limits_changed(source) -> None:
    source.write(ROW)
    first = source.ingest(run_id="a")
    assert source.ingest(run_id="b").report.cached
    source.write(ROW, "2026-01-05T11:00:00Z,anna,v1,seen,mug,,9.50,")
    changed = source.ingest(run_id="c")
    source.profile.write_text(source.profile.read_text().replace("POST", "POSTAGE"))
    profiled = source.ingest(run_id="d")
    source.set(duplicate_window_seconds=5)
    limited = source.ingest(run_id="e")
    source.settings = source.settings.model_copy(update={"secrets": Secrets(pseudonym_key="other")})
    keyed = source.ingest(run_id="f")
    assert len({day.artifact.key for day in (first, changed, profiled, limited, keyed)}) == 5


def test_raw_ids_reach_no_byte_of_anything_written(source, capfd: pytest.CaptureFixture[str]) -> None:
    secret = ["SECRETPERSON77", "SECRETVISIT88"]
    person, visit = secret
    good = f"2026-01-05T10:00:00Z,{person},{visit},seen,lamp,,9.50,"
    source.write(
        good,
        good,
        f"2026-01-05T10:00:09Z,{person}.0,{visit},hover,lamp,,9.50,",
        f"2026-01-04T10:00:00Z,{person},{visit},seen,lamp,,9.50,",
        f"2026-01-05T10:00:00Z,{person},{visit}",
        f'{person},"{visit},seen,lamp,,9.50,',
        f"2026-01-05T10:00:00Z,{person},,asked,,,,",
        *[f"2026-01-05T10:00:{n // 9:02}Z,{person},{visit}b,seen,sku{n},,1.00," for n in range(60)],
    )
    day = source.ingest()
    assert (day.counts["quarantined"], day.counts["duplicate"], day.counts["robot"], day.counts["routed"]) == (
        4,
        1,
        60,
        1,
    )
    printed = capfd.readouterr()
    texts = [printed.out, printed.err]
    for path in source.settings.store.root.rglob("*"):
        if path.is_file():
            texts.append(path.read_bytes().decode("latin-1"))
            if path.suffix == ".parquet":
                texts += [json.dumps(row, default=str) for row in pq.read_table(path).to_pylist()]
    assert len(texts) > 10
    assert not [text for text in texts for raw in (*secret, PSEUDONYM_KEY) if raw in text]


def test_a_person_keeps_one_pseudonym_however_the_id_is_written_and_another_key_gives_another(source) -> None:
    source.write(ROW.replace("anna", "17850.0"), "2026-01-05T11:00:00Z,17850,v2,seen,mug,,9.50,")
    events = source.ingest(run_id="a").rows("events")
    (one,) = {event["user_id"] for event in events}
    # HMAC-SHA-256 of "17850" under the key of these tests.
    digits = hmac.new(PSEUDONYM_KEY.encode(), b"17850", "sha256").hexdigest()
    assert one == f"{digits}.{fingerprint(PSEUDONYM_KEY)[:8]}"
    source.settings = source.settings.model_copy(update={"secrets": Secrets(pseudonym_key="other")})
    assert one not in {event["user_id"] for event in source.ingest(run_id="b").rows("events")}
    assert PSEUDONYM_KEY not in fingerprint(PSEUDONYM_KEY) != fingerprint("other")


def test_without_the_key_nothing_is_read(source) -> None:
    source.write(ROW)
    source.settings = source.settings.model_copy(update={"secrets": Secrets(pseudonym_key=None)})
    with pytest.raises(MissingSecretError, match="PIPELINE_SECRETS__PSEUDONYM_KEY is not set"):
        source.ingest()


def test_the_catalogue_comes_from_its_own_file_and_the_last_row_of_an_item_counts(generated) -> None:
    catalogue = {row["item_id"]: row for row in generated.ingest().rows("catalogue")}
    assert len(catalogue) == SHOP.items
    row = next(iter(catalogue.values()))
    assert row["category"].count("/") == 2
    assert row["valid_from"] == datetime(2026, 1, 5, tzinfo=UTC)
    assert {type(row[name]) for name in ("price", "in_stock", "title")} == {float, bool, str}


def test_a_missing_catalogue_file_is_named(generated) -> None:
    (generated.folder / "catalogue-2026-01-05.csv.gz").unlink()
    with pytest.raises(MissingInputError, match=r"No catalogue for 2026-01-05: expected .*catalogue-2026-01-05.csv.gz"):
        generated.ingest()


def test_without_a_catalogue_file_events_describe_items_since_they_were_first_seen_so(source, own_profile) -> None:
    own_profile("calendar:", "catalogue:\n  columns: {price: cost, title: words}\ncalendar:")
    source.write(
        "2026-01-05T10:00:00Z,anna,v1,seen,lamp, red   lamp ,8.00,",
        "2026-01-05T11:00:00Z,anna,v1,seen,lamp,red lamp,9.00,",
        "2026-01-05T12:00:00Z,anna,v1,seen,lamp,red lamp,9.00,",
        "2026-01-05T13:00:00Z,anna,v1,seen,lamp,,,",
    )
    (lamp,) = source.ingest().rows("catalogue")
    # The last price stated is 9.00, first seen at eleven; a row that says nothing changes nothing.
    assert (lamp["title"], lamp["price"], lamp["valid_from"]) == ("red lamp", 9.0, datetime(2026, 1, 5, 11, tzinfo=UTC))


def test_a_history_reports_its_days_together(generated) -> None:
    report = generated.ingest("2026-01-04..2026-01-06", run_id="history").report
    rows = sum(truth_of(generated, f"2026-01-0{n}")["rows"] for n in (4, 5, 6))
    assert report.counts["rows"] == rows
    assert report.sentence.startswith(f"2026-01-04..2026-01-06: 3 days, {rows:,} rows: ")
