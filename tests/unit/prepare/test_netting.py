"""Cancels take purchases back; searches are answered by what follows them."""

from __future__ import annotations

import numpy as np

from pipeline.prepare import netting
from pipeline.prepare.log import NEVER
from pipeline.prepare.netting import answered_searches, removals

SECOND = 1_000_000
MINUTE = 60


def removed(log) -> dict[int, int]:
    """Returns second of purchase -> second it was taken back."""
    found = removals(log)
    bought_us = log.time_us[found.rows].tolist()
    return {t // SECOND: r // SECOND for t, r in zip(bought_us, found.at_us.tolist(), strict=True)}


def test_a_cancel_takes_back_the_latest_earlier_purchase_of_that_item_by_that_actor(log_of) -> None:
    log = log_of(
        ("u", 1, "purchase", "a"),
        ("u", 2, "purchase", "a"),
        ("u", 3, "purchase", "b"),
        ("v", 3, "purchase", "a"),
        ("u", 4, "cancel", "a"),
        ("u", 5, "purchase", "a"),
    )
    assert removed(log) == {2: 4}


def test_a_second_cancel_takes_back_the_purchase_before(log_of) -> None:
    buys = (("u", 1, "purchase", "a"), ("u", 2, "purchase", "a"))
    assert removed(log_of(*buys, ("u", 3, "cancel", "a"), ("u", 4, "cancel", "a"))) == {2: 3, 1: 4}


def test_a_purchase_stands_until_its_last_piece_is_cancelled(log_of) -> None:
    buy = ("u", 1, "purchase", "a", {"quantity": 12})
    some, rest = ("u", 2, "cancel", "a", {"quantity": 4}), ("u", 3, "cancel", "a", {"quantity": 8})
    assert removed(log_of(buy, some)) == {}
    assert removed(log_of(buy, some, rest)) == {1: 3}


def test_a_large_cancel_takes_back_as_many_purchases_as_it_has_pieces_for(log_of) -> None:
    buys = [("u", second, "purchase", "a", {"quantity": 2}) for second in (1, 2, 3)]
    # 5 pieces: both of the third, both of the second, one of the first, which stands.
    assert removed(log_of(*buys, ("u", 4, "cancel", "a", {"quantity": 5}))) == {3: 4, 2: 4}


def test_a_negative_quantity_means_as_many_pieces(log_of) -> None:
    buys = [("u", second, "purchase", "a", {"quantity": 2}) for second in (1, 2)]
    assert removed(log_of(*buys, ("u", 4, "cancel", "a", {"quantity": -4}))) == {2: 4, 1: 4}


def test_a_cancel_with_nothing_to_take_back_is_dropped(log_of) -> None:
    log = log_of(("u", 1, "cancel", "a"), ("u", 2, "purchase", "a"), ("u", 3, "view", "b"), ("u", 4, "cancel", "b"))
    assert removed(log) == {}


def test_a_cancel_after_the_cut_is_not_known_before_it(evidence_of, train) -> None:
    evidence = evidence_of(("u", 1, "purchase", "a"), ("u", 2, "view", "b"), ("u", 10, "cancel", "a"))
    before, after = train(evidence, 10), train(evidence, 11)
    assert len(before.items) == 2
    assert evidence.log.items.take(after.vocabulary.codes).to_pylist() == ["b"]


def answered(log, minutes: int = 30) -> dict[tuple[str, int], str]:
    """Returns (item, second) -> text of the search it answers."""
    answers = answered_searches(log, minutes)
    rows = [row for row in range(len(log)) if answers[row] >= 0]
    texts = [log.queries[int(log.query[answers[row]])].as_py() for row in rows]
    keys = [(log.items[int(log.item[row])].as_py(), int(log.time_us[row]) // SECOND) for row in rows]
    return dict(zip(keys, texts, strict=True))


S, T = {"session": "s"}, {"session": "t"}


def test_the_latest_search_of_the_session_is_answered(log_of) -> None:
    log = log_of(
        ("u", 0, "view", "early", S),
        ("u", 1, "search", "red", S),
        ("u", 2, "view", "a", S),
        ("u", 3, "search", "blue", S),
        ("u", 4, "cart", "b", S),
        ("u", 5, "purchase", "b", S),
        ("u", 6, "remove", "b", S),
    )
    assert answered(log) == {("a", 2): "red", ("b", 4): "blue", ("b", 5): "blue"}


def test_another_session_does_not_answer(log_of) -> None:
    assert answered(log_of(("u", 1, "search", "red", S), ("u", 2, "view", "a", T), ("u", 3, "view", "b"))) == {}


def test_an_answer_may_take_as_long_as_set_and_no_longer(log_of) -> None:
    log = log_of(
        ("u", 0, "search", "red", S), ("u", 30 * MINUTE, "view", "a", S), ("u", 30 * MINUTE + 1, "view", "b", S)
    )
    assert answered(log) == {("a", 30 * MINUTE): "red"}


def test_an_event_of_the_same_moment_answers(log_of) -> None:
    assert answered(log_of(("u", 5, "view", "a", S), ("u", 5, "search", "red", S))) == {("a", 5): "red"}


def test_a_session_that_logs_in_halfway_is_one_session(log_of) -> None:
    log = log_of(("u", 2, "view", "a", S), ("zz-anonymous", 1, "search", "red", S))
    assert answered(log) == {("a", 2): "red"}


def test_without_sessions_an_actor_is_one(log_of) -> None:
    log = log_of(("u", 1, "search", "red"), ("u", 2, "view", "a"), ("v", 2, "view", "b"))
    assert answered(log) == {("a", 2): "red"}


def test_a_cancel_written_before_its_purchase_takes_it_back_when_both_are_of_one_moment(log_of) -> None:
    buy, cancel = ("u", 5, "purchase", "a"), ("u", 5, "cancel", "a")
    assert removed(log_of(cancel, buy)) == removed(log_of(buy, cancel)) == {5: 5}


def test_a_cancel_of_an_earlier_moment_takes_back_no_later_purchase_wherever_it_is_written(log_of) -> None:
    assert removed(log_of(("u", 6, "purchase", "a"), ("u", 5, "cancel", "a"))) == {}


def test_pieces_cancelled_on_several_days_add_up(log_of) -> None:
    day = 86_400
    buys = [("u", 1, "purchase", "a", {"quantity": 3}), ("u", day, "purchase", "a", {"quantity": 2})]
    cancels = [("u", n * day, "cancel", "a", {"quantity": 2}) for n in (2, 3, 4)]
    # Two pieces: the later purchase. Two more: two of the earlier's three. The last two find one left.
    assert removed(log_of(*buys, *cancels[:2])) == {day: 2 * day}
    assert removed(log_of(*buys, *cancels)) == {day: 2 * day, 1: 4 * day}


def test_what_was_cancelled_is_told_of_rows_and_of_stretches_alike(log_of) -> None:
    log = log_of(("u", 1, "purchase", "a"), ("u", 2, "view", "b"), ("u", 3, "cancel", "a"))
    found = removals(log)
    wanted = [3 * SECOND, NEVER, NEVER]
    assert found.of(slice(0, 3)).tolist() == found.of(np.arange(3)).tolist() == wanted
    assert found.of(slice(1, 3)).tolist() == found.of(np.array([1, 2])).tolist() == wanted[1:]


def test_sessions_sorted_in_parts_are_answered_as_in_one(log_of, monkeypatch) -> None:
    draw = np.random.default_rng(3)
    lines = [
        (f"u{draw.integers(9)}", int(draw.integers(3000)), "search" if draw.random() < 0.3 else "view",
         f"x{draw.integers(5)}", {"session": f"s{draw.integers(12)}"} if draw.random() < 0.8 else {})
        for _ in range(400)
    ]  # fmt: skip
    log = log_of(*lines)
    whole = answered_searches(log, 10)
    monkeypatch.setattr(netting, "ROWS_SORTED_AT_ONCE", 50)
    assert np.array_equal(answered_searches(log, 10), whole) and (whole >= 0).any()
