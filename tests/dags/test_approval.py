"""Whom the night asks, and when it asks nobody; the question itself is put by a real scheduler in end_to_end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.core.settings import Settings
from pipeline.promote.decision import Decision
from tests.fixtures.nights import ready_night, with_section

pytestmark = pytest.mark.usefixtures("plugins")


def unasked(settings: Settings, decision: Decision) -> str:
    import approval

    return approval.unasked(settings, decision)


def decision(settings: Settings, bundle: Path, outcome: str = "pass", **changed: Any) -> Decision:
    run = ready_night(settings, bundle, "2024-05-01", outcome=outcome)
    found = Decision.load(run)
    return Decision(found.path, {**found.raw, **changed}, found.fingerprint)


@pytest.mark.parametrize("outcome", ["pass", "inconclusive"])
def test_a_person_is_asked_where_there_is_something_to_decide(
    settings: Settings, tiny_bundle: Path, outcome: str
) -> None:
    asking = with_section(settings, "promote", approval="in_airflow")
    assert unasked(asking, decision(settings, tiny_bundle, outcome)) == ""


@pytest.mark.parametrize("approval", ["automatic", "by_hand"])
def test_nobody_is_asked_elsewhere(settings: Settings, tiny_bundle: Path, approval: str) -> None:
    told = unasked(with_section(settings, "promote", approval=approval), decision(settings, tiny_bundle))
    assert told == f"promote.approval is {approval}."


@pytest.mark.parametrize(
    ("outcome", "changed", "told"),
    [
        ("fail", {}, "a gate failed"),
        ("pass", {"dry_run": True}, "moves nothing"),
        ("pass", {"backfill": True}, "moves nothing"),
    ],
)
def test_nobody_is_asked_for_nothing(
    settings: Settings, tiny_bundle: Path, outcome: str, changed: dict[str, Any], told: str
) -> None:
    asking = with_section(settings, "promote", approval="in_airflow")
    assert told in unasked(asking, decision(settings, tiny_bundle, outcome, **changed))


def test_nobody_is_asked_whether_the_champion_may_be_champion(settings: Settings, tiny_bundle: Path) -> None:
    asking, found = with_section(settings, "promote", approval="in_airflow"), decision(settings, tiny_bundle)
    same = {"digest": found.digest, "version": "1", "sequence": 1}
    assert "champion already" in unasked(asking, Decision(found.path, {**found.raw, "champion": same}, ""))
