from __future__ import annotations

import sys

import pytest

from benchmarks.claims import (
    Usage,
    interleaved,
    judged_queries,
    judged_values,
    measured,
    median_interval,
    rounds_by_size,
)


def test_a_claim_holds_only_where_its_whole_interval_does() -> None:
    # Ratios 1.5, 2.5, 1.8, 1.9, 1.7: the median is below two, one round is not.
    claim = judged_values("x", [3, 5, 3.6, 3.8, 3.4], [2] * 5, "s", "<= 2")
    assert (claim.ratio, claim.low, claim.high, claim.holds) == (1.8, 1.5, 2.5, False)
    assert judged_values("x", [3, 3.9, 3.6, 3.8, 3.4], [2] * 5, "s", "<= 2").holds


def test_times_faster_is_the_peer_over_ours() -> None:
    claim = judged_values("x", [1, 2], [10, 18], "s", ">= 8", inverted=True)
    assert (claim.ratio, claim.low, claim.high, claim.holds) == (9.5, 9, 10, True)


def test_the_interval_of_a_median_leaves_out_what_chance_allows() -> None:
    # Of ten values the second least and greatest hold it with 1 - 2 * (1 + 10) / 1024 = 97.9 %; the third with 89 %.
    assert median_interval(range(10)) == (1, 8)
    assert median_interval([3, 1, 2, 5, 4]) == (1, 5)
    assert median_interval([7]) == (7, 7)


def test_a_run_is_measured_with_its_children() -> None:
    child = "x = bytearray(80_000_000); import time; time.sleep(0.3)"
    used = measured(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"]
    )
    assert used.wall_seconds >= 0.3
    assert used.cpu_seconds > 0
    assert used.peak_mb > 80


def test_a_run_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"ended with 3: no such file"):
        measured([sys.executable, "-c", "import sys; print('no such file', file=sys.stderr); sys.exit(3)"])


def test_ours_and_the_peers_take_turns(tmp_path) -> None:
    log = tmp_path / "log"

    def noting(name: str) -> list[str]:
        return [sys.executable, "-c", f"open({str(log)!r}, 'a').write('{name} ')"]

    runs = interleaved(lambda n: noting(f"ours{n}"), {"peer": noting("peer")}, rounds=2)
    assert log.read_text().split() == ["ours0", "peer", "ours1", "peer"]
    assert {name: len(used) for name, used in runs.items()} == {"ours": 2, "peer": 2}
    assert isinstance(runs["peer"][0], Usage)


def test_rounds_are_one_number_for_all_sizes_or_one_each() -> None:
    assert rounds_by_size([10, 20], [3]) == {10: 3, 20: 3}
    assert rounds_by_size([10, 20], [5, 1]) == {10: 5, 20: 1}
    with pytest.raises(SystemExit, match="one for each of the 3 sizes"):
        rounds_by_size([1, 2, 3], [5, 1])


def test_a_ratio_over_queries_holds_where_the_paired_interval_does() -> None:
    # Everybody's query finds .5 with ours and .25 with the peer: whoever is drawn again, the ratio is two.
    claim = judged_queries("x", [0.5] * 4, [0.25] * 4, ["a", "a", "b", "c"], "share", ">= 1")
    assert (claim.ours, claim.peer, claim.ratio, claim.low, claim.high, claim.holds) == (0.5, 0.25, 2, 2, 2, True)
    # Equal means of which one person's lie below: their being drawn often takes the ratio below one.
    unsure = judged_queries("x", [0.0, 1.0], [1.0, 0.0], ["a", "b"], "share", ">= 1")
    assert unsure.ratio == 1
    assert not unsure.holds


def test_a_peer_that_found_nothing_does_not_stop_a_claim() -> None:
    assert judged_queries("x", [1.0, 0.0], [0.0, 0.0], ["a", "b"], "share", ">= 1").ours == 0.5
