"""Back to an earlier champion, by one command."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import CorruptArtifactError, MissingInputError, PipelineError, UnavailableError, UsageError
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.promote.reconcile import reconcile
from pipeline.promote.rollback import roll_back
from pipeline.store.ledger import Entry, Ledger
from tests.fixtures.nights import crown, kinds, pointer, with_section


@pytest.fixture
def champions(settings: Settings, tiny_bundle: Path) -> list[Entry]:
    """Three nights in a row, each promoted; the last stands."""
    made = [crown(settings, tiny_bundle, f"2024-05-0{n}", version=str(n)) for n in (1, 2, 3)]
    reconcile(settings, Ledger.open(settings.store))
    return made


def test_a_rollback_makes_the_previous_champion_stand_under_a_higher_number(
    settings: Settings, champions: list[Entry]
) -> None:
    said = roll_back(settings, "ann", "answers look odd")
    entry = Ledger.open(settings.store).champion()
    assert (entry.kind, entry.who, entry.reason, entry.sequence) == ("rollback", "ann", "answers look odd", 4)
    assert (entry.to_digest, entry.data_end) == (champions[1].to_digest, champions[1].data_end)
    assert pointer(settings) == {"sequence": 4, "digest": champions[1].to_digest, "version": "2"}
    assert "Rolled back from version 3" in said and "Champion is version 2" in said


@pytest.mark.parametrize("by_digest", [True, False])
def test_a_target_is_named_by_digest_or_sequence(settings: Settings, champions: list[Entry], by_digest: bool) -> None:
    first = champions[0]
    roll_back(settings, "ann", "older is better", to=first.to_digest[:12] if by_digest else str(first.sequence))
    assert Ledger.open(settings.store).champion().to_digest == first.to_digest


def test_rolling_back_to_the_champion_itself_adds_nothing(settings: Settings, champions: list[Entry]) -> None:
    assert "that is the champion already" in roll_back(settings, "ann", "sure is sure", to="3")
    assert kinds(settings) == ["promotion"] * 3


def test_the_same_words_twice_are_one_rollback_and_other_words_go_further(
    settings: Settings, champions: list[Entry]
) -> None:
    roll_back(settings, "ann", "answers look odd")
    assert "these very words rolled back before" in roll_back(settings, "ann", "answers look odd")
    assert Ledger.open(settings.store).champion().to_digest == champions[1].to_digest
    roll_back(settings, "ann", "still odd")
    assert Ledger.open(settings.store).champion().to_digest == champions[0].to_digest
    assert kinds(settings)[3:] == ["rollback", "rollback"]


def test_without_any_champion_the_sentence_says_so(settings: Settings) -> None:
    with pytest.raises(PipelineError, match="There is no champion yet"):
        roll_back(settings, "ann", "why not")


def test_without_a_previous_champion_the_sentence_says_so(settings: Settings, tiny_bundle: Path) -> None:
    crown(settings, tiny_bundle, "2024-05-01", version="1")
    with pytest.raises(PipelineError, match=r"There is no previous champion: none stood before version 1"):
        roll_back(settings, "ann", "why not")


@pytest.mark.parametrize("to", ["9", "ffffffffffff", "a", "x y"])
def test_a_target_that_never_was_champion_is_refused_with_those_that_were(
    settings: Settings, champions: list[Entry], to: str
) -> None:
    with pytest.raises(
        UsageError, match=rf"names no bundle that was ever champion; known are 1 \({champions[0].to_digest[:12]}\)"
    ):
        roll_back(settings, "ann", "why not", to=to)


def test_a_target_whose_bytes_were_changed_is_refused(settings: Settings, champions: list[Entry]) -> None:
    bundle = Layout(settings.store.root.resolve()).bundle(champions[1].to_digest)
    (bundle / "items.npz.gz").write_text("{}")
    with pytest.raises(CorruptArtifactError, match=r"items\.npz\.gz: this file was changed"):
        roll_back(settings, "ann", "why not")
    assert pointer(settings)["digest"] == champions[2].to_digest
    assert kinds(settings) == ["promotion"] * 3


def test_a_target_that_was_collected_is_refused(settings: Settings, champions: list[Entry]) -> None:
    layout = Layout(settings.store.root.resolve())
    layout.bundle(champions[1].to_digest).rename(settings.store.root / "elsewhere")
    with pytest.raises(MissingInputError, match="the bundle of ledger entry 2 is not kept any more"):
        roll_back(settings, "ann", "why not")


def test_a_rollback_stands_even_when_a_server_does_not_follow_and_says_which(
    settings: Settings, champions: list[Entry]
) -> None:
    deaf = with_section(settings, "promote", servers=("http://127.0.0.1:9",), confirm_timeout_seconds=0.1)
    with pytest.raises(UnavailableError, match=r"Ledger entry 4 stands, but .*http://127\.0\.0\.1:9 does not"):
        roll_back(deaf, "ann", "answers look odd")
    assert pointer(deaf)["digest"] == champions[1].to_digest
    assert kinds(deaf)[-1] == "rollback"


@pytest.mark.parametrize(("by", "reason"), [("", "x"), ("  ", "x"), ("schedule", "x"), ("ann", " ")])
def test_a_rollback_needs_a_person_and_a_reason(settings: Settings, by: str, reason: str) -> None:
    with pytest.raises(UsageError, match="it goes into the ledger for good"):
        roll_back(settings, by, reason)
