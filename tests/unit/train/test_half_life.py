"""`train.half_life` on a log whose habits changed, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.settings import Settings
from pipeline.model.features import Item, Query
from pipeline.train import half_life
from pipeline.train.half_life import aged
from pipeline.train.prepared import Prepared
from pipeline.train.validation import Validation
from tests.fixtures.nights import with_section
from tests.unit.train.test_examples import PREPARED
from tests.unit.train.test_validation import ITEMS, VALIDATION

DAY = 86_400
# Six people met b beside a on the first day, two met c beside it on the hundredth.
LOG = replace(
    PREPARED,
    items=[Item(n, item_id) for n, item_id in enumerate(ITEMS.item_ids, start=1)],
    items_N=np.array([1, 2] * 6 + [1, 3] * 2, np.int32),
    times_N=np.array([0] * 12 + [100 * DAY] * 4),
    offsets_S1=np.arange(0, 18, 2),
)


def asked(wanted: str) -> Validation:
    """Returns 100 times the question what comes after a."""
    query = {"users": ["u"], "kinds": np.array(["recommend"]), "queries": [Query(["a"], ["view"])]}
    whole = {"ids": [1], **query, "targets": [[wanted]], "new_targets": [[wanted]]}
    return replace(VALIDATION, **{name: np.repeat(v, 100) if name == "kinds" else v * 100 for name, v in whole.items()})


def chosen(wanted: str, prepared: Prepared = LOG) -> float:
    return aged(Settings(), prepared, asked(wanted)).train.half_life_share


def test_habits_that_stay_are_remembered_longest() -> None:
    # At a half-life of the whole time the old six weigh 6 / 2 = 3, more than the new two.
    assert chosen("b") == 1.0


def test_habits_that_change_are_forgotten_as_fast_as_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    # At half of the time the old six weigh 6 / 4 = 1.5, less than the new two; shorter ones find no more.
    assert chosen("c") == 0.5
    told = capsys.readouterr().out
    assert told.startswith("train: half_life_share 0.5 (50 days), by recall@1 of items met beside (1: 0.0000, 0.5: 1.0")


def test_a_half_life_that_is_set_stays(capsys: pytest.CaptureFixture[str]) -> None:
    settings = with_section(Settings(), "train", half_life_share=0.3)
    assert aged(settings, LOG, asked("b")) is settings
    assert capsys.readouterr().out == ""


def test_a_long_log_and_many_questions_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of eight sequences every second is read: three with b, weighing 1.5, and one with c.
    monkeypatch.setattr(half_life, "MOST_EVENTS", 8)
    assert chosen("b") == 1.0
    assert len(asked("b").thinned(30).queries) == 25
