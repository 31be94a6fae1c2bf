"""Histories in a real Redis: told as it happens or by the night, read by the server, forgotten."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import redis as client_library

from pipeline.core.errors import UnavailableError
from pipeline.store.histories import ERASED, Histories, Keeping, Past, key
from tests.services.redis import PASSWORD, Redis, redis

NOW = int(time.time()) * 1000
DAY = 86_400_000
ANNA, BERT = "aa" * 32 + ".00000001", "bb" * 32 + ".00000001"


@pytest.fixture
def histories(redis_server: Redis, raw: client_library.Redis) -> Histories:
    return Histories(redis_server.url, Keeping(max_events=4, days=30))


def test_what_is_told_twice_is_one_event_whoever_tells_it_first(histories: Histories) -> None:
    live, night = Past("lamp", "view", NOW - 60_100), Past("lamp", "view", NOW - 60_000 - 1000)
    # Both lie in the second that begins 61 s ago; the night's log knows no milliseconds.
    for first, second, name in ((live, night, ANNA), (night, live, BERT)):
        assert (histories.add({name: [first]}), histories.add({name: [second]})) == (1, 0)
    assert histories.of([ANNA]) == histories.of([BERT]) == [Past("lamp", "view", NOW - 61_000)]


def test_only_the_newest_events_are_kept(histories: Histories, raw: client_library.Redis) -> None:
    histories.add({ANNA: [Past(f"item{age}", "view", NOW - age * 60_000) for age in range(9)]})
    assert [past.item_id for past in histories.of([ANNA])] == ["item3", "item2", "item1", "item0"]
    assert raw.zcard(key(ANNA)) == 4


def test_a_history_ends_so_many_days_after_its_newest_event_and_drops_older_ones(
    histories: Histories, raw: client_library.Redis
) -> None:
    histories.add({ANNA: [Past("mug", "view", NOW - 31 * DAY), Past("lamp", "cart", NOW - 10 * DAY)]})
    assert [past.item_id for past in histories.of([ANNA])] == ["lamp"]
    assert raw.zcard(key(ANNA)) == 1
    assert raw.pexpiretime(key(ANNA)) == NOW + 20 * DAY
    histories.add({ANNA: [Past("mug", "view", NOW - 12 * DAY)]})
    assert raw.pexpiretime(key(ANNA)) == NOW + 20 * DAY


def test_nothing_is_left_of_somebody_whose_events_are_all_too_old(
    histories: Histories, raw: client_library.Redis
) -> None:
    histories.add({ANNA: [Past("mug", "view", NOW - 31 * DAY)]})
    assert raw.keys() == []


def test_who_is_erased_has_no_history_and_never_gets_one_again(histories: Histories, raw: client_library.Redis) -> None:
    lamp = [Past("lamp", "view", NOW)]
    histories.add({ANNA: lamp, BERT: lamp})
    assert histories.erase([ANNA]) == 1
    assert histories.add({ANNA: lamp, BERT: [Past("mug", "view", NOW)]}) == 1
    assert (histories.of([ANNA]), len(histories.of([BERT]))) == ([], 2)
    assert set(raw.keys()) == {key(BERT), ERASED}
    assert histories.erase([ANNA]) == 0


def test_a_person_known_by_two_keys_has_one_history(histories: Histories) -> None:
    early, late = Past("lamp", "view", NOW - 7000), Past("mug", "cart", NOW - 2000)
    histories.add({ANNA: [late], BERT: [early, late]})
    assert histories.of([ANNA, BERT]) == [early, late]


def test_a_wrong_password_is_one_sentence_without_any_password(redis_server: Redis) -> None:
    wrong = Histories(redis_server.url.replace(PASSWORD, "minnow"), Keeping(4, 30))
    with pytest.raises(
        UnavailableError, match=rf"Redis at 127.0.0.1:{redis_server.port} refuses the user or the password"
    ) as told:
        wrong.of([ANNA])
    assert "minnow" not in str(told.value) and PASSWORD not in str(told.value)


def test_a_replica_and_a_full_redis_say_that_they_take_no_writes(redis_server: Redis) -> None:
    lamp = {ANNA: [Past("lamp", "view", NOW)]}
    follow = ("--replicaof", f"127.0.0.1 {redis_server.port}", "--masterauth", PASSWORD)
    for options, told in ((follow, "being a replica"), (("--maxmemory", "100kb"), "no memory left")):
        with redis(*options) as refusing, pytest.raises(UnavailableError, match=told):
            Histories(refusing.url, Keeping(4, 30)).add(lamp)


def test_a_user_of_redis_needs_no_more_than_the_guide_says(redis_server: Redis, raw: client_library.Redis) -> None:
    guide = (Path(__file__).parents[2] / "docs/guide/server.md").read_text()
    words = guide[guide.index("Of its commands") : guide.index("all on\n`nightshift:*`")]
    commands = [f"+{name.lower().replace(' ', '|')}" for name in re.findall(r"`([A-Z ]+)`", words)]
    # Every client says hello, and what is removed is removed at once.
    raw.execute_command(
        "ACL", "SETUSER", "shop", "on", ">minnow", "~nightshift:*", "+hello", "+multi", "+exec", *commands
    )
    limited = Histories(redis_server.url.replace(f":{PASSWORD}@", "shop:minnow@"), Keeping(4, 30))
    assert limited.add({ANNA: [Past("lamp", "view", NOW)]}) == 1
    assert limited.of([ANNA]) == [Past("lamp", "view", NOW)]
    assert limited.erase([ANNA]) == 1
    raw.execute_command("ACL", "SETUSER", "shop", "-zrange")
    with pytest.raises(UnavailableError, match=r"does not allow its user what docs/guide/server\.md says"):
        limited.of([ANNA])
    with pytest.raises(UnavailableError, match=r"refuses what is asked \(The user executing the script can't run"):
        limited.add({BERT: [Past("lamp", "view", NOW)]})
    raw.execute_command("ACL", "DELUSER", "shop")


def test_a_redis_that_is_not_there_is_one_sentence(redis_server: Redis) -> None:
    with redis() as gone:
        there = Histories(gone.url, Keeping(4, 30))
        there.add({ANNA: [Past("lamp", "view", NOW)]})
        gone.kill()
        with pytest.raises(UnavailableError, match=f"Redis at 127.0.0.1:{gone.port} cannot be reached"):
            there.of([ANNA])
        gone.start()
        assert there.of([ANNA]) == []
