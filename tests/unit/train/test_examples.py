"""`train.examples` on one small log whose histories are written out."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.sections import Train
from pipeline.model.config import TowerConfig
from pipeline.model.context import encode_contexts
from pipeline.model.features import Item, Query, encode_queries
from pipeline.train.batch import Batch
from pipeline.train.examples import Examples
from pipeline.train.prepared import Prepared

HOUR = 3600
# One user: items 1, 2 at once; an hour later 3, and ten minutes later 4. Then another user: 5, a minute later 6.
PREPARED = Prepared(
    items=[Item(n, f"i{n}", title=f"thing {n}", age_days=None if n == 7 else 0) for n in range(1, 8)],
    probability_n1=np.array([0, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1, 0.0]),
    items_N=np.array([1, 2, 3, 4, 5, 6], np.int32),
    types_N=np.array([1, 1, 4, 1, 1, 2], np.uint8),
    times_N=np.array([0, 0, HOUR, HOUR + 600, 0, 60], np.int64),
    contexts_N=np.full(6, -1, np.int32),
    offsets_S1=np.array([0, 4, 6], np.int64),
    targets_T=np.array([1, 2, 3, 5], np.int64),
    queries_T=np.full(4, -1, np.int32),
    searched_T=np.full(4, -1),
    exposed_X=np.array([7, 5, 6, 7], np.int32),
    exposed_offsets_T1=np.array([0, 1, 1, 4, 4]),
    queries=["red mug"],
    contexts=[],
)
CONFIG = TowerConfig(items=7, history_length=3, text_length=4, text_buckets=50)
SETTINGS = Train(batch_size=8, uniform_negatives=4, title_share=0, id_dropout=0, next_visit_share=0)
TITLES = np.tile(np.arange(8, dtype=np.int32)[:, np.newaxis], (1, 4))


def told(settings: Train, prepared: Prepared = PREPARED) -> dict[int, list[int]]:
    """Returns, by target, the items its history shows, oldest first, in one batch that holds every target."""
    examples = Examples.build(prepared, CONFIG, settings, TITLES)
    batch = examples.batch(np.arange(len(examples.places_T)), 0, 0)
    found = {}
    for target, row, column, alone in zip(
        *(batch[name] for name in ("targets", "rows", "columns", "alone")), strict=True
    ):
        seen = [] if alone else batch["items"][batch["events"][row, : column + 1]].tolist()
        found[int(batch["items"][target])] = seen
    return found


def test_a_history_holds_what_came_strictly_before_newest_last_and_of_this_user_alone() -> None:
    # Item 2 was met at the moment of 1, so nothing tells it and it is no target; 6 follows 5, not the other user's 4.
    assert told(SETTINGS) == {3: [1, 2], 4: [1, 2, 3], 6: [5]}


def test_earlier_visits_alone_tell_a_target_where_there_are_any() -> None:
    # 3 and 4 belong to the visit after the hour's pause: only 1 and 2 tell them. 6 is in its user's first visit.
    assert told(SETTINGS.model_copy(update={"next_visit_share": 1.0})) == {3: [1, 2], 4: [1, 2], 6: [5]}


def test_a_search_tells_a_target_that_nothing_came_before() -> None:
    assert told(SETTINGS, replace(PREPARED, queries_T=np.array([0, -1, -1, -1], np.int32)))[2] == []


def test_a_step_reads_texts_as_long_as_the_longest_of_titles_and_searches() -> None:
    # Titles fill four places here, or one; "red" is one word and the trigrams <re and ed>.
    searched = replace(PREPARED, queries_T=np.array([0, -1, -1, -1], np.int32), queries=["red"])
    for titles, longest in ((TITLES, 4), (np.eye(8, 4, dtype=np.int32)[:, :1] * [1, 0, 0, 0], 3)):
        examples = Examples.build(searched, CONFIG, SETTINGS, titles.astype(np.int32))
        assert examples.batch(examples.order(0), 0, 0)["query_text"].shape == (8, longest)


def test_a_log_whose_targets_nothing_tells_is_refused() -> None:
    at_once = replace(PREPARED, times_N=np.zeros(6, np.int64))
    with pytest.raises(DataError, match="None of the 4 training targets has an event before it"):
        Examples.build(at_once, CONFIG, SETTINGS, TITLES)


def test_a_long_sequence_is_told_in_windows_that_overlap_by_half() -> None:
    items_N = np.arange(1, 8, dtype=np.int32)
    long = replace(
        PREPARED,
        items_N=items_N,
        types_N=np.ones(7, np.uint8),
        times_N=np.arange(7) * 60,
        offsets_S1=np.array([0, 7]),
        targets_T=np.arange(1, 7),
        queries_T=np.full(6, -1, np.int32),
        searched_T=np.full(6, -1),
        exposed_offsets_T1=np.zeros(7, np.int64),
    )
    # Three events a window, one further each time: the first three targets are told by all before them.
    assert told(SETTINGS, long) == {2: [1], 3: [1, 2], 4: [1, 2, 3], 5: [2, 3, 4], 6: [3, 4, 5], 7: [4, 5, 6]}


def test_who_searched_is_told_by_what_came_before_the_search() -> None:
    # 4 answers a search made before 3 was looked at, so 3 does not tell it; nothing came before the search for 6.
    asked = replace(PREPARED, queries_T=np.array([-1, -1, 0, 0]), searched_T=np.array([-1, -1, 2, 4]))
    examples = Examples.build(asked, CONFIG, SETTINGS, TITLES)
    assert dict(zip(examples.places_T.tolist(), examples.asked_T.tolist(), strict=True)) == {2: 1, 3: 1, 5: 5}
    assert examples.earlier_T.tolist() == [1, 1, 5]
    assert examples.alone_T.tolist() == [False, False, True]


def test_types_stand_beside_their_items_shifted_by_one() -> None:
    batch = Examples.build(PREPARED, CONFIG, SETTINGS, TITLES).batch(np.arange(3), 0, 0)
    # Target 4 follows items 1, 2 (type 1) and 3 (type 4); behind the window's end there is nothing.
    assert batch["types"][batch["rows"][1], :3].tolist() == [2, 2, 5]
    assert not batch["types"][batch["events"] == 0].any()


def timed_batch(settings: Train) -> Batch:
    """Returns the first batch in which no window keeps its times to itself."""
    examples = Examples.build(PREPARED, CONFIG, settings, TITLES)
    batches = (examples.batch(np.arange(3), epoch, 0) for epoch in count())
    return next(batch for batch in batches if (batch["now_pauses"] > 0).any(axis=1)[batch["rows"]].all())


def test_some_windows_keep_their_times_to_themselves() -> None:
    examples = Examples.build(PREPARED, CONFIG, SETTINGS, TITLES)
    told = set()
    for epoch in range(60):
        batch = examples.batch(np.arange(3), epoch, 0)
        row = batch["rows"][1]
        told.add((*batch["pauses"][row, :3].tolist(), *batch["now_pauses"][row, :3].tolist()))
    # Nothing and 0 seconds before 1 and 2, an hour before 3; ten minutes after it 4 is asked for.
    assert told == {(0, 1, 13, 1, 13, 11), (0, 0, 0, 0, 0, 0)}


def test_pauses_are_what_the_server_would_tell() -> None:
    batch = timed_batch(SETTINGS)
    row, last = batch["rows"][1], batch["columns"][1]
    asked = Query(["i1", "i2", "i3"], ["view", "view", "purchase"], None, [0, 0, HOUR], HOUR + 600)
    served = encode_queries(CONFIG, {f"i{n}": n for n in range(1, 8)}, [asked])
    # Target 4, ten minutes after 3, which came an hour after 1 and 2.
    assert batch["pauses"][row, :3].tolist() == served["history_pauses"][0].tolist() == [0, 1, 13]
    assert batch["now_pauses"][row, last] == served["now_pause"][0, 0] == 11
    assert not batch["pauses"][batch["events"] == 0].any()


def test_an_event_told_from_an_earlier_visit_is_asked_for_when_its_visit_begins() -> None:
    settings = SETTINGS.model_copy(update={"next_visit_share": 1.0})
    batch = timed_batch(settings)
    # 3 and 4 are both asked for from 2, an hour (twelve digits) before 3.
    assert batch["now_pauses"][batch["rows"][:2], batch["columns"][:2]].tolist() == [13, 13]


def test_a_context_is_that_of_the_targets_own_event_and_hidden_now_and_then() -> None:
    # Items 1 to 6 were met: nowhere, in a, in b, nowhere, in b, in a.
    contexts_N = np.array([-1, 0, 1, -1, 1, 0], np.int32)
    prepared = replace(PREPARED, contexts_N=contexts_N, contexts=["in=a", "in=b"])
    examples = Examples.build(prepared, replace(CONFIG, context_buckets=50), SETTINGS, TITLES)
    a, b = (encode_contexts([f"in={where}"], 50)[0].tolist() for where in "ab")
    told = {3: set(), 4: set(), 6: set()}
    for epoch in range(60):
        batch = examples.batch(np.arange(3), epoch, 0)
        for target, said in zip(
            batch["items"][batch["targets"]].tolist(), batch["query_context"].tolist(), strict=True
        ):
            told[target].add(tuple(said))
    none = (0, 0, 0, 0)
    assert told == {3: {tuple(b), none}, 4: {none}, 6: {tuple(a), none}}


def test_a_log_without_contexts_learns_from_what_it_did() -> None:
    bare = Examples.build(PREPARED, CONFIG, SETTINGS, TITLES).batch(np.arange(3), 0, 0)
    placed = replace(PREPARED, contexts_N=np.zeros(6, np.int32), contexts=["in=a"])
    other = Examples.build(placed, replace(CONFIG, context_buckets=50), SETTINGS, TITLES).batch(np.arange(3), 0, 0)
    assert "query_context" not in bare
    assert all(np.array_equal(other[name], values) for name, values in bare.items())


def test_every_batch_is_full_and_the_last_wraps_around() -> None:
    examples = Examples.build(PREPARED, CONFIG, SETTINGS.model_copy(update={"batch_size": 2}), TITLES)
    assert examples.steps == 2
    assert len(examples.batch(examples.order(0), 0, 1)["targets"]) == 2


def test_every_target_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    examples = Examples.build(PREPARED, CONFIG, SETTINGS, TITLES)
    orders = [examples.order(epoch).tolist() for epoch in range(8)]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_replicas_get_equal_parts_of_what_one_would_get() -> None:
    drawn = {"next_visit_share": 0.5, "id_dropout": 0.5, "hard_negatives": 2, "exposed_negatives": 2}
    settings = SETTINGS.model_copy(update=drawn)
    found = []
    for replicas in (1, 2, 4):
        batch = Examples.build(PREPARED, CONFIG, settings, TITLES, replicas).batch(np.arange(3), 0, 0)
        parts = [{n: np.split(values, replicas)[part] for n, values in batch.items()} for part in range(replicas)]
        names = ("targets", "uniform", "hard", "exposed")
        asked = [(p["known"][p["targets"]], p["windows"], *(p["items"][p[name]] for name in names)) for p in parts]
        seen = [p["items"][p["events"][p["rows"], p["columns"]]] for p in parts]
        found.append([np.concatenate(each).tolist() for each in (*zip(*asked, strict=True), seen)])
    assert found[0] == found[1] == found[2]


def test_a_batch_is_a_function_of_seed_epoch_and_step() -> None:
    settings = SETTINGS.model_copy(update={"title_share": 0.5, "id_dropout": 0.5, "next_visit_share": 0.5})
    first, again = (Examples.build(PREPARED, CONFIG, settings, TITLES) for _ in range(2))
    for name, values in first.batch(first.order(3), 3, 1).items():
        assert np.array_equal(values, again.batch(again.order(3), 3, 1)[name])
    others = [first.batch(np.arange(3), 0, step)["uniform"].tolist() for step in range(4)]
    assert len({tuple(other) for other in others}) > 1


def test_a_target_that_answers_a_search_is_asked_for_with_its_text() -> None:
    searched = replace(PREPARED, queries_T=np.array([0, -1, -1, -1], np.int32))
    examples = Examples.build(searched, CONFIG, SETTINGS, TITLES)
    text = examples.batch(np.arange(4), 0, 0)["query_text"]
    assert text[0].tolist() == examples.text_QX[0].tolist()
    assert text[0].any()
    assert not text[1:4].any()


def test_titles_teach_the_text_query_without_a_history() -> None:
    examples = Examples.build(PREPARED, CONFIG, SETTINGS.model_copy(update={"title_share": 1.0}), TITLES)
    batch = examples.batch(np.arange(3), 0, 0)
    assert batch["alone"].all()
    for target, text in zip(batch["items"][batch["targets"]], batch["query_text"], strict=True):
        assert set(text.tolist()) <= {0, int(target)}
    assert batch["query_text"].any()


def test_items_that_were_no_target_are_always_new_to_the_item_tower() -> None:
    examples = Examples.build(PREPARED, CONFIG, SETTINGS.model_copy(update={"uniform_negatives": 64}), TITLES)
    batch = examples.batch(np.arange(3), 0, 0)
    assert batch["known"][batch["targets"]].all()
    drawn = batch["items"][batch["uniform"]]
    assert np.array_equal(batch["known"][batch["uniform"]], drawn != 7)
    assert set(drawn.tolist()) == set(range(1, 8))


@pytest.mark.parametrize(("age_days", "drawn"), [(6, False), (7, True), (None, True)])
def test_an_item_nobody_met_is_a_negative_once_it_has_been_listed_for_a_while(
    age_days: int | None, drawn: bool
) -> None:
    items = [*PREPARED.items[:6], Item(7, "i7", title="thing 7", age_days=age_days)]
    settings = SETTINGS.model_copy(update={"uniform_negatives": 64, "new_item_days": 7})
    batch = Examples.build(replace(PREPARED, items=items), CONFIG, settings, TITLES).batch(np.arange(3), 0, 0)
    found = set(batch["items"][batch["uniform"]].tolist())
    assert found == set(range(1, 8 if drawn else 7))


def test_ids_are_hidden_as_often_as_the_setting_says() -> None:
    settings = SETTINGS.model_copy(update={"uniform_negatives": 64, "id_dropout": 0.25})
    examples = Examples.build(PREPARED, CONFIG, settings, TITLES)
    batches = [examples.batch(np.arange(3), 0, step) for step in range(600)]
    known = np.concatenate([batch["known"][(batch["items"] > 0) & (batch["items"] != 7)] for batch in batches])
    # About 3,600 draws: .25 hidden, give or take five standard errors of .0072.
    assert abs((~known).mean() - 0.25) < 0.036


def test_older_targets_count_less_and_the_mean_is_one() -> None:
    # Targets at 1 h, 1 h 10 min and 1 min; with a half-life of an hour of their 69 minutes, ages 10, 0 and 69.
    raw = 0.5 ** (np.array([10, 0, 69]) / 60)
    settings = SETTINGS.model_copy(update={"half_life_share": 60 / 69})
    weights = Examples.build(PREPARED, CONFIG, settings, TITLES).weights_T
    assert np.allclose(weights, raw / raw.mean())
    assert np.isclose(weights.mean(), 1.0)


def test_a_targets_type_weighs_it_and_the_mean_is_one() -> None:
    # Targets are a purchase (type 4), a view and a cart: 6, 1 and 2, of mean 3.
    heavy = {"half_life_share": 0, "cart_weight": 2, "purchase_weight": 6}
    weights = Examples.build(PREPARED, CONFIG, SETTINGS.model_copy(update=heavy), TITLES).weights_T
    assert np.allclose(weights, [2, 1 / 3, 2 / 3])


def test_weights_change_nothing_of_what_is_drawn() -> None:
    heavy = SETTINGS.model_copy(update={"purchase_weight": 6})
    first, second = (
        Examples.build(PREPARED, CONFIG, each, TITLES).batch(np.arange(3), 0, 0) for each in (SETTINGS, heavy)
    )
    assert [name for name in first if not np.array_equal(first[name], second[name])] == ["weight"]


def test_targets_that_all_weigh_nothing_are_refused() -> None:
    weightless = SETTINGS.model_copy(update={"view_weight": 0, "cart_weight": 0, "purchase_weight": 0})
    with pytest.raises(DataError, match=r"All 3 training targets .* weigh nothing \(train.view_weight=0, train.cart_"):
        Examples.build(PREPARED, CONFIG, weightless, TITLES)


def test_hard_negatives_are_of_their_targets_own_category() -> None:
    # Items 1 to 4 are cups, 5 to 7 hats of which 7 was no target.
    items = [replace(item, category="cups" if item.index < 5 else "hats") for item in PREPARED.items]
    settings = SETTINGS.model_copy(update={"hard_negatives": 64})
    batch = Examples.build(replace(PREPARED, items=items), CONFIG, settings, TITLES).batch(np.arange(3), 0, 0)
    for target, hard in zip(batch["items"][batch["targets"]], batch["items"][batch["hard"]], strict=True):
        assert set(hard.tolist()) == ({1, 2, 3, 4} if target < 5 else {5, 6})


def test_what_was_exposed_comes_newest_first_with_the_target_it_was_shown_before() -> None:
    # Before item 2, no target, 7 was shown; before 4 first 5, then 6, then 7.
    settings = SETTINGS.model_copy(update={"exposed_negatives": 2})
    batch = Examples.build(PREPARED, CONFIG, settings, TITLES).batch(np.arange(3), 0, 0)
    assert batch["items"][batch["targets"][:3]].tolist() == [3, 4, 6]
    assert batch["items"][batch["exposed"][:3]].tolist() == [[0, 0], [7, 6], [0, 0]]


def test_targets_of_one_window_share_its_number() -> None:
    batch = Examples.build(PREPARED, CONFIG, SETTINGS, TITLES).batch(np.arange(3), 0, 0)
    third, fourth, sixth = batch["windows"][:3]
    assert third == fourth != sixth


def test_without_a_half_life_all_targets_count_alike() -> None:
    examples = Examples.build(PREPARED, CONFIG, SETTINGS.model_copy(update={"half_life_share": 0}), TITLES)
    assert examples.weights_T.tolist() == [1.0] * 3
