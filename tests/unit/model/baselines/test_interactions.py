"""`model.baselines.interactions`: who met what, and when."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pipeline.model.baselines import Interactions
from tests.unit.train.conftest import make_prepared


def test_popularity_counts_people_not_events(log: Interactions) -> None:
    # d was met three times, by one person.
    assert log.people_n.tolist() == [3, 2, 2, 1, 0]


def test_recent_popularity_halves_with_every_horizon_since_each_person_last_met_the_item(log: Interactions) -> None:
    # The log ends on day 4, the horizon is 2 days. a on days 0, 1, 2: 2**-2 + 2**-1.5 + 2**-1; b on days 0, 1;
    # c on days 2 and 4: 2**-1 + 1; d on day 4, counted once.
    expected = [2**-2 + 2**-1.5 + 2**-1, 2**-2 + 2**-1.5, 1.5, 1.0, 0.0]
    assert log.recent_people_n == pytest.approx(expected)


def test_who_met_an_item_again_counts_by_the_last_time(log: Interactions) -> None:
    # b of the first sequence becomes a: met on days 0 and 3, of which the second counts.
    again = replace(log, items_N=np.array([1, 1]), times_N=np.array([0, 3]) * 86_400, offsets_S1=np.array([0, 2]))
    assert again.pairs[2].tolist() == [1]
    assert again.recent_people_n[0] == 1.0


def test_the_horizon_is_the_length_of_the_validation(tmp_path: Path) -> None:
    prepared_shop = make_prepared(tmp_path / "prepared")
    begin, end = datetime(2011, 12, 1, tzinfo=UTC), datetime(2011, 12, 8, tzinfo=UTC)
    split = {"validation_start": begin.isoformat(), "test_start": end.isoformat()}
    (prepared_shop.path / "split.json").write_text(json.dumps(split))
    assert Interactions.load(prepared_shop).horizon_seconds == 7 * 86_400
