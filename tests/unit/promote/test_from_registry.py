"""A reviewer's word as tags of a version in a real MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.model.bundle import open_bundle
from pipeline.promote import step
from pipeline.promote.from_registry import WHO, take_reviews
from pipeline.store.ledger import Ledger
from pipeline.store.tracking import Tracking
from tests.fixtures.nights import crown, decide, kinds, make_night, note_registered, with_section
from tests.unit.promote.test_commands import type_in


class Waiting:
    """A registered version whose decision was made."""

    def __init__(self, settings: Settings, bundle: Path, outcome: str = "inconclusive", **given: str) -> None:
        self.settings = with_section(settings, "promote", review_in_mlflow=True)
        self.tracking = Tracking.connect(settings)
        self.run: Run = make_night(settings, bundle, "2024-05-02", **given)
        night = self.tracking.night(self.run.run_id)
        digest = open_bundle(self.run.artifact("optimize").path / "bundle").digest
        tags = {"digest": digest, "run_id": self.run.run_id}
        self.version = self.tracking.register(f"runs:/{night.run_id}/model", night.run_id, tags)
        note_registered(self.run, self.version)
        decide(self.run, outcome=outcome)
        step.run(self.settings, self.run)

    def write(self, verdict: str, reason: str = "looks right") -> list[str]:
        self.tracking.tag_version(self.version, {"review": verdict, "review_reason": reason})
        return take_reviews(self.settings)

    @property
    def answer(self) -> str:
        return self.tracking.version_tags(self.version)["review_answer"]


@pytest.fixture
def waiting(settings: Settings, tiny_bundle: Path) -> Waiting:
    return Waiting(settings, tiny_bundle)


def test_an_approval_promotes_and_says_that_nobody_knows_whose_it_is(waiting: Waiting) -> None:
    (told,) = waiting.write("approve")
    assert f"Version {waiting.version} is champion by ledger entry 3" in told
    assert told.endswith(waiting.answer.partition(": ")[2])
    approval, promotion = Ledger.open(waiting.settings.store).verify()[1:]
    assert (approval.kind, approval.who, approval.reason) == ("approval", WHO, "looks right")
    assert promotion.details["approved_by"] == WHO
    # Taken once: nothing is added by the next look.
    assert take_reviews(waiting.settings) == []
    assert kinds(waiting.settings) == ["refusal", "approval", "promotion"]


def test_a_refusal_stays_until_other_words_are_written(waiting: Waiting) -> None:
    assert "refused it: sale starts today" in waiting.write("refuse", "sale starts today")[0]
    assert take_reviews(waiting.settings) == []
    assert "is champion" in waiting.write("approve", "the sale is over")[0]


def test_a_failed_gate_is_not_overruled_without_a_name(settings: Settings, tiny_bundle: Path) -> None:
    failed = Waiting(settings, tiny_bundle, outcome="fail")
    assert "Whoever overrules it does so by name" in failed.write("approve")[0]
    assert "override" not in kinds(settings) and "promotion" not in kinds(settings)


@pytest.mark.parametrize(
    ("verdict", "reason", "told"),
    [("yes", "because", "write approve or refuse"), ("approve", "", "The tag review_reason is missing")],
)
def test_words_that_are_none_are_answered_on_the_version(
    waiting: Waiting, verdict: str, reason: str, told: str
) -> None:
    assert told in waiting.write(verdict, reason)[0]
    assert told in waiting.answer
    assert kinds(waiting.settings) == ["refusal"]


def test_tags_of_another_bundle_or_run_decide_nothing(waiting: Waiting) -> None:
    waiting.tracking.tag_version(waiting.version, {"digest": "f" * 64})
    assert f"not this one with {'f' * 12}" in waiting.write("approve")[0]
    waiting.tracking.tag_version(waiting.version, {"run_id": "../elsewhere"})
    assert "no such run is kept" in waiting.write("approve", "again")[0]
    assert kinds(waiting.settings) == ["refusal"]


def test_a_champion_that_came_between_makes_the_review_stale(waiting: Waiting, tiny_bundle: Path) -> None:
    crown(waiting.settings, tiny_bundle, "2024-05-01", version="7")
    assert "judged against champion none, and now stands" in waiting.write("approve")[0]


def test_it_is_off_unless_a_setting_allows_it(waiting: Waiting) -> None:
    off = with_section(waiting.settings, "promote", review_in_mlflow=False)
    waiting.tracking.tag_version(waiting.version, {"review": "approve", "review_reason": "now"})
    with pytest.raises(SettingsError, match=r"promote\.review_in_mlflow is false"):
        take_reviews(off)
    ended = type_in(off, "registry", "reviews")
    assert ended.returncode == 64 and "tags in MLflow decide nothing" in ended.stderr
    assert "is champion" in type_in(waiting.settings, "registry", "reviews").stdout
