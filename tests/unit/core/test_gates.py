"""The shop's own gates are data in the settings; a wrong one is refused as they are loaded, in one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.errors import SettingsError
from pipeline.core.gates import GATES, METRICS, SLICES
from pipeline.core.settings import load
from pipeline.model.baselines import BASELINES
from pipeline.model.slices import OF_QUERIES


def table_with(*rules: dict[str, Any]) -> dict[str, Any]:
    """Returns the gates by name, after these rules."""
    return {gate.name: gate for gate in load([f"gate.rules={json.dumps(rules)}"]).gate.table}


FLOOR = {"name": "floor", "metric": "recall_level", "comparison": "at_least", "threshold": 0.2}


def test_without_rules_the_table_is_the_built_in_one() -> None:
    assert load().gate.table == GATES


def test_a_rule_of_a_new_name_comes_last() -> None:
    gates = table_with(FLOOR | {"slice": "search", "on_inconclusive": "note"})
    assert list(gates)[-1] == "floor"
    assert (gates["floor"].limit, gates["floor"].slice, gates["floor"].on_inconclusive) == (0.2, "search", "note")
    assert gates["floor"].without_champion


def test_a_rule_of_a_built_in_name_changes_that_one_in_its_place() -> None:
    gates = table_with({"name": "item-KNN", "comparison": "superior"}, {"name": "accuracy", "margin": 0.05})
    assert list(gates) == [gate.name for gate in GATES]
    assert gates["item-KNN"].comparison == "superior"
    assert (gates["accuracy"].limit, gates["accuracy"].comparison, gates["accuracy"].needed) == (
        0.05,
        "non_inferior",
        True,
    )


def test_rules_come_from_the_settings_file_too(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text("gate: {rules: [{name: beats popularity, comparison: report}]}\n")
    assert next(g for g in load().gate.table if g.name == "beats popularity").comparison == "report"


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"name": "x", "metric": "recal_level", "comparison": "report"}, "no metric; did you mean recall_level"),
        ({"name": "x", "metric": "recall_level"}, "needs metric and comparison"),
        ({"name": "acuracy", "margin": 0.05}, "no built-in gate.*did you mean accuracy"),
        (FLOOR | {"comparison": "superior"}, "compares recall_level by superior; what fits it is at_most, at_least"),
        (FLOOR | {"comparison": "above"}, "input should be 'holds'"),
        (FLOOR | {"slice": "serach"}, "no slice; did you mean search"),
        ({"name": "x", "metric": "memory_mb", "comparison": "at_most", "threshold": 9, "slice": "search"}, "a slice"),
        ({"name": "x", "metric": "recall_slice", "comparison": "superior"}, "needs the slice that shall be superior"),
        ({"name": "x", "metric": "recall_level", "comparison": "at_least"}, "needs a threshold"),
        ({"name": "x", "metric": "recall_item_knn", "comparison": "non_inferior"}, "needs a margin"),
        (FLOOR | {"margin": 0.05}, "gives a margin, which at_least has no use for"),
        (FLOOR | {"threshold": float("nan")}, "finite"),
        ({"name": "item-KNN", "threshold": 0.5}, "gives a threshold, which report has no use for"),
        ({"name": "accuracy", "margin": 0.2}, "margin of 0.2, the shop's limit gate.max_margin is 0.1"),
        ({"name": "latency p99", "threshold": 500}, r"threshold in gate\.max_p99_ms; set that instead"),
        ({"name": "latency p50 ratio", "confidence": 0.9}, "p50_ratio does not rest on test queries"),
        ({"name": "accuracy", "comparison": "report"}, "every promotion needs; it stays non_inferior"),
        ({"name": "anchor", "on_inconclusive": "note"}, "every promotion needs"),
        ({"name": "slice", "comparison": "report"}, "every promotion needs; it stays not_harmed"),
        ({"name": "accuracy", "confidence": 0.9}, "confidence 0.9, .*needs this gate, and gate.confidence is 0.95"),
        ({"name": "accuracy", "min_queries": 99}, "min_queries 99, .* gate.min_queries is 100; give no less"),
        ({"name": "slice", "min_queries": 49}, "gate.min_slice_queries is 50"),
        ({"name": "accuracy", "metric": "recall_level"}, "is built in and judges recall as a whole"),
        ({"name": "accuracy", "slice": "search"}, "is built in and judges recall as a whole"),
        (FLOOR | {"treshold": 0.1}, r"no setting gate\.rules\.0\.treshold; did you mean threshold"),
    ],
)
def test_a_wrong_rule_is_one_sentence(rule: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=f"(?i){sentence}") as raised:
        table_with(rule)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [gate.name for gate in GATES if not gate.overridable])
def test_no_rule_touches_an_infra_gate(name: str) -> None:
    with pytest.raises(SettingsError, match=f"'{name}' is an infra gate, which no rule may change"):
        table_with({"name": name, "on_inconclusive": "ask"})


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="two rules are named 'floor'"):
        table_with(FLOOR, FLOOR | {"threshold": 0.1})


def test_every_slice_and_baseline_a_rule_may_name_is_one_the_model_measures() -> None:
    assert (*OF_QUERIES, "items trained on", "items never trained on") == SLICES
    assert {f"recall_{name}" for name in BASELINES} <= METRICS.keys()
    assert {gate.metric for gate in GATES} <= METRICS.keys()


def test_the_rules_the_guide_shows_are_accepted() -> None:
    guide = Path("docs/guide/reviewer.md").read_text()
    (shown,) = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)]
    assert len(table_with(*shown["gate"]["rules"])) == len(GATES) + 3
