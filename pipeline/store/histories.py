"""Histories by user in Redis; the one place that knows its keys and encodings.

Each user has a sorted set, by the milliseconds of each event's time, under their pseudonym. A member says what
happened, when to the second, and to which item: so an event that is told twice, by the shop as it happens and by the
night's logs, is one. Who was forgotten is in the set of the erased, and nothing is written of them any more.

    nightshift:history:1:<pseudonym>   sorted set: milliseconds → <letter of the type><seconds, 8 hex digits><item id>
    nightshift:erased:1                set of pseudonyms
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import redis
from redis import exceptions
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from pipeline.core.errors import SettingsError, UnavailableError

if TYPE_CHECKING:
    from pipeline.core.histories import History
    from pipeline.core.settings import Settings

ERASED = "nightshift:erased:1"
KEPT_TYPES = ("view", "cart", "remove", "purchase", "cancel")
"""What becomes part of a sequence, or takes something out of one; nothing else is kept."""
SAME_SECONDS = 1
"""The same again within so long is one event, as in logs."""
HEARD_SECONDS = 60
"""An event whose time was not told may have been heard of so long before or after it happened."""
CALL_SECONDS, CONNECT_SECONDS, TRIES = 5.0, 3.0, 3
USERS_AT_ONCE = 500

_LETTER = {"view": "v", "cart": "c", "remove": "r", "purchase": "p", "cancel": "x"}
_TYPE = {ord(letter): name for name, letter in _LETTER.items()}
_TYPE |= {ord(letter.upper()): name for name, letter in _LETTER.items()}
_FIRST_OF_LOWER = ord("a")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DAY_MILLISECONDS = 86_400_000

# KEYS: history, erased. ARGV: newest to keep, oldest time, milliseconds kept, how many names, names …, then time and
# member by turns. Returns how many were not known, or -1 for somebody erased. The earlier of two times stays, so that
# it does not matter who told first.
WRITE = """
local places = 4 + tonumber(ARGV[4])
for place = 5, places do
  if redis.call('SISMEMBER', KEYS[2], ARGV[place]) == 1 then return -1 end
end
local added = 0
for place = places + 1, #ARGV, 2 do
  added = added + redis.call('ZADD', KEYS[1], 'LT', ARGV[place], ARGV[place + 1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[1] - 1)
local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if newest[2] then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', newest[2] + ARGV[3]))
end
return added
"""


class Past(NamedTuple):
    """Something a user did with an item.

    Attributes:
        event_type: one of `KEPT_TYPES`.
        milliseconds: unix time; as read from Redis, that of the second's beginning.
        timed: its time was told; else it is when it was heard of.
    """

    item_id: str
    event_type: str
    milliseconds: int
    timed: bool = True


def milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


def key(name: str) -> str:
    """Returns where the history under a pseudonym lies."""
    return f"nightshift:history:1:{name}"


def member(past: Past) -> str:
    letter = _LETTER[past.event_type]
    return f"{letter if past.timed else letter.upper()}{past.milliseconds // 1000:08x}{past.item_id}"


def told_once(histories: Iterable[Sequence[bytes]]) -> list[Past]:
    """Returns what one person did, oldest first, each event once.

    Args:
        histories: members, newest first; one a pseudonym.
    """
    histories = [members for members in histories if members]
    pasts = [_past(each) for members in histories for each in reversed(members)]
    if len(histories) > 1:
        pasts.sort(key=attrgetter("milliseconds"))
    told = _times_told(pasts)
    kept, last = [], {}
    for past in pasts:
        item_id, event_type, at, timed = past
        what = (item_id, event_type)
        if not timed and any(abs(at - each) <= HEARD_SECONDS * 1000 for each in told.get(what, ())):
            continue
        if at - last.get(what, -math.inf) > SAME_SECONDS * 1000:
            last[what] = at
            kept.append(past)
    return kept


def _past(raw: bytes) -> Past:
    letter = raw[0]
    return Past(str(raw[9:], "utf-8"), _TYPE[letter], int(raw[1:9], 16) * 1000, letter >= _FIRST_OF_LOWER)


def _times_told(pasts: Sequence[Past]) -> Mapping[tuple[str, str], list[int]]:
    """Returns when each thing happened, if there is an event this may be asked for."""
    told: dict[tuple[str, str], list[int]] = defaultdict(list)
    if not all(past.timed for past in pasts):
        for past in pasts:
            if past.timed:
                told[past.item_id, past.event_type].append(past.milliseconds)
    return told


@dataclass(frozen=True)
class Keeping:
    """How much is kept of a user, and the commands that follow from it."""

    max_events: int
    days: int

    @classmethod
    def of(cls, history: History) -> Keeping:
        return cls(history.max_events, history.days)

    def oldest(self, now: int) -> int:
        """Returns the earliest time that is kept, both in milliseconds."""
        return now - self.days * _DAY_MILLISECONDS

    def read(self, name: str, now: int) -> tuple[str, ...]:
        """Returns the command that gives a history's members, newest first."""
        least = str(self.oldest(now))
        return ("ZRANGE", key(name), "+inf", least, "BYSCORE", "REV", "LIMIT", "0", str(self.max_events))

    def write(self, names: Sequence[str], pasts: Iterable[Past], now: int) -> dict[str, list[str]]:
        """Returns keys and arguments of `WRITE`, which adds to the history under the first name.

        Args:
            names: what one person may be called.
        """
        words = [self.max_events, self.oldest(now), self.days * _DAY_MILLISECONDS, len(names)]
        events = itertools.chain.from_iterable((str(past.milliseconds), member(past)) for past in pasts)
        return {"keys": [key(names[0]), ERASED], "args": [*map(str, words), *names, *events]}


class Histories:
    """The histories, for steps and commands: a call may take seconds."""

    def __init__(self, url: str, keeping: Keeping) -> None:
        """Raises: SettingsError: no address of a Redis."""
        retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), TRIES)
        options = {"socket_timeout": CALL_SECONDS, "socket_connect_timeout": CONNECT_SECONDS, "retry": retry}
        self._pool = pool(redis.ConnectionPool, url, **options)
        self._redis = redis.Redis(connection_pool=self._pool)
        self._write = self._redis.register_script(WRITE)
        self.keeping = keeping

    @classmethod
    def open(cls, settings: Settings) -> Histories | None:
        """Returns None where no histories are kept."""
        history = settings.history
        return cls(history.redis_url, Keeping.of(history)) if history.redis_url else None

    def of(self, names: Iterable[str]) -> list[Past]:
        """Returns what one person did, oldest first. Raises: UnavailableError."""
        now = milliseconds(datetime.now(UTC))
        with telling(self._pool):
            return told_once([self._redis.execute_command(*self.keeping.read(name, now)) for name in names])

    def add(self, events: Mapping[str, Sequence[Past]]) -> int:
        """Adds what happened to the users' histories, and returns how much of it was not known.

        Args:
            events: pseudonym → events; those that are too old are left out, and all of somebody erased.

        Raises: UnavailableError: some of it may be written; doing it again writes nothing twice.
        """
        now, added = milliseconds(datetime.now(UTC)), 0
        with telling(self._pool):
            for users in _parts(events.items(), USERS_AT_ONCE):
                with self._redis.pipeline(transaction=False) as together:
                    for name, pasts in users:
                        self._write(**self.keeping.write([name], pasts, now), client=together)
                    added += sum(max(new, 0) for new in together.execute())
        return added

    def erase(self, names: Iterable[str]) -> int:
        """Removes the histories under these pseudonyms and lets none begin anew; returns how many events went.

        Raises: UnavailableError.
        """
        gone = 0
        with telling(self._pool):
            for part in _parts(names, USERS_AT_ONCE):
                with self._redis.pipeline(transaction=True) as together:
                    together.sadd(ERASED, *part)
                    for name in part:
                        together.zcard(key(name))
                    together.delete(*map(key, part))
                    gone += sum(together.execute()[1:-1])
        return gone


