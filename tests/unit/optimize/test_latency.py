"""The timing process: one figure a call and bundle, and a sentence when it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import UnavailableError
from pipeline.model.features import Query
from pipeline.optimize.judged import Judged
from pipeline.optimize.latency import measure
from tests.fixtures.bundles import item_id


def _judged() -> Judged:
    queries = [Query([item_id(3), item_id(4)], ["view", "cart"]), Query([], [], "thing"), Query([], [])]
    return Judged(queries, ["recommend", "search", "recommend"], ["u"] * 3, [["x"]] * 3, [True, False, True])


def test_every_bundle_is_timed_on_every_call(tiny_bundle: Path, tmp_path: Path) -> None:
    times = measure({"one": tiny_bundle, "other": tiny_bundle}, _judged(), calls=7, k=5, scratch=tmp_path)
    assert {name: values.shape for name, values in times.items()} == {"one": (7,), "other": (7,)}
    assert all((values > 0).all() for values in times.values())


def test_a_bundle_gone_in_the_meantime_is_told_with_the_last_line(tiny_bundle: Path, tmp_path: Path) -> None:
    bundles = {"one": tiny_bundle, "gone": tmp_path / "gone"}
    with pytest.raises(UnavailableError, match=r"measurement ended with code 1: .*there is no release bundle here"):
        measure(bundles, _judged(), calls=7, k=5, scratch=tmp_path)
