"""A nightly and a manual retrain at once: both are registered and judged before either is promoted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.promote import step
from pipeline.register import step as register
from pipeline.store.ledger import Ledger
from pipeline.store.tracking import Tracking
from tests.fixtures.nights import decide, kinds, make_night


class Two:
    """Two runs on one shop without a champion; the manual one saw a day more and was registered last."""

    def __init__(self, settings: Settings, bundle: Path) -> None:
        self.settings, self.tracking = settings, Tracking.connect(settings)
        self.nightly = make_night(settings, bundle, "2024-05-01", "nightly")
        self.manual = make_night(settings, bundle, "2024-05-02", "manual", requested_by="ada")
        for run in (self.nightly, self.manual):
            register.run(settings, run)
            self.judge(run)

    def judge(self, run: Run) -> None:
        """Passes a run's version, bound to it and to the champion that stands."""
        version = json.loads((run.folder / "register.json").read_text())["version"]
        decide(run, version, champion=Ledger.open(self.settings.store).champion())

    def promote(self, run: Run) -> str:
        return step.run(self.settings, run).verdict


@pytest.fixture
def two(settings: Settings, tiny_bundle: Path) -> Two:
    return Two(settings, tiny_bundle)


def test_one_is_promoted_and_the_other_must_be_judged_against_it(two: Two) -> None:
    assert two.tracking.aliases() == {"challenger": "2"}
    assert two.promote(two.nightly) == "promoted"
    assert two.tracking.aliases() == {"champion": "1", "challenger": "2"}
    with pytest.raises(
        PipelineError, match=r"judged against champion none, and now stands .* gate --run manual` again"
    ):
        two.promote(two.manual)
    assert two.tracking.aliases() == {"champion": "1", "challenger": "2"}
    assert kinds(two.settings) == ["promotion"]
    two.judge(two.manual)
    assert two.promote(two.manual) == "promoted"
    assert two.tracking.aliases() == {"champion": "2", "previous": "1"}


def test_after_the_one_with_newer_data_the_other_is_a_backfill(two: Two) -> None:
    assert two.promote(two.manual) == "promoted"
    assert two.tracking.aliases() == {"champion": "2"}
    with pytest.raises(PipelineError, match="judged against champion none"):
        two.promote(two.nightly)
    two.judge(two.nightly)
    with pytest.raises(PipelineError, match="this is a backfill and moves nothing"):
        two.promote(two.nightly)
    register.run(two.settings, two.nightly)
    assert two.tracking.aliases() == {"champion": "2"}


def test_a_verdict_is_the_versions_own_and_not_that_of_the_alias(two: Two) -> None:
    two.tracking.set_alias("challenger", "1")
    assert two.promote(two.manual) == "promoted"
    assert two.tracking.aliases() == {"champion": "2", "challenger": "1"}
