"""Queries found all at once are those found one by one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.prepare.candidates import Period, find_candidates
from pipeline.prepare.evidence import Evidence
from pipeline.prepare.words import hashed

SECOND = 1_000_000


def random_lines(seed: int, count: int) -> list[tuple]:
    draw = np.random.default_rng(seed)
    kinds = ["view", "cart", "remove", "remove", "purchase", "cancel", "search"]
    lines = []
    for _ in range(count):
        user, kind = int(draw.integers(60)), kinds[draw.integers(len(kinds))]
        thing = f"text {draw.integers(5)}" if kind == "search" else f"i{draw.integers(6)}"
        more = {"session": f"s{user}-{draw.integers(3)}", "quantity": int(draw.integers(1, 3))}
        lines.append((f"u{user:02d}", int(draw.integers(0, 40)), kind, thing, more))
    return lines


def one_by_one(evidence: Evidence, period: Period) -> dict[tuple[int, int], int]:
    """Returns (actor, search) -> cut, from the definition."""
    log, found = evidence.log, {}
    for actor in range(len(log.actors)):
        rows = np.arange(*log.offsets[actor : actor + 2])
        own = rows[evidence.in_sequences(rows)]
        if evidence.standing(own, period.start_us).any():
            cut = period.start_us
        else:
            later = own[log.time_us[own] >= period.start_us]
            times = log.time_us[later[evidence.standing(later, period.end_us)]]
            later = times[times > times[:1]]
            if not len(later):
                continue
            cut = max(times[len(times) // 2], later[0])
        later = rows[log.time_us[rows] >= max(cut, period.start_us)]
        if (evidence.positive(later) & evidence.standing(later, period.end_us)).any():
            found[actor, -1] = int(cut)
    rows = np.flatnonzero(evidence.answers >= 0)
    for row in rows[evidence.standing(rows, period.end_us)]:
        search = int(evidence.answers[row])
        if log.time_us[search] >= period.start_us:
            found[int(log.actor[search]), search] = int(log.time_us[search])
    return found


@pytest.mark.parametrize("seed", range(12))
def test_all_candidates_are_those_of_the_definition(evidence_of, seed) -> None:
    evidence = evidence_of(*random_lines(seed, 160), answer_minutes=1)
    period = Period(20 * SECOND, 32 * SECOND)
    found = find_candidates(evidence, period)
    columns = (found.actor.tolist(), found.search.tolist(), found.cut_us.tolist())
    assert {(actor, search): cut for actor, search, cut in zip(*columns, strict=True)} == one_by_one(evidence, period)
    assert len(found) == len(set(zip(*columns[:2], strict=True))) > 5
    rows = evidence.rows_between(10 * SECOND, 40 * SECOND)
    assert find_candidates(evidence, period, rows).cut_us.tolist() == found.cut_us.tolist()


def test_a_log_without_events_of_the_period_has_no_candidates(evidence_of) -> None:
    assert len(find_candidates(evidence_of(("u", 1, "view", "a")), Period(10 * SECOND, 20 * SECOND))) == 0


def test_a_name_has_one_hash_whatever_stands_beside_it() -> None:
    names = ["", "a", "ab", "ba", "äö", "a" * 100, "u1", "u2"]
    together = hashed(pa.array(names))
    assert len(set(together.tolist())) == len(names)
    assert [int(hashed(pa.array([name]))[0]) for name in names] == together.tolist()
    assert hashed(pa.array(["before", *names]).slice(1)).tolist() == together.tolist()
    assert hashed(pa.array(names, pa.large_string())).tolist() == together.tolist()


def test_hashes_never_change() -> None:
    # "a" is byte 97, digit 98; 98 times the prime 0x100000001B3, mixed. With another value every evaluation set would
    # be drawn anew.
    assert hashed(pa.array(["a"])).tolist() == [0xA41C7EE93BB76EB6]


def test_hashes_are_spread_evenly() -> None:
    draws = hashed(pa.array([f"user {n}" for n in range(20_000)]))
    # Each sixteenth holds 1,250 of them on average, with a standard deviation of 34.
    shares = np.bincount((draws >> np.uint64(60)).astype(int), minlength=16)
    assert abs(shares - 1250).max() < 5 * 34
