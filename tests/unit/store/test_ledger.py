"""The ledger on a real SQLite file, with real processes racing for it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import BusyError, CorruptArtifactError, SettingsError, UnavailableError, UsageError
from pipeline.core.sections import Store
from pipeline.core.settings import Settings
from pipeline.store.ledger import Entry, Ledger


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return Ledger.open(settings.store)


def add(ledger: Ledger, kind: str, to: str, version: str = "") -> Entry:
    champion = ledger.champion()
    from_digest = champion.to_digest if champion else ""
    head = ledger.head()
    return ledger.append(
        kind=kind, who="test", expected_head=head, from_digest=from_digest, to_digest=to, version=version or to.upper()
    )


def test_an_empty_ledger_has_no_champion_and_head_zero(ledger: Ledger) -> None:
    assert (ledger.entries(), ledger.head(), ledger.champion(), ledger.previous()) == ([], 0, None, None)


def test_what_is_appended_is_read_back_whole_by_another_opening(ledger: Ledger, settings: Settings) -> None:
    entry = ledger.append(
        kind="promotion",
        who="ann",
        expected_head=0,
        to_digest="b" * 64,
        version="3",
        run_id="night",
        data_end="2024-05-01",
        reason="better",
        details={"gates": [{"low": -0.01}], "n": None},
    )
    assert Ledger.open(settings.store).verify() == [entry]
    assert (entry.sequence, entry.details) == (1, {"gates": [{"low": -0.01}], "n": None})


def test_refusals_and_approvals_leave_the_champion(ledger: Ledger) -> None:
    standing = add(ledger, "promotion", "a")
    for kind in ("refusal", "approval", "override"):
        add(ledger, kind, "b")
    assert ledger.champion() == standing
    assert ledger.head() == 4


# a, b, c promoted in turn; then each move, and who stands and who stood before it afterwards.
MOVES = {
    "promotion of d": ([("promotion", "d")], "d", "c"),
    "rollback to b": ([("rollback", "b")], "b", "a"),
    "rollback to b, then the previous": ([("rollback", "b"), ("rollback", "a")], "a", None),
    "rollback to a takes b and c off": ([("rollback", "a")], "a", None),
    "a rollback, then a promotion": ([("rollback", "b"), ("promotion", "d")], "d", "b"),
    "d not confirmed": ([("promotion", "d"), ("rolled_back", "c")], "c", "b"),
    "a promoted again, then back to a": ([("promotion", "a"), ("promotion", "d"), ("rollback", "a")], "a", "c"),
}


@pytest.mark.parametrize("name", MOVES)
def test_champion_and_previous_follow_every_move(ledger: Ledger, name: str) -> None:
    moves, champion, previous = MOVES[name]
    for digest in "abc":
        add(ledger, "promotion", digest)
    for kind, digest in moves:
        last = add(ledger, kind, digest)
    found = ledger.champion()
    assert found == last
    assert found.to_digest == champion
    before = ledger.previous()
    assert (before.to_digest if before else None) == previous


def test_a_first_promotion_taken_back_leaves_no_champion(ledger: Ledger) -> None:
    add(ledger, "promotion", "a")
    add(ledger, "rolled_back", "")
    assert (ledger.champion(), ledger.previous(), ledger.head()) == (None, None, 2)


def test_appending_against_an_old_head_is_refused_and_adds_nothing(ledger: Ledger) -> None:
    add(ledger, "promotion", "a")
    with pytest.raises(BusyError, match="its head is entry 1, not 0"):
        ledger.append(kind="promotion", who="late", expected_head=0, to_digest="b")
    assert [e.to_digest for e in ledger.entries()] == ["a"]


def test_an_unknown_kind_is_refused(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="'demotion' is no kind of ledger entry"):
        ledger.append(kind="demotion", who="x", expected_head=0)


RACER = """
import sys
from pathlib import Path
from pipeline.core.errors import BusyError
from pipeline.core.sections import Store
from pipeline.store.ledger import Ledger
ledger = Ledger.open(Store(root=Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
try:
    ledger.append(kind="promotion", who=sys.argv[2], expected_head=0, to_digest=sys.argv[2])
    print("won")
except BusyError:
    print("busy")
"""


def test_of_processes_that_promote_at_once_exactly_one_wins(settings: Settings) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(settings.store.root), f"racer{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = sorted(racer.communicate(timeout=60)[0].strip() for racer in racers)
    assert said == ["busy", "busy", "busy", "won"]
    assert len(Ledger.open(settings.store).verify()) == 1


def test_a_database_held_by_another_writer_is_busy_not_a_traceback(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.store.database.LOCK_TIMEOUT_SECONDS", 0.1)
    impatient = Ledger.open(settings.store)
    holder = sqlite3.connect(settings.store.root / "ledger.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="another process is writing"):
        impatient.append(kind="promotion", who="x", expected_head=0)
    holder.close()
    assert impatient.append(kind="promotion", who="x", expected_head=0).sequence == 1


TAMPERING = {
    "UPDATE entries SET who = 'mallory' WHERE sequence = 2": "entry 2 was changed",
    "UPDATE entries SET details = '{\"by_hand\": true}' WHERE sequence = 1": "entry 1 was changed",
    "DELETE FROM entries WHERE sequence = 2": "entry 2 is missing",
    "UPDATE entries SET previous_hash = hash WHERE sequence = 3": "entry 3 does not follow",
}


@pytest.mark.parametrize("change", TAMPERING)
def test_a_tampered_chain_is_named_by_its_entry(ledger: Ledger, settings: Settings, change: str) -> None:
    for digest in "abc":
        add(ledger, "promotion", digest)
    ledger.verify()
    with sqlite3.connect(settings.store.root / "ledger.sqlite") as connection:
        connection.execute(change)
    with pytest.raises(CorruptArtifactError, match=TAMPERING[change]):
        ledger.verify()


def test_an_entry_written_anew_with_a_fitting_hash_still_breaks_the_next(ledger: Ledger, settings: Settings) -> None:
    first, _ = add(ledger, "promotion", "a"), add(ledger, "promotion", "b")
    forged = Entry(**{**first.to_dict(), "who": "mallory"})
    with sqlite3.connect(settings.store.root / "ledger.sqlite") as connection:
        connection.execute("UPDATE entries SET who = 'mallory', hash = ? WHERE sequence = 1", (forged.computed_hash(),))
    with pytest.raises(CorruptArtifactError, match="entry 2 does not follow from entry 1"):
        ledger.verify()


def test_a_file_that_is_no_database_is_one_sentence(settings: Settings) -> None:
    settings.store.root.mkdir(parents=True)
    (settings.store.root / "ledger.sqlite").write_text("not a database " * 100)
    with pytest.raises(CorruptArtifactError, match=r"ledger\.sqlite: it cannot be read"):
        Ledger.open(settings.store)


def test_a_place_that_cannot_hold_the_file_is_unavailable(tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'ledger.sqlite'}"
    with pytest.raises(UnavailableError, match="the ledger's database does not answer"):
        Ledger.open(Store(root=tmp_path, ledger_url=missing))


@pytest.mark.parametrize("url", ["nonsense", "oracle9i://a/b", "postgresql://a:b@host:port/c"])
def test_a_url_that_is_none_is_a_settings_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match=r"store\.ledger_url is no database URL"):
        Ledger.open(Store(root=tmp_path, ledger_url=url))


def test_entries_are_json(ledger: Ledger) -> None:
    entry = add(ledger, "promotion", "a")
    assert Entry(**json.loads(json.dumps(entry.to_dict()))) == entry
