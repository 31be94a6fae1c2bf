"""What became of each version, worked out from ledgers written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.core.errors import UnavailableError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.model.headline import head
from pipeline.promote import step
from pipeline.promote.fate import fates, tell
from pipeline.promote.reconcile import reconcile
from pipeline.store.ledger import Entry, Ledger
from pipeline.store.tracking import Tracking
from tests.fixtures.nights import ready_night, with_section


def entry(sequence: int, kind: str, version: str = "", who: str = "schedule", **given: Any) -> Entry:
    """Returns an entry at minute `sequence`, whose digest is the version's number."""
    fields = {"from_digest": "", "run_id": f"night-{version}", "data_end": "", "details": {}, "previous_hash": ""}
    reason = given.pop("reason", f"reason {sequence}")
    at = f"2024-05-01T02:0{sequence}:00.000+00:00"
    return Entry(sequence, at, kind, who, to_digest=version, version=version, reason=reason, **{**fields, **given})


def told(*entries: Entry) -> dict[str, str]:
    return {v: f"{fate.headline.title} {fate.headline.told}" for v, fate in fates(entries).items()}


def test_a_promoted_version_says_why_without_the_gates_advice_in_front() -> None:
    found = told(entry(1, "promotion", "1", reason="Promote: recall@20 is .2."))
    assert found == {"1": "Promoted 2024-05-01 02:01 UTC by schedule, ledger entry 1: recall@20 is .2."}


def test_the_next_champion_supersedes_it() -> None:
    found = told(entry(1, "promotion", "1"), entry(2, "promotion", "2"))
    assert found["1"] == "Superseded 2024-05-01 02:02 UTC by version 2, ledger entry 2"
    assert found["2"].startswith("Promoted 2024-05-01 02:02 UTC")


# The entry's kind and details, and how its version's line begins.
REVIEWED = [
    ("refusal", {"verdict": "fail"}, "Refused 2024-05-01 02:01 UTC by the gate: reason 1"),
    ("refusal", {"verdict": "inconclusive"}, "Waiting since 2024-05-01 02:01 UTC for a person to decide: reason 1"),
    ("refusal", {"verdict": "pass", "by_hand": True}, "Refused 2024-05-01 02:01 UTC by ann: reason 1"),
    ("approval", {"verdict": "inconclusive", "by_hand": True}, "Approved 2024-05-01 02:01 UTC by ann: reason 1"),
    (
        "override",
        {"verdict": "fail", "by_hand": True},
        "Approved against the gate 2024-05-01 02:01 UTC by ann: reason 1",
    ),
]


@pytest.mark.parametrize(("kind", "details", "line"), REVIEWED)
def test_what_moved_nothing_is_said_in_the_words_of_who_spoke(kind: str, details: dict, line: str) -> None:
    assert told(entry(1, kind, "1", who="ann", details=details)) == {"1": line}


def test_an_override_stays_visible_on_what_was_promoted_by_it() -> None:
    overruled = entry(2, "promotion", "1", who="ann", details={"verdict": "fail"})
    assert told(overruled)["1"] == "Promoted against the gate 2024-05-01 02:02 UTC by ann, ledger entry 2: reason 2"


def test_a_rollback_is_told_on_both_versions() -> None:
    back = entry(3, "rollback", "1", who="ann", reason="odd answers")
    found = told(entry(1, "promotion", "1"), entry(2, "promotion", "2"), back)
    assert found["2"] == "Rolled back 2024-05-01 02:03 UTC by ann, ledger entry 3: odd answers"
    assert found["1"] == "Promoted again 2024-05-01 02:03 UTC, ledger entry 3: ann rolled back to it, odd answers"


def test_what_servers_did_not_confirm_was_taken_back_and_the_page_of_the_one_before_is_told() -> None:
    undone = entry(3, "rolled_back", "1", run_id="night-2", reason="not confirmed: s is silent")
    entries = [entry(1, "promotion", "1"), entry(2, "promotion", "2"), undone]
    assert (
        told(*entries)["2"] == "Taken back 2024-05-01 02:03 UTC by schedule, ledger entry 3: not confirmed: s is silent"
    )
    assert told(*entries)["1"].endswith("what followed it was not confirmed: s is silent")
    assert {version: fate.run_id for version, fate in fates(entries).items()} == {"1": "night-1", "2": "night-2"}


def test_a_first_champion_taken_back_leaves_none() -> None:
    found = told(entry(1, "promotion", "1"), entry(2, "rolled_back", ""))
    assert list(found) == ["1"] and found["1"].startswith("Taken back")


def test_kinds_that_say_nothing_of_a_version_leave_its_line() -> None:
    assert told(entry(1, "promotion", "1"), entry(2, "alias_moved", "1"))["1"].startswith("Promoted")


