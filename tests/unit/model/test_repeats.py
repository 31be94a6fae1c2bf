"""`model.repeats`: bands by hand, what is added, and the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import CorruptArtifactError
from pipeline.model.features import BANDS, Query
from pipeline.model.repeats import NUMBERS, Met, Repeats

INDEX = {"a": 1, "b": 2, "c": 3}
DAY = 86_400
# a a day ago and again an hour ago, something unknown, and b a minute ago.
HISTORY = Query(["a", "a", "?", "b"], ["view"] * 4, None, [0, DAY - 3600, DAY - 600, DAY - 60], DAY)
EVENTS, SECONDS = BANDS + 1, 2 * (BANDS + 1)


def test_an_item_is_met_in_bands_of_how_often_how_many_events_ago_and_how_long_ago() -> None:
    met = Met.by(HISTORY, INDEX)
    assert met.rows_O.tolist() == [0, 1]
    # A band is 1 + the binary digits. a: twice (2), 3 events ago (2), 3,600 s (12); b: once (1), 1 (1), 60 s (6).
    assert met.bands_O3.tolist() == [[3, EVENTS + 3, SECONDS + 13], [2, EVENTS + 2, SECONDS + 7]]


def test_without_times_how_long_ago_is_a_band_of_its_own() -> None:
    met = Met.by(Query(["b"], ["view"]), INDEX)
    assert met.bands_O3.tolist() == [[2, EVENTS + 2, SECONDS]]
    assert len(Met.by(Query([], []), INDEX).rows_O) == len(Met.by(Query(["?"], ["view"]), INDEX).rows_O) == 0


def test_the_numbers_of_the_three_bands_are_added_but_not_where_a_text_is_typed() -> None:
    numbers_B = np.zeros(NUMBERS)
    numbers_B[[3, EVENTS + 2, SECONDS + 7]] = 0.5, -0.25, 0.125
    repeats = Repeats(numbers_B)
    rows_O, added_O = repeats.added(HISTORY, INDEX)
    assert dict(zip(rows_O.tolist(), added_O.tolist(), strict=True)) == {0: 0.5, 1: -0.125}
    assert len(repeats.added(Query(["a"], ["view"], "red mug"), INDEX)[0]) == 0


def test_what_is_saved_is_loaded_and_anything_else_is_refused(tmp_path: Path) -> None:
    saved = Repeats(np.arange(NUMBERS) / 7)
    saved.save(tmp_path / "repeats.json")
    assert np.array_equal(Repeats.load(tmp_path / "repeats.json").numbers_B, saved.numbers_B)
    torn = json.loads((tmp_path / "repeats.json").read_text())
    for wrong in ({**torn, "times_met": [1.0]}, {"times_met": [1.0]}, {**torn, "events_ago": [float("nan")] * 33}, []):
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        with pytest.raises(CorruptArtifactError, match=r"wrong\.json: does not hold 33 finite numbers for each of"):
            Repeats.load(tmp_path / "wrong.json")
