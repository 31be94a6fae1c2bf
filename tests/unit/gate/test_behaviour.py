"""What is answered, right or not, worked by hand; what compression cost; what requests are read."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.gate.behaviour import by_query, float_recall_kept, signature
from pipeline.model.retriever import Retriever
from pipeline.model.slices import Catalogued
from pipeline.model.statistics import Interval

# Of 201 items the last two are the most popular 1 %, for 199 / 200 and 200 / 200 lie above .99; item-0 is cold.
ITEMS = Catalogued(
    [f"item-{n}" for n in range(201)],
    np.array([n > 0 for n in range(201)]),
    np.arange(201),
    [None] * 201,
    [None] * 201,
)
ANSWERS = {
    "challenger": [["item-200", "item-100"], ["item-0", "never heard of"], []],
    "champion": [["item-200", "item-199"], ["item-1", "item-2"], ["item-3"]],
}


def close(found: np.ndarray, *expected: float) -> bool:
    return bool(np.allclose(found, expected, equal_nan=True))


def test_popularity_bias_is_the_mean_percentile_and_the_share_of_the_head() -> None:
    found = by_query(ANSWERS, ITEMS, 2)
    # Percentiles are n / 200: of 200 and 100 the mean is .75; what nobody heard of counts as the least popular.
    assert close(found["popularity_percentile"]["challenger"], 0.75, 0.0, math.nan)
    assert close(found["popular_share"]["challenger"], 0.5, 0.0, math.nan)
    assert close(found["popular_share"]["champion"], 1.0, 0.0, 0.0)


def test_what_training_never_met_is_cold() -> None:
    assert close(by_query(ANSWERS, ITEMS, 2)["cold_start_share"]["challenger"], 0.0, 1.0, math.nan)


def test_overlap_needs_a_champion_and_counts_an_empty_answer_as_none() -> None:
    assert close(by_query(ANSWERS, ITEMS, 2)["champion_overlap"]["challenger"], 0.5, 0.0, 0.0)
    assert "champion_overlap" not in by_query({"challenger": ANSWERS["challenger"]}, ITEMS, 2)


def recipes(folder: Path, base: float = 0.4, mean: float = -0.004) -> Path:
    difference = Interval(mean, -0.01, 0.002, 0.003, 500)
    rows = [
        {
            "recipe": "float32",
            "digest": "f",
            "recall": asdict(Interval(base, base, base, 0.0, 500)),
            "difference": asdict(Interval(0.0, 0.0, 0.0, 0.0, 500)),
        },
        {"recipe": "int8", "digest": "c", "difference": asdict(difference)},
    ]
    (folder / "recipes.json").write_text(json.dumps(rows))
    return folder


def test_recall_kept_of_float32_is_read_of_the_bundle_that_ships(tmp_path: Path) -> None:
    found = float_recall_kept(recipes(tmp_path), "c")
    # -.004 of .4 is 1 % lost; the interval -.01 to .002 is 97.5 to 100.5 %.
    assert found.value is not None
    assert (found.value.mean, found.value.low, found.value.high) == pytest.approx((0.99, 0.975, 1.005))
    assert found.n == 500


def test_float32_itself_keeps_all(tmp_path: Path) -> None:
    found = float_recall_kept(recipes(tmp_path), "f").value
    assert found and (found.low, found.mean, found.high) == (1.0, 1.0, 1.0)


def test_recall_kept_of_a_bundle_the_search_did_not_compare_is_not_known(tmp_path: Path) -> None:
    found = float_recall_kept(recipes(tmp_path), "another")
    assert found.value is None and "run optimize again" in found.detail


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_a_torn_table_of_recipes_is_not_known(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipes.json").write_text(text)
    assert float_recall_kept(tmp_path, "c").value is None


def test_a_float32_that_found_nothing_is_not_divided_by(tmp_path: Path) -> None:
    assert float_recall_kept(recipes(tmp_path, base=0.0), "c").value is None


def test_a_signature_that_changed_fails_until_it_is_declared(contenders: dict[str, Path]) -> None:
    ours, theirs = Retriever.load(contenders["right"]), Retriever.load(contenders["old_right"])
    assert signature(ours, theirs, declared="").holds
    ours.config = replace(ours.config, vector_dim=384)
    changed = signature(ours, theirs, declared="")
    assert not changed.holds
    assert "numbers in an item's vector, 384 instead of 0" in changed.detail
    name = changed.detail.removesuffix(".").rpartition("gate.new_signature=")[2]
    assert signature(ours, theirs, declared=name).holds
    ours.config = replace(ours.config, vector_dim=768)
    assert not signature(ours, theirs, declared=name).holds