@pytest.fixture
def version(settings: Settings) -> str:
    tracking = Tracking.connect(settings)
    night = tracking.night("night-1")
    folder = settings.store.root / "runs" / "night-1" / "decision"
    folder.mkdir(parents=True)
    (folder / "decision.html").write_text(f"<body>{head('pass', 'Promote', 'Next.')}</header>")
    (folder / "decision.md").write_text("**Promote: well.**\n")
    tags = {"gate": "pass"}
    return tracking.register(f"runs:/{night.run_id}/model", night.run_id, tags, "**Promote: well.**\n\n## Card")


def test_pages_and_the_version_in_mlflow_say_it_first_and_follow_the_ledger(settings: Settings, version: str) -> None:
    tracking, client = Tracking.connect(settings), mlflow.MlflowClient(settings.register.tracking_uri)
    promoted = entry(1, "promotion", version, reason="Promote: well.")
    for entries in ([promoted], [promoted], [promoted, entry(2, "rolled_back", "", reason="not confirmed: silence")]):
        tell(settings, entries)
    line = "**Taken back** 2024-05-01 02:02 UTC by schedule, ledger entry 2: not confirmed: silence"
    assert tracking.descriptions() == {version: f"{line}\n\n**Promote: well.**\n\n## Card"}
    tags = tracking.version_tags(version)
    assert (tags["gate"], tags["outcome"]) == ("pass", "taken back")
    assert tags["outcome.sentence"] == line.removeprefix("**Taken back** ")
    folder = settings.store.root / "runs" / "night-1" / "decision"
    assert (folder / "decision.md").read_text() == f"{line}\n\n**Promote: well.**\n"
    attached = client.download_artifacts(tracking.night("night-1").run_id, "decision/decision.html")
    assert Path(attached).read_text() == (folder / "decision.html").read_text()
    assert "<h1>Taken back</h1>" in (folder / "decision.html").read_text()


def test_pages_are_told_while_mlflow_is_silent(settings: Settings, version: str) -> None:
    silent = with_section(settings, "register", tracking_uri="http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match=r"MLflow at http://127\.0\.0\.1:9 does not answer"):
        tell(silent, [entry(1, "promotion", version)])
    told_first = (settings.store.root / "runs" / "night-1" / "decision" / "decision.md").read_text()
    assert told_first.startswith("**Promoted** 2024-05-01 02:01 UTC")
    tell(settings, [entry(1, "promotion", version)])
    assert Tracking.connect(settings).descriptions()[version].startswith("**Promoted** 2024-05-01 02:01 UTC")


def test_a_version_that_is_not_in_mlflow_any_more_is_passed_over(settings: Settings, version: str) -> None:
    tell(settings, [entry(1, "promotion", "77"), entry(2, "promotion", version)])
    assert list(Tracking.connect(settings).descriptions()) == [version]


def ready(settings: Settings, bundle: Path, **given: Any) -> Run:
    """Returns a run whose version 1 is in MLflow and whose gate has decided."""
    tracking = Tracking.connect(settings)
    night = tracking.night("night-2024-05-01")
    tracking.register(f"runs:/{night.run_id}/model", night.run_id, {}, "**The gate's advice.**")
    return ready_night(settings, bundle, "2024-05-01", version="1", **given)


# What the gate said, who approves, and how the version's description begins once promote has run.
CARRIED_OUT = [
    ("pass", "automatic", "**Promoted** "),
    ("pass", "by_hand", "**Waiting** for approval: The outcome is pass.\n"),
    ("fail", "automatic", "**Refused** "),
    ("inconclusive", "automatic", "**Waiting** since "),
]


@pytest.mark.parametrize(("outcome", "approval", "begins"), CARRIED_OUT)
def test_after_promote_the_version_says_what_became_of_it_and_goes_on_to(
    settings: Settings, tiny_bundle: Path, outcome: str, approval: str, begins: str
) -> None:
    asked = with_section(settings, "promote", approval=approval)
    step.run(asked, ready(asked, tiny_bundle, outcome=outcome))
    assert Tracking.connect(asked).descriptions()["1"].startswith(begins)
    assert Tracking.connect(asked).descriptions()["1"].endswith("\n\n**The gate's advice.**")


def test_a_refusal_stands_though_mlflow_cannot_be_told_and_reconcile_tells_it(
    settings: Settings, tiny_bundle: Path
) -> None:
    run = ready(settings, tiny_bundle, outcome="fail")
    silent = with_section(settings, "register", tracking_uri="http://127.0.0.1:9")
    report = step.run(silent, run)
    assert report.verdict == "refused"
    assert "MLflow does not say so yet: MLflow at http://127.0.0.1:9 does not answer" in report.sentence
    assert Tracking.connect(settings).descriptions() == {"1": "**The gate's advice.**"}
    reconcile(settings, Ledger.open(settings.store))
    assert Tracking.connect(settings).descriptions()["1"].startswith("**Refused** ")
