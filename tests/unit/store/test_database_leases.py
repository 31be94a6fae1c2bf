"""Leases in a database: a SQLite file here; tests/services asks the same of Postgres."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipeline.core import settings as settings_module
from pipeline.core.errors import BusyError
from pipeline.core.settings import Settings
from pipeline.store.leases import LeaseLostError, Leases, leased

LONG, SHORT = 60.0, 0.000_001


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_module.load([f"store.root={tmp_path}", "store.shared=s3://bucket"])


def _leases(settings: Settings, seconds: float) -> Leases:
    leases = Leases.open(settings)
    leases.seconds = seconds
    return leases


def test_a_lease_is_one_runs_until_it_is_given_back(settings: Settings) -> None:
    leases = _leases(settings, LONG)
    first = leases.take("ingest 2011-12-08", "ada")
    assert leases.take("ingest 2011-12-09", "bob").token == 1
    with pytest.raises(BusyError, match=r"`ingest 2011-12-08` is already under way \(run ada\); .* in \d+ s"):
        leases.take("ingest 2011-12-08", "bob")
    leases.give_back(first)
    assert leases.take("ingest 2011-12-08", "bob").token == 2


def test_a_run_takes_its_own_lease_over_at_once_and_the_older_token_is_refused(settings: Settings) -> None:
    leases = _leases(settings, LONG)
    before, after = leases.take("day", "ada"), leases.take("day", "ada")
    assert (before.token, after.token) == (1, 2)
    leases.renew(after)
    with pytest.raises(
        LeaseLostError, match=r"`day`: run ada was silent for more than 60 s and run ada took its place"
    ):
        leases.renew(before)


def test_a_silent_holder_loses_its_lease(settings: Settings) -> None:
    silent = _leases(settings, SHORT)
    lost = silent.take("day", "ada")
    assert silent.take("day", "bob").token == 2
    with pytest.raises(LeaseLostError, match="run bob took its place"):
        silent.give_back(lost)


def test_a_holder_that_renews_keeps_its_lease(settings: Settings) -> None:
    """Taken for an instant, it would be gone; renewed for long, it is still held."""
    lease = _leases(settings, SHORT).take("day", "ada")
    leases = _leases(settings, LONG)
    leases.renew(lease)
    with pytest.raises(BusyError, match="run ada"):
        leases.take("day", "bob")


def test_leases_are_renewed_while_the_work_goes_on(settings: Settings) -> None:
    """A lease of 30 ms is renewed every 10 ms; the thread ends as soon as the lease is another's."""
    leases = _leases(settings, 0.03)
    lease = leases.take("day", "ada")
    renewing = threading.Thread(target=leases.keep_renewing, args=(lease, threading.Event()))
    renewing.start()
    leases.take("day", "ada")
    renewing.join(30)
    assert not renewing.is_alive()


def test_nothing_is_locked_under_a_lease_that_was_lost(settings: Settings) -> None:
    leases = _leases(settings, LONG)
    with leased(settings, "day", "ada") as lease:
        assert lease.token == 1
        with leases.locked("switch"):
            pass
        leases.require_held()
        leases.take("day", "ada")
        with pytest.raises(LeaseLostError), leases.locked("switch"):
            pass
        with pytest.raises(LeaseLostError):
            leases.require_held()
    leases.require_held()


def test_a_lease_is_given_back_when_its_block_ends(settings: Settings) -> None:
    with leased(settings, "day", "ada"):
        pass
    with leased(settings, "day", "bob") as lease:
        assert lease.token == 2