T = TypeVar("T")


def _parts(things: Iterable[T], most: int) -> Iterator[list[T]]:
    rest = iter(things)
    while part := list(itertools.islice(rest, most)):
        yield part


def pool(kind: Any, url: str, **options: Any) -> Any:
    """Returns a pool of connections, of redis or of redis.asyncio; none is made yet.

    Raises: SettingsError: no address of a Redis, or it says an option there is not.
    """
    try:
        made = kind.from_url(url, **options)
        made.connection_class(**made.connection_kwargs)
    except (ValueError, TypeError):
        # What is wrong with it is not quoted: it may be the password.
        raise SettingsError(
            "The setting history.redis_url is no address of a Redis; write redis://:PASSWORD@HOST:PORT/0, or rediss:// "
            "for TLS, and after a question mark only options of redis-py."
        ) from None
    return made


_LATE = "does not answer in time; see whether it runs and how much it has to do"
_AWAY = "cannot be reached; see whether it runs and history.redis_url names it"
_PROBLEMS: Sequence[tuple[type[Exception], str]] = (
    (exceptions.AuthenticationError, "refuses the user or the password of history.redis_url; correct it"),
    (exceptions.NoPermissionError, "does not allow its user what docs/guide/server.md says it needs; change its ACL"),
    (exceptions.ReadOnlyError, "takes no writes, being a replica; let history.redis_url name the primary"),
    (exceptions.OutOfMemoryError, "has no memory left for more; raise its maxmemory or lower history.max_events"),
    (exceptions.BusyLoadingError, "is loading its data; wait until it has"),
    (exceptions.TimeoutError, _LATE),
    (TimeoutError, _LATE),
    (exceptions.ConnectionError, _AWAY),
    (OSError, _AWAY),
)


def sentence(error: Exception, pool_: Any) -> str:
    """Says what is wrong with a Redis, without the password in its address."""
    options = pool_.connection_kwargs
    place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    known = next((told for kind, told in _PROBLEMS if isinstance(error, kind)), None)
    # A pipeline quotes what was asked, which may name people.
    said = str(error).rpartition(" caused error: ")[2].rstrip(".")
    return f"Redis at {place} {known or f'refuses what is asked ({said})'}."


@contextmanager
def telling(pool_: Any) -> Iterator[None]:
    """Turns what Redis raises into `UnavailableError`."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise UnavailableError(sentence(error, pool_)) from None
