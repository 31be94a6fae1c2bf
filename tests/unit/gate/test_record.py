"""The record in its three forms, on findings made by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from pipeline.gate import page, pictures, record
from pipeline.gate.record import Decision
from pipeline.gate.rules import Finding
from pipeline.gate.words import sentence
from pipeline.model.cost import Line, Table
from pipeline.model.headline import Headline, in_text, on_page

SCHEMA = Path(__file__).parents[3] / "docs" / "reference" / "decision.schema.json"
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


def test_the_record_fits_the_published_schema_and_another_field_does_not(tmp_path):
    record.write(tmp_path, decision(ACCURACY, SLICE, P99), "page")
    found = json.loads((tmp_path / "decision.json").read_text())
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert list(validator.iter_errors(found)) == []
    assert found["gates"][0] == ACCURACY.to_dict() and found["challenger"]["version"] == "8"
    spoilt = [{**found, "mood": "good"}, {**found, "outcome": "reported"}, {**found, "gates": [{"gate": "accuracy"}]}]
    spoilt += [{name: value for name, value in found.items() if name != left_out} for left_out in found]
    assert not [each for each in spoilt if validator.is_valid(each)]


def test_the_published_schema_is_made_from_the_records_types():
    told = json.loads(SCHEMA.read_text())
    assert {name: value for name, value in told.items() if name != "$comment"} == record.schema(), "run `make docs`"


def test_a_record_that_does_not_fit_its_schema_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="sequence"):
        record.write(tmp_path, replace(decision(ACCURACY), champion={"version": "7", "digest": "b"}), "page")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("champion", [True, False])
def test_a_version_says_which_champion_it_was_compared_with(champion):
    judged = decision(ACCURACY) if champion else replace(decision(ACCURACY), champion=None)
    told = record.tags(judged)
    compared = {name.removeprefix("compared_with."): value for name, value in told.items() if "compared" in name}
    expected = {"version": "7", "digest": "b" * 64, "sequence": "3"}
    assert compared == (expected if champion else {"version": "none", "digest": "", "sequence": "0"})
    assert (told["gate"], told["gate.sentence"]) == ("pass", "Promote: <it> & be glad.")


def test_figures_are_named_by_gate_and_slice_and_nothing_is_made_up():
    told = record.figures(decision(ACCURACY, SLICE, P99, replace(P99, metric="memory_mb", challenger=None)))
    assert told == {
        "gate.recall": 0.21,
        "gate.recall.difference": 0.01,
        "gate.recall_slice.search": 0.1,
        "gate.recall_slice.search.difference": -0.1,
        "gate.p99_ms": 12.5,
    }


def test_the_page_says_that_nothing_is_carried_out_yet_until_it_is_told_what_became_of_it(tmp_path):
    made = page.render(decision(ACCURACY), {}, tmp_path)
    assert '<header class="verdict pass"><h1>Promote</h1><p>The gate&#x27;s advice, not carried out yet' in made
    for told in (Headline("waiting", "for ann <the head>."), Headline("taken back", "not confirmed.")):
        made = on_page(made, told)
    assert '<header class="verdict taken-back"><h1>Taken back</h1><p>not confirmed.</p>' in made
    assert "not carried out" not in made and "waiting" not in made.partition("<body>")[2]
    assert "Promote: &lt;it&gt; &amp; be glad." in made and made.count("<header") == made.count("</header>") == 1


def test_the_page_does_not_say_twice_why(tmp_path):
    made = page.render(decision(ACCURACY), {}, tmp_path)
    known, new = (on_page(made, Headline("promoted", "today", why)) for why in ("<it> & be glad.", "ann <says> so."))
    assert "<h1>Promoted</h1><p>today</p>" in known
    assert "<h1>Promoted</h1><p>today: ann &lt;says&gt; so.</p>" in new


@pytest.mark.parametrize("change", [{"backfill": True}, {"dry_run": True}, {"outcome": "fail"}])
def test_what_is_not_to_be_carried_out_is_not_said_to_be(tmp_path, change):
    assert "carried out" not in page.render(replace(decision(ACCURACY), **change), {}, tmp_path)


def test_the_text_is_led_by_what_became_of_it_once():
    whole = record.markdown(decision(ACCURACY))
    told = in_text(in_text(whole, Headline("promoted", "by schedule.")), Headline("rolled back", "by ann: odd."))
    assert told == f"**Rolled back** by ann: odd.\n\n{whole}"


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
