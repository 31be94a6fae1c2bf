"""`train.evaluate`: what is told first, and what people are shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.step import Report
from pipeline.model.baselines import Interactions, Popularity
from pipeline.model.features import Query
from pipeline.train.checkpoint import Position
from pipeline.train.evaluate import evaluate
from pipeline.train.validation import Ranker, Validation

EPOCH = {"epoch": 1, "loss": 2.0, "recall": 0.5, "seconds": 1.0}


class Noted:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def params(self, values: Any) -> None: ...
    def artifact(self, path: Path) -> None: ...

    def metrics(self, values: Any, step: int | None = None) -> None:
        self.told |= values

    def tags(self, values: Any) -> None:
        self.told |= values


class Knowing:
    """Answers the targets."""

    def __init__(self, validation: Validation) -> None:
        self._of = {
            id(query): list(wanted) for query, wanted in zip(validation.queries, validation.targets, strict=True)
        }

    def rank(self, queries: Sequence[Query], k: int, exclude_seen: bool) -> list[list[str]]:
        return [self._of[id(query)][:k] for query in queries]


def judged(prepared: Artifact, model: Ranker, validation: Validation, out: Path) -> tuple[Report, Noted]:
    out.mkdir()
    noted = Noted()
    counts = {"targets": 5, "items": 20}
    report = evaluate(prepared, validation, model, Position(epochs=(EPOCH,), best_epoch=0), counts, out, noted)
    return report, noted


@pytest.fixture
def validation(prepared_shop: Artifact) -> Validation:
    return Validation.load(prepared_shop, 3, "new_items")


def test_a_model_no_better_than_popularity_is_told_so_first_everywhere(
    prepared_shop: Artifact, validation: Validation, tmp_path: Path
) -> None:
    popularity = Popularity(Interactions.load(prepared_shop))
    report, noted = judged(prepared_shop, popularity, validation, tmp_path / "out")
    assert report.sentence.startswith("NOT CLEARLY BETTER in recall@3 than popularity, ")
    # Taste is what item-KNN knows and popularity does not.
    assert "item-KNN" in report.sentence.split(" On validation: ")[0]
    standing = json.loads((tmp_path / "out" / "metrics.json").read_text())["standing"]
    assert report.sentence.startswith(standing)
    assert (noted.told["standing"], noted.told["mlflow.note.content"]) == (standing, f"**{standing}**")


def test_a_model_that_beats_every_baseline_is_told_so(
    prepared_shop: Artifact, validation: Validation, tmp_path: Path
) -> None:
    report, noted = judged(prepared_shop, Knowing(validation), validation, tmp_path / "out")
    assert report.sentence.startswith("Clearly better in recall@3 than every baseline")
    assert report.metrics["two_tower_recall_at_3"] == noted.told["two_tower.recall.3.judged"] == 1.0
    assert "two_tower.recall.3.judged/search" not in noted.told


def test_the_picture_names_every_model_and_slice_and_where_too_few_queries_are(
    prepared_shop: Artifact, validation: Validation, tmp_path: Path
) -> None:
    judged(prepared_shop, Knowing(validation), validation, tmp_path / "out")
    picture = ElementTree.parse(tmp_path / "out" / "table.svg")
    words = [text.strip() for node in picture.iter() for text in [node.text or ""] if text.strip()]
    assert {"two towers", "popularity", "recent popularity", "own items again", "item-KNN", "session-KNN"} <= set(words)
    assert {"all", "history of 1 to 4", "category red", "price from 15.25"} <= set(words)
    assert {"n = 40", "n = 0, too few"} <= set(words)
    assert any(text.startswith("Clearly better in recall@3") for text in words)
