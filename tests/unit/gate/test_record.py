"""The record in its three forms, on findings made by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.gate import page, pictures, record
from pipeline.gate.record import Decision
from pipeline.gate.rules import Finding
from pipeline.gate.words import sentence
from pipeline.model.cost import Line, Table

ACCURACY = Finding("accuracy", "recall", "", 0.21, 0.20, 0.01, -0.002, 0.022, -0.006, 1000, "pass", "Not worse.")
SLICE = Finding("slice", "recall_slice", "search", 0.1, 0.2, -0.1, -0.15, -0.05, -0.006, 200, "fail", "Proven harm.")
P99 = Finding("latency p99", "p99_ms", "", 12.5, None, None, 11.0, 14.0, 100.0, 600, "pass", "Within 100 ms.")
UNCLEAR = Finding(
    "latency p95 ratio", "p95_ratio", "", 1.5, None, None, 1.2, 1.8, 1.5, 600, "inconclusive", "Too noisy."
)


def decision(*findings: Finding, words: str = "Promote: <it> & be glad.", standing: str = "") -> Decision:
    test = {"queries": 1000, "users": 500, "start": "2024-05-08", "end": "2024-05-15", "days": 7.0}
    time = "2024-05-15T00:00:00+00:00"
    challenger, champion = {"version": "8", "digest": "a" * 64}, {"version": "7", "digest": "b" * 64, "sequence": 3}
    return Decision(
        "night",
        time,
        time,
        "pass",
        words,
        standing,
        False,
        False,
        challenger,
        champion,
        findings,
        20,
        "all_items",
        test,
    )


def test_the_table_is_aligned_for_a_terminal():
    lines = record.table([ACCURACY, SLICE, P99])
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1
    assert lines[2].startswith("| accuracy      | pass    | 0.21 ")
    assert "+0.0100 [-0.0020, +0.0220]" in lines[2]
    assert "| FAIL " in lines[3]
    assert "[11, 14]" in lines[4]


def test_the_reasons_follow_the_table_and_a_summary_leaves_them_out():
    whole, short = record.markdown(decision(ACCURACY)), record.summary(decision(ACCURACY))
    assert whole.startswith(short)
    assert whole.removeprefix(short).strip() == "- accuracy: Not worse."


def test_markdown_begins_with_the_recommendation():
    assert record.markdown(decision(ACCURACY)).splitlines()[0] == "**Promote: <it> & be glad.**"


def test_the_page_is_one_file_that_escapes_what_it_shows(tmp_path):
    text = page.render(decision(ACCURACY, SLICE, P99), {}, tmp_path)
    assert "Promote: &lt;it&gt; &amp; be glad." in text and "<it>" not in text
    assert "slice: search" in text
    assert "Recipes tried" not in text and "Latency through the real server" not in text


def test_the_page_shows_the_recipes_where_optimize_left_them(tmp_path):
    rows = [{"recipe": "float32", "recall": {"mean": 0.25}, "bytes": 1234567, "p99_ms": 0.5, "verdict": "chosen"}, {}]
    (tmp_path / "recipes.json").write_text(json.dumps(rows))
    (tmp_path / "pareto.svg").write_text("<svg/>")
    text = page.render(decision(ACCURACY), {"challenger": np.array([1.0, 2, 3])}, tmp_path)
    assert ">1.23<" in text and ">0.2500<" in text and ">0.500<" in text and "data:image/svg+xml;base64," in text


def test_the_page_shows_cost_with_sources_and_says_when_the_machine_was_noisy(tmp_path):
    (tmp_path / "recipes.json").write_text(json.dumps([{"recipe": "float32", "verdict": "chosen"}]))
    told = {"noisy": "noisy: float32 against itself", "rule": ["The smallest ships."], "timed": None}
    (tmp_path / "choice.json").write_text(json.dumps(told))
    costs = [Table("This model", ("EUR",), (Line("people", "EUR", (None,), "cost.review_minutes"),))]
    text = page.render(decision(ACCURACY), {}, tmp_path, costs)
    assert "noisy: float32 against itself" in text and "<li>The smallest ships.</li>" in text
    assert "This model" in text and '<td class="n">-</td><td class="why">cost.review_minutes</td>' in text


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", "null"])
def test_a_recipe_table_that_is_none_is_left_out(tmp_path, content):
    (tmp_path / "recipes.json").write_text(content)
    assert "Recipes tried" not in page.render(decision(ACCURACY), {}, tmp_path)


def test_json_is_refused_rather_than_written_with_a_nan(tmp_path):
    broken = Finding("accuracy", "recall", "", math.nan, None, None, None, None, None, 1, "fail", "")
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.write(tmp_path, decision(broken), "page")
    assert not (tmp_path / "decision.json").exists()


def test_ticks_are_round_and_inside():
    assert pictures.ticks(-4.3, 3.1) == [-4.0, -2.0, 0.0, 2.0]


def test_the_sentence_names_recall_and_speed():
    assert sentence("pass", [ACCURACY, P99], object(), 20, False, False) == (
        "Promote: recall@20 is 0.2100 against the champion's 0.2000 (+5.0%, surely no more than 1.0% worse), "
        "and 99 % of answers come within 12.5 ms."
    )


def test_the_sentence_names_the_first_failure_and_counts_the_others():
    told = sentence("fail", [SLICE, SLICE], object(), 20, False, False)
    assert told == "Do not promote, the champion stays: recall@20 for search: proven harm. (1 more failed.)"


def test_the_sentence_asks_when_it_is_unclear():
    told = sentence("inconclusive", [ACCURACY, UNCLEAR], object(), 20, False, False)
    assert told == "Not decided, a person is asked, the champion stays: latency p95 ratio: too noisy."


def test_what_is_not_clearly_beaten_stands_right_below_the_verdict():
    told = decision(ACCURACY, standing="NOT CLEARLY BETTER than item-KNN.")
    assert record.markdown(told).splitlines()[:3] == [f"**{told.sentence}**", "", f"**{told.standing}**"]
    assert told.to_dict()["standing"] == told.standing
    html = page.render(told, {}, Path("nowhere"))
    assert html.index("be glad") < html.index("NOT CLEARLY BETTER than item-KNN.") < html.index("Who met whom")
