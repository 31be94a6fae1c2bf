from __future__ import annotations

import pytest

from pipeline.core.errors import BusyError
from pipeline.core.settings import Settings
from pipeline.store.leases import leased, nobody_holds
from tests.fixtures.nights import with_section


def test_the_second_run_is_told_who_holds_the_lease_and_gets_it_afterwards(settings: Settings) -> None:
    with leased(settings, "ingest 2011-12-08", "ada"):
        with leased(settings, "ingest 2011-12-09", "bob") as other:
            assert (other.name, other.holder) == ("ingest 2011-12-09", "bob")
        with (
            pytest.raises(BusyError, match=r"`ingest 2011-12-08` is already under way .run ada, process"),
            leased(settings, "ingest 2011-12-08", "bob"),
        ):
            pass
    with leased(settings, "ingest 2011-12-08", "bob") as lease:
        assert lease.holder == "bob"


@pytest.mark.parametrize("shared", ["", "s3://bucket"])
def test_all_leases_of_a_kind_are_held_at_once_unless_somebody_has_one(settings: Settings, shared: str) -> None:
    settings = with_section(settings, "store", shared=shared)
    with leased(settings, "train-one", "ada"):
        pass
    with leased(settings, "ingest-two", "bob"), nobody_holds(settings, "train-", "forget"):
        pass
    with (
        leased(settings, "train-one", "ada"),
        pytest.raises(BusyError, match=r"`train-one` is already under way .run ada"),
        nobody_holds(settings, "train-", "forget"),
    ):
        pass
