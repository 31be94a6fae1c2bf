"""Items keep their index from night to night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.run import Run
from pipeline.core.settings import Settings, load
from pipeline.prepare import step
from pipeline.prepare.vocabulary import Vocabulary, grow
from tests.fixtures.ingested import Row, at, days_of, digests, event, ingest, open_run, publish

FIRST = "2024-03-01"


def grown(
    counts: Mapping[str, int],
    base: Sequence[str],
    least: int = 1,
    old: str = "",
    listed: str = "",
    only_listed_before: str = "",
) -> Vocabulary:
    names = sorted(counts)
    events = np.array([counts[name] for name in names], np.int64)
    recent = np.array([0 if name in old else counts[name] for name in names], np.int64)
    events_before = pa.array([int(name not in only_listed_before) for name in base], pa.int64())
    before = pa.table({"item_id": pa.array(base, pa.large_string()), "events": events_before})
    return grow(pa.array(names), events, recent, least, before, pa.array(list(listed), pa.large_string()))


def names(vocabulary: Vocabulary) -> str:
    return "".join(vocabulary.names.to_pylist())


def test_without_a_vocabulary_before_most_events_come_first_then_names() -> None:
    counts = {"a": 1, "b": 3, "c": 3, "d": 0}
    made = grown(counts, [])
    assert names(made) == "bca" and made.previous.tolist() == [0, 0, 0]
    assert made.counts() == {"items_kept": 0, "items_new": 3, "items_left": 0, "items_moved": 0}


def test_known_items_keep_their_index_however_many_events_they_have() -> None:
    counts = {"a": 1, "b": 9, "c": 2, "new": 5}
    made = grown({"a": 1, "b": 9, "c": 2, "n": 5}, ["c", "a", "b"])
    assert names(made) == "cabn" and made.previous.tolist() == [1, 2, 3, 0]
    assert made.counts() == {"items_kept": 3, "items_new": 1, "items_left": 0, "items_moved": 0}
    assert len(counts) == len(made)


def test_new_items_take_vacant_indices_most_events_first_then_further_ones() -> None:
    # b and d are gone: 2 and 4 are vacant. Of the new ones z has most events, x comes before y by name.
    counts = {"a": 1, "c": 1, "e": 1, "x": 2, "y": 2, "z": 7}
    made = grown(counts, list("abcde"))
    assert names(made) == "azcxey"
    assert made.previous.tolist() == [1, 0, 3, 0, 5, 0]
    assert made.counts() == {"items_kept": 3, "items_new": 3, "items_left": 2, "items_moved": 0}


def test_where_too_few_are_new_the_highest_indices_move_down() -> None:
    # a, b and d are gone, n is new and takes 1; three remain of six, so e (5) and f (6) move to 2 and 4.
    counts = {"c": 1, "e": 1, "f": 1, "n": 1}
    made = grown(counts, list("abcdef"))
    assert names(made) == "necf"
    assert made.previous.tolist() == [0, 5, 3, 6]
    assert made.counts() == {"items_kept": 3, "items_new": 1, "items_left": 3, "items_moved": 2}


def test_entering_takes_more_events_than_staying() -> None:
    counts = {"k": 1, "n": 1, "m": 2}
    assert names(grown(counts, ["k"], least=2)) == "km"
    assert names(grown(counts, [], least=2)) == "m"


def test_an_item_long_unseen_leaves_and_does_not_come_in() -> None:
    counts = {"k": 5, "n": 5, "m": 1}
    assert names(grown(counts, ["k", "m"], old="kn")) == "m"


def test_items_that_are_only_listed_come_last_by_name() -> None:
    made = grown({"b": 1, "m": 2, "x": 0}, [], listed="abx")
    assert names(made) == "mbax" and made.codes.tolist() == [1, 0, -1, -1]
    assert made.indices(3).tolist() == [2, 1, 0]


def test_a_listed_item_keeps_its_index_when_somebody_meets_it_and_leaves_when_nobody_did_and_it_is_gone() -> None:
    made = grown({"c": 5, "k": 1}, ["k", "c", "g"], only_listed_before="cg")
    assert names(made) == "kc" and made.codes.tolist() == [1, 0] and made.previous.tolist() == [1, 2]
    assert made.left == 1


def test_an_item_met_too_seldom_or_too_long_ago_is_known_as_long_as_it_is_listed() -> None:
    # n was only listed before, so one event is still too few; k was learnt, and its events are too old.
    for listed, found in (("kn", "kn"), ("", "")):
        made = grown({"k": 3, "n": 1}, ["k", "n"], least=2, old="k", listed=listed, only_listed_before="n")
        assert names(made) == found and set(made.codes.tolist()) <= {-1}


@pytest.mark.parametrize("seed", range(20))
def test_indices_are_dense_and_nobody_moves_who_need_not(seed) -> None:
    draw = np.random.default_rng(seed)
    all_names = list("ABCDEFGHIJKLMNOPQRSTabcdefghijklmnopqrst")
    base = [str(name) for name in draw.permutation(all_names)[: draw.integers(0, 30)]]
    counts = {name: int(draw.integers(0, 3)) for name in all_names}
    listed = "".join(name for name in all_names if draw.random() < 0.3)
    made = grown(counts, base, listed=listed)
    present = {name for name in all_names if counts[name] or name in listed}
    order = list(names(made))
    assert set(order) == present and len(order) == len(present)
    for index, name in enumerate(order, 1):
        before = base.index(name) + 1 if name in base else 0
        assert made.previous[index - 1] == before
        assert not before or before == index or before > len(order)
    assert made.left == len(set(base) - present)


def items_of(run: Run) -> dict[int, tuple[str, int]]:
    rows = parquet.read_table(run.artifact("prepare").file("items.parquet")).to_pylist()
    return {row["index"]: (row["item_id"], row["previous_index"]) for row in rows}


def days(count: int, seen: Sequence[str]) -> list[list[Row]]:
    """Returns days on each of which u1 and u2 view those items."""
    by_day = []
    for day, items in zip(days_of(FIRST, count), seen, strict=True):
        views = [event("view", at(day, f"10:{n:02d}"), name) for n, name in enumerate(items)]
        by_day.append([*views, event("view", at(day, "11:00"), items[0], user="u2")])
    return by_day


SEEN = ["ab", "b", "c", "bd", "ef"]


def load_days(settings: Settings, seen: Sequence[str]) -> None:
    run = open_run(settings, f"{FIRST}..{days_of(FIRST, len(seen))[-1]}", "load")
    for day, rows in zip(days_of(FIRST, len(seen)), days(len(seen), seen), strict=True):
        publish(run, day, ingest(run, day, rows))


def night(settings: Settings, last: int, run_id: str = "", **given: Any) -> Run:
    """Prepares the nights up to the day of this number, counted from 1."""
    run = open_run(settings, days_of(FIRST, last)[-1], run_id or f"night-{last}", **given)
    step.run(settings, run)
    return run


def test_the_next_night_grows_from_the_one_before(settings: Settings) -> None:
    load_days(settings, SEEN)
    first = night(settings, 4)
    # Training of night 4 are days 1 and 2: b has three events more than a.
    assert items_of(first) == {1: ("b", 0), 2: ("a", 0)}
    second = night(settings, 5)
    # Days 1 to 3: c is new. It has as many events as a, who keeps the index.
    assert items_of(second) == {1: ("b", 1), 2: ("a", 2), 3: ("c", 0)}
    split = second.artifact("prepare").json("split.json")
    assert split["grown_from"] == {"day": "2024-03-04", "prepare_key": first.artifact("prepare").key}
    assert first.artifact("prepare").json("split.json")["grown_from"] is None
    assert (split["counts"]["items_kept"], split["counts"]["items_new"]) == (2, 1)


def test_a_night_run_again_finds_the_same_vocabulary_before_and_stays_cached(settings: Settings) -> None:
    load_days(settings, SEEN)
    night(settings, 4)
    first = night(settings, 5)
    again = open_run(settings, days_of(FIRST, 5)[-1], "again")
    assert step.run(settings, again).cached
    forced = night(settings, 5, "forced", force=True)
    assert first.artifact("prepare").key == again.artifact("prepare").key == forced.artifact("prepare").key
    assert digests(forced.artifact("prepare").path) == digests(again.artifact("prepare").path)


def test_an_earlier_night_run_late_does_not_see_a_later_one(settings: Settings) -> None:
    load_days(settings, SEEN)
    night(settings, 5)
    assert night(settings, 4).artifact("prepare").json("split.json")["grown_from"] is None


def test_an_item_unseen_for_too_long_is_forgotten(settings: Settings) -> None:
    # Training of night 5 are days 1 to 3; a was last seen on day 1, more than two days before validation.
    load_days(settings, SEEN)
    short = load([f"store.root={settings.store.root}", "prepare.forget_item_days=2", "prepare.listed_days=2"])
    assert items_of(night(settings, 4)) == {1: ("b", 0), 2: ("a", 0)}
    assert items_of(night(short, 5)) == {1: ("b", 1), 2: ("c", 0)}


def test_a_vocabulary_that_learned_from_later_than_this_training_is_not_grown_from(settings: Settings) -> None:
    load_days(settings, ["ab", "b", "c", "bd", "ef", "gh", "hi", "ik"])
    eager = load([f"store.root={settings.store.root}", "prepare.max_test_days=1", "prepare.validation_days=1"])
    slow = load([f"store.root={settings.store.root}", "prepare.max_test_days=2", "prepare.validation_days=2"])
    # Night 7 of the eager learns from days 1 to 5, night 8 of the slow from days 1 to 4: it may not know of day 5.
    assert len(items_of(night(eager, 7))) == 6
    run = night(slow, 8)
    assert run.artifact("prepare").json("split.json")["grown_from"] is None
    assert set(items_of(run).values()) == {(name, 0) for name in "abcd"}


def test_a_vocabulary_before_that_is_gone_is_passed_over(settings: Settings) -> None:
    load_days(settings, SEEN)
    gone: Artifact = night(settings, 4).artifact("prepare")
    gone.path.rename(gone.path.with_name("moved"))
    assert night(settings, 5).artifact("prepare").json("split.json")["grown_from"] is None
