"""Verdicts on planted evidence: every outcome the table knows, and how often it errs."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from pipeline.core.gates import COMPARISONS, GATES, METRICS
from pipeline.core.gating import Gate as Limits
from pipeline.core.settings import Settings, load
from pipeline.gate import accuracy
from pipeline.gate.held_out import TestSet
from pipeline.gate.judge import judge, outcome
from pipeline.gate.rules import Evidence, Finding, Measured
from pipeline.model.baselines import BASELINES
from pipeline.model.slices import Catalogued
from pipeline.model.statistics import Interval

LIMITS = Limits(bootstrap_samples=300)


def settings_with(**gate: float) -> Settings:
    return load([f"gate.{name}={value}" for name, value in {"bootstrap_samples": 300, **gate}.items()])


def synthetic_test(users: int, searches: bool = True) -> TestSet:
    """Two queries a user: a recommendation with three items of history, then a search without."""
    rows = []
    for user in range(users):
        rows.append(_row(user, "recommend", ["a", "b", "c"]))
        kind = "search" if searches else "recommend"
        rows.append(_row(user, kind, [] if searches else ["a"]))
    items = Catalogued(["x"], np.array([True]), np.array([1]), [None], [None])
    return TestSet(rows, [["x"]] * len(rows), [True] * len(rows), datetime(2024, 5, 1, tzinfo=UTC), 7.0, items)


def _row(user: int, kind: str, history: list[str]) -> dict[str, Any]:
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    events = {"history_item_ids": history, "history_event_types": ["view"] * len(history)}
    times = {"history_times": [moment] * len(history), "time": moment}
    return {"user": f"u{user}", "kind": kind, "query": None, "context": "device=tv", **events, **times}


def judged(test: TestSet, settings: Settings, **values: np.ndarray) -> list[Finding]:
    measured = Measured()
    baselines = {name: np.full(len(test), 0.1) for name in BASELINES} | {"popularity": np.zeros(len(test))}
    accuracy.compare(measured, test, {**baselines, **values}, settings)
    return [f for f in judge(measured.rows, settings.gate, "champion" in values) if f.metric.startswith("recall")]


def one(findings: list[Finding], gate: str, slice_: str = "") -> Finding:
    return next(f for f in findings if (f.gate, f.slice) == (gate, slice_))


def at(value: float, low: float | None = None, high: float | None = None) -> Interval:
    return Interval(value, value if low is None else low, value if high is None else high, 0.0, 100)


def verdict_of(gate: str, evidence: Evidence, limits: Limits = LIMITS) -> Finding:
    metric = next(g.metric for g in GATES if g.name == gate)
    return next(f for f in judge({metric: [evidence]}, limits, True) if f.gate == gate)


# Accuracy.


def nightly(generator: np.random.Generator, users: int, shift: float) -> dict[str, np.ndarray]:
    """Two models of the same quality but for `shift`: half a query's recall is shared, the rest is each one's own."""
    shared = np.repeat(generator.normal(0.5, 0.2, users), 2)
    own = generator.normal(0, 0.1, (2, users * 2))
    return {"challenger": shared + own[0] + shift, "champion": shared + own[1]}


def test_an_equal_challenger_mostly_passes_and_a_regression_twice_the_margin_never_does():
    # The difference of two queries of one user has deviation .1 * sqrt(2); 300 users: se = .1414 / sqrt(600) = .00577,
    # margin = 3.24 * se = .0187. Power .9 promises 90 % of equal challengers; 60 rounds: 54 +- 3 * 2.3.
    settings, test, generator = settings_with(), synthetic_test(300), np.random.default_rng(1)
    equal, worse = Counter(), Counter()
    for _ in range(60):
        equal[one(judged(test, settings, **nightly(generator, 300, 0.0)), "accuracy").verdict] += 1
        worse[one(judged(test, settings, **nightly(generator, 300, -2 * 0.0187)), "accuracy").verdict] += 1
    assert equal["pass"] >= 47 and not equal["fail"]
    assert not worse["pass"]
    assert worse["fail"] >= 47


def test_the_margin_is_derived_and_printed():
    found = one(judged(synthetic_test(300), settings_with(), **nightly(np.random.default_rng(2), 300, 0.0)), "accuracy")
    assert found.threshold == pytest.approx(-0.0187, rel=0.15)
    # .0187 of .5 is 3.7 %.
    assert "by more than 3." in found.reason or "by more than 4." in found.reason


def test_a_margin_beyond_the_shops_limit_is_inconclusive_and_says_how_many_queries_are_missing():
    # Ten times fewer users: the margin is sqrt(10) * 3.7 % = 12 % and the shop risks 5 %: about (12 / 5)^2 = 5.6 times
    # the 60 queries are needed, some 280 more; at 60 queries in 7 days about 33 days.
    settings = settings_with(min_queries=20, max_margin=0.05)
    found = one(judged(synthetic_test(30), settings, **nightly(np.random.default_rng(3), 30, 0.0)), "accuracy")
    assert found.verdict == "inconclusive"
    assert "the shop risks at most 5.0%" in found.reason
    more = int(found.reason.split("About ")[1].split(" ")[0].replace(",", ""))
    assert 150 <= more <= 450
    assert "more test days" in found.reason


def test_a_challenger_proven_better_needs_no_margin():
    settings = settings_with(min_queries=20, max_margin=0.001)
    found = one(judged(synthetic_test(30), settings, **nightly(np.random.default_rng(4), 30, 0.3)), "accuracy")
    assert found.verdict == "pass"


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        # The margin is 3.24 * .01 = .0324. Lost is .015: it lies .0174 above it, (.0324 / .0174)^2 = 3.47 times 1,000.
        (0.015, "About 2,4"),
        # Half a standard error above the margin 42 times as many queries would be needed.
        (0.0274, "More queries alone would hardly decide this."),
    ],
)
def test_how_many_queries_would_decide_is_told_only_where_somebody_could_wait_for_them(lost, told):
    difference = Interval(-lost, -lost - 0.02, -lost + 0.02, 0.01, 1000)
    found = verdict_of("accuracy", Evidence("", 1000, 1000, challenger=0.5 - lost, champion=0.5, difference=difference))
    assert found.verdict == "inconclusive" and told in found.reason


def test_a_margin_never_exceeds_the_shops_limit():
    settings = settings_with(min_queries=20, max_margin=0.02)
    found = one(judged(synthetic_test(300), settings, **nightly(np.random.default_rng(5), 300, 0.0)), "accuracy")
    assert -found.threshold <= 0.02 * found.champion + 1e-12


def test_identical_answers_pass():
    values = np.random.default_rng(6).random(400)
    findings = judged(synthetic_test(200), settings_with(), challenger=values, champion=values.copy())
    assert one(findings, "accuracy").verdict == "pass"
    assert {f.verdict for f in findings if f.gate == "slice"} <= {"pass", "reported"}


def test_too_few_queries_are_inconclusive():
    found = one(judged(synthetic_test(30), settings_with(), **nightly(np.random.default_rng(7), 30, 0.0)), "accuracy")
    assert (found.verdict, found.reason) == (
        "inconclusive",
        "Only 60 test queries; at least 100 are needed, 40 more.",
    )


def test_a_nan_recall_of_the_challenger_fails():
    values = nightly(np.random.default_rng(8), 100, 0.0)
    values["challenger"][3] = math.nan
    found = one(judged(synthetic_test(100), settings_with(), **values), "accuracy")
    assert found.verdict == "fail"
    assert found.reason == "Recall of the challenger is not a number for 1 of 200 queries."


def test_a_nan_recall_of_the_champion_is_inconclusive():
    values = nightly(np.random.default_rng(9), 100, 0.0)
    values["champion"][:2] = math.inf
    found = one(judged(synthetic_test(100), settings_with(), **values), "accuracy")
    assert found.verdict == "inconclusive"
    assert "Recall of the champion is not a number for 2 of 200" in found.reason


def test_a_champion_that_was_never_right_does_not_divide_by_zero():
    zeros = np.zeros(400)
    findings = judged(synthetic_test(200), settings_with(), challenger=zeros + 0.2, champion=zeros)
    assert one(findings, "accuracy").verdict == "pass"


# Anchor.


def test_losses_within_every_nights_margin_are_stopped_by_the_anchor():
    # The champion lost 6 % of the anchor already; the challenger loses 6 % more. Nobody may lose 10 % in all.
    generator = np.random.default_rng(10)
    values = nightly(generator, 2000, -0.03)
    values["anchor 123456789abc"] = values["champion"] + 0.03
    findings = judged(synthetic_test(2000), settings_with(), **values)
    anchor = one(findings, "anchor")
    assert anchor.verdict == "fail"
    assert anchor.threshold == pytest.approx(-0.1 * anchor.champion)


def test_a_champion_that_is_the_best_of_its_days_is_its_own_anchor():
    values = nightly(np.random.default_rng(11), 200, 0.0)
    values["anchor 123456789abc"] = values["champion"] - 0.1
    assert one(judged(synthetic_test(200), settings_with(), **values), "anchor").verdict == "reported"


# Slices.


def test_a_slice_vetoes_on_proven_harm():
    values = nightly(np.random.default_rng(12), 500, 0.02)
    values["challenger"][1::2] -= 0.2  # every second query is a search
    findings = judged(synthetic_test(500), settings_with(), **values)
    assert one(findings, "slice", "search").verdict == "fail"
    assert one(findings, "slice", "recommend").verdict == "pass"
    assert outcome(findings, LIMITS) == "fail"


def test_slices_of_an_equal_challenger_hardly_ever_veto():
    settings, test, generator = settings_with(), synthetic_test(150), np.random.default_rng(13)
    rounds = [judged(test, settings, **nightly(generator, 150, 0.0)) for _ in range(40)]
    assert sum(f.verdict == "fail" for findings in rounds for f in findings if f.gate == "slice") <= 1


def test_an_empty_slice_is_reported_and_never_passes():
    findings = judged(
        synthetic_test(200, searches=False), settings_with(), **nightly(np.random.default_rng(14), 200, 0.0)
    )
    empty = one(findings, "slice", "search")
    assert (empty.verdict, empty.n) == ("reported", 0)
    assert "nothing is known of it" in empty.reason


def test_a_small_slice_is_reported_not_judged():
    values = nightly(np.random.default_rng(15), 40, 0.0)
    values["challenger"][1::2] -= 0.4
    found = one(judged(synthetic_test(40), settings_with(min_queries=20), **values), "slice", "search")
    assert (found.verdict, found.reason) == ("reported", "Only 40 test queries; at least 50 are needed, 10 more.")


@pytest.mark.parametrize(("others", "verdict"), [(1, "fail"), (2, "pass")])
def test_the_more_slices_are_looked_at_the_stronger_the_proof_must_be(others, verdict):
    # A tenth of .5, so .05, may be lost. Lost is .07, two standard errors more: p = .0228; times 2 .046, times 3 .068.
    def row(name: str, lost: float) -> Evidence:
        return Evidence(name, 500, challenger=0.5 - lost, champion=0.5, difference=Interval(-lost, -1, 1, 0.01, 500))

    rows = [row("harmed", 0.07), *(row(f"other {n}", 0.0) for n in range(others))]
    found = [f for f in judge({"recall_slice": rows}, LIMITS, True) if f.gate == "slice"]
    assert (found[0].slice, found[0].verdict) == ("harmed", verdict)


def test_slices_of_several_rules_share_one_correction():
    # As above with one other slice, which a second rule judges: what was looked at counts, whoever asked.
    def row(name: str, lost: float) -> Evidence:
        return Evidence(name, 500, challenger=0.5 - lost, champion=0.5, difference=Interval(-lost, -1, 1, 0.01, 500))

    rules = [
        {"name": name, "metric": "recall_slice", "slice": name, "comparison": "not_harmed", "margin": 0.1}
        for name in ("search", "recommend")
    ]
    rows = [row("search", 0.07), row("recommend", 0.0)]
    found = judge({"recall_slice": rows}, ruled(*rules).gate, True)
    assert [f.verdict for f in found if f.slice == "search"] == ["pass", "pass"]


def test_the_strictest_limit_of_slice_and_accuracy_counts():
    rows = [Evidence("search", 500, challenger=0.48, champion=0.5, difference=Interval(-0.02, -1, 1, 0.001, 500))]
    strict = ruled({"name": "slice", "margin": 0.01})
    assert one(judge({"recall_slice": rows}, LIMITS, True), "slice", "search").verdict == "pass"
    assert one(judge({"recall_slice": rows}, strict.gate, True), "slice", "search").verdict == "fail"
    closer = ruled({"name": "accuracy", "margin": 0.01})
    assert one(judge({"recall_slice": rows}, closer.gate, True), "slice", "search").threshold == pytest.approx(-0.005)


# The shop's own rules.


def ruled(*rules: dict[str, Any], **gate: float) -> Settings:
    return load(
        [f"gate.{name}={value}" for name, value in {"bootstrap_samples": 300, **gate}.items()]
        + [f"gate.rules={json.dumps(rules)}"]
    )


FLOOR = {"name": "floor", "metric": "recall_level", "comparison": "at_least"}


@pytest.mark.parametrize(("threshold", "verdict"), [(0.4, "pass"), (0.5, "inconclusive"), (0.6, "fail")])
@pytest.mark.parametrize("first", [True, False])
def test_an_absolute_floor_is_held_by_the_lower_end_of_the_interval(threshold, verdict, first):
    # Every second of 300 users finds all: .5 with a deviation of .5 a user, +- 1.96 * .5 / sqrt(300) = .443 to .557.
    values = np.repeat([0.0, 1.0] * 150, 2)
    sides = {"challenger": values} if first else {"challenger": values, "champion": values}
    found = one(judged(synthetic_test(300), ruled(FLOOR | {"threshold": threshold}), **sides), "floor")
    assert (found.verdict, found.threshold) == (verdict, threshold)
    assert f"at least {threshold:g}" in found.reason
    assert found.low == pytest.approx(0.443, abs=0.01)


def test_a_floor_of_a_slice_looks_at_that_slice_alone():
    values = {"challenger": np.tile([0.8, 0.2], 200)}  # every second query is a search
    rule = FLOOR | {"threshold": 0.5}
    findings = judged(synthetic_test(200), ruled(rule | {"slice": "search"}), **values)
    assert one(findings, "floor", "search").verdict == "fail"
    findings = judged(synthetic_test(200), ruled(rule | {"slice": "recommend"}), **values)
    assert one(findings, "floor", "recommend").verdict == "pass"


def test_a_floor_of_an_empty_slice_is_inconclusive():
    settings = ruled(FLOOR | {"threshold": 0.1, "slice": "search"})
    findings = judged(synthetic_test(200, searches=False), settings, challenger=np.full(400, 0.5))
    assert (one(findings, "floor", "search").verdict, outcome(findings, settings.gate)) == ("inconclusive",) * 2


def test_what_a_rule_only_notes_does_not_ask_a_person():
    rule = FLOOR | {"threshold": 0.1, "slice": "search", "on_inconclusive": "note"}
    settings = ruled(rule)
    findings = judged(synthetic_test(200, searches=False), settings, challenger=np.full(400, 0.5))
    assert (one(findings, "floor", "search").verdict, outcome(findings, settings.gate)) == ("inconclusive", "pass")


def test_a_slice_may_have_to_be_proven_not_worse():
    # The built-in gate asks for proof of harm, and .01 of recall, one standard error of 200 searches, is none.
    values = nightly(np.random.default_rng(21), 200, 0.0)
    values["challenger"][1::2] -= 0.01
    rule = {"name": "searches", "metric": "recall_slice", "slice": "search", "comparison": "non_inferior"}
    findings = judged(synthetic_test(200), ruled(rule | {"margin": 0.001}), **values)
    assert one(findings, "slice", "search").verdict == "pass"
    assert one(findings, "searches", "search").verdict == "inconclusive"
    assert [f.slice for f in findings if f.gate == "searches"] == ["search"]


def test_a_baseline_may_have_to_be_beaten_and_popularity_not():
    values = {"challenger": np.full(400, 0.05), "popularity": np.full(400, 0.9)}
    rules = {"name": "item-KNN", "comparison": "superior"}, {"name": "beats popularity", "comparison": "report"}
    findings = judged(synthetic_test(200), ruled(*rules), **values)
    assert (one(findings, "item-KNN").verdict, one(findings, "beats popularity").verdict) == ("fail", "reported")


def test_a_rules_own_confidence_widens_its_interval_alone():
    values = nightly(np.random.default_rng(22), 300, 0.0)
    plain, sure = (
        judged(synthetic_test(300), ruled(*rules), **values)
        for rules in ((), ({"name": "accuracy", "confidence": 0.999},))
    )
    # z of .999 two-sided is 3.29 and of .95 1.96: 1.68 times as wide; the margin (3.29 + 1.28) / (1.96 + 1.28) = 1.41.
    wide, narrow = one(sure, "accuracy"), one(plain, "accuracy")
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(1.68, rel=0.1)
    assert wide.threshold / narrow.threshold == pytest.approx(1.41, rel=0.01)
    assert one(sure, "slice", "search") == one(plain, "slice", "search")


def test_a_rules_own_least_number_of_queries_counts():
    values = nightly(np.random.default_rng(23), 200, 0.0)
    found = one(judged(synthetic_test(200), ruled({"name": "accuracy", "min_queries": 500}), **values), "accuracy")
    assert (found.verdict, found.reason) == (
        "inconclusive",
        "Only 400 test queries; at least 500 are needed, 100 more.",
    )


def coverage_of(evidence: Evidence) -> Finding:
    settings = ruled({"name": "catalogue coverage", "comparison": "at_least", "threshold": 0.3})
    return next(f for f in judge({"coverage": [evidence]}, settings.gate, True) if f.gate == "catalogue coverage")


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (at(0.4), "pass"),
        (at(0.3), "pass"),
        (at(0.4, 0.2, 0.5), "inconclusive"),
        (at(0.2, 0.1, 0.29), "fail"),
        (at(math.nan), "fail"),
        (at(math.inf), "fail"),
    ],
)
def test_a_floor_is_held_by_the_lower_end_broken_by_the_upper(interval, verdict):
    assert coverage_of(Evidence(value=interval)).verdict == verdict


def test_what_nobody_can_know_is_unclear_where_a_rule_judges_it():
    found = coverage_of(Evidence(detail="No query of the test was answered with an item."))
    assert (found.verdict, found.reason) == ("inconclusive", "No query of the test was answered with an item.")


def test_a_rule_about_what_was_not_measured_fails():
    settings = ruled({"name": "floor", "metric": "recall_level", "comparison": "at_least", "threshold": 0.1})
    found = next(f for f in judge({}, settings.gate, False) if f.gate == "floor")
    assert (found.verdict, found.reason) == (
        "fail",
        "recall_level was not measured; a gate without evidence is not passed.",
    )


# Degenerate tests.


@pytest.mark.parametrize("side", ["challenger", "champion"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_recall_that_is_not_a_number_passes(side, value):
    values = nightly(np.random.default_rng(24), 100, 0.1)
    values[side][3] = value
    findings = judged(synthetic_test(100), settings_with(), **values)
    assert one(findings, "accuracy").verdict == {"challenger": "fail", "champion": "inconclusive"}[side]
    assert outcome(findings, LIMITS) == one(findings, "accuracy").verdict


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "pass"), (0.1, "pass"), (-0.1, "fail"), (-0.001, "fail")])
def test_a_difference_without_variance_has_no_margin_and_is_taken_at_its_word(shift, verdict):
    values = np.random.default_rng(25).random(400)
    found = one(judged(synthetic_test(200), settings_with(), challenger=values + shift, champion=values), "accuracy")
    assert (found.verdict, found.low) == (verdict, pytest.approx(found.high))


@pytest.mark.parametrize(("hits", "verdict"), [(10, "inconclusive"), (100, "pass")])
@pytest.mark.parametrize("gained", [0, 1])
def test_a_test_with_too_few_hits_to_see_a_loss_does_not_pass_because_none_was_seen(hits, verdict, gained):
    # A fifth of 10 hits is 2, and one time in nine a true loss of a fifth costs none of them. One user of 100 moves the
    # margin by 3.24 / 100 = .032: 65 % of a recall of 10 / 200, beyond the shop's 10 %, but 6.5 % of one of 100 / 200.
    champion = np.zeros(200)
    champion[:hits] = 1
    challenger = champion.copy()
    challenger[hits : hits + gained] = 1
    found = one(judged(synthetic_test(100), settings_with(), challenger=challenger, champion=champion), "accuracy")
    assert found.verdict == verdict
    told = f"Only {gained} of 100 users got another recall" in found.reason and "About " in found.reason
    assert told == (verdict == "inconclusive")


@pytest.mark.parametrize(("users", "verdict"), [(1, "inconclusive"), (19, "inconclusive"), (20, "pass")])
def test_many_queries_of_few_users_prove_nothing(users, verdict):
    # One user's bootstrap has no width: any difference would look certain.
    test = synthetic_test(200)
    test = replace(test, rows=[row | {"user": f"u{place // 2 % users}"} for place, row in enumerate(test.rows)])
    values = nightly(np.random.default_rng(26), 200, 0.3)
    findings = judged(test, settings_with(), **values)
    assert {one(findings, gate).verdict for gate in ("accuracy", "beats popularity")} == {verdict}
    assert (one(findings, "slice", "search").verdict == "reported") == (verdict == "inconclusive")


# Baselines and the first model.


def test_a_first_model_is_judged_by_the_floor_alone():
    findings = judged(
        synthetic_test(200), settings_with(), challenger=nightly(np.random.default_rng(16), 200, 0.0)["challenger"]
    )
    assert one(findings, "beats popularity").verdict == "pass"
    assert not [f for f in findings if f.gate in ("accuracy", "slice", "anchor")]
    assert outcome(findings, LIMITS) == "pass"


@pytest.mark.parametrize(("recall", "verdict"), [(0.0, "fail"), (0.5, "pass")])
def test_popularity_must_be_beaten(recall, verdict):
    findings = judged(synthetic_test(200), settings_with(), challenger=np.full(400, recall))
    assert one(findings, "beats popularity").verdict == verdict


def test_item_knn_is_reported_whatever_it_shows():
    findings = judged(synthetic_test(200), settings_with(), challenger=np.full(400, 0.01))
    assert one(findings, "item-KNN").verdict == "reported"


# Budgets, servers, and what was not measured.


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (at(80, 70, 99), "pass"),
        (at(80, 70, 100), "pass"),
        (at(95, 70, 101), "inconclusive"),
        (at(120, 101, 140), "fail"),
        (at(math.nan), "fail"),
        (at(math.inf), "fail"),
        (at(80, 70, math.inf), "fail"),
    ],
)
def test_a_budget_is_held_by_the_upper_end_broken_by_the_lower_and_noise_is_inconclusive(interval, verdict):
    assert verdict_of("latency p99", Evidence(value=interval)).verdict == verdict


def test_noise_says_what_would_help():
    noisy = Evidence(value=at(1.1, 1, 2), helps="too noisy; measure again on a quieter machine")
    assert verdict_of("latency p50 ratio", noisy).reason.endswith(
        "1.1 (interval 1 to 2) is not surely at most 1.15: too noisy; measure again on a quieter machine."
    )


@pytest.mark.parametrize(("holds", "verdict"), [(True, "pass"), (False, "fail"), (None, "inconclusive")])
def test_what_could_not_be_found_out_is_inconclusive(holds, verdict):
    assert verdict_of("goldens", Evidence(holds=holds, detail="Why.")).verdict == verdict


def test_a_metric_that_was_not_measured_fails_its_gate():
    findings = judge({}, LIMITS, has_champion=True)
    assert {f.verdict for f in findings} == {"fail"}
    assert len(findings) == len(GATES)
    assert findings[0].reason == "bundle_whole was not measured; a gate without evidence is not passed."


def test_a_side_that_was_not_ranked_fails_its_gate():
    findings = judged(synthetic_test(200), settings_with(), champion=np.ones(400))
    assert one(findings, "accuracy").verdict == "fail"
    assert "Recall of the challenger was not measured" in one(findings, "accuracy").reason


def test_rows_never_hold_a_nan():
    found = verdict_of("latency p99", Evidence(value=at(math.nan)))
    assert found.challenger is None and found.low is None


def finding(gate: str, verdict: str) -> Finding:
    return Finding(gate, "m", "", None, None, None, None, None, None, 0, verdict, "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([("accuracy", "pass"), ("item-KNN", "reported")], "pass"),
        ([("accuracy", "pass"), ("latency p99", "inconclusive")], "inconclusive"),
        ([("accuracy", "inconclusive"), ("slice", "fail")], "fail"),
        ([("accuracy", "reported")], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_one_failure_fails_one_doubt_asks_and_nothing_judged_is_never_a_pass(verdicts, expected):
    assert outcome([finding(*pair) for pair in verdicts], LIMITS) == expected


def test_every_gate_has_a_limit_where_its_comparison_needs_one():
    for gate in GATES:
        assert bool(gate.setting) == (gate.comparison in ("at_most", "non_inferior", "not_harmed")), gate.name
        assert gate.comparison in COMPARISONS[METRICS[gate.metric].kind]
        assert not gate.setting or hasattr(LIMITS, gate.setting)


def test_the_server_is_asked_where_the_query_was_asked() -> None:
    assert synthetic_test(1).requests(5, 1)[0]["request"]["context"] == {"device": "tv"}
