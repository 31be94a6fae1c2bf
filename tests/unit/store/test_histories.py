"""What is read out of Redis, worked out from members; a real Redis is among the tests against services."""

from __future__ import annotations

import pytest
import redis

from pipeline.core.errors import SettingsError
from pipeline.store.histories import Histories, Keeping, Past, member, pool, sentence, told_once

MINUTE = 60_000
BEGIN = 1_770_000_000_000


def stored(*pasts: Past) -> list[bytes]:
    """Members as Redis gives them, newest first."""
    return [member(past).encode() for past in sorted(pasts, key=lambda past: past.milliseconds, reverse=True)]


def view(item: str, after: int, timed: bool = True) -> Past:
    return Past(item, "view", BEGIN + after, timed)


def test_a_member_holds_what_happened_to_the_second() -> None:
    past = Past("Größe 40:1", "purchase", BEGIN + 999)
    assert member(past) == "p69800e80Größe 40:1"
    assert told_once([[member(past).encode()]]) == [past._replace(milliseconds=BEGIN)]


@pytest.mark.parametrize("kind", ["view", "cart", "remove", "purchase", "cancel"])
@pytest.mark.parametrize("timed", [True, False])
def test_every_kind_of_event_comes_back_as_it_was(kind: str, timed: bool) -> None:
    past = Past("lamp", kind, BEGIN, timed)
    assert told_once([stored(past)]) == [past]


def test_the_same_again_within_a_second_is_one_event_and_later_it_is_another() -> None:
    members = stored(view("lamp", 0), view("lamp", 1000), view("lamp", 2000), view("mug", 1000))
    assert told_once([members]) == [view("lamp", 0), view("mug", 1000), view("lamp", 2000)]


def test_an_event_heard_of_is_left_out_for_one_whose_time_was_told() -> None:
    heard, told = view("lamp", MINUTE // 2, timed=False), view("lamp", 0)
    assert told_once([stored(heard, told)]) == [told]
    assert told_once([stored(heard, told._replace(milliseconds=BEGIN + MINUTE))]) == [view("lamp", MINUTE)]
    far = told._replace(milliseconds=BEGIN - MINUTE)
    assert told_once([stored(heard, far)]) == [far, heard]
    assert told_once([stored(heard)]) == [heard]


def test_histories_under_two_pseudonyms_are_one_in_order_of_time() -> None:
    new, old = stored(view("lamp", 9000), view("mug", 3000)), stored(view("cup", 6000), view("mug", 3000))
    assert told_once([new, old]) == [view("mug", 3000), view("cup", 6000), view("lamp", 9000)]
    assert told_once([[], []]) == []


@pytest.mark.parametrize("url", ["http://:minnow@host", "redis://host:minnow", "redis://:minnow@host?no_such=1", "x"])
def test_what_is_no_address_of_a_redis_is_refused_without_saying_it(url: str) -> None:
    with pytest.raises(SettingsError, match=r"history\.redis_url is no address of a Redis") as told:
        Histories(url, Keeping(4, 30))
    assert "minnow" not in str(told.value)


def test_a_refusal_by_redis_is_one_sentence_that_names_the_place() -> None:
    found = pool(redis.ConnectionPool, "rediss://user:minnow@cache.shop:7000/3?ssl_cert_reqs=required")
    told = sentence(redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), found)
    assert told == "Redis at cache.shop:7000 is loading its data; wait until it has."
    assert sentence(redis.ResponseError("no idea"), found) == (
        "Redis at cache.shop:7000 refuses what is asked (no idea)."
    )
    assert found.connection_class is redis.SSLConnection
