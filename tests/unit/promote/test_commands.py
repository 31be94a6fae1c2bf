"""The tools as an operator types them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

from pipeline.core.settings import Settings
from tests.fixtures.nights import assignments, crown, pointer


def type_in(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *words, *assignments(settings)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_ledger_shows_every_entry_and_says_the_chain_is_whole(settings: Settings, tiny_bundle: Path) -> None:
    assert "The ledger is empty" in type_in(settings, "ledger").stdout
    crown(settings, tiny_bundle, "2024-05-01", version="1")
    entry = crown(settings, tiny_bundle, "2024-05-02", version="2")
    shown = type_in(settings, "ledger").stdout.splitlines()
    assert [line.split()[:2] for line in shown[1:3]] == [["1", entry.at[:19]], ["*", "2"]]
    assert entry.to_digest[:12] in shown[2]
    assert shown[3] == "* entry 2 is the champion; the chain of 2 entries is whole."
    assert json.loads(type_in(settings, "ledger", "--json").stdout)[1] == entry.to_dict()
    told = type_in(settings, "ledger", "--on", entry.at).stdout
    assert f"version 2, bundle {entry.to_digest[:12]}, by ledger entry 2." in told


def test_ledger_refuses_a_tampered_chain_in_one_sentence(settings: Settings, tiny_bundle: Path) -> None:
    crown(settings, tiny_bundle, "2024-05-01")
    with sqlite3.connect(settings.store.root / "ledger.sqlite") as connection:
        connection.execute("UPDATE entries SET who = 'mallory'")
    ended = type_in(settings, "ledger")
    assert ended.returncode == 65
    (sentence,) = ended.stderr.strip().splitlines()
    assert "entry 1 was changed after it was written" in sentence


def test_reconcile_and_rollback_end_with_the_champion_that_stands(settings: Settings, tiny_bundle: Path) -> None:
    first = crown(settings, tiny_bundle, "2024-05-01", version="1")
    crown(settings, tiny_bundle, "2024-05-02", version="2")
    assert "Champion is version 2" in type_in(settings, "reconcile").stdout
    ended = type_in(settings, "rollback", "--by", "ann", "--reason", "odd answers")
    assert ended.returncode == 0, ended.stderr
    assert pointer(settings) == {"sequence": 3, "digest": first.to_digest, "version": "1"}


def test_review_of_a_run_that_is_not_there_is_one_sentence(settings: Settings) -> None:
    ended = type_in(settings, "review", "--run", "none", "--verdict", "approve", "--by", "ann", "--reason", "x")
    assert ended.returncode == 66
    (sentence,) = ended.stderr.strip().splitlines()
    assert sentence.startswith("There is no run 'none'")
