"""Published days in, a training set out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow.parquet as parquet
import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError, MissingInputError
from pipeline.core.run import Run
from pipeline.core.schema import EVENT, EVENT_TYPES, QUERY
from pipeline.core.settings import Settings, load
from pipeline.core.step import Report
from pipeline.prepare import step
from tests.fixtures.ingested import Row, at, days_of, digests, event, ingest, item, open_run, publish

FIRST = "2024-03-01"
# Of four days, 1 and 2 are training, 3 is validation, 4 is the test.
DAYS = days_of(FIRST, 4)


def load_days(settings: Settings, by_day: Sequence[Iterable[Row]], run_id: str = "run", **more: Any) -> Run:
    days = days_of(FIRST, len(by_day))
    run = open_run(settings, f"{days[0]}..{days[-1]}", run_id)
    for day, rows in zip(days, by_day, strict=True):
        publish(run, day, ingest(run, day, list(rows), **more.get(day, {})))
    return run


def shop() -> list[list[Row]]:
    """u1 looks at a, b, then c, d; u2 at b, then a, then c; session s9 comes on the test day alone."""
    return [
        [event("view", at(DAYS[0], "10:00"), "a"), event("view", at(DAYS[0], "11:00"), "b", user="u2")],
        [event("purchase", at(DAYS[1], "10:00"), "b", quantity=1), event("impression", at(DAYS[1], "10:01"), "z")],
        [event("view", at(DAYS[2], "10:00"), "a"), event("cart", at(DAYS[2], "10:05"), "c"),
         event("view", at(DAYS[2], "11:00"), "a", user="u2")],
        [event("view", at(DAYS[3], "10:00"), "d"), event("purchase", at(DAYS[3], "10:05"), "d", quantity=1),
         *(event("view", at(DAYS[3], f"12:0{n}"), name, session="s9") for n, name in enumerate("abca"))],
    ]  # fmt: skip


def made(run: Run) -> Artifact:
    return run.artifact("prepare")


def array(run: Run, name: str) -> list[Any]:
    return np.load(made(run).file(f"{name}.npy")).tolist()


def table(run: Run, name: str) -> list[Row]:
    return parquet.read_table(made(run).file(f"{name}.parquet")).to_pylist()


def test_training_holds_the_days_before_validation_and_nothing_else(settings: Settings) -> None:
    run = load_days(settings, shop())
    step.run(settings, run)
    items = {row["index"]: row["item_id"] for row in table(run, "items")}
    # Training: u1 a, b; u2 b. So b has two events, a one; z was only shown, and is listed; c and d came later.
    assert items == {1: "b", 2: "a", 3: "z"}
    assert array(run, "sequence_items") == [2, 1, 1]
    assert array(run, "sequence_offsets") == [0, 2, 3]
    assert [EVENT_TYPES[code] for code in array(run, "sequence_types")] == ["view", "purchase", "view"]
    assert array(run, "targets") == [0, 1, 2]
    assert [row["events"] for row in table(run, "items")] == [2, 1, 0]
    assert [row["probability"] for row in table(run, "items")] == [2 / 3, 1 / 3, 0]


def test_arrays_have_the_types_the_contract_names(settings: Settings) -> None:
    run = load_days(settings, shop())
    step.run(settings, run)
    types = {p.stem: str(np.load(p).dtype) for p in made(run).path.glob("*.npy")}
    assert types == {
        "sequence_items": "int32",
        "sequence_types": "uint8",
        "sequence_times": "int64",
        "sequence_contexts": "int32",
        "sequence_offsets": "int64",
        "targets": "int64",
        "target_queries": "int32",
        "target_searched": "int64",
        "exposed_items": "int32",
        "exposed_offsets": "int64",
    }
    for name in ("validation", "test"):
        assert parquet.read_schema(made(run).file(f"{name}.parquet")).equals(ibis.schema(QUERY).to_pyarrow())


def test_a_known_user_is_cut_where_the_period_begins(settings: Settings) -> None:
    run = load_days(settings, shop())
    step.run(settings, run)
    first = table(run, "validation")[0]
    assert first["user"] == "u1" and first["kind"] == "recommend" and first["query"] is None
    assert first["time"] == at(DAYS[2], "00:00")
    assert first["history_item_ids"] == ["a", "b"]
    assert first["history_event_types"] == ["view", "purchase"]
    assert first["history_times"] == [at(DAYS[0], "10:00"), at(DAYS[1], "10:00")]
    assert first["target_item_ids"] == ["a", "c"]
    assert first["new_target_item_ids"] == ["c"]


def test_the_test_sees_validation_as_history(settings: Settings) -> None:
    run = load_days(settings, shop())
    step.run(settings, run)
    first = table(run, "test")[0]
    assert (first["user"], first["history_item_ids"]) == ("u1", ["a", "b", "a", "c"])
    assert first["target_item_ids"] == first["new_target_item_ids"] == ["d"]


def test_a_session_without_history_is_cut_in_its_middle(settings: Settings) -> None:
    run = load_days(settings, shop())
    step.run(settings, run)
    session = table(run, "test")[1]
    # a b | c a: the cut lies at the third of four events.
    assert session["user"] == "s9" and session["time"] == at(DAYS[3], "12:02")
    assert session["history_item_ids"] == ["a", "b"]
    assert session["target_item_ids"] == ["c", "a"]
    assert session["new_target_item_ids"] == ["c"]


def test_events_of_one_moment_are_never_parted_into_history_and_target(settings: Settings) -> None:
    days = shop()
    moments = ("12:00", "12:00", "12:00", "12:01")
    days[3] += [event("view", at(DAYS[3], m), name, session="s5") for m, name in zip(moments, "abcd", strict=True)]
    days[3] += [event("purchase", at(DAYS[3], "13:00"), name, session="basket") for name in "abc"]
    run = load_days(settings, days)
    step.run(settings, run)
    by_user = {row["user"]: row for row in table(run, "test")}
    # The middle lies between events of 12:00, so the cut moves on to 12:01; a basket of one moment is no query.
    assert by_user["s5"]["history_item_ids"] == ["a", "b", "c"] and by_user["s5"]["target_item_ids"] == ["d"]
    assert "basket" not in by_user


def test_history_carries_the_last_events_but_new_targets_know_all_of_them(settings: Settings) -> None:
    short = load([f"store.root={settings.store.root}", "prepare.query_events=1"])
    run = load_days(short, shop())
    step.run(short, run)
    first = table(run, "validation")[0]
    assert first["history_item_ids"] == ["b"]
    assert first["new_target_item_ids"] == ["c"]


def test_a_search_is_a_query_and_its_answers_are_targets(settings: Settings) -> None:
    days = shop()
    for day in (0, 3):
        s = {"user": "u2", "session": f"s{day}"}
        days[day] += [
            event("search", at(DAYS[day], "14:00"), query="red shoe", **s),
            event("view", at(DAYS[day], "14:10"), "a", **s),
            event("view", at(DAYS[day], "14:31"), "c", **s),
        ]
    run = load_days(settings, days)
    step.run(settings, run)
    search = next(row for row in table(run, "test") if row["kind"] == "search")
    assert search["query"] == "red shoe" and search["time"] == at(DAYS[3], "14:00")
    # 14:31 is 31 minutes after the search, one more than an answer may take.
    assert search["target_item_ids"] == ["a"] and search["new_target_item_ids"] == []
    assert search["history_item_ids"] == ["b", "a", "c", "a"]
    assert made(run).json("queries.json") == ["red shoe"]
    # Training, by actor and time: u1 a, b; u2 b, a (answers), c.
    assert array(run, "target_queries") == [-1, -1, -1, 0, -1]
    # The search came after u2's b at place 2.
    assert array(run, "target_searched") == [-1, -1, -1, 3, -1]


def test_a_session_without_a_search_answers_none_made_outside_of_it(settings: Settings) -> None:
    days = shop()
    days[0] += [
        event("search", at(DAYS[0], "14:00"), query="red shoe", user="u2"),
        event("view", at(DAYS[0], "14:10"), "a", user="u2", session="s1"),
        event("view", at(DAYS[0], "14:11"), "c", user="u2"),
    ]
    run = load_days(settings, days)
    step.run(settings, run)
    # By actor and time: u1 a, b; u2 b, a (of a session that searched nothing), c (answers).
    assert made(run).json("queries.json") == ["red shoe"]
    assert array(run, "target_queries") == [-1, -1, -1, -1, 0]


def test_two_runs_from_the_same_days_make_the_same_bytes(settings: Settings) -> None:
    first = load_days(settings, shop())
    step.run(settings, first)
    made_first, key = digests(made(first).path), made(first).key
    again = open_run(settings, f"{DAYS[0]}..{DAYS[3]}", "again", force=True)
    assert not step.run(settings, again).cached
    assert made(again).key == key
    assert digests(made(again).path) == made_first


def test_an_unchanged_window_is_not_prepared_again(settings: Settings) -> None:
    run = load_days(settings, shop())
    step.run(settings, run)
    other = open_run(settings, f"{DAYS[0]}..{DAYS[3]}", "other")
    assert step.run(settings, other).cached


def test_split_states_its_cuts_in_utc_and_counts(settings: Settings) -> None:
    run = load_days(settings, shop())
    report = step.run(settings, run)
    split = made(run).json("split.json")
    assert split["window"] == [DAYS[0], DAYS[3]]
    assert split["validation_start"] == "2024-03-03T00:00:00+00:00"
    assert split["test_start"] == split["data_end"] == "2024-03-04T00:00:00+00:00"
    assert split["test_end"] == "2024-03-05T00:00:00+00:00"
    assert split["counts"] == report.counts
    assert report.counts["test_queries"] == 2 and report.counts["validation_queries"] == 2


def test_cuts_are_midnights_of_the_shop(settings: Settings) -> None:
    berlin = load([f"store.root={settings.store.root}", "shop.timezone=Europe/Berlin"])
    run = load_days(berlin, shop())
    step.run(berlin, run)
    assert made(run).json("split.json")["test_start"] == "2024-03-03T23:00:00+00:00"


def test_rows_a_file_held_for_other_days_are_left_to_ingest(settings: Settings) -> None:
    late = event("view", at(DAYS[0], "18:00"), "late")
    run = load_days(settings, shop(), **{DAYS[1]: {"routed": [late]}})
    step.run(settings, run)
    assert {row["item_id"]: row["events"] for row in table(run, "items")} == {"a": 1, "b": 2, "z": 0}


def test_a_day_opened_again_for_a_late_event_is_prepared_again_and_holds_it(settings: Settings) -> None:
    run = load_days(settings, shop())
    step.run(settings, run)
    key = made(run).key
    late = event("view", at(DAYS[0], "18:00"), "late")
    publish(run, DAYS[0], ingest(run, DAYS[0], [*shop()[0], late]))
    assert not step.run(settings, run).cached and made(run).key != key
    assert {row["item_id"]: row["events"] for row in table(run, "items")} == {"a": 1, "b": 2, "late": 1, "z": 0}


def test_the_first_and_the_last_moment_of_a_day_are_of_that_day(settings: Settings) -> None:
    days = shop()
    days[0].append(event("view", at(DAYS[0], "00:00"), "first"))
    days[3].append(event("view", at(DAYS[3], "23:59:59"), "last"))
    run = load_days(settings, days)
    assert step.run(settings, run).counts["events"] == 12 + 2


def test_unpublished_days_and_days_after_the_run_are_left_out(settings: Settings) -> None:
    days = [*shop(), [event("view", at("2024-03-05"), "future")]]
    everything = load_days(settings, days)
    (everything.layout.published_folder / f"{DAYS[0]}.json").unlink()
    more = [event("view", at("2024-02-29", "10:00"), "old"), event("view", at("2024-02-29", "10:00"), "b", user="u2")]
    leap = open_run(settings, "2024-02-29", "leap")
    publish(leap, "2024-02-29", ingest(leap, "2024-02-29", more))
    run = open_run(settings, f"{DAYS[0]}..{DAYS[3]}", "shorter")
    step.run(settings, run)
    # Left are 02-29, 03-02 | 03-03 | 03-04.
    assert {row["item_id"] for row in table(run, "items")} == {"old", "b", "z"}
    assert made(run).json("split.json")["window"] == ["2024-02-29", DAYS[3]]


def test_the_catalogue_row_valid_before_validation_describes_an_item(settings: Settings) -> None:
    more = {
        DAYS[0]: {"items": [item("a", at(DAYS[0], "00:00"), title="first", price=1.0)]},
        DAYS[1]: {"items": [item("a", at(DAYS[1], "00:00"), title="second", price=2.0),
                            item("a", at(DAYS[2], "00:00"), title="announced", price=9.0)]},
        DAYS[2]: {"items": [item("a", at(DAYS[1], "12:00"), title="written later", price=3.0)]},
    }  # fmt: skip
    run = load_days(settings, shop(), **more)
    step.run(settings, run)
    described = {row["item_id"]: (row["title"], row["price"]) for row in table(run, "items")}
    assert described == {"a": ("second", 2.0), "b": (None, None)}


def test_an_item_is_as_old_as_its_first_event_in_training(settings: Settings) -> None:
    second = [event("view", at(DAYS[1], "10:00"), name) for name in "ab"]
    run = load_days(settings, [[event("view", at(DAYS[0], "10:00"), "a")], second, *shop()[2:]])
    step.run(settings, run)
    # Training ends at midnight after day 2: 38 hours after the first a, 14 after the first b.
    assert {row["item_id"]: row["age_days"] for row in table(run, "items")} == {"a": 1, "b": 0}


def test_an_item_nobody_met_is_as_old_as_its_listing_if_that_is_known(settings: Settings) -> None:
    # Training ends at midnight after day 2. "old" is in the first catalogue there is, so it may have been there for
    # years; "x" came 38 hours before the end and is described anew 14 hours before it.
    first = [item("old", at(DAYS[0], "00:00")), item("x", at(DAYS[0], "10:00"))]
    more = {DAYS[0]: {"items": first}, DAYS[1]: {"items": [item("x", at(DAYS[1], "10:00")), item("y", at(DAYS[1]))]}}
    run = load_days(settings, shop(), **more)
    step.run(settings, run)
    ages = {row["item_id"]: row["age_days"] for row in table(run, "items") if row["events"] == 0}
    assert ages == {"old": None, "x": 1, "y": 0}


def test_items_carry_their_vectors(settings: Settings) -> None:
    more = {DAYS[0]: {"items": [item("a", at(DAYS[0], "00:00"), vector=[0.5, 2.0]), item("b", at(DAYS[0], "00:00"))]}}
    run = load_days(settings, shop(), **more)
    step.run(settings, run)
    assert {row["item_id"]: row["vector"] for row in table(run, "items")} == {"a": [0.5, 2.0], "b": None, "z": None}


def test_vectors_of_two_lengths_are_refused_by_name(settings: Settings) -> None:
    vectors = {"a": [0.5, 2.0], "b": [1.0]}
    items = [item(name, at(DAYS[1], "12:00"), vector=vector) for name, vector in vectors.items()]
    run = load_days(settings, shop(), **{DAYS[1]: {"items": items}})
    with pytest.raises(DataError, match=r"vector of item b holds 1 numbers and that of a 2; .* one length"):
        step.run(settings, run)


def test_rare_items_stay_out_of_sequences_and_are_known_as_listed_alone(settings: Settings) -> None:
    strict = load([f"store.root={settings.store.root}", "prepare.min_item_events=2"])
    run = load_days(strict, shop())
    assert step.run(strict, run).counts["items_listed_only"] == 2
    known = [(row["item_id"], row["events"], row["age_days"], row["probability"]) for row in table(run, "items")]
    # a was viewed once and counts as nobody's, as z does, which was only shown, and first spoken of later than a.
    assert known == [("b", 2, 1, 1.0), ("a", 0, None, 0.0), ("z", 0, 1, 0.0)]
    assert array(run, "sequence_items") == [1, 1]


def test_listed_items_come_after_those_met_unless_out_of_stock_or_listed_too_late(settings: Settings) -> None:
    stated = [item("y", at(DAYS[1], "00:00"), title="new"), item("x", at(DAYS[1], "08:00"), in_stock=None),
              item("sold out", at(DAYS[1], "00:00"), in_stock=False),
              item("announced", at(DAYS[2], "00:00")), item("a", at(DAYS[1], "00:00"), in_stock=False)]  # fmt: skip
    run = load_days(settings, shop(), **{DAYS[1]: {"items": stated}, DAYS[2]: {"items": [item("c", at(DAYS[2]))]}})
    step.run(settings, run)
    # a was met, so it belongs, in stock or not; b was met and is not described by day 2.
    assert [row["item_id"] for row in table(run, "items")] == ["b", "a", "x", "y"]
    assert table(run, "items")[3]["title"] == "new"


@pytest.mark.parametrize(("days", "listed"), [(0, []), (1, ["x"]), (2, ["gone", "x"])])
def test_an_item_nobody_met_belongs_as_long_as_the_catalogue_spoke_of_it_lately(
    settings: Settings, days: int, listed: list[str]
) -> None:
    # Training are days 1 and 2; "gone" was described on the first alone.
    more = {day: {"items": [item(name, at(day))]} for day, name in zip(DAYS[:2], ("gone", "x"), strict=True)}
    lately = load([f"store.root={settings.store.root}", f"prepare.listed_days={days}"])
    run = load_days(lately, shop(), **more)
    step.run(lately, run)
    assert [row["item_id"] for row in table(run, "items")][2:] == listed


def test_nothing_published_is_said_in_one_sentence(settings: Settings) -> None:
    run = open_run(settings, "2024-03-04")
    with pytest.raises(MissingInputError, match=r"no published day with events from .* to 2024-03-04"):
        step.run(settings, run)


def test_a_record_whose_artifact_is_gone_is_named(settings: Settings) -> None:
    run = load_days(settings, shop())
    (run.artifact("ingest", DAYS[1]).path / "events.parquet").unlink()
    with pytest.raises(MissingInputError, match=rf"^/.*/published/{DAYS[1]}.json: .* events.parquet is gone"):
        step.run(settings, run)


def test_too_few_days_are_counted(settings: Settings) -> None:
    run = load_days(settings, shop()[:3])
    with pytest.raises(DataError, match=r"need 4 published days with events, .* found 3"):
        step.run(settings, run)


def test_a_period_without_targets_is_named(settings: Settings) -> None:
    days = shop()
    days[2] = [event("search", at(DAYS[2], "10:00"), query="nothing")]
    run = load_days(settings, days)
    with pytest.raises(DataError, match=r"The validation \(2024-03-03 .* holds no view, cart or purchase"):
        step.run(settings, run)
    assert not list((Path(run.root) / "store" / "prepare").glob("*"))


def test_split_json_is_plain_json(settings: Settings) -> None:
    run = load_days(settings, shop())
    step.run(settings, run)
    assert json.loads(made(run).file("split.json").read_text())["counts"]["events"] == 12


def test_a_run_marked_as_of_takes_its_own_days_that_passed_and_no_published_day_that_had_not_ended(
    settings: Settings,
) -> None:
    extra = event("view", at(DAYS[0], "12:00"), "own")
    five = days_of(FIRST, 5)
    load_days(settings, [*shop(), [event("view", at(five[4], "10:00"), "later")]])
    # As of the fifth day's noon the run has its own first and second day; the second did not pass.
    trial = open_run(settings, f"{FIRST}..{five[4]}", "trial", as_of=at(five[4], "12:00"), backfill=True)
    ingest(trial, DAYS[0], [*shop()[0], extra])
    ingest(trial, DAYS[1], [event("view", at(DAYS[1], "10:00"), "refused")])
    trial.once("validate", {}, {}, lambda folder: _verdict(folder, failed=DAYS[1]))
    step.run(settings, trial)
    assert {row["item_id"] for row in table(trial, "items")} == {"a", "b", "own", "z"}
    assert made(trial).json("split.json")["window"] == [DAYS[0], DAYS[3]]


def test_a_run_marked_as_of_that_ingested_but_did_not_judge_is_told_what_to_run(settings: Settings) -> None:
    load_days(settings, shop())
    trial = open_run(settings, f"{FIRST}..{DAYS[3]}", "trial", backfill=True)
    ingest(trial, DAYS[3], shop()[3])
    with pytest.raises(MissingInputError, match="run `python -m pipeline validate --run trial` first"):
        step.run(settings, trial)


@pytest.mark.parametrize("mark", ["backfill", "dry_run"])
def test_a_run_without_consequences_leaves_the_vocabulary_as_it_was(settings: Settings, mark: str) -> None:
    night = load_days(settings, shop())
    step.run(settings, night)
    record = settings.store.root / "vocabulary" / f"{DAYS[3]}.json"
    before = record.read_bytes()
    other = load([f"store.root={settings.store.root}", "prepare.min_item_events=2"])
    trial = open_run(other, f"{FIRST}..{DAYS[3]}", "trial", **{mark: True})
    step.run(other, trial)
    assert made(trial).key != made(night).key
    assert record.read_bytes() == before


def _verdict(folder: Path, failed: str) -> Report:
    failures = [{"day": failed, "severity": "fail"}, {"day": DAYS[0], "severity": "warn"}]
    (folder / "verdict.json").write_text(json.dumps({"failures": failures}))
    return Report("judged by hand")


def test_contexts_are_those_of_the_events_themselves_and_of_the_first_on_a_target(settings: Settings) -> None:
    days = shop()
    for day, said in enumerate((["d=b", None], ["d=a", "d=shown"], [None, "d=late", "d=b"], ["e=1", "e=2", *"3456"])):
        days[day] = [{**row, "context": context} for row, context in zip(days[day], said, strict=True)]
    asked = event("search", at(DAYS[3], "14:00"), query="red shoe", user="u2", session="s3", context="e=asked")
    days[3] += [asked, event("view", at(DAYS[3], "14:10"), "a", user="u2", session="s3", context="e=met")]
    run = load_days(settings, days)
    step.run(settings, run)
    # Training, by actor and time: u1 a, b; u2 b. What was only shown, and what came later, is no context of it.
    assert made(run).json("contexts.json") == ["d=a", "d=b"]
    assert array(run, "sequence_contexts") == [1, 0, -1]
    # u1's first target of the day has none, whatever the second has; u2's has its own.
    assert [(row["user"], row["context"]) for row in table(run, "validation")] == [("u1", None), ("u2", "d=b")]
    found = {(row["user"], row["kind"]): row["context"] for row in table(run, "test")}
    # s9 is cut at its third event; a search is asked where it was made, not where its answer was met.
    assert found == {
        ("u1", "recommend"): "e=1", ("s9", "recommend"): "5", ("u2", "recommend"): "e=met", ("u2", "search"): "e=asked"
    }  # fmt: skip


@pytest.mark.parametrize("older", [1, 4])
def test_days_ingested_before_contexts_were_known_have_none(settings: Settings, older: int) -> None:
    bare = {name: kind for name, kind in EVENT.items() if name != "context"}
    days = [[{**row, "context": "d=1"} for row in rows] for rows in shop()]
    run = open_run(settings, f"{DAYS[0]}..{DAYS[3]}")
    for number, (day, rows) in enumerate(zip(DAYS, days, strict=True)):
        known = number >= older
        kept = rows if known else [{name: row[name] for name in bare} for row in rows]
        publish(run, day, ingest(run, day, kept, columns=EVENT if known else bare))
    step.run(settings, run)
    # By actor and time: u1 a of the first day, b of the second; u2 b of the first.
    assert array(run, "sequence_contexts") == ([-1, 0, -1] if older == 1 else [-1, -1, -1])
    assert made(run).json("contexts.json") == (["d=1"] if older == 1 else [])
    assert {row["context"] for row in table(run, "test")} == {"d=1" if older == 1 else None}
