"""What is measured in processes of their own: times, memory, and what can be told from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UnavailableError
from pipeline.model.features import Query
from pipeline.optimize.judged import Judged
from pipeline.optimize.measuring import memory
from pipeline.optimize.measuring.latency import Timing, measure
from tests.fixtures.bundles import item_id


def _judged() -> Judged:
    queries = [Query([item_id(3), item_id(4)], ["view", "cart"]), Query([], [], "thing"), Query([], [])]
    return Judged(queries, ["recommend", "search", "recommend"], ["u"] * 3, [["x"]] * 3, [True, False, True])


def test_every_bundle_is_timed_on_every_call_and_one_as_two(tiny_bundle: Path, tmp_path: Path) -> None:
    timing = measure({"one": tiny_bundle, "other": tiny_bundle}, "one", _judged(), calls=10, k=5, scratch=tmp_path)
    # Five rounds of two calls.
    assert {name: values.shape for name, values in timing.times_ms.items()} == {"one": (5, 2), "other": (5, 2)}
    assert timing.again_ms.shape == (5, 2) and timing.calls == 10
    assert all((values > 0).all() for values in (*timing.times_ms.values(), timing.again_ms))
    assert {"cpu", "cores", "governor", "load_average", "kernel", "pinned_to_core"} <= timing.host.keys()


def test_a_bundle_gone_in_the_meantime_is_told_with_the_last_line(tiny_bundle: Path, tmp_path: Path) -> None:
    bundles = {"one": tiny_bundle, "gone": tmp_path / "gone"}
    with pytest.raises(UnavailableError, match=r"measurement of 7 calls ended with code 1: .*no release bundle here"):
        measure(bundles, "one", _judged(), calls=7, k=5, scratch=tmp_path)


def _timing(again: float, calls: int = 400) -> Timing:
    """Two recipes on a machine that is half as fast in every second stretch of 50 calls, for both alike."""
    stretch_C = np.repeat([1.0, 2.0], 50)[np.arange(calls) % 100]
    times = {"float32": stretch_C[None], "half": 0.5 * stretch_C[None]}
    return Timing(times, again * stretch_C[None], "float32", {})


def test_a_machine_that_slows_down_for_all_alike_leaves_the_ratio_alone() -> None:
    # Each recipe's own median lies anywhere between 1 and 2; half of it is half of it in every resample.
    timing = _timing(again=1.0)
    assert (timing.quantile("float32", 0.5).low, timing.quantile("float32", 0.5).high) == (1.0, 2.0)
    ratio = timing.ratio("half", "float32", 0.5)
    assert (ratio.mean, ratio.low, ratio.high) == (0.5, 0.5, 0.5)
    assert timing.mean("half") == 0.75


def test_a_bundle_that_differs_from_itself_makes_the_machine_noisy_in_words() -> None:
    assert _timing(again=1.05).noisy == ""
    assert _timing(again=1.25).noisy == (
        "noisy: float32 against itself took 1.25 times as long (95 % 1.25 to 1.25, allowed 0.91 to 1.10), so no recipe "
        "is judged by speed"
    )
    assert _timing(again=0.8).noisy


def test_a_process_that_was_unlucky_with_one_bundle_widens_its_interval() -> None:
    # In one round of five the second recipe takes half as long again; resamples hold that round none to five times.
    one_NC = np.ones((5, 100))
    other_NC = one_NC.copy()
    other_NC[2] = 1.5
    ratio = Timing({"float32": one_NC, "other": other_NC}, one_NC, "float32", {}).ratio("other", "float32", 0.5)
    assert (ratio.mean, ratio.low, ratio.high) == (1.0, 1.0, 1.5)


def test_memory_is_that_of_a_process_of_its_own(tiny_bundle: Path) -> None:
    found = memory.measure(tiny_bundle, k=5)
    assert 10 < found.plain < found.settled <= found.peak
