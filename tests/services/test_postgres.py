"""The ledger's database on Postgres: one of two writers wins, leases are fenced, the chain holds."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sql

from pipeline.core import settings as settings_module
from pipeline.core.errors import BusyError, CorruptArtifactError, UnavailableError
from pipeline.core.settings import Settings
from pipeline.store.leases import LeaseLostError, Leases, leased
from pipeline.store.ledger import Ledger
from tests.services.servers import free_port

HOLD = """
import sys
from pipeline.core import settings
from pipeline.store.leases import leased
with leased(settings.load(sys.argv[2:]), "ingest 2011-12-08", sys.argv[1]) as lease:
    print(lease.token, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def assignments(postgres_url: str, tmp_path: Path) -> list[str]:
    return [f"store.root={tmp_path}", f"store.ledger_url={postgres_url}", "store.shared=s3://bucket"]


@pytest.fixture
def settings(assignments: list[str]) -> Settings:
    return settings_module.load(assignments)


def _promote(ledger: Ledger, head: int, run_id: str = "night") -> None:
    ledger.append(kind="promotion", who="ada", expected_head=head, to_digest=f"digest-{head}", run_id=run_id)


def test_the_ledger_lives_in_a_schema_of_its_own(settings: Settings, postgres_url: str) -> None:
    _promote(Ledger.open(settings.store), 0)
    names = sql.inspect(sql.create_engine(postgres_url, poolclass=sql.NullPool)).get_table_names("promotion_ledger")
    assert "entries" in names


def test_of_many_appends_on_one_head_one_wins_and_the_chain_holds(settings: Settings) -> None:
    def attempt(number: int) -> int:
        try:
            _promote(Ledger.open(settings.store), 0, f"run-{number}")
        except BusyError:
            return 0
        return 1

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(12))) == 1
    ledger = Ledger.open(settings.store)
    for head in (1, 2):
        _promote(ledger, head)
    assert [entry.sequence for entry in ledger.verify()] == [1, 2, 3]


def test_an_entry_changed_behind_the_ledgers_back_is_found(settings: Settings, postgres_url: str) -> None:
    ledger = Ledger.open(settings.store)
    for head in (0, 1):
        _promote(ledger, head)
    with sql.create_engine(postgres_url, poolclass=sql.NullPool).begin() as connection:
        connection.exec_driver_sql("UPDATE promotion_ledger.entries SET who = 'eve' WHERE sequence = 1")
    with pytest.raises(CorruptArtifactError, match="entry 1 was changed after it was written"):
        ledger.verify()


def test_a_database_that_is_down_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql+psycopg2://ada:secret@127.0.0.1:{free_port()}/shop"
    settings = settings_module.load([f"store.root={tmp_path}", f"store.ledger_url={url}"])
    with pytest.raises(UnavailableError, match="the ledger's database does not answer") as caught:
        Ledger.open(settings.store)
    assert "secret" not in str(caught.value)


def test_of_two_processes_one_holds_the_lease_and_killed_it_loses_it_in_time(
    assignments: list[str], settings: Settings, postgres_url: str
) -> None:
    """A lease of 60 seconds; after the kill the row is made 61 seconds older instead of waiting for them."""
    command = [sys.executable, "-c", HOLD, "ada", *assignments]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "1\n"
    leases = Leases.open(settings)
    busy = pytest.raises(BusyError, match=r"`ingest 2011-12-08` is already under way \(run ada\)")
    with busy:
        leases.take("ingest 2011-12-08", "bob")
    holder.kill()
    holder.wait()
    with busy:
        leases.take("ingest 2011-12-08", "bob")
    with sql.create_engine(postgres_url, poolclass=sql.NullPool).begin() as connection:
        connection.exec_driver_sql("UPDATE promotion_ledger.leases SET expires_at = expires_at - 61")
    assert leases.take("ingest 2011-12-08", "bob").token == 2


def test_the_same_run_takes_its_lease_over_at_once_and_the_old_token_is_refused(settings: Settings) -> None:
    leases = Leases.open(settings)
    with leased(settings, "day", "ada"):
        assert leases.take("day", "ada").token == 2
        with pytest.raises(LeaseLostError, match="took its place"):
            leases.require_held()
        with pytest.raises(LeaseLostError), leases.locked("switch"):
            pass


def test_many_who_ask_for_a_free_lease_get_one_lease(settings: Settings) -> None:
    Leases.open(settings)

    def attempt(number: int) -> int:
        try:
            return Leases.open(settings).take("day", f"run-{number}").token
        except BusyError:
            return 0

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(attempt, range(6))) == [0, 0, 0, 0, 0, 1]
