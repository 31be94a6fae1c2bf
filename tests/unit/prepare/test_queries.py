"""Evaluation queries: what was known, and what came after."""

from __future__ import annotations

from pipeline.prepare.candidates import Period
from pipeline.prepare.queries import draw_queries

SECOND = 1_000_000
S = {"session": "s"}


def drawn(evidence, start: int, end: int, length: int = 30, most: int = 1000) -> list[dict]:
    log = evidence.log
    queries = draw_queries(evidence, Period(start * SECOND, end * SECOND), length, most)
    return [
        {
            "user": log.actors[q.actor].as_py(),
            "kind": q.kind,
            "time": q.time_us // SECOND,
            "history": log.items.take(log.item[q.history]).to_pylist(),
            "targets": log.items.take(q.targets).to_pylist(),
            "new": log.items.take(q.new_targets).to_pylist(),
        }
        for q in queries
    ]


def test_removes_are_history_but_no_targets(evidence_of) -> None:
    evidence = evidence_of(
        ("u", 1, "cart", "a"), ("u", 2, "remove", "a"), ("u", 11, "remove", "b"), ("u", 12, "cart", "c")
    )
    (query,) = drawn(evidence, 10, 20)
    assert (query["history"], query["targets"]) == (["a", "a"], ["c"])


def test_a_purchase_cancelled_within_the_period_is_no_target(evidence_of) -> None:
    evidence = evidence_of(
        ("u", 1, "view", "x"),
        ("u", 11, "purchase", "a"),
        ("u", 12, "purchase", "b"),
        ("u", 13, "cancel", "a"),
        ("u", 21, "cancel", "b"),
    )
    (query,) = drawn(evidence, 10, 20)
    assert query["targets"] == ["b"]


def test_a_purchase_cancelled_before_the_cut_left_history_but_is_not_new(evidence_of) -> None:
    evidence = evidence_of(
        ("u", 1, "view", "x"), ("u", 2, "purchase", "a"), ("u", 3, "cancel", "a"), ("u", 11, "view", "a")
    )
    (query,) = drawn(evidence, 10, 20)
    assert (query["history"], query["targets"], query["new"]) == (["x"], ["a"], [])


def test_a_purchase_cancelled_after_the_cut_is_still_history(evidence_of) -> None:
    evidence = evidence_of(("u", 1, "purchase", "a"), ("u", 11, "view", "b"), ("u", 12, "cancel", "a"))
    (query,) = drawn(evidence, 10, 20)
    assert query["history"] == ["a"]


def test_targets_are_distinct_and_in_the_order_they_were_met(evidence_of) -> None:
    evidence = evidence_of(
        ("u", 1, "view", "b"), ("u", 11, "view", "c"), ("u", 12, "view", "b"), ("u", 13, "purchase", "c")
    )
    (query,) = drawn(evidence, 10, 20)
    assert (query["targets"], query["new"]) == (["c", "b"], ["c"])


def test_a_new_user_with_a_single_event_is_no_query(evidence_of) -> None:
    assert drawn(evidence_of(("u", 11, "view", "a")), 10, 20) == []


def test_a_search_sees_the_history_of_its_own_period(evidence_of) -> None:
    evidence = evidence_of(
        ("u", 1, "view", "a", S), ("u", 11, "view", "b", S), ("u", 12, "search", "red", S), ("u", 13, "view", "b", S)
    )
    search = next(q for q in drawn(evidence, 10, 20) if q["kind"] == "search")
    assert (search["time"], search["history"], search["targets"], search["new"]) == (12, ["a", "b"], ["b"], [])


def test_a_search_belongs_to_the_period_it_was_typed_in_and_its_answers_too(evidence_of) -> None:
    evidence = evidence_of(("u", 9, "search", "red", S), ("u", 11, "view", "a", S), ("u", 21, "view", "b", S))
    assert [q["kind"] for q in drawn(evidence, 10, 20)] == []
    assert [q["targets"] for q in drawn(evidence, 0, 20) if q["kind"] == "search"] == [["a"]]


def test_an_unanswered_search_is_no_query(evidence_of) -> None:
    assert drawn(evidence_of(("u", 11, "search", "red", S)), 10, 20) == []


def test_the_draw_keeps_to_its_limit_and_a_larger_one_holds_the_smaller(evidence_of) -> None:
    lines = [(f"u{n:02d}", second, "view", f"i{second}") for n in range(50) for second in (1, 11)]
    evidence = evidence_of(*lines)
    few, more = ({q["user"] for q in drawn(evidence, 10, 20, most=most)} for most in (10, 20))
    assert len(few) == 10 and len(more) == 20 and few < more
    # An even draw does not take the first of the alphabet.
    assert few != {f"u{n:02d}" for n in range(10)}


def test_the_draw_does_not_hang_on_who_else_is_there(evidence_of) -> None:
    lines = [(f"u{n:02d}", second, "view", f"i{second}") for n in range(50) for second in (1, 11)]
    strangers = [("a-stranger", second, "view", "z") for second in (1, 2)]
    alone, among = (drawn(evidence_of(*each), 10, 20, most=10) for each in (lines, lines + strangers))
    assert [q["user"] for q in alone] == [q["user"] for q in among]
