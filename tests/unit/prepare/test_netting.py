"""Cancels take purchases back; searches are answered by what follows them."""

from __future__ import annotations

from pipeline.prepare.log import NEVER
from pipeline.prepare.netting import answered_searches, removal_times
from pipeline.prepare.training import build_training

SECOND = 1_000_000
MINUTE = 60


def removed(log) -> dict[int, int]:
    """Returns second of purchase -> second it was taken back."""
    times = removal_times(log)
    return {int(t) // SECOND: int(r) // SECOND for t, r in zip(log.time_us, times, strict=True) if r != NEVER}


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


def test_a_cancel_after_the_cut_is_not_known_before_it(evidence_of) -> None:
    evidence = evidence_of(("u", 1, "purchase", "a"), ("u", 2, "view", "b"), ("u", 10, "cancel", "a"))
    before = build_training(evidence, 10 * SECOND, 1)
    after = build_training(evidence, 11 * SECOND, 1)
    assert len(before.items) == 2
    assert evidence.log.items.take(after.vocabulary).to_pylist() == ["b"]


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
