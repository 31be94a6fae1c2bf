"""Fills the histories in Redis with the events of settled days, so that the server knows what the logs tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.artifacts import Artifact
from pipeline.core.days import Days, end_of_day
from pipeline.core.errors import MissingInputError, UnavailableError, UsageError
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.ingest.writing import stored_rows
from pipeline.store.erasures import Erasures
from pipeline.store.histories import KEPT_TYPES, Histories, Past
from pipeline.store.partitions import STAGE, Partitions

COLUMNS = ["user_id", "item_id", "event_type", "event_time"]


@dataclass(frozen=True)
class Filled:
    """What was filled.

    Attributes:
        days: whose events are young enough to be kept.
        events: users' events of these days that histories are made of.
        new: those that were not known.
    """

    days: int
    events: int
    new: int

    def __str__(self) -> str:
        return f"{self.events:,} events of {self.days} days, {self.new:,} of them new"


def fill_after(settings: Settings, run: Run, histories: Histories | None, keys: Mapping[str, str]) -> str:
    """Fills in what a run settled; returns a sentence for its report, empty where no histories are kept.

    Done whether or not anything was made anew: Redis may have lost what an earlier run told it. A run marked as-of
    leaves the histories as they are, like all that is in force.

    Args:
        keys: day → key of its partition.
    """
    if histories is None or run.backfill:
        return ""
    days = {date.fromisoformat(day): Artifact(run.layout.artifact(STAGE, key)) for day, key in keys.items()}
    try:
        return f" Histories: {fill(settings, histories, days)}."
    except UnavailableError as error:
        again = f"python -m pipeline histories fill --days {Days(min(days), max(days))}"
        return f" WARNING: the histories are not filled; run `{again}` later. {error}"


def fill_in_force(settings: Settings, days: Days) -> Filled:
    """Fills in days as they are published, or else as they landed.

    Raises:
        UsageError: no histories are kept.
        MissingInputError: none of the days landed.
        UnavailableError: Redis does not take it.
    """
    histories = _opened(settings)
    published, landed = (Partitions.open(settings, kind) for kind in ("published", "landed"))
    found = {}
    for records in (landed, published):
        found |= {day: (records, record) for day, record in records.read_all(days.first, days.last).items()}
    if not found:
        raise MissingInputError(f"No day of {days} has landed; ingest them first.")
    in_force = {day: records.artifact(record) for day, (records, record) in sorted(found.items())}
    return fill(settings, histories, in_force)


def fill(settings: Settings, histories: Histories, days: Mapping[date, Artifact]) -> Filled:
    """Writes days' events into the histories; doing it again changes nothing.

    Raises: UnavailableError: Redis does not take it.
    """
    # Said anew each time: a Redis that lost everything has forgotten who was forgotten, too.
    histories.erase({name for erasure in Erasures.open(settings).all() for name in erasure.person})
    since = datetime.now(UTC) - timedelta(days=settings.history.days)
    young = [artifact for day, artifact in days.items() if end_of_day(day, settings.shop.timezone) > since]
    events = new = 0
    for artifact in young:
        for users in _by_user(artifact):
            events += sum(map(len, users.values()))
            new += histories.add(users)
    return Filled(len(young), events, new)


def shown(settings: Settings, names: Iterable[str]) -> Iterator[str]:
    """Yields what one person did, a line an event.

    Raises: UsageError: no histories are kept. UnavailableError: Redis does not answer.
    """
    for past in _opened(settings).of(names):
        at = datetime.fromtimestamp(past.milliseconds / 1000, UTC)
        yield f"{at:%Y-%m-%d %H:%M:%S} {past.event_type} {past.item_id}"


def _opened(settings: Settings) -> Histories:
    histories = Histories.open(settings)
    if histories is None:
        raise UsageError("No histories are kept; set history.redis_url to the address of a Redis.")
    return histories


def _by_user(artifact: Artifact) -> Iterator[dict[str, list[Past]]]:
    """Yields pseudonym → events, in bounded memory."""
    kinds = pa.array(KEPT_TYPES)
    for batch in stored_rows(artifact.file("events.parquet"), COLUMNS):
        kept = pc.and_(pc.is_in(batch.column("event_type"), kinds), pc.is_valid(batch.column("item_id")))
        kept = batch.filter(pc.and_(kept, pc.is_valid(batch.column("user_id"))))
        users, items, types = (kept.column(name).to_pylist() for name in COLUMNS[:3])
        times = kept.column("event_time").cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()).to_pylist()
        found: dict[str, list[Past]] = {}
        for user, *event in zip(users, items, types, times, strict=True):
            found.setdefault(user, []).append(Past(*event))
        if found:
            yield found
