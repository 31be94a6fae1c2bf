from __future__ import annotations

import sqlite3

import pytest

from pipeline.core.errors import CorruptArtifactError, UsageError
from pipeline.core.settings import Settings
from pipeline.store.erasures import Erasures
from pipeline.store.ledger import Ledger

ANNA, OLD_ANNA, VISIT = f"{'a' * 64}.11111111", f"{'b' * 64}.22222222", f"{'c' * 64}.11111111"


@pytest.fixture
def erasures(settings: Settings) -> Erasures:
    return Erasures.open(settings)


def test_without_erasures_the_digest_is_empty_and_the_table_has_its_columns(erasures: Erasures) -> None:
    assert (erasures.all(), erasures.digest()) == ([], "")
    assert (erasures.table().column_names, erasures.table().num_rows) == (["person", "session"], 0)


def test_an_erasure_is_begun_then_done_and_read_back_by_another_opening(erasures: Erasures, settings: Settings) -> None:
    first = erasures.begin([OLD_ANNA, ANNA, ANNA], [VISIT], "ann", "asked by letter")
    second = erasures.begin([VISIT], [], "bob")
    erasures.done(first, {"rows": 3})
    anna, other = Erasures.open(settings).all()
    assert (anna.seq, anna.person, anna.sessions, anna.state) == (first, (ANNA, OLD_ANNA), (VISIT,), "done")
    assert (anna.by, anna.reason, anna.counts) == ("ann", "asked by letter", {"rows": 3})
    assert (other.seq, other.state, other.counts) == (second, "begun", {})
    assert (first, second) == (1, 2)


def test_done_twice_is_once_and_nobody_is_no_erasure(erasures: Erasures) -> None:
    seq = erasures.begin([ANNA], [], "ann")
    erasures.done(seq, {"rows": 3})
    erasures.done(seq, {"rows": 0})
    assert erasures.all()[0].counts == {"rows": 3}
    with pytest.raises(UsageError, match="There is no erasure 7; known are 1"):
        erasures.done(7, {})
    with pytest.raises(UsageError, match="somebody to forget"):
        erasures.begin([], [VISIT], "ann")


def test_digest_and_table_speak_of_who_is_erased_not_of_when_or_how_often(erasures: Erasures) -> None:
    seq = erasures.begin([ANNA], [VISIT], "ann")
    digest = erasures.digest()
    assert len(digest) == 64
    erasures.done(seq, {"rows": 1})
    erasures.begin([ANNA], [], "bob", "again")
    assert erasures.digest() == digest
    rows = [{"person": ANNA, "session": None}, {"person": None, "session": VISIT}]
    assert erasures.table().to_pylist() == rows
    erasures.begin([OLD_ANNA], [], "bob")
    assert erasures.digest() != digest


def test_a_line_changed_afterwards_is_found(erasures: Erasures, settings: Settings) -> None:
    erasures.done(erasures.begin([ANNA], [], "ann"), {})
    with sqlite3.connect(settings.store.root / "ledger.sqlite") as database:
        database.execute("UPDATE erasures SET person = '[]' WHERE line = 1")
    with pytest.raises(CorruptArtifactError, match="line 1 of the erasures"):
        erasures.digest()


def test_erasures_and_promotions_share_a_database_and_nothing_else(erasures: Erasures, settings: Settings) -> None:
    erasures.begin([ANNA], [], "ann")
    ledger = Ledger.open(settings.store)
    ledger.append(kind="promotion", who="x", expected_head=0, to_digest="d")
    assert len(ledger.verify()) == len(Erasures.open(settings).all()) == 1
