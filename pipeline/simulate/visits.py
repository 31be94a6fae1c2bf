"""What visitors do on a day, many sessions at once: they search, are shown goods, look, fill carts, buy and cancel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np

from pipeline.simulate.dice import stream
from pipeline.simulate.shop import CLUSTERS_A_PERSONA, Shop

SESSIONS_A_CHUNK = 50_000
EVENTS_A_SESSION = 6.6
"""Mean of what the shares below give; a test holds it to what is generated."""
DAY_SECONDS = 86_400
KNOWN_SHARE = 0.4
SECOND_TASTE_SHARE = 0.2
FOREIGN_SHARE = 0.1
SEARCH_SHARE = 0.25
SHOWN_SHARE = 0.3
SHOWN_ITEMS = 4
STEPS_MEAN, STEPS_MOST = 4.0, 16
FOLLOW_SHARE, STAY_SHARE = 0.45, 0.4
CART_SHARE, BUY_SHARE, REMOVE_SHARE, CANCEL_SHARE = 0.18, 0.5, 0.1, 0.06
TYPES = ("impression", "view", "add_to_cart", "remove_from_cart", "purchase", "cancel", "search")
IMPRESSION, VIEW, CART, REMOVE, PURCHASE, CANCEL, SEARCH = range(len(TYPES))


@dataclass(frozen=True)
class Events:
    """Columns of equal length; what has no value is -1.

    Attributes:
        seconds: after the day's midnight.
        session: a number unique within the day.
        user: -1 for anonymous visitors.
        slot: of the item; for a search, of the item it looks for.
        quantity: -1 where nothing is moved.
        wording: which of the item's queries a search types.
    """

    seconds: np.ndarray
    session: np.ndarray
    user: np.ndarray
    kind: np.ndarray
    slot: np.ndarray
    quantity: np.ndarray
    wording: np.ndarray

    def __len__(self) -> int:
        return len(self.seconds)

    def at(self, places: np.ndarray) -> Events:
        return Events(**{name: column[places] for name, column in vars(self).items()})

    @classmethod
    def joined(cls, parts: list[Events]) -> Events:
        return cls(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in cls.__annotations__})


@dataclass
class _Visits:
    """Sessions in mid-flight."""

    session: np.ndarray
    user: np.ndarray
    persona: np.ndarray
    slot: np.ndarray
    clock: np.ndarray

    def events(
        self, who: np.ndarray, kind: int, slot: np.ndarray | None = None, wording: np.ndarray | None = None
    ) -> Events:
        count = int(who.sum())
        nothing = np.full(count, -1)
        slots = self.slot[who] if slot is None else slot
        words = nothing if wording is None else wording
        return Events(self.clock[who], self.session[who], self.user[who], np.full(count, kind), slots, nothing, words)


def visits_of(shop: Shop, day: date) -> Iterator[Events]:
    """Yields the clean events of a day in chunks that follow each other in time, in bounded memory."""
    wanted = shop.settings.events_per_day * shop.volume(day) / EVENTS_A_SESSION
    sessions = max(int(stream(shop.settings.seed, day, 0).poisson(wanted)), 1)
    chunks = math.ceil(sessions / SESSIONS_A_CHUNK)
    edges = np.linspace(0, sessions, chunks + 1).astype(int)
    for chunk, (first, last) in enumerate(pairwise(edges)):
        yield _chunk(
            shop, day, stream(shop.settings.seed, day, chunk + 1), np.arange(first, last), (chunk / chunks, 1 / chunks)
        )


def _chunk(
    shop: Shop, day: date, random: np.random.Generator, sessions: np.ndarray, share: tuple[float, float]
) -> Events:
    visits = _arrivals(shop, day, random, sessions, share)
    parts = [*_arrive(shop, visits, random)]
    left = np.minimum(random.geometric(1 / STEPS_MEAN, len(sessions)), STEPS_MOST)
    for step in range(STEPS_MOST):
        active = left > step
        if not active.any():
            break
        if step:
            visits.slot = np.where(active, _next_slot(shop, visits, random), visits.slot)
        parts += _look(visits, active, random)
    events = Events.joined(parts)
    inside = events.seconds < DAY_SECONDS
    order = np.lexsort((events.slot, events.kind, events.session, events.seconds))
    return events.at(order[inside[order]])


def _arrivals(
    shop: Shop, day: date, random: np.random.Generator, sessions: np.ndarray, share: tuple[float, float]
) -> _Visits:
    count = len(sessions)
    known = random.random(count) < KNOWN_SHARE
    user = np.where(known, (shop.settings.users * random.random(count) ** 1.7).astype(int), -1)
    edges = np.cumsum(shop.persona_shares(day))
    passing = np.minimum(np.searchsorted(edges, random.random(count), side="right"), shop.personas - 1)
    tastes = shop.user_personas(user)
    own = np.where(random.random(count) < SECOND_TASTE_SHARE, tastes[:, 1], tastes[:, 0])
    persona = np.where(known & (random.random(count) >= FOREIGN_SHARE), own, passing)
    clock = _starts(share[0] + share[1] * np.sort(random.random(count)))
    visits = _Visits(sessions, user, persona, np.zeros(count, int), clock)
    visits.slot = _fresh_slot(shop, visits, random)
    return visits


def _starts(quantiles: np.ndarray) -> np.ndarray:
    """Returns whole seconds of the day: few at night, most at noon and in the evening."""
    busy = np.array([2, 1, 1, 1, 1, 2, 3, 5, 7, 8, 9, 10, 11, 10, 9, 9, 9, 10, 12, 14, 15, 12, 8, 3], float)
    edges = np.concatenate([[0.0], np.cumsum(busy) / busy.sum()])
    return np.interp(quantiles, edges, np.arange(25) * 3600.0).astype(np.int64)


def _fresh_slot(shop: Shop, visits: _Visits, random: np.random.Generator) -> np.ndarray:
    """Draws from the visitor's taste; popularity falls with rank as Zipf's law."""
    cluster = visits.persona * CLUSTERS_A_PERSONA + random.integers(0, CLUSTERS_A_PERSONA, len(visits.slot))
    return _ranked_slot(shop, cluster, random)


def _ranked_slot(shop: Shop, cluster: np.ndarray, random: np.random.Generator) -> np.ndarray:
    size = shop.cluster_sizes[cluster]
    rank = np.minimum(((size + 1.0) ** random.random(len(cluster))).astype(int) - 1, size - 1)
    return cluster + shop.clusters * rank


def _next_slot(shop: Shop, visits: _Visits, random: np.random.Generator) -> np.ndarray:
    way = random.random(len(visits.slot))
    stay = _ranked_slot(shop, shop.cluster[visits.slot], random)
    fresh = _fresh_slot(shop, visits, random)
    moved = np.where(way < FOLLOW_SHARE + STAY_SHARE, stay, fresh)
    return np.where(way < FOLLOW_SHARE, shop.successor[visits.slot], moved)


def _arrive(shop: Shop, visits: _Visits, random: np.random.Generator) -> Iterator[Events]:
    """Some search for what they then look at; some are shown a page that holds it."""
    searching = random.random(len(visits.slot)) < SEARCH_SHARE
    yield visits.events(searching, SEARCH, wording=random.integers(0, 4, int(searching.sum())))
    visits.clock = visits.clock + searching * random.integers(2, 20, len(visits.slot))
    shown = random.random(len(visits.slot)) < SHOWN_SHARE
    cluster = shop.cluster[visits.slot]
    size, rank = shop.cluster_sizes[cluster], visits.slot // shop.clusters
    for place in range(SHOWN_ITEMS):
        neighbour = cluster + shop.clusters * ((rank + place) % size)
        here = shown & (place < size)
        yield visits.events(here, IMPRESSION, slot=neighbour[here])
    visits.clock = visits.clock + shown * random.integers(2, 30, len(visits.slot))


def _look(visits: _Visits, active: np.ndarray, random: np.random.Generator) -> Iterator[Events]:
    """One item: looked at, perhaps put into the cart, out of it, bought, and cancelled."""
    count = len(active)
    visits.clock = visits.clock + active * (2 + random.exponential(40, count)).astype(int)
    yield visits.events(active, VIEW)
    carted = active & (random.random(count) < CART_SHARE)
    pieces = 1 + (random.random(count) < 0.2) + (random.random(count) < 0.05)
    fate = random.random(count)
    bought, removed = carted & (fate < BUY_SHARE), carted & (fate > 1 - REMOVE_SHARE)
    cancelled = bought & (random.random(count) < CANCEL_SHARE)
    for who, kind in ((carted, CART), (removed, REMOVE), (bought, PURCHASE), (cancelled, CANCEL)):
        visits.clock = visits.clock + who * random.integers(3, 40, count)
        yield _with_pieces(visits.events(who, kind), pieces[who])


def _with_pieces(events: Events, pieces: np.ndarray) -> Events:
    return Events(**{**vars(events), "quantity": pieces})
